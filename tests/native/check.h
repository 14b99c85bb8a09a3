/* CHECK prints a failed condition and its place, and ends the test. Unlike assert() it is also in release builds. A program that
 * must end in another way defines CHECK_ENDS() before it includes this header. */
#ifndef SF_TEST_CHECK_H
#define SF_TEST_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef CHECK_ENDS
#define CHECK_ENDS() exit(1)
#endif

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s: failed: %s\n", __FILE__, __LINE__, __func__, #condition);                      \
            CHECK_ENDS();                                                                                              \
        }                                                                                                              \
    } while (0)

/* A small pseudo-random generator (xorshift). The caller has the seed, so that a failure can be repeated. */
static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

#endif
