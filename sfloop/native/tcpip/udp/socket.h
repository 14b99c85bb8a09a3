/*
 * A UDP socket: the kernel's, which stays as the "side socket", and the stack's state for it.
 *
 * The side socket holds the port and the group memberships. It receives datagrams that the driver does not bring: fragments,
 * which the kernel reassembles, loopback, and other interfaces. It gets the ICMP errors, and sends what the driver cannot.
 */
#ifndef SF_TCPIP_UDP_SOCKET_H
#define SF_TCPIP_UDP_SOCKET_H

#include "wire/udp.h"
#include "backlog.h"
#include "tcpip/sharing/filters.h"
#include "tcpip/flows.h"
#include "storage/ready_ring.h"

#include <stdbool.h>
#include <sys/types.h>

struct sf_tcpip;
struct sf_udp_socket;

enum { SF_UDP_READABLE = 1, SF_UDP_WRITABLE = 2 };

/* Options that the program has set on the side socket. */
struct sf_udp_options {
    uint8_t ttl, tos;
    bool dont_fragment;
    uint8_t multicast_ttl;
    bool multicast_loop;
    uint32_t multicast_addr; /* of the interface for groups; 0: not selected by address */
};

/* A datagram in a frame of the driver. It is valid until the next poll, which returns the frames. */
struct sf_udp_lent {
    struct sf_udp_socket *socket; /* NULL: it was handed out, or its socket is closed */
    struct sf_udp_lent *next;     /* of the same socket */
    const uint8_t *data;
    uint32_t len;
    struct sockaddr_in from;
    sf_ns timestamp;
};

/* A destination of a socket, with the headers of its frames ready. */
struct sf_udp_destination {
    uint32_t addr;
    uint16_t port;
    uint32_t generation; /* of the paths when it was built; 0: never built */
    uint32_t payload_max;
    sf_ns until;
    struct sf_udp_template template;
};

enum { SF_UDP_DESTINATIONS = 16, SF_UDP_SHARED = SF_BINDING_GROUPS };

/* The datagrams of a group that the kernel would give to a socket (ip_mc_sf_allow). */
enum sf_udp_takes {
    SF_UDP_TAKES_NONE,
    SF_UDP_TAKES_ALL,
    SF_UDP_TAKES_LISTED,   /* a member with a list of included sources */
    SF_UDP_TAKES_UNLISTED, /* a member with a list of excluded sources */
    SF_UDP_TAKES_HOSTS,    /* not a member, with IP_MULTICAST_ALL: receives what this host receives */
};

/* The kernel's recent answer about a socket and a group. */
struct sf_udp_group {
    uint32_t group; /* 0: free */
    uint8_t takes;  /* enum sf_udp_takes */
    uint32_t n_sources;
    uint32_t *sources; /* the list, in ascending order */
    sf_ns until;       /* when to ask the kernel again */
    sf_ns used;        /* time of the last datagram */
};

/* A hash table by group. All zeros is an empty one. */
struct sf_udp_groups {
    struct sf_udp_group *slot;
    uint32_t size, used;
    uint32_t latest; /* slot of the last datagram's group */
};

/* A group that a socket bound to any address has joined, and for which the driver was asked. */
struct sf_udp_shared {
    uint32_t group;
    bool sifting; /* the side socket was empty once since then, so its datagrams of the group are copies */
};

struct sf_udp_socket {
    struct sf_ready_entry ready; /* first, so that a pointer to it is one to the socket; next NULL: not in the ring */
    struct sf_tcpip *tcpip;
    struct sf_udp_lent *lent_first, **lent_last;
    struct sf_backlog backlog;
    struct sf_flow_link flow;
    struct sf_binding binding;
    uint32_t interest;
    bool side_ready;     /* the side socket is readable */
    bool side_first;     /* its datagrams are older than the driver's, because the kernel had the frames until now */
    bool blocked;        /* the last send found no room */
    bool blocked_by_side;
    int error;           /* an error to report, negative; 0: none */

