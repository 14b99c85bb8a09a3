/* What every layer may use: time, branch hints, sizes. Includes nothing of sfloop's own. */
#ifndef SF_BASE_H
#define SF_BASE_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

typedef int64_t sf_ns; /* nanoseconds of CLOCK_MONOTONIC, or a span of them */

#define SF_NEVER INT64_MAX
#define SF_US ((sf_ns)1000)
#define SF_MS ((sf_ns)1000000)
#define SF_SEC ((sf_ns)1000000000)

#define SF_LIKELY(x) __builtin_expect(!!(x), 1)
#define SF_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define SF_CACHE_LINE 64

/* When a datagram or frame that was sent has left. The first one sent has the number 1. */
struct sf_stamp {
    uint64_t number;
    sf_ns timestamp; /* of CLOCK_REALTIME */
};

/* The loop's clock: the same one that Python's time.monotonic() reads. */
static inline sf_ns sf_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (sf_ns)ts.tv_sec * SF_SEC + ts.tv_nsec;
}

/* The CPU's counter, which costs a third of the clock. Its rate is unknown, and CPUs may disagree. */
static inline uint64_t sf_ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;

    __asm__ __volatile__("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
    return (uint64_t)sf_now();
#endif
}

/* Tells the core that this is a spin, so that a sibling hyperthread gets its turn. */
static inline void sf_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory");
#endif
}

#endif
