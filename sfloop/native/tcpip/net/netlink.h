/*
 * What the kernel knows of the interface, its addresses, routes and neighbours, by rtnetlink: a dump of each at the
 * start, and from then on its notifications. Requests are sent without waiting; the answers come to sf_netlink_poll().
 */
#ifndef SF_TCPIP_NET_NETLINK_H
#define SF_TCPIP_NET_NETLINK_H

#include "sf/base.h"

#include <linux/rtnetlink.h>
#include <stdbool.h>

struct sf_tcpip;

enum sf_netlink_dump { SF_DUMP_LINK = 1, SF_DUMP_ADDRESSES = 2, SF_DUMP_NEIGHBOURS = 4, SF_DUMP_ALL = 7 };

struct sf_netlink {
    int fd; /* -1: none: the driver is a wire, or this is a forked child */
    uint32_t port; /* ours, by which an answer is told from a notification */
    uint32_t sequence;
    uint32_t wanted;  /* dumps to be made: the kernel makes one at a time */
    uint32_t running; /* the one that is being read; 0: none */
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
/* Dumps everything, waiting for it for at most so long. */
int sf_netlink_load(struct sf_tcpip *, sf_ns patience);
/* Handles what has come, and begins the dump that is wanted next. */
void sf_netlink_poll(struct sf_tcpip *);

void sf_netlink_request(struct sf_netlink_request *, int type, size_t body);
void sf_netlink_attribute(struct sf_netlink_request *, int type, uint32_t value);
/* Sends. Returns the request's number, or 0: it could not be sent now. */
uint32_t sf_netlink_send(struct sf_tcpip *, struct sf_netlink_request *);

/* The attributes of a message, by type, up to `most`; NULL where there is none. */
void sf_netlink_attributes(const struct nlmsghdr *, size_t body, const struct rtattr **out, int most);
static inline const struct rtattr *sf_netlink_next(const struct rtattr *attribute, int *left)
{
    *left -= (int)RTA_ALIGN(attribute->rta_len);
    return (const struct rtattr *)((const char *)attribute + RTA_ALIGN(attribute->rta_len));
}

/* 0 if the attribute is not there or not of that size. */
uint32_t sf_netlink_u32(const struct rtattr *);

/* Messages of the kernel's: route.c, neighbour_messages.c, link.c. */
void sf_route_message(struct sf_tcpip *, const struct nlmsghdr *);
void sf_neighbour_message(struct sf_tcpip *, const struct nlmsghdr *);
void sf_link_message(struct sf_tcpip *, const struct nlmsghdr *);
void sf_address_message(struct sf_tcpip *, const struct nlmsghdr *);
/* A dump has ended: what it did not name is gone. */
void sf_addresses_dumped(struct sf_tcpip *);

/* route.c: asks which way packets to dst go. Returns the request's number; 0: could not be asked now. */
uint32_t sf_route_ask(struct sf_tcpip *, uint32_t dst, uint32_t src);
/* neighbour_messages.c: tells the kernel that a neighbour is in use. */
bool sf_neighbour_use(struct sf_tcpip *, uint32_t addr);
/* Has it resolve one that it does not know. */
void sf_neighbour_provoke(struct sf_tcpip *, uint32_t addr);

#endif
