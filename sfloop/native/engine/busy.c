/* When a loop that is never idle has to ask the kernel again. The CPU's counter tells, because reading the clock in
 * each turn takes as long as a callback. */
#include "sf/engine.h"

#define BUSY_INTERVAL (4 * SF_US)
/* The counter's rate is measured over spans of this length. */
#define MEASURED SF_MS
/* A counter that stands still is found out after so many turns. */
#define MOST_TURNS 256

/* A longer span is no measurement: the CPU may have slept, or be another one. */
static void measure(struct sf_busy *b, sf_ns now, uint64_t ticks)
{
    sf_ns span = now - b->since;

    if (b->since && span < MEASURED)
        return;
    if (b->since && span < 2 * MEASURED && ticks > b->since_ticks)
        b->interval = (ticks - b->since_ticks) * BUSY_INTERVAL / (uint64_t)span;
    b->since = now;
    b->since_ticks = ticks;
}

static void begin(struct sf_busy *b, sf_ns polled, uint64_t ticks)
{
    b->polled = polled;
    b->begun = ticks;
    b->turns = 0;
}

int sf_engine_poll_busy(struct sf_engine *e)
{
    uint64_t ticks = sf_ticks();
    int n = sf_engine_poll(e);

    measure(&e->busy, e->now, ticks);
    begin(&e->busy, e->kernel_polled, ticks);
    return n;
}

static bool may_skip_by_clock(struct sf_engine *e)
{
    e->now = sf_now();
    return e->now - e->kernel_polled < BUSY_INTERVAL;
}

bool sf_engine_may_skip_poll(struct sf_engine *e)
{
    struct sf_busy *b = &e->busy;

    if (e->kernel->touched || e->n_stacks)
        return false;
    /* A timer that may be due before the next poll needs the time; so does a poll that was not made here. */
    if (!b->interval || b->polled != e->kernel_polled || ++b->turns > MOST_TURNS ||
        sf_timers_next(&e->timers) < e->kernel_polled + 2 * BUSY_INTERVAL)
        return may_skip_by_clock(e);
    /* A counter that went backwards, on another CPU, makes this a large number. */
    return sf_ticks() - b->begun < b->interval;
}
