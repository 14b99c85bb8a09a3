#include "address_set.h"

#include <errno.h>
#include <stdlib.h>

#define LEAST_SIZE 8

/* Returns the address's slot, or the free slot for it. */
static struct sf_addr_slot *slot_of(const struct sf_addr_set *set, uint32_t addr)
{
    uint32_t i = sf_addr_home(set, addr);

    while (set->slot[i].addr && set->slot[i].addr != addr)
        i = (i + 1) & (set->size - 1);
    return &set->slot[i];
}

static int grow(struct sf_addr_set *set)
{
    struct sf_addr_set bigger = {.size = set->size ? set->size * 2 : LEAST_SIZE, .used = set->used};

    bigger.slot = calloc(bigger.size, sizeof(*bigger.slot));
    if (!bigger.slot)
        return -ENOMEM;
    for (uint32_t i = 0; i < set->size; i++)
        if (set->slot[i].addr)
            *slot_of(&bigger, set->slot[i].addr) = set->slot[i];
    free(set->slot);
    *set = bigger;
    return 0;
}

int sf_addr_set_add(struct sf_addr_set *set, uint32_t addr)
{
    int rc;

    if (sf_addr_set_has(set, addr)) {
        slot_of(set, addr)->count++;
        return 0;
    }
    if (set->size < 2 * (set->used + 1)) {
        rc = grow(set);
        if (rc < 0)
            return rc;
    }
    *slot_of(set, addr) = (struct sf_addr_slot){.addr = addr, .count = 1};
    set->used++;
    return 1;
}

/* Moves entries after the gap that could not be found otherwise. */
static void close_gap(struct sf_addr_set *set, uint32_t gap)
{
    uint32_t last = set->size - 1;

    for (uint32_t i = (gap + 1) & last; set->slot[i].addr; i = (i + 1) & last) {
        uint32_t home = sf_addr_home(set, set->slot[i].addr);

        if (((i - home) & last) < ((i - gap) & last))
            continue;
        set->slot[gap] = set->slot[i];
        gap = i;
    }
    set->slot[gap] = (struct sf_addr_slot){0};
}

bool sf_addr_set_remove(struct sf_addr_set *set, uint32_t addr)
{
    struct sf_addr_slot *slot;

    if (!sf_addr_set_has(set, addr))
        return false;
    slot = slot_of(set, addr);
    if (--slot->count)
        return false;
    close_gap(set, (uint32_t)(slot - set->slot));
    set->used--;
    return true;
}

void sf_addr_set_free(struct sf_addr_set *set)
{
    free(set->slot);
    *set = (struct sf_addr_set){0};
}
