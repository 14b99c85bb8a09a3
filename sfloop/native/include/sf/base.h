/* Time, branch hints and sizes for every layer. This header includes no other header of sfloop. */
#ifndef SF_BASE_H
#define SF_BASE_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

typedef int64_t sf_ns; /* nanoseconds of CLOCK_MONOTONIC, or a duration in nanoseconds */

#define SF_NEVER INT64_MAX
#define SF_US ((sf_ns)1000)
#define SF_MS ((sf_ns)1000000)
#define SF_SEC ((sf_ns)1000000000)

#define SF_LIKELY(x) __builtin_expect(!!(x), 1)
#define SF_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define SF_CACHE_LINE 64

/* The time at which a sent datagram or frame left. Numbers count from 1. */
struct sf_stamp {
    uint64_t number;
    sf_ns timestamp; /* CLOCK_REALTIME */
};

struct sockaddr;

/* One datagram of a batch. The stack lends the memory at `data` until the socket's next recv_batch(). */
struct sf_datagram {
    const void *data;
    uint32_t len;
    uint32_t addr_len; /* 0: the sender has no address (an unnamed AF_UNIX socket) */
    int flags;         /* MSG_TRUNC */
    sf_ns timestamp;   /* CLOCK_REALTIME at which the NIC or the kernel received it; 0: unknown, or not requested */
    const struct sockaddr *addr;
};

/* Reads the loop's clock, which is also that of Python's time.monotonic(). */
static inline sf_ns sf_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (sf_ns)ts.tv_sec * SF_SEC + ts.tv_nsec;
}

/* Reads the CPU's counter, which takes a third of the time of sf_now(). The rate is unknown, and CPUs may disagree. */
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

/* Tells the CPU that this is a spin loop, so that a sibling hyperthread gets its turn. */
static inline void sf_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory");
#endif
}

#endif
