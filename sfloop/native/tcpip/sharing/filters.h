/*
 * Filters: the frames that this stack asks its driver for, and those that it leaves to the kernel because others want them too.
 *
 * A *binding* is a kernel socket of the program that the stack serves: a UDP socket or a TCP listener. It asks for one *filter*
 * for each address at which it receives: its own address, or every address of the interface, the broadcast addresses and its
 * groups. The bindings of a loop share filters. A filter is ours, or is left to the kernel for one of the reasons below. Then the
 * kernel delivers to the program's own socket as to any other. The check for other receivers is repeated.
 *
 * TCP connections have exact filters of their own (tcpip/tcp/port.c), because no other socket can have their port and peer.
 */
#ifndef SF_TCPIP_SHARING_FILTERS_H
#define SF_TCPIP_SHARING_FILTERS_H

#include "claims.h"
#include "tcpip/flows.h"
#include "holders.h"
#include "kernel_conns.h"
#include "others.h"
#include "survey.h"

struct sf_tcpip;

/* The reason why the kernel keeps the frames. */
enum sf_filter_why {
    SF_WHY_OURS,         /* the driver brings them */
    SF_WHY_OTHER_SOCKET, /* a socket that this stack does not serve receives there too */
    SF_WHY_OTHER_LOOP,   /* another loop serves the same TCP port, or the same inherited socket */
    SF_WHY_OTHER_PROCESS, /* another process holds the same socket */
    SF_WHY_CONNECTIONS,  /* the driver cannot leave the kernel's TCP connections at the address and port to it */
    SF_WHY_STATIONS,     /* group frames: other stations (macvlan) receive through the interface, or the kernel routes groups */
    SF_WHY_DRIVER,       /* the driver has refused the filter */
    SF_WHYS,
};

struct sf_filter {
    struct sf_flow_link link; /* first, so that its address is the filter's */
    struct sf_filter *next, *prev;
    uint8_t protocol;
    uint8_t why; /* enum sf_filter_why */
    bool group;  /* the local address is a multicast or broadcast address */
    bool broadcast;
    bool added;   /* the driver has it */
    bool fresh;   /* TCP: added so recently that the kernel may have begun an unseen connection */
    bool watched; /* the driver watches its port */
    int error;    /* SF_WHY_DRIVER: the driver's error */
    uint32_t holder; /* SF_WHY_OTHER_SOCKET: the other socket's inode */
    int process;     /* SF_WHY_OTHER_PROCESS: its pid */
    sf_ns look_at;   /* do not check again before this time */
    /* Counts of bindings that ask for the filter. users: all. specific: bound to its address, not to any address. mapped, shared,
     * unclaimed: as in struct sf_binding. held: another process holds the socket. */
    uint32_t users, specific, mapped, shared, unclaimed, held;
};

#define SF_CONNECTIONS_INTERVAL (4 * SF_SEC) /* long, because a query for connections takes ten times as long as the others */

enum { SF_BINDING_GROUPS = 32 };

struct sf_binding {
    struct sf_binding *next, *prev;
    struct sf_flow_key key; /* local address 0: any. Only a connected UDP socket has a remote address */
    uint8_t protocol;
    bool open;
    bool mapped; /* an IPv6 socket that serves IPv4 too */
    bool shared; /* SO_REUSEADDR (UDP) or SO_REUSEPORT: other sockets may bind to the port */
    bool unclaimed; /* another loop serves this socket too */
    int holder;     /* pid of another process that holds the socket, from the latest look; 0: none */
    int held_by;    /* the holder by which the filters were judged */
    sf_ns opened;   /* CLOCK_BOOTTIME */
    struct sf_claim *claim; /* tells other loops that this one serves the socket; NULL: none */
    uint32_t inode;
    int n_groups;
    uint32_t groups[SF_BINDING_GROUPS]; /* if the socket is bound to any address */
};

struct sf_filters {
    struct sf_flows udp, tcp;
    struct sf_filter *first;
    struct sf_binding *bindings;
    struct sf_claim *claims;
    struct sf_holders holders;
    struct sf_kernel_conns kernel;
    int others_fd; /* -1: refused */
    int stations_fd; /* rtnetlink, for queries; -1: refused */
    bool stations; /* other stations receive through the interface, or the kernel routes groups */
    sf_ns stations_until; /* end of the validity of `stations`; 0: not asked yet */
    bool stations_changed; /* in this round */
    sf_ns opened; /* time of the latest binding */
    uint32_t n_watched;
    uint32_t seen[2]; /* port_changes() of UDP and TCP that were handled */
    /* A round checks all filters, in slices. */
    struct sf_filter *next; /* to check in this round; NULL: no round is under way, or it is at the stations */
    uint8_t stage;          /* of the round */
    sf_ns round_at;         /* time of the next round; SF_NEVER: nothing can change by itself */
    sf_ns look_at;          /* time of the next slice or round */
    struct sf_claim *next_claim; /* to check in the claims' round */
    sf_ns claims_begun, claims_at; /* start of that round, time of its next slice */
    struct sf_other *others; /* the kernel's last answer, to the query for others_which at others_port */
    uint32_t n_others, others_capacity;
    int others_which; /* enum sf_others_which; -1: out of date */
    uint16_t others_port;
    struct sf_survey survey; /* of UDP sockets, for the rounds */
    bool by_survey; /* judge by the survey now, without a query */
};

