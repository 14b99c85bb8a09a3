/* The muxer. Its events are edges, and each event has all bits that are set. The list of ready zockets is last in, first out. */
#define _GNU_SOURCE
#include "sim.h"

#include <errno.h>
#include <string.h>

SIM_API int zf_muxer_alloc(struct zf_stack *, struct zf_muxer_set **);
SIM_API void zf_muxer_free(struct zf_muxer_set *);
SIM_API int zf_muxer_add(struct zf_muxer_set *, struct zf_waitable *, const struct epoll_event *);
SIM_API int zf_muxer_del(struct zf_waitable *);
SIM_API int zf_muxer_wait(struct zf_muxer_set *, struct epoll_event *, int, int64_t);
SIM_API int zf_reactor_perform(struct zf_stack *);

void sim_waitable_init(struct zf_waitable *w, struct zf_stack *stack)
{
    *w = (struct zf_waitable){.stack = stack};
}

void sim_mark(struct zf_waitable *w, uint32_t bits)
{
    w->ready |= bits;
    if (!w->set || w->listed || !(w->event.events & bits))
        return;
    w->next = w->set->ready;
    w->set->ready = w;
    w->listed = true;
}

void sim_unmark(struct zf_waitable *w, uint32_t bits)
{
    w->ready &= ~bits;
}

int zf_muxer_alloc(struct zf_stack *stack, struct zf_muxer_set **out)
{
    SIM_FAULT();
    for (int i = 0; i < SIM_ZOCKETS; i++) {
        if (stack->muxer[i].stack)
            continue;
        stack->muxer[i] = (struct zf_muxer_set){.stack = stack};
        *out = &stack->muxer[i];
        return 0;
    }
    return -ENOMEM;
}

void zf_muxer_free(struct zf_muxer_set *set)
{
    SIM_MUST(!set->members, "the set still has waitables");
    set->stack = NULL;
}

int zf_muxer_add(struct zf_muxer_set *set, struct zf_waitable *w, const struct epoll_event *event)
{
    SIM_FAULT();
    if (w->stack != set->stack)
        return -EXDEV;
    if (w->set)
        return w->set == set ? -EALREADY : -EBUSY;
    w->set = set;
    w->event = *event;
    set->members++;
    if (w->ready & event->events)
        sim_mark(w, w->ready & event->events);
    return 0;
}

int zf_muxer_del(struct zf_waitable *w)
{
    if (!w->set)
        return -EINVAL;
    for (struct zf_waitable **link = &w->set->ready; *link; link = &(*link)->next) {
        if (*link == w) {
            *link = w->next;
            break;
        }
    }
    w->listed = false;
    w->event.events = 0;
    w->set->members--;
    w->set = NULL;
    return 0;
}

int zf_muxer_wait(struct zf_muxer_set *set, struct epoll_event *events, int max, int64_t timeout)
{
    int n = 0;

    SIM_MUST(timeout == 0, "sfloop never blocks here");
    zf_reactor_perform(set->stack);
    while (set->ready && n < max) {
        struct zf_waitable *w = set->ready;

        set->ready = w->next;
        w->listed = false;
        if (!(w->event.events & w->ready))
            continue;
        events[n] = w->event;
        events[n++].events &= w->ready;
    }
    return n;
}
