/*
 * A slot is reused with a new generation: sf_slots_give() increments it, so an event of the former owner matches no socket. A
 * slot would have to be reused 2^32 times within a batch of events to be confused.
 */
#include "sf/engine.h"

#include <errno.h>
#include <stdlib.h>

static int grow(struct sf_slots *s)
{
    uint32_t old = s->capacity, capacity = old ? old * 2 : 64;
    uint32_t *generation, *next_free;

    generation = realloc(s->generation, capacity * sizeof(*generation));
    if (!generation)
        return -ENOMEM;
    s->generation = generation;
    next_free = realloc(s->next_free, capacity * sizeof(*next_free));
    if (!next_free)
        return -ENOMEM;
    s->next_free = next_free;
    for (uint32_t i = old; i < capacity; i++) {
        generation[i] = 1;
        next_free[i] = i + 1 < capacity ? i + 1 : SF_SLOT_NONE;
    }
    s->free_head = old;
    s->capacity = capacity;
    return 0;
}

int sf_slots_take(struct sf_slots *s, uint32_t *slot, uint32_t *generation)
{
    if (s->free_head == SF_SLOT_NONE || !s->capacity) {
        int rc = grow(s);

        if (rc < 0)
            return rc;
    }
    *slot = s->free_head;
    *generation = s->generation[*slot];
    s->free_head = s->next_free[*slot];
    s->used++;
    return 0;
}

void sf_slots_give(struct sf_slots *s, uint32_t slot)
{
    s->generation[slot]++;
    s->next_free[slot] = s->free_head;
    s->free_head = slot;
    s->used--;
}
