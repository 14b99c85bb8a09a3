#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_SLOTS 64
#define MOST_SLOTS 32768 /* half of them in use at most */
#define CONFIRM_INTERVAL (5 * SF_SEC)

static uint32_t home_of(const struct sf_neighbours *n, uint32_t addr)
{
    return (addr * 0x9e3779b1u >> 16) & n->mask;
}

static uint32_t slot_of(const struct sf_neighbours *n, uint32_t addr)
{
    uint32_t i = home_of(n, addr);

    while (n->slot[i].addr && n->slot[i].addr != addr)
        i = (i + 1) & n->mask;
    return i;
}

struct sf_neighbour *sf_neighbour_find(const struct sf_neighbours *n, uint32_t addr)
{
    struct sf_neighbour *slot;

    if (!n->slot)
        return NULL;
    slot = &n->slot[slot_of(n, addr)];
    return slot->addr ? slot : NULL;
}

static int make_room(struct sf_neighbours *n)
{
    struct sf_neighbours bigger = *n;
    uint32_t slots = n->slot ? n->mask + 1 : 0;

    if (slots && (n->used + 1) * 2 <= slots)
        return 0;
    if (slots == MOST_SLOTS)
        return -ENOSPC;
    bigger.mask = (slots ? slots * 2 : FIRST_SLOTS) - 1;
    bigger.slot = calloc((size_t)bigger.mask + 1, sizeof(*bigger.slot));
    if (!bigger.slot)
        return -ENOMEM;
    for (uint32_t i = 0; i < slots; i++)
        if (n->slot[i].addr)
            bigger.slot[slot_of(&bigger, n->slot[i].addr)] = n->slot[i];
    free(n->slot);
    *n = bigger;
    return 0;
}

bool sf_neighbour_set(struct sf_tcpip *t, const struct sf_neighbour *what)
{
    struct sf_neighbours *n = &t->neighbours;
    struct sf_neighbour *known = sf_neighbour_find(n, what->addr);
    bool changed;

    if (known) {
        changed = known->usable != what->usable || (what->usable && memcmp(known->mac, what->mac, sizeof(known->mac)));
        memcpy(known->mac, what->mac, sizeof(known->mac));
        known->usable = what->usable;
        known->stale = what->stale;
        if (what->failed)
            known->failed = what->failed;
        return changed;
    }
    if (make_room(n) < 0) {
        sf_count(t, SF_COUNT_NEIGHBOUR_FULL);
        return false;
    }
    n->slot[slot_of(n, what->addr)] = *what;
    n->used++;
    return false; /* no path was built from an unknown neighbour */
}

/* Closes the gap as in tcpip/flows.c: moves entries back that could not be found otherwise. */
bool sf_neighbour_remove(struct sf_neighbours *n, uint32_t addr)
{
    struct sf_neighbour *known = sf_neighbour_find(n, addr);
    bool usable;
    uint32_t gap;

    if (!known)
        return false;
    usable = known->usable;
    gap = (uint32_t)(known - n->slot);
    for (uint32_t i = (gap + 1) & n->mask; n->slot[i].addr; i = (i + 1) & n->mask) {
        uint32_t home = home_of(n, n->slot[i].addr);

        if (((i - home) & n->mask) < ((i - gap) & n->mask))
            continue;
        n->slot[gap] = n->slot[i];
        gap = i;
    }
    n->slot[gap].addr = 0;
    n->used--;
    return usable;
}

void sf_neighbours_clear(struct sf_neighbours *n)
{
    if (n->slot)
        memset(n->slot, 0, ((size_t)n->mask + 1) * sizeof(*n->slot));
    n->used = 0;
}

void sf_neighbours_free(struct sf_neighbours *n)
{
    free(n->slot);
    *n = (struct sf_neighbours){0};
}

bool sf_neighbour_confirm(struct sf_tcpip *t, struct sf_neighbour *neighbour)
{
    if (neighbour->nudged && t->now - neighbour->nudged < CONFIRM_INTERVAL)
        return true;
    neighbour->nudged = t->now;
    return sf_neighbour_use(t, neighbour->addr);
}
