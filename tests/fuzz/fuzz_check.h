/* What the fuzzers have in common. A failed CHECK aborts, which is what they look for. */
#ifndef SF_FUZZ_CHECK_H
#define SF_FUZZ_CHECK_H

#define CHECK_ENDS() abort()
#include "../native/check.h"

#include <stddef.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
