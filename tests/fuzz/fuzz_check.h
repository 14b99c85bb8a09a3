/* The declarations that all fuzzers share. A failed CHECK aborts, and the engine reports the abort as a finding. */
#ifndef SF_FUZZ_CHECK_H
#define SF_FUZZ_CHECK_H

#define CHECK_ENDS() abort()
#include "../native/check.h"

#include <stddef.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
