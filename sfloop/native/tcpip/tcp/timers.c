/*
 * The timers of connections, in a heap (storage/heap.h). Most deadlines move further away with every ACK. Such a move leaves the
 * heap as it is: the timer fires early, finds that nothing is due, and is set anew. So a segment costs one comparison here, and
 * idle connections cost nothing.
 */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <stdlib.h>

#define SF_HEAP_ENTRY struct sf_tcp_timer *
#define SF_HEAP_EARLIER(a, b) ((*(a))->at < (*(b))->at)
#define SF_HEAP_PLACED(timer, i) ((timer)->index = (uint32_t)(i))
#include "storage/heap.h"

int sf_tcp_timer_add(struct sf_tcpip *t, struct sf_tcp_timer *timer, enum sf_tcp_timer_kind kind)
{
    struct sf_tcp_timers *timers = &t->tcp.timers;
    uint32_t capacity = timers->capacity ? timers->capacity * 2 : 64;

    if (timers->members == timers->capacity) {
        struct sf_tcp_timer **heap = realloc(timers->heap, capacity * sizeof(struct sf_tcp_timer *));

        if (!heap)
            return -ENOMEM;
        timers->heap = heap;
        timers->capacity = capacity;
    }
    timers->members++;
    timer->at = SF_NEVER;
    timer->kind = kind;
    return 0;
}

void sf_tcp_timer_clear(struct sf_tcpip *t, struct sf_tcp_timer *timer)
{
    struct sf_tcp_timers *timers = &t->tcp.timers;
    struct sf_tcp_timer *last;

    if (timer->at == SF_NEVER)
        return;
    timer->at = SF_NEVER;
    last = timers->heap[--timers->count];
    if (last == timer)
        return;
    if (timer->index && timers->heap[(timer->index - 1) / 4]->at > last->at)
        heap_up(timers->heap, timer->index, last);
    else
        heap_down(timers->heap, timers->count, timer->index, last);
}

void sf_tcp_timer_remove(struct sf_tcpip *t, struct sf_tcp_timer *timer)
{
    sf_tcp_timer_clear(t, timer);
    t->tcp.timers.members--;
}

void sf_tcp_timer_by(struct sf_tcpip *t, struct sf_tcp_timer *timer, sf_ns at)
{
    struct sf_tcp_timers *timers = &t->tcp.timers;
    uint32_t index = timer->index;

    if (SF_LIKELY(at >= timer->at))
        return;
    if (timer->at == SF_NEVER)
        index = timers->count++;
    timer->at = at;
    heap_up(timers->heap, index, timer);
    if (at < t->due)
        t->due = at;
}

static void fire(struct sf_tcpip *t, struct sf_tcp_timer *timer)
{
    switch (timer->kind) {
    case SF_TCP_TIMER_CONN:
        sf_tcp_conn_timeout(sf_tcp_conn_of_timer(timer));
        break;
    case SF_TCP_TIMER_HALF:
        sf_tcp_half_timeout(t, sf_tcp_half_of_timer(timer));
        break;
    case SF_TCP_TIMER_WAIT:
        sf_tcp_wait_timeout(t);
        break;
    case SF_TCP_TIMER_MEMORY:
        sf_tcp_memory_timeout(t);
        break;
    }
}

/* Fires at most as many timers as there are now. A timer that is set for the past again waits for the next poll. */
void sf_tcp_timers_run(struct sf_tcpip *t)
{
    struct sf_tcp_timers *timers = &t->tcp.timers;

    for (uint32_t left = timers->count; left && timers->count && timers->heap[0]->at <= t->now; left--) {
        struct sf_tcp_timer *timer = timers->heap[0];

        sf_tcp_timer_clear(t, timer);
        fire(t, timer);
    }
}

sf_ns sf_tcp_next_timer(const struct sf_tcpip *t)
{
    return t->tcp.timers.count ? t->tcp.timers.heap[0]->at : SF_NEVER;
}