void sf_filters_init(struct sf_filters *);
/* Opens the descriptors for queries to the kernel. Only the stack of a kernel interface needs them. */
void sf_filters_open(struct sf_tcpip *);
void sf_filters_free(struct sf_tcpip *);
/* For a forked child, because the claims are the parent's. */
void sf_filters_after_fork(struct sf_tcpip *);
/* Does the next slice of the check for other receivers if it is due (slices.h). Called every 20 us. */
void sf_filters_look(struct sf_tcpip *);
/* The time at which an idle loop has to wake for the next check, because checks in the first seconds decide which program gets the
 * first connections. SF_NEVER: no need to wake. */
sf_ns sf_filters_poll_at(const struct sf_tcpip *, sf_ns now);
/* Tells whether the driver leaves the filter's frames to the kernel. It may do so before the stack has checked. */
bool sf_filter_is_left(const struct sf_tcpip *, const struct sf_filter *);
/* Call this after the interface's addresses have changed. */
void sf_filters_addresses_changed(struct sf_tcpip *);

/* Gives the kernel all frames of the connection's local address and port until its connections there are over. */
void sf_filters_leave_port(struct sf_tcpip *, const struct sf_flow_key *connection);

/* Add or remove a binding that asks for the key (filters.c, for bindings.c). -ENOMEM. */
int sf_filter_retain(struct sf_tcpip *, const struct sf_binding *, const struct sf_flow_key *);
void sf_filter_release(struct sf_tcpip *, const struct sf_binding *, const struct sf_flow_key *);
/* judge.c. Returns the reason why the kernel has to keep the filter's frames, or SF_WHY_OURS. */
enum sf_filter_why sf_filter_judge(struct sf_tcpip *, struct sf_filter *);
/* Leaves the kernel its connections at the filter's address and port. False: the driver cannot, or the kernel does not answer. */
bool sf_filter_pass_connections(struct sf_tcpip *, const struct sf_filter *);
/* True: the kernel gets a copy of each of the filter's frames from the driver. */
bool sf_filter_has_copies(const struct sf_tcpip *, const struct sf_filter *);

/* NULL: SF_WHY_OURS. */
const char *sf_filter_why_name(enum sf_filter_why);
struct sf_filter *sf_filter_find(struct sf_tcpip *, uint8_t protocol, const struct sf_flow_key *);

/*
 * Asks for the frames of the socket behind `fd` (bindings.c). Returns 0 even if the kernel keeps them, or the driver's error if
 * it has refused them all: -EOPNOTSUPP, -ENOSPC.
 */
int sf_binding_open(struct sf_tcpip *, struct sf_binding *, int fd, uint8_t protocol, const struct sf_flow_key *);
void sf_binding_close(struct sf_tcpip *, struct sf_binding *);
/* Adds a group that a socket bound to any address has joined. True: the driver brings its frames from now on. */
bool sf_binding_add_group(struct sf_tcpip *, struct sf_binding *, uint32_t group);
/* Calls `visit` for each key that the binding asks for. Stops at a negative result and returns it. */
typedef int (*sf_binding_visit)(struct sf_tcpip *, const struct sf_binding *, const struct sf_flow_key *);
int sf_binding_keys(struct sf_tcpip *, const struct sf_binding *, sf_binding_visit);
/* Call this after a claim's `shared` or a binding's `holder` has changed. Judges the filters of these bindings again. */
void sf_bindings_claim(struct sf_tcpip *);
bool sf_bindings_have(const struct sf_filters *, uint32_t inode);

/* stations.c. The two checks return true if other stations receive through the interface (macvlan devices, here or in containers),
 * and if the kernel routes groups that arrive there. They also return true if the kernel does not answer. Each takes 10 to 20 us. */
int sf_stations_open(void);
bool sf_stations_exist(const struct sf_tcpip *);
bool sf_stations_route_groups(const struct sf_tcpip *);

#endif
