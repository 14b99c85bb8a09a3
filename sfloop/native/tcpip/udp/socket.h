/*
 * One UDP socket: the kernel's, which stays beside as the "side socket", and what we do in its place.
 *
 * The side socket holds the port and the memberships of groups, receives what the driver does not bring (fragments, which
 * the kernel puts together, loopback, other interfaces), gets the ICMP errors, and sends what we do not.
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

/* What the program has set on the side socket. */
struct sf_udp_options {
    uint8_t ttl, tos;
    bool dont_fragment;
    uint8_t multicast_ttl;
    bool multicast_loop;
    uint32_t multicast_addr; /* of the interface for groups; 0: not chosen by address */
};

/* A datagram that lies in a frame of the driver's. They are of one poll: the next takes the frames away. */
struct sf_udp_lent {
    struct sf_udp_socket *socket; /* NULL: was handed out, or its socket is closed */
    struct sf_udp_lent *next;     /* of the same socket */
    const uint8_t *data;
    uint32_t len;
    struct sockaddr_in from;
    sf_ns timestamp;
};

/* A destination of this socket's, with its frame's headers ready. */
struct sf_udp_destination {
    uint32_t addr;
    uint16_t port;
    uint32_t generation; /* of the paths, when it was built; 0: never */
    uint32_t payload_max;
    sf_ns until;
    struct sf_udp_template template;
};

enum { SF_UDP_DESTINATIONS = 16, SF_UDP_SHARED = SF_BINDING_GROUPS };

/* Which of a group's datagrams the kernel would give to a socket (ip_mc_sf_allow). */
enum sf_udp_takes {
    SF_UDP_TAKES_NONE,
    SF_UDP_TAKES_ALL,
    SF_UDP_TAKES_LISTED,   /* a member with a list of sources to include */
    SF_UDP_TAKES_UNLISTED, /* a member with a list of sources to exclude */
    SF_UDP_TAKES_HOSTS,    /* not a member, with IP_MULTICAST_ALL: takes whatever this host takes */
};

/* What the kernel said a moment ago of a socket and a group. */
struct sf_udp_group {
    uint32_t group; /* 0: free */
    uint8_t takes;  /* enum sf_udp_takes */
    uint32_t n_sources;
    uint32_t *sources; /* the list, in ascending order */
    sf_ns until;       /* then the kernel is asked again */
    sf_ns used;        /* when a datagram came last */
};

/* A hash table by group. All zero is an empty one. */
struct sf_udp_groups {
    struct sf_udp_group *slot;
    uint32_t size, used;
    uint32_t latest; /* the slot of the last datagram's group */
};

/* A group that a socket bound to any address has joined, and that the driver has been asked for. */
struct sf_udp_shared {
    uint32_t group;
    bool sifting; /* the side socket has been read empty since: what it brings now is repeated */
};

struct sf_udp_socket {
    struct sf_ready_entry ready; /* first, so that a link is its socket; next NULL: not in the ring */
    struct sf_tcpip *tcpip;
    struct sf_udp_lent *lent_first, **lent_last;
    struct sf_backlog backlog;
    struct sf_flow_link flow;
    struct sf_binding binding;
    uint32_t interest;
    bool side_ready;     /* the side socket has something */
    bool side_first;     /* and it came before what the driver brings: the kernel had the frames until now */
    bool blocked;        /* the last send found no room */
    bool blocked_by_side;
    int error;           /* to be reported, negative; 0: none */

    int fd;
    uint32_t id; /* in tcpip->sockets */
    uint32_t side_watched; /* the epoll bits that it is watched for */
    bool errors_asked;     /* the program itself has set IP_RECVERR */
    bool timestamps;       /* of the side socket; a frame has its own */
    bool detailed;         /* the side socket says where a datagram came in */
    bool sifting;          /* what the side socket repeats of the driver's is left out */
    uint32_t local_addr, remote_addr;
    uint16_t local_port, remote_port;
    struct sf_udp_options options;
    sf_ns options_until;
    sf_ns room_until; /* then SO_RCVBUF is looked at again, if anything has to be kept */
    uint16_t ip_id;
    struct sf_udp_groups groups;
    int n_shared;
    struct sf_udp_shared shared[SF_UDP_SHARED];
    struct sf_udp_destination destinations[SF_UDP_DESTINATIONS];
};

