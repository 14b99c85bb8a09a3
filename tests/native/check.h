/* CHECK: a failed condition says where and what, and ends the test. Unlike assert() it is there in release builds. A program that
 * has to end in another way says how before it includes this. */
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

/* A small generator with the seed in sight, so that a failure can be repeated. */
static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

#endif
