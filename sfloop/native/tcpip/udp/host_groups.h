/*
 * The groups and sources that this host receives at the interface: those that all programs together have joined. The kernel is
 * asked for the route of a received packet, because that is the check it makes itself.
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
    sf_ns until; /* when to ask the kernel again */
};

struct sf_host_groups {
    int fd; /* netlink; -1: none */
    uint32_t sequence;
    struct sf_host_group slot[SF_HOST_GROUPS]; /* by hash, one group in each */
};

int sf_host_groups_open(struct sf_host_groups *);
void sf_host_groups_close(struct sf_host_groups *);
void sf_host_groups_outdate(struct sf_host_groups *);
bool sf_host_takes(struct sf_tcpip *, uint32_t group, uint32_t source);

#endif
