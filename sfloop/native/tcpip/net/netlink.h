/*
 * The kernel's interface, addresses, routes and neighbours, from rtnetlink: a dump of each at the start, then its notifications.
 * Requests are sent without waiting, and sf_netlink_poll() receives the answers.
 */
#ifndef SF_TCPIP_NET_NETLINK_H
#define SF_TCPIP_NET_NETLINK_H

#include "sf/base.h"

#include <linux/rtnetlink.h>
#include <stdbool.h>

struct sf_tcpip;

enum sf_netlink_dump { SF_DUMP_LINK = 1, SF_DUMP_ADDRESSES = 2, SF_DUMP_NEIGHBOURS = 4, SF_DUMP_ALL = 7 };

struct sf_netlink {
    int fd; /* -1: none, because the driver is point to point or this is a forked child */
    uint32_t port; /* our netlink port, which distinguishes answers from notifications */
    uint32_t sequence;
    uint32_t wanted;  /* dumps to request; the kernel makes one at a time */
    uint32_t running; /* the current dump; 0: none */
    uint32_t running_sequence;
    bool may_not_write; /* CAP_NET_ADMIN is missing */
};

/* A request with room for attributes. */
struct sf_netlink_request {
    struct nlmsghdr header;
    union {
        struct rtmsg route;
        struct ndmsg neighbour;
        struct ifinfomsg link;
        struct ifaddrmsg address;
        uint8_t bytes[128];
    };
};

int sf_netlink_open(struct sf_netlink *);
void sf_netlink_close(struct sf_netlink *);
/* Dumps everything. Waits up to `patience` ns. */
int sf_netlink_load(struct sf_tcpip *, sf_ns patience);
/* Handles received messages, and begins the next wanted dump. */
void sf_netlink_poll(struct sf_tcpip *);

void sf_netlink_request(struct sf_netlink_request *, int type, size_t body);
void sf_netlink_attribute(struct sf_netlink_request *, int type, uint32_t value);
/* Sends the request. Returns its number, or 0 if it could not be sent now. */
uint32_t sf_netlink_send(struct sf_tcpip *, struct sf_netlink_request *);

/* Finds the attributes of a message by type, up to `most`; NULL: none of that type. */
void sf_netlink_attributes(const struct nlmsghdr *, size_t body, const struct rtattr **out, int most);
static inline const struct rtattr *sf_netlink_next(const struct rtattr *attribute, int *left)
{
    *left -= (int)RTA_ALIGN(attribute->rta_len);
    return (const struct rtattr *)((const char *)attribute + RTA_ALIGN(attribute->rta_len));
}

/* Returns 0 if the attribute is missing or has another size. */
uint32_t sf_netlink_u32(const struct rtattr *);

/* Handle the kernel's messages: route.c, neighbour_messages.c, link.c. */
void sf_route_message(struct sf_tcpip *, const struct nlmsghdr *);
void sf_neighbour_message(struct sf_tcpip *, const struct nlmsghdr *);
void sf_link_message(struct sf_tcpip *, const struct nlmsghdr *);
void sf_address_message(struct sf_tcpip *, const struct nlmsghdr *);
/* Ends a dump and removes addresses that were not in it. */
void sf_addresses_dumped(struct sf_tcpip *);

/* route.c: asks for the route of packets to `dst`. Returns the request's number, or 0 if it could not be sent now. */
uint32_t sf_route_ask(struct sf_tcpip *, uint32_t dst, uint32_t src);
/* neighbour_messages.c: tells the kernel that a neighbour is in use. False: not permitted. */
bool sf_neighbour_use(struct sf_tcpip *, uint32_t addr);
/* Makes the kernel resolve an unknown neighbour. */
void sf_neighbour_provoke(struct sf_tcpip *, uint32_t addr);

#endif
