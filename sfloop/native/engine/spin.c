/*
 * When to spin and when to sleep.
 *
 * Adaptive spinning asks the kernel, while idle, whether it takes the CPU from other threads. Over a window of 10 ms it reads how
 * often the thread was switched out involuntarily, and how long it did not run although it never blocked. A kernel thread alone
 * costs an occasional switch. A second program on the CPU costs a third of the window or several switches. On contention the loop
 * spins only briefly after an event, then sleeps. It tries again after a back-off, which doubles while the contention lasts.
 *
 * A window is long for a waiting thread, for instance an executor's: the scheduler lets the spinning thread finish its slice of
 * some milliseconds, and under SCHED_FIFO the slice never ends. So adaptive yields the CPU every 30 µs while idle. A yield takes
 * less than a microsecond if no thread waits. A yield to another thread counts as an involuntary switch.
 */
#define _GNU_SOURCE
#include "sf/engine.h"

#include <sched.h>
#include <sys/resource.h>

#define WINDOW (10 * SF_MS)
#define CONTENDED_SPIN (5 * SF_US)
#define YIELD_INTERVAL (30 * SF_US)
#define BACKOFF_MIN (20 * SF_MS)
#define BACKOFF_MAX (1280 * SF_MS)
#define SWITCHES_MAX 2 /* involuntary, in each window */
#define LOST_DIVISOR 5 /* a fifth of the window runnable but not running */

static atomic_int spinning_loops;

static sf_ns thread_cpu(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (sf_ns)ts.tv_sec * SF_SEC + ts.tv_nsec;
}

static int cpus_allowed(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : CPU_SETSIZE;
}

static void window_open(struct sf_spin *s, sf_ns now)
{
    struct rusage usage;

    getrusage(RUSAGE_THREAD, &usage);
    s->window_start = now;
    s->window_cpu = thread_cpu();
    s->window_involuntary = usage.ru_nivcsw;
    s->window_voluntary = usage.ru_nvcsw;
}

static bool window_contended(const struct sf_spin *s, sf_ns now)
{
    struct rusage usage;
    long involuntary, voluntary;
    sf_ns span = now - s->window_start, lost;

    getrusage(RUSAGE_THREAD, &usage);
    involuntary = usage.ru_nivcsw - s->window_involuntary;
    voluntary = usage.ru_nvcsw - s->window_voluntary;
    /* A late sample covers several windows, so allow the switches of each. */
    if (involuntary > SWITCHES_MAX * (span / WINDOW))
        return true;
    lost = span - (thread_cpu() - s->window_cpu);
    if (involuntary > 0 && voluntary == 0 && lost > span / LOST_DIVISOR)
        return true;
    return atomic_load_explicit(&spinning_loops, memory_order_relaxed) > cpus_allowed();
}

void sf_spin_init(struct sf_spin *s, enum sf_spin_mode mode, sf_ns limit)
{
    *s = (struct sf_spin){.mode = mode, .limit = limit, .backoff = BACKOFF_MIN};
}

static bool may_spin(const struct sf_spin *s)
{
    return s->mode == SF_SPIN_ADAPTIVE || s->mode == SF_SPIN_ALWAYS;
}

void sf_spin_enter(struct sf_spin *s, sf_ns now)
{
    s->idle_since = now;
    s->window_start = 0;
    s->counted = may_spin(s);
    if (s->counted)
        atomic_fetch_add(&spinning_loops, 1);
}

void sf_spin_leave(struct sf_spin *s)
{
    if (s->counted)
        atomic_fetch_sub(&spinning_loops, 1);
    s->counted = false;
}

void sf_spin_after_fork(struct sf_spin *s)
{
    s->counted = false;
    atomic_store(&spinning_loops, 0);
}

static void yield_at_times(struct sf_spin *s, sf_ns now)
{
    if (now - s->idle_since < YIELD_INTERVAL || now - s->yielded < YIELD_INTERVAL)
        return;
    sched_yield();
    s->yielded = sf_now();
}

static bool adaptive_on(struct sf_spin *s, sf_ns now)
{
    if (s->contended) {
        if (now < s->contended_until)
            return now - s->idle_since < CONTENDED_SPIN;
        s->contended = false;
        s->window_start = 0;
    }
    if (s->window_start == 0) {
        window_open(s, now);
        return true;
    }
    if (now - s->window_start < WINDOW) {
        yield_at_times(s, now);
        return true;
    }
    if (!window_contended(s, now)) {
        s->backoff = BACKOFF_MIN;
        window_open(s, now);
        return true;
    }
    s->contended = true;
    s->contentions++;
    s->contended_until = now + s->backoff;
    s->backoff = s->backoff * 2 < BACKOFF_MAX ? s->backoff * 2 : BACKOFF_MAX;
    return false;
}

bool sf_spin_on(struct sf_spin *s, sf_ns now)
{
    switch (s->mode) {
    case SF_SPIN_ALWAYS:
        return true;
    case SF_SPIN_NEVER:
        return false;
    case SF_SPIN_FOR:
        return now - s->idle_since < s->limit;
    default:
        return adaptive_on(s, now);
    }
}
