/*
 * Zockets and the muxer. Its events are edges, and may refer to a zocket that was freed since they were read. So an event has a
 * tag and its generation, never a pointer. An edge is kept as a level until a call shows that the level no longer holds. Nothing
 * is missed, because new data always makes a new edge, and the next poll reports the rest again.
 */
#define _GNU_SOURCE
#include "stack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- sockets ---- */

struct td_sock *td_sock_new(struct td_stack *t, enum sf_sock_kind kind, uint32_t slot, uint32_t generation)
{
    struct td_sock *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->base = (struct sf_sock){.stack = &t->base, .slot = slot, .generation = generation};
    s->kind = kind;
    s->tag = UINT32_MAX;
    sf_ready_set(&t->all, &s->all, true);
    return s;
}

void td_sock_free(struct td_sock *s)
{
    s->interest = 0;
    td_update(s);
    td_retry(s, false);
    sf_ready_remove(&s->all);
    free(s);
}

void td_update(struct td_sock *s)
{
    sf_ready_set(&td_stack_of(s)->ready, &s->ready, (s->interest & s->level) != 0);
}

void td_raise(struct td_sock *s, uint32_t what)
{
    s->level |= what;
    td_update(s);
}

void td_clear(struct td_sock *s, uint32_t what)
{
    s->level &= ~what;
    td_update(s);
}

void td_retry(struct td_sock *s, bool on)
{
    struct td_stack *t = td_stack_of(s);

    if (s->retry == on)
        return;
    s->retry = on;
    t->retries += on ? 1 : UINT32_MAX;
    if (on && t->due > t->now + TD_RETRY)
        t->due = t->now + TD_RETRY;
}

/* ---- tags ---- */

/* Uses two halves. An event is packed and was just written in pieces, for which a 64-bit load would have to wait. */
static epoll_data_t tag_data(uint32_t index, uint32_t generation)
{
    const uint32_t half[] = {index, generation};
    epoll_data_t data;

    memcpy(&data, half, sizeof(data));
    return data;
}

static uint32_t half_of(const struct epoll_event *event, size_t which)
{
    uint32_t half;

    memcpy(&half, (const char *)event + offsetof(struct epoll_event, data) + which * sizeof(half), sizeof(half));
    return half;
}

int td_watch(struct td_stack *t, struct zf_waitable *w, uint32_t events, enum td_tag_kind kind, void *owner, uint32_t *tag)
{
    struct epoll_event event = {.events = events};
    uint32_t i = t->tag_hint;
    int rc;

    for (uint32_t tried = 0; t->tags[i].kind != TD_TAG_FREE; i = (i + 1) % TD_TAGS)
        if (++tried == TD_TAGS)
            return -ENOBUFS;
    event.data = tag_data(i, t->tags[i].generation);
    /* Set the owner first, because adding reports current readiness. */
    t->tags[i].kind = kind;
    t->tags[i].owner = owner;
    rc = t->zf.zf_muxer_add(t->muxer, w, &event);
    if (rc < 0) {
        t->tags[i].kind = TD_TAG_FREE;
        return rc;
    }
    t->tag_hint = (i + 1) % TD_TAGS;
    *tag = i;
    return 0;
}

void td_unwatch(struct td_stack *t, uint32_t tag)
{
    if (tag == UINT32_MAX)
        return;
    t->tags[tag].kind = TD_TAG_FREE;
    t->tags[tag].owner = NULL;
    t->tags[tag].generation++;
}

static void sock_event(struct td_sock *s, uint32_t events)
{
    switch (s->kind) {
    case SF_KIND_STREAM:
        td_stream_event(s, events);
        return;
    case SF_KIND_LISTENER:
        td_listener_event(s);
        return;
    default:
        td_raise(s, SF_READABLE);
    }
}

bool td_take_muxer_events(struct td_stack *t, int n)
{
    bool datagrams = false;

    for (int i = 0; i < n; i++) {
        uint32_t index = half_of(&t->events[i], 0), generation = half_of(&t->events[i], 1);
        struct td_tag *tag = index < TD_TAGS ? &t->tags[index] : NULL;

        if (SF_UNLIKELY(!tag || tag->kind == TD_TAG_FREE || tag->generation != generation)) {
            td_count(t, TD_COUNT_STALE);
        } else if (SF_LIKELY(tag->kind == TD_TAG_SOCK)) {
            datagrams |= ((struct td_sock *)tag->owner)->kind == SF_KIND_DATAGRAM;
            sock_event(tag->owner, t->events[i].events);
        } else {
            td_destination_event(t, tag->owner);
        }
    }
    return datagrams;
}

int td_take_events(struct td_stack *t, struct sf_event *out, int max)
{
    struct sf_ready_link *anchor = &t->ready, *link = anchor->next;
    int n = 0;

    for (; link != anchor && n < max; link = link->next) {
        struct td_sock *s = (struct td_sock *)((char *)link - offsetof(struct td_sock, ready));

        out[n++] = (struct sf_event){
            .slot = s->base.slot, .generation = s->base.generation, .what = s->interest & s->level};
    }
    sf_ready_begin_with(anchor, link);
    return n;
}
