/* The Ethernet addresses of the link's stations, from the kernel's ARP. */
#ifndef SF_TCPIP_NET_NEIGHBOUR_H
#define SF_TCPIP_NET_NEIGHBOUR_H

#include "sf/base.h"

#include <stdbool.h>

struct sf_tcpip;

struct sf_neighbour {
    uint32_t addr; /* network byte order; 0: free */
    uint8_t mac[6];
    bool usable; /* false: the kernel is still asking, or has given up */
    bool stale;  /* not confirmed for a while, so confirm it at the next use */
    sf_ns nudged;
    sf_ns failed; /* when the kernel last gave up; 0: never */
};

struct sf_neighbours {
    struct sf_neighbour *slot;
    uint32_t mask, used;
};

struct sf_neighbour *sf_neighbour_find(const struct sf_neighbours *, uint32_t addr);
/* Returns true if frames to the neighbour must change. A neighbour for which there is no room stays unknown. */
bool sf_neighbour_set(struct sf_tcpip *, const struct sf_neighbour *);
bool sf_neighbour_remove(struct sf_neighbours *, uint32_t addr);
void sf_neighbours_clear(struct sf_neighbours *);
void sf_neighbours_free(struct sf_neighbours *);

/* Makes the kernel confirm a stale entry that is about to be used, every few seconds at most. False: that is not permitted, so
 * let the kernel send this datagram, which has the same effect. */
bool sf_neighbour_confirm(struct sf_tcpip *, struct sf_neighbour *);

#endif
