/* Decides when a loop that is never idle has to poll the kernel again. Uses the CPU's counter, because reading the clock takes
 * as long as a callback. */
#include "sf/engine.h"

#define BUSY_INTERVAL (4 * SF_US)
/* The interval doubles after EMPTY_POLLS polls that found nothing. It doubles DOUBLINGS times at most, or DOUBLINGS_OF_OWN
 * times if only the loop's own descriptors are watched. Callbacks of other threads and signals are in the ready queue, so no
 * interval delays them. */
#define EMPTY_POLLS 32
#define DOUBLINGS 2
#define DOUBLINGS_OF_OWN 4
/* The counter's rate is measured over spans of this length. */
#define MEASURED SF_MS
/* A counter that stands still is noticed after this many turns of the shortest interval. */
#define MOST_TURNS 256u

/* Rejects longer spans, because the CPU may have slept or changed meanwhile. */
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

static void double_after_empty_polls(struct sf_busy *b, unsigned most)
{
    if (++b->empty >= EMPTY_POLLS) {
        b->empty = 0;
        b->doublings++;
    }
    if (b->doublings > most)
        b->doublings = most;
}

int sf_engine_poll_busy(struct sf_engine *e)
{
    struct sf_busy *b = &e->busy;
    /* The loop was idle between two polls that were not both made here. */
    bool expects = e->kernel->touched || b->polled != e->kernel_polled;
    uint64_t ticks = sf_ticks();
    int n = sf_engine_poll(e);

    measure(b, e->now, ticks);
    begin(b, e->kernel_polled, ticks);
    if (n || expects)
        b->doublings = b->empty = 0;
    else
        double_after_empty_polls(b, e->kernel->watched > b->own ? DOUBLINGS : DOUBLINGS_OF_OWN);
    return n;
}

void sf_engine_note_own(struct sf_engine *e)
{
    e->busy.own = e->kernel->watched;
}

static sf_ns interval_of(const struct sf_busy *b)
{
    return BUSY_INTERVAL << b->doublings;
}

static bool may_skip_by_clock(struct sf_engine *e)
{
    sf_ns interval = e->busy.polled == e->kernel_polled ? interval_of(&e->busy) : BUSY_INTERVAL;

    e->now = sf_now();
    return e->now - e->kernel_polled < interval;
}

bool sf_engine_may_skip_poll(struct sf_engine *e)
{
    struct sf_busy *b = &e->busy;

    if (e->kernel->touched || e->n_stacks)
        return false;
    /* Read the clock if a timer may be due before the next poll, or if another function made the last poll. */
    if (!b->interval || b->polled != e->kernel_polled || ++b->turns > MOST_TURNS << b->doublings ||
        sf_timers_next(&e->timers) < e->kernel_polled + 2 * interval_of(b))
        return may_skip_by_clock(e);
    /* On another CPU the counter may go backwards, which makes this a large number. */
    return sf_ticks() - b->begun < b->interval << b->doublings;
}
