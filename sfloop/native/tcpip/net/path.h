/*
 * Paths: how packets to a destination leave. Through the interface, with these Ethernet addresses, source address and MTU; or by
 * the kernel socket, if the route leads elsewhere or is not known yet.
 *
 * The table is bounded and drops the entry that was unused for longest. The kernel is asked for a route when an entry is created,
 * and again at intervals. Neighbours are kept separately (neighbour.h).
 */
#ifndef SF_TCPIP_NET_PATH_H
#define SF_TCPIP_NET_PATH_H

#include "sf/base.h"

#include <stdbool.h>

struct sf_tcpip;

enum sf_path_state {
    SF_PATH_UNUSED,
    SF_PATH_ASKED,  /* waiting for the kernel's answer */
    SF_PATH_KERNEL, /* by another interface, local, or broadcast */
    SF_PATH_NONE,   /* the kernel refuses: the destination is unreachable, or this host does not have the source address */
    SF_PATH_DIRECT,
};

/* Addresses are in network byte order. */
struct sf_path {
    uint32_t dst;
    uint32_t src; /* the address that the socket is bound to, because policy routing may use it; 0: none */
    enum sf_path_state state;
    uint32_t next_hop;
    uint32_t preferred_src;
    uint32_t route_mtu; /* of the route; 0: the interface's */
    uint32_t learned_mtu; /* from an ICMP error; 0: none */
    sf_ns learned_until;
    sf_ns used;
    sf_ns ask_at; /* when to ask for the route again */
    uint32_t asked; /* the request's sequence number */
    sf_ns provoked; /* when the kernel was last made to resolve the neighbour */
};

enum { SF_PATH_SETS = 256, SF_PATH_SET_SIZE = 4 };

struct sf_paths {
    struct sf_path (*sets)[SF_PATH_SET_SIZE];
    /* Anything built from a path is outdated once this number has changed. */
    uint32_t generation;
    bool outdated; /* flushed, and paths in use not yet asked about */
};

enum sf_way {
    SF_WAY_DIRECT,
    SF_WAY_UNRESOLVED,
    SF_WAY_KERNEL,
    SF_WAY_NONE, /* see SF_PATH_NONE */
    SF_WAY_DOWN,
};

struct sf_hop {
    uint8_t mac[6];
    uint32_t src;
    uint32_t mtu;
};

int sf_paths_init(struct sf_paths *);
void sf_paths_free(struct sf_paths *);
/* Marks everything built from paths as outdated. */
void sf_paths_outdate(struct sf_paths *);
/* Call this after routes or addresses have changed. Each route is asked for again at its next use. A path in use keeps the old
 * answer until the new one comes some tens of us later, because most changes of busy tables are about other routes. */
void sf_paths_flush(struct sf_tcpip *);
void sf_paths_ask_again(struct sf_tcpip *);

/* Finds the way of a packet to `dst` from `src` (0: not bound). Sets *hop if the way is direct. */
enum sf_way sf_path_find(struct sf_tcpip *, uint32_t dst, uint32_t src, struct sf_hop *hop);
/* Makes the kernel resolve the neighbour if that is missing. */
void sf_path_provoke(struct sf_tcpip *, uint32_t dst, uint32_t src);
/* Tells whether the kernel has given up on the neighbour after `since`. */
bool sf_path_failed(struct sf_tcpip *, uint32_t dst, uint32_t src, sf_ns since);
/* Applies RFC 1191: a router limits packets to `dst` to this MTU. 0: the router is older than RFC 1191. */
void sf_path_learn_mtu(struct sf_tcpip *, uint32_t dst, uint32_t mtu);

/* The kernel's answer. */
struct sf_route {
    bool direct;
    bool refused; /* an errno came instead of a route */
    uint32_t gateway; /* 0: on the link */
    uint32_t preferred_src;
    uint32_t mtu;
};
void sf_path_answer(struct sf_tcpip *, uint32_t request, const struct sf_route *);

#endif
