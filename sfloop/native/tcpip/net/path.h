/*
 * How packets to a destination go: by the interface, with what Ethernet addresses, from which address, how large. Or not
 * by the interface, or not known yet: then the kernel's socket sends them.
 *
 * The table is bounded and forgets the entry that was unused for longest. The kernel is asked for the route when an entry
 * is made, and again from time to time; the neighbours are kept beside (neighbour.h).
 */
#ifndef SF_TCPIP_NET_PATH_H
#define SF_TCPIP_NET_PATH_H

#include "sf/base.h"

#include <stdbool.h>

struct sf_tcpip;

enum sf_path_state {
    SF_PATH_UNUSED,
    SF_PATH_ASKED,  /* the kernel's answer is awaited */
    SF_PATH_KERNEL, /* by another interface, local, broadcast, or not at all */
    SF_PATH_DIRECT,
};

/* Addresses in network byte order. */
struct sf_path {
    uint32_t dst;
    uint32_t src; /* what the socket is bound to, 0: nothing; policy routing may look at it */
    enum sf_path_state state;
    uint32_t next_hop;
    uint32_t preferred_src;
    uint32_t route_mtu; /* of the route; 0: the interface's */
    uint32_t learned_mtu; /* from an ICMP error; 0: none */
    sf_ns learned_until;
    sf_ns used;
    sf_ns ask_at; /* when the route is asked for again */
    uint32_t asked; /* the request's sequence number */
    sf_ns provoked; /* when the neighbour was last made to resolve */
};

enum { SF_PATH_SETS = 256, SF_PATH_WAYS = 4 };

struct sf_paths {
    struct sf_path (*sets)[SF_PATH_WAYS];
    /* Whatever was built from a path is out of date when this is no longer what it was then. */
    uint32_t generation;
    bool outdated; /* flushed, and those in use not asked about yet */
};

enum sf_way {
    SF_WAY_DIRECT,
    SF_WAY_UNRESOLVED,
    SF_WAY_KERNEL,
    SF_WAY_DOWN,
};

struct sf_hop {
    uint8_t mac[6];
    uint32_t src;
    uint32_t mtu;
};

int sf_paths_init(struct sf_paths *);
void sf_paths_free(struct sf_paths *);
/* Something of what was built from paths is not right any more. */
void sf_paths_outdate(struct sf_paths *);
/* Routes or addresses have changed: every route is asked for anew when it is used next. Of one that is in use the old answer
 * holds until the new one comes, a few tens of us later: where routes change all the time, most changes are about others. */
void sf_paths_flush(struct sf_tcpip *);
void sf_paths_ask_again(struct sf_tcpip *);

/* For a packet to dst from src (0: not bound). *hop is set if the way is direct. */
enum sf_way sf_path_find(struct sf_tcpip *, uint32_t dst, uint32_t src, struct sf_hop *hop);
/* Has the kernel resolve the neighbour, where that is what is missing. */
void sf_path_provoke(struct sf_tcpip *, uint32_t dst, uint32_t src);
/* Since `since` the kernel has given up on the neighbour. */
bool sf_path_failed(struct sf_tcpip *, uint32_t dst, uint32_t src, sf_ns since);
/* RFC 1191: a router says that packets to dst may be so large. 0: it is older than that. */
void sf_path_learn_mtu(struct sf_tcpip *, uint32_t dst, uint32_t mtu);

/* The kernel's answer. */
struct sf_route {
    bool direct;
    uint32_t gateway; /* 0: on the link */
    uint32_t preferred_src;
    uint32_t mtu;
};
void sf_path_answer(struct sf_tcpip *, uint32_t request, const struct sf_route *);

#endif
