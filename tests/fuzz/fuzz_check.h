/* What the fuzzers have in common. A failed CHECK aborts, which is what they look for; a test's ends it (native/check.h, in whose
 * stead this is). */
#ifndef SF_FUZZ_CHECK_H
#define SF_FUZZ_CHECK_H
#define SF_TEST_CHECK_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s: does not hold: %s\n", __FILE__, __LINE__, __func__, #condition);               \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
