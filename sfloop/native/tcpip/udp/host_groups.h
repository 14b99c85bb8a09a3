/*
 * The groups that this host takes at the interface, and from which sources: those that all programs together have joined. The kernel is
 * asked as for the route of a received packet, which is the very check that it makes itself.
 */
#ifndef SF_TCPIP_UDP_HOST_GROUPS_H
#define SF_TCPIP_UDP_HOST_GROUPS_H

#include "sf/base.h"

#include <stdbool.h>

struct sf_tcpip;

enum { SF_HOST_GROUPS = 64 };

struct sf_host_group {
    uint32_t group, source;
    bool takes;
    sf_ns until; /* then the kernel is asked again */
};

struct sf_host_groups {
    int fd; /* netlink; -1: none */
    uint32_t sequence;
    struct sf_host_group slot[SF_HOST_GROUPS]; /* by hash, one to a slot */
};

int sf_host_groups_open(struct sf_host_groups *);
void sf_host_groups_close(struct sf_host_groups *);
void sf_host_groups_outdate(struct sf_host_groups *);
bool sf_host_takes(struct sf_tcpip *, uint32_t group, uint32_t source);

#endif