/* A received datagram. It stays until the next poll, or the next sf_udp_receive() on any socket of the stack. */
struct sf_udp_received {
    const void *data;
    uint32_t len;
    int flags; /* MSG_TRUNC */
    const struct sockaddr_in *from;
    sf_ns timestamp; /* of CLOCK_REALTIME; 0: not known */
};

/* socket.c. -EOPNOTSUPP: not for us, the kernel is to serve it; other errors of the filter likewise. */
int sf_udp_open(struct sf_tcpip *, struct sf_udp_socket *, int fd);
void sf_udp_close(struct sf_udp_socket *);
int sf_udp_interest(struct sf_udp_socket *, uint32_t what);
/* Puts it into the ring of those that have something to report, or takes it out. */
void sf_udp_update(struct sf_udp_socket *);
/* What holds now and is asked for. */
uint32_t sf_udp_events(struct sf_udp_socket *);

/* socket_options.c. Timestamps of what the side socket receives, too. */
int sf_udp_want_timestamps(struct sf_udp_socket *, bool wanted);
/* The backlog's limit, by SO_RCVBUF of the side socket. */
void sf_udp_read_room(struct sf_udp_socket *);
/* Reads the side socket's options again, now. */
void sf_udp_refresh(struct sf_udp_socket *);

/* groups.c: whether the kernel would give the socket a datagram from source to group. */
bool sf_udp_takes(struct sf_udp_socket *, uint32_t group, uint32_t source);
/* The program may have joined or left groups: the kernel is asked again before the socket's next datagram. */
void sf_udp_groups_outdate(struct sf_udp_socket *);
/* The same for all sockets. */
void sf_udp_memberships_changed(struct sf_tcpip *);
/* Asks the kernel again about groups that datagrams come for, so that no datagram has to wait for the answer. */
void sf_udp_groups_look(struct sf_tcpip *);
void sf_udp_groups_free(struct sf_udp_socket *);
/* membership.c: fills `takes` and the list of an entry whose group is set. */
void sf_udp_ask_membership(const struct sf_udp_socket *, struct sf_udp_group *);

/* shared_groups.c. Whether what the side socket has received for the group repeats what the driver has brought, which shares
 * groups with the kernel. If the socket is bound to any address, and the driver was not asked for the group yet, it is asked. */
bool sf_udp_group_repeated(struct sf_udp_socket *, uint32_t group, uint32_t source);
/* Asks the driver for a group, of a socket that is bound to any address. */
void sf_udp_take_group(struct sf_udp_socket *, uint32_t group);
/* joined.c: the same for all groups that the socket has joined. */
void sf_udp_groups_learn(struct sf_udp_socket *);
/* The side socket was found empty when the first n of the groups had their filters. */
void sf_udp_groups_sift(struct sf_udp_socket *, int n);

/* receive.c */
void sf_udp_input(struct sf_tcpip *, const struct sf_ipv4 *, uint32_t flags, sf_ns timestamp, bool keep);
void sf_udp_spill(struct sf_tcpip *); /* before the frames of a poll go back: what is unread is copied */
int sf_udp_receive(struct sf_udp_socket *, struct sf_udp_received *out, int max);

/* send.c. addr NULL: the connected peer. */
ssize_t sf_udp_send(struct sf_udp_socket *, const void *data, size_t len, const struct sockaddr *addr, socklen_t addr_len);

static inline bool sf_udp_readable(const struct sf_udp_socket *s)
{
    return s->lent_first || s->backlog.count || s->side_ready || s->error;
}

#endif
