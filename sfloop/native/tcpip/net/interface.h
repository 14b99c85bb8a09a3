/* The accelerated interface, as the kernel reports it: its state, MTU and addresses, and the addresses of the whole host. */
#ifndef SF_TCPIP_NET_INTERFACE_H
#define SF_TCPIP_NET_INTERFACE_H

#include "storage/address_set.h"

/* An address of an interface of this host, in network byte order. Linux distinguishes addresses that differ only in the
 * subnet. */
struct sf_interface_addr {
    int index; /* of the interface */
    uint32_t addr;
    uint32_t subnet_addr; /* IFA_ADDRESS: the address itself, or the peer's, which is then in the subnet instead */
    uint32_t broadcast;   /* 0: none was given */
    uint8_t prefix_len;
    bool seen; /* in the current dump */
};

struct sf_interface {
    int index; /* 0: a point-to-point link between two stacks, which the kernel does not know */
    bool up;
    int master; /* the bridge, bond or team that has this port's frames and addresses; 0: none */
    uint32_t mtu;
    uint8_t mac[6];
    uint32_t latest[2];            /* two of the interface's addresses, compared before the set is searched; 0: none */
    struct sf_addr_set own;        /* the interface's addresses */
    struct sf_addr_set broadcasts; /* the broadcast addresses of its subnets, without 255.255.255.255 */
    struct sf_addr_set host;       /* the addresses of all interfaces */
    struct sf_interface_addr *addrs;
    uint32_t n_addrs, room;
};

enum sf_interface_change {
    SF_INTERFACE_SAME = 0,
    SF_INTERFACE_HOST_CHANGED = 1, /* the addresses of other interfaces */
    SF_INTERFACE_CHANGED = 2,      /* the interface's own addresses or broadcast addresses */
};

static inline bool sf_is_multicast(uint32_t addr)
{
    return (((const uint8_t *)&addr)[0] & 0xf0) == 224;
}

static inline bool sf_interface_owns(const struct sf_interface *interface, uint32_t addr)
{
    if (SF_LIKELY(addr == interface->latest[0] || addr == interface->latest[1]))
        return addr != 0;
    return sf_addr_set_has(&interface->own, addr);
}

bool sf_interface_is_broadcast(const struct sf_interface *, uint32_t addr);
/* True: SO_BINDTODEVICE has bound the socket to another interface. */
bool sf_interface_is_not_of(const struct sf_interface *, int fd);
/* Both return an enum sf_interface_change. An address for which there is no memory is omitted, and its traffic stays with the
 * kernel. */
int sf_interface_add(struct sf_interface *, const struct sf_interface_addr *);
int sf_interface_remove(struct sf_interface *, const struct sf_interface_addr *);
/* Mark the start and end of a dump of all addresses. The end removes addresses that were not in it. */
void sf_interface_dump_begins(struct sf_interface *);
int sf_interface_dump_ends(struct sf_interface *);
void sf_interface_free(struct sf_interface *);

#endif
