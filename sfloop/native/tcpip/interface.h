/* The accelerated interface as the kernel has it: whether it is up, its MTU, its addresses. */
#ifndef SF_TCPIP_INTERFACE_H
#define SF_TCPIP_INTERFACE_H

#include "sf/base.h"

#include <stdbool.h>

enum { SF_INTERFACE_ADDRS = 16 };

/* All in network byte order. */
struct sf_interface_addr {
    uint32_t addr;
    uint32_t broadcast; /* 0: none */
    bool seen;          /* in the dump that is being read */
};

struct sf_interface {
    int index; /* 0: a wire between two stacks, which the kernel knows nothing of */
    bool up;
    uint32_t mtu;
    uint8_t mac[6];
    int n_addrs;
    struct sf_interface_addr addrs[SF_INTERFACE_ADDRS];
};

static inline bool sf_is_multicast(uint32_t addr)
{
    return (((const uint8_t *)&addr)[0] & 0xf0) == 224;
}

static inline bool sf_interface_owns(const struct sf_interface *interface, uint32_t addr)
{
    for (int i = 0; i < interface->n_addrs; i++)
        if (interface->addrs[i].addr == addr)
            return true;
    return false;
}

bool sf_interface_is_broadcast(const struct sf_interface *, uint32_t addr);
/* Each returns true if it has changed something. A 17th address is left out: its traffic stays with the kernel. */
bool sf_interface_add(struct sf_interface *, uint32_t addr, uint32_t broadcast);
bool sf_interface_remove(struct sf_interface *, uint32_t addr);

#endif