    int fd;
    bool mapped; /* an IPv6 socket that serves IPv4 too. The side socket's names are IPv6, and IPv4 addresses are mapped */
    uint32_t id; /* in tcpip->sockets */
    uint32_t side_watched; /* the epoll bits that it is watched for */
    bool errors_asked;     /* the program has set IP_RECVERR */
    bool timestamps;       /* of the side socket; a frame has its own */
    bool detailed;         /* the side socket reports where a datagram arrived */
    bool sifting;          /* the side socket's copies of the driver's datagrams are dropped */
    uint32_t local_addr, remote_addr;
    uint16_t local_port, remote_port;
    struct sf_udp_options options;
    sf_ns options_until;
    sf_ns room_until; /* when to read SO_RCVBUF again, if a datagram has to be kept */
    uint16_t ip_id;
    struct sf_udp_groups groups;
    int n_shared;
    struct sf_udp_shared shared[SF_UDP_SHARED];
    struct sf_udp_destination destinations[SF_UDP_DESTINATIONS];
};

/* socket.c. Returns 0, or a negative errno. On any error the kernel has to serve the socket. -EOPNOTSUPP: the stack cannot
 * serve it. */
int sf_udp_open(struct sf_tcpip *, struct sf_udp_socket *, int fd);
void sf_udp_close(struct sf_udp_socket *);
int sf_udp_interest(struct sf_udp_socket *, uint32_t what);
/* Puts the socket into the ring of those with events to report, or takes it out. */
void sf_udp_update(struct sf_udp_socket *);
/* The current events among those in the socket's interest. */
uint32_t sf_udp_events(struct sf_udp_socket *);

/* socket_options.c. Also turns on timestamps of the side socket. */
int sf_udp_want_timestamps(struct sf_udp_socket *, bool wanted);
/* Reads the backlog's limit from SO_RCVBUF of the side socket. */
void sf_udp_read_room(struct sf_udp_socket *);
/* Reads the side socket's options again. */
void sf_udp_refresh(struct sf_udp_socket *);

/* groups.c: tells whether the kernel would give the socket a datagram from `source` to `group`. */
bool sf_udp_takes(struct sf_udp_socket *, uint32_t group, uint32_t source);
/* Call this after the program may have joined or left groups. The kernel is asked again before the socket's next datagram. */
void sf_udp_groups_outdate(struct sf_udp_socket *);
/* Does the same for all sockets of the stack. */
void sf_udp_memberships_changed(struct sf_tcpip *);
/* Asks the kernel again about groups with recent datagrams, so that no datagram has to wait for the answer. */
void sf_udp_groups_look(struct sf_tcpip *);
void sf_udp_groups_free(struct sf_udp_socket *);
/* membership.c: fills `takes` and the list of an entry whose group is set. */
void sf_udp_ask_membership(const struct sf_udp_socket *, struct sf_udp_group *);

/* shared_groups.c. Tells whether a datagram of the side socket is a copy of one that the driver has brought, because the
 * driver shares groups with the kernel. If the socket is bound to any address and the driver was not yet asked for the group,
 * asks it. */
bool sf_udp_group_repeated(struct sf_udp_socket *, uint32_t group, uint32_t source);
/* Asks the driver for a group of a socket bound to any address. */
void sf_udp_take_group(struct sf_udp_socket *, uint32_t group);
/* joined.c: does the same for all groups that the socket has joined. */
void sf_udp_groups_learn(struct sf_udp_socket *);
/* Call this when the side socket was found empty after the first n groups had their filters. */
void sf_udp_groups_sift(struct sf_udp_socket *, int n);

/* receive.c */
void sf_udp_input(struct sf_tcpip *, const struct sf_ipv4 *, uint32_t flags, sf_ns timestamp, bool keep);
void sf_udp_spill(struct sf_tcpip *); /* copies unread datagrams before the frames of a poll are returned */
/* The datagrams are valid until the next poll, or the next sf_udp_receive() on any socket of the stack. IPv4 senders have IPv4 addresses
 * on an IPv6 socket, too. */
int sf_udp_receive(struct sf_udp_socket *, struct sf_datagram *out, int max);

/* send.c. `addr` NULL: the connected peer. */
ssize_t sf_udp_send(struct sf_udp_socket *, const void *data, size_t len, const struct sockaddr *addr, socklen_t addr_len);

static inline bool sf_udp_readable(const struct sf_udp_socket *s)
{
    return s->lent_first || s->backlog.count || s->side_ready || s->error;
}

#endif
