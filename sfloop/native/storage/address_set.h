/* A counted set of IPv4 addresses: a hash table with open addressing that is at most half full. */
#ifndef SF_STORAGE_ADDRESS_SET_H
#define SF_STORAGE_ADDRESS_SET_H

#include "sf/base.h"

#include <stdbool.h>

struct sf_addr_slot {
    uint32_t addr;  /* network byte order; 0: free */
    uint32_t count; /* number of adds */
};

/* All zeros is an empty set. To visit the members, iterate over slot[0 .. size) and skip free slots. */
struct sf_addr_set {
    struct sf_addr_slot *slot;
    uint32_t size; /* a power of two, or 0 */
    uint32_t used;
};

static inline uint32_t sf_addr_home(const struct sf_addr_set *set, uint32_t addr)
{
    return (addr * 0x9e3779b1u >> 8) & (set->size - 1);
}

static inline bool sf_addr_set_has(const struct sf_addr_set *set, uint32_t addr)
{
    if (!set->used || !addr)
        return false;
    for (uint32_t i = sf_addr_home(set, addr); set->slot[i].addr; i = (i + 1) & (set->size - 1))
        if (set->slot[i].addr == addr)
            return true;
    return false;
}

/* Returns 1 for a new address, 0 for one that was there, whose count is incremented, or -ENOMEM. */
int sf_addr_set_add(struct sf_addr_set *, uint32_t addr);
/* Undoes one add. True: it was the last one, and the address is gone. */
bool sf_addr_set_remove(struct sf_addr_set *, uint32_t addr);
void sf_addr_set_free(struct sf_addr_set *);

#endif
