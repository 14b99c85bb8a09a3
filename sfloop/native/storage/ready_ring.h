/* The ready ring: sockets with events to report, and other members that are visited in turn. Its anchor is a link too. */
#ifndef SF_STORAGE_READY_RING_H
#define SF_STORAGE_READY_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sf_ready_kind { SF_READY_UDP, SF_READY_TCP, SF_READY_TCP_LISTENER };

struct sf_ready_link {
    struct sf_ready_link *next, *prev; /* next NULL: not in the ring */
};

/* A member of the ring of sockets with events to report. */
struct sf_ready_entry {
    struct sf_ready_link link; /* first, so that a pointer to it is one to the entry */
    enum sf_ready_kind kind;
};

static inline enum sf_ready_kind sf_ready_kind_of(const struct sf_ready_link *link)
{
    return ((const struct sf_ready_entry *)link)->kind;
}

static inline void sf_ready_init(struct sf_ready_link *anchor)
{
    anchor->next = anchor->prev = anchor;
}

static inline bool sf_ready_empty(const struct sf_ready_link *anchor)
{
    return anchor->next == anchor;
}

static inline void sf_ready_remove(struct sf_ready_link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next = link->prev = NULL;
}

/* Puts the link at the end of the ring or takes it out. Does nothing if that is the case already. */
static inline void sf_ready_set(struct sf_ready_link *anchor, struct sf_ready_link *link, bool in)
{
    if (in == (link->next != NULL))
        return;
    if (!in) {
        sf_ready_remove(link);
        return;
    }
    link->prev = anchor->prev;
    link->next = anchor;
    link->prev->next = link->next->prev = link;
}

/*
 * Makes `link` the first member, and keeps the order. Does nothing if it is the first already, or if it is the anchor, which is
 * where a walk through the whole ring ends. After an array of events was filled, the next poll begins with the members that were
 * left out.
 */
static inline void sf_ready_begin_with(struct sf_ready_link *anchor, struct sf_ready_link *link)
{
    if (link == anchor || link == anchor->next)
        return;
    anchor->prev->next = anchor->next;
    anchor->next->prev = anchor->prev;
    anchor->next = link;
    anchor->prev = link->prev;
    anchor->prev->next = link->prev = anchor;
}

#endif
