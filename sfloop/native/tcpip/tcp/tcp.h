/*
 * TCP (RFC 9293): the layer's own state, inside struct sf_tcpip, and what belongs to no single connection: listeners, SYNs that
 * wait for their ACK, TIME_WAIT, ports, timers, resets, sequence numbers.
 *
 * Files: tcp.c (making and ending it, its turn), conn.c (one connection's life), connect.c, accept.c (listeners),
 * half_open.c and cookie.c (SYNs), segment_in.c (a segment arrives), ack_in.c, receive_data.c, receive_ring.c, reassembly.c,
 * send_data.c, segment_out.c (a segment leaves), detour.c and stray.c (segments that go by the kernel), close.c,
 * time_wait.c, timers.c, probe.c, reset.c, icmp.c, mtu.c, isn.c, port.c, socket_options.c, memory.c
 * (the limit of all buffers). Loss recovery and congestion control are tcpip/tcp/loss/loss.h's.
 */
#ifndef SF_TCPIP_TCP_TCP_H
#define SF_TCPIP_TCP_TCP_H

#include "wire/icmp.h"
#include "wire/tcp.h"
#include "tcpip/flows.h"
#include "tcpip/net/path.h"
#include "storage/byte_ring.h"
#include "storage/ready_ring.h"
#include "sf/driver.h"

#include <netinet/in.h>

struct sf_claim;
struct sf_tcpip;
struct sf_tcp_conn;
struct sf_tcp_listener;

/* ---- limits ---- */

/* What the stack is made with; see struct sf_tcp_limits of the seam. Here no field is 0. */
struct sf_tcp_limits_set {
    const char *congestion;
    uint32_t max_connections, max_half_open, max_time_wait;
    uint32_t send_buffer, receive_buffer;
    uint64_t memory;
    sf_ns time_wait, orphan_timeout, user_timeout, min_rto, delayed_ack;
    uint32_t syn_retries, retries;
    uint16_t mss;
    uint32_t first_sequence; /* tests: every connection's; 0: RFC 6528 */
};

/* ---- what the table of flows has ---- */

enum sf_tcp_kind { SF_TCP_CONN, SF_TCP_HALF, SF_TCP_WAIT, SF_TCP_LISTENING };

struct sf_tcp_endpoint {
    struct sf_flow_link flow; /* first, so that a link is its endpoint */
    enum sf_tcp_kind kind;
};

/* ---- timers (timers.c) ---- */

enum sf_tcp_timer_kind { SF_TCP_TIMER_CONN, SF_TCP_TIMER_HALF, SF_TCP_TIMER_WAIT, SF_TCP_TIMER_MEMORY };

/* A member of what it is for. It fires at `at` or, since a later deadline does not move it, before the deadline. */
struct sf_tcp_timer {
    sf_ns at; /* SF_NEVER: not set */
    uint32_t index; /* in the heap */
    enum sf_tcp_timer_kind kind;
};

struct sf_tcp_timers {
    struct sf_tcp_timer **heap; /* 4-ary, earliest first */
    uint32_t count, capacity;
    uint32_t members; /* timers that there are, set or not: there is room for them all */
};

/* Room for one more timer; without it none may be set. -ENOMEM. */
int sf_tcp_timer_add(struct sf_tcpip *, struct sf_tcp_timer *, enum sf_tcp_timer_kind);
void sf_tcp_timer_remove(struct sf_tcpip *, struct sf_tcp_timer *);
/* Not later than at. */
void sf_tcp_timer_by(struct sf_tcpip *, struct sf_tcp_timer *, sf_ns at);
void sf_tcp_timer_clear(struct sf_tcpip *, struct sf_tcp_timer *);
void sf_tcp_timers_run(struct sf_tcpip *);
sf_ns sf_tcp_next_timer(const struct sf_tcpip *);

/* ---- ports (port.c) ---- */

/*
 * A local port that is reserved with the kernel for as long as somebody needs it: a listener and its connections share one, a
 * connection of our making has its own. While there is a listener, the program's own descriptor reserves it.
 */
struct sf_tcp_port {
    int fd; /* a duplicate of the program's, or a socket of ours bound to the same port; -1: none */
    uint32_t users;
    union {
        struct sf_tcp_port *held_by; /* a connection's: the listener's port that reserves it; NULL: none */
        struct sf_tcp_port *next;    /* a listener's: among those that wait for the program to close its descriptor */
    };
    struct sf_flow filter; /* the driver's, of one connection; of a listener only its address and port */
    bool filtered;   /* the driver has it */
    bool listeners;  /* it is a listener's */
    bool reuse_port; /* which has SO_REUSEPORT */
    bool waits;
};

/* -EOPNOTSUPP: not a TCP socket of IPv4, or bound to what is not ours. A socket bound to no port is bound now. */
int sf_tcp_port_name(struct sf_tcpip *, int fd, struct sockaddr_in *local);
/* A listener's: it also tells other loops that there are connections, for as long as there are. */
struct sf_tcp_listeners_port {
    struct sf_tcp_port port;
    struct sf_claim *claim;
};

/* Keeps the port of a connection of our making, with one user. */
int sf_tcp_port_hold(int fd, struct sf_tcp_port **out);
/* A listener's port, with one user. */
struct sf_tcp_port *sf_tcp_port_of_listener(const struct sf_flow_key *key, bool reuse_port);
/* The driver's filter of the key, with these flags. */
struct sf_flow sf_tcp_flow(const struct sf_flow_key *, uint8_t flags);
int sf_tcp_port_filter(struct sf_tcpip *, struct sf_tcp_port *, const struct sf_flow_key *);
void sf_tcp_port_drop(struct sf_tcpip *, struct sf_tcp_port *);
/* A filter of its own for a connection that came by a listener: *port, the listener's, is replaced by one that holds it. False:
 * the driver has no room, or there is no memory. */
bool sf_tcp_port_part(struct sf_tcpip *, const struct sf_flow_key *, struct sf_tcp_port **port);
/* The same for all connections, half-open ones and TIME_WAIT records that have none, of a listener's address and port. */
void sf_tcp_ports_part(struct sf_tcpip *, const struct sf_flow_key *listener);
/* The last listener of the port closes and connections are left: they get filters of their own, so that the port may be listened
 * to by others, and the port is reserved as soon as the program has closed its descriptor. */
void sf_tcp_port_orphaned(struct sf_tcpip *, struct sf_tcp_port *);
/* Tries to reserve ports whose listeners are gone. */
void sf_tcp_ports_reserve(struct sf_tcpip *);

/* ---- TIME_WAIT (time_wait.c) ---- */

struct sf_tcp_wait {
    struct sf_tcp_endpoint ep;
    struct sf_tcp_wait *next, *prev; /* by age */
    sf_ns until;
    sf_ns answered; /* the last ACK to what was out of place */
    struct sf_tcp_port *port;
    uint32_t snd_nxt, rcv_nxt, ts_recent, ts_offset;
    uint16_t window;
    bool timestamps;
    uint8_t ttl, tos;
};

/* ---- segments of ours that the kernel receives (stray.c) ---- */

enum { SF_TCP_STRAY_PORTS = 16 };

struct sf_tcp_strays {
    int fd;        /* raw; -1: none */
    sf_ns until;   /* when it is closed up; 0: it is */
    uint32_t addr; /* which local address it is open for; 0: all */
    uint32_t n_ports; /* more than SF_TCP_STRAY_PORTS: all */
    uint16_t port[SF_TCP_STRAY_PORTS];
};

/* ---- the layer ---- */

struct sf_tcp_lent {
    struct sf_tcp_conn *conn; /* NULL: read already */
    struct sf_tcp_lent *next; /* of the same connection */
    const uint8_t *data;
    uint32_t len;
};

enum {
    SF_TCP_LENT = 64, /* a segment of each frame of a burst */
    SF_TCP_WRAPPED = 16384,
};

struct sf_tcp {
    struct sf_flows flows; /* connections, half-open ones, TIME_WAIT, listeners */
    struct sf_ready_link pending; /* connections that have something to send: an ACK owed, or the driver was full */
    struct sf_ready_link resolving; /* connections that wait for a route or a neighbour */
    struct sf_tcp_conn *graves; /* freed by the next poll: this one's callers may still look at them */
    struct sf_tcp_timers timers;
    struct sf_tcp_limits_set limits;
    uint64_t memory; /* of buffers */
    struct sf_ready_link starved; /* connections that were refused memory */
    struct sf_ready_link holding; /* those with data out of order, the longest first */
    struct sf_tcp_timer memory_timer;
    sf_ns search_at; /* not before: the next search for memory that is held for nothing */
    bool relieved;   /* memory has been given back, and somebody is starved */
    uint32_t n_conns, n_half_open, n_wait;
    struct sf_tcp_wait *wait_first, *wait_last;
    struct sf_tcp_timer wait_timer;
    sf_ns reserve_at;
    struct sf_tcp_port *unreserved; /* ports of listeners that have gone, which the program has not closed yet */
    uint32_t wait_ports; /* TIME_WAIT records that hold a descriptor for themselves */
    uint32_t max_wait_ports;
    uint32_t least_isn; /* while a successor of a TIME_WAIT is answered; 0: none */
    uint64_t key[2]; /* of sequence numbers, timestamps, cookies */
    sf_ns cookie_sent; /* the last one; 0: none */
    int default_sndbuf, default_rcvbuf; /* the kernel's, of a fresh socket */
    char default_congestion[16];
    int icmp_fd; /* -1: none */
    int detour_fd; /* -1: none */
    struct sf_tcp_strays strays;
    bool rfc1337; /* net.ipv4.tcp_rfc1337: resets do not end TIME_WAIT */
    bool opened; /* what is made at the first use is there */
    uint16_t ip_id;

    int n_lent;
    struct sf_tcp_lent lent[SF_TCP_LENT];
    uint8_t wrapped[SF_TCP_WRAPPED]; /* what lies at a ring's end and its beginning, lent in one piece */
};

int sf_tcp_init(struct sf_tcpip *, const struct sf_tcp_limits_set *);
void sf_tcp_destroy(struct sf_tcpip *);
void sf_tcp_after_fork(struct sf_tcpip *);
/* Makes what only a stack with TCP needs. */
int sf_tcp_open(struct sf_tcpip *);
/* What the last poll and the program's turn after it have left to do: ACKs that are owed, what the driver had no room for. */
void sf_tcp_finish(struct sf_tcpip *);
/* Asked in arm(): something is to be sent still. */
bool sf_tcp_is_blocked(const struct sf_tcpip *);
void sf_tcp_look_at_kernel(struct sf_tcpip *);
/* Connections that were released and have something that is not acknowledged. */
uint32_t sf_tcp_lingering(const struct sf_tcpip *);

/* segment_in.c */
void sf_tcp_input(struct sf_tcpip *, const struct sf_ipv4 *, uint32_t flags, bool keep);
/* receive_data.c: before the frames of a poll go back, what is unread is copied. */
void sf_tcp_spill(struct sf_tcpip *);

/* ---- memory (memory.c) ---- */

/* All buffers together may grow by this much. */
static inline bool sf_tcp_memory_allows(const struct sf_tcp *tcp, uint64_t bytes)
{
    return tcp->memory + bytes <= tcp->limits.memory;
}

void sf_tcp_memory_give(struct sf_tcpip *, uint32_t bytes);
/* Frees buffers that hold nothing, then drops out-of-order data, until the buffers may grow by `bytes`. False: they may not. A
 * buffer of the caller's may be gone then, or be smaller. */
bool sf_tcp_memory_make(struct sf_tcpip *, uint32_t bytes);
/* The size to which a buffer of `size` bytes can grow, a power of two, if it takes no more than one in `share` bytes left. */
uint32_t sf_tcp_memory_affords(const struct sf_tcp *, uint32_t size, uint32_t share);
/* After memory was given back: those that are starved are served. */
void sf_tcp_memory_serve(struct sf_tcpip *);
void sf_tcp_memory_timeout(struct sf_tcpip *);

#define SF_TCP_FIRST_RING 4096u
#define SF_TCP_RING_LIFE SF_SEC /* An idle connection gives its rings back after this time. */

/* The size of a ring that holds `need` bytes: a power of two, and not less than `size`. */
static inline uint32_t sf_tcp_ring_size(uint32_t size, uint32_t need)
{
    if (!size)
        size = SF_TCP_FIRST_RING;
    while (size < need)
        size *= 2;
    return size;
}

/* The size, of at most `wanted` bytes, that a ring may grow to. Up to `least` bytes the limit does not hold, so that a connection can
 * go on without memory. The ring may be smaller afterwards than it was, because memory is made. */
uint32_t sf_tcp_memory_grow(struct sf_tcpip *, const struct sf_byte_ring *, uint32_t wanted, uint32_t least);

/* ---- one segment to or from nobody in particular (reset.c) ---- */

struct sf_tcp_bare {
    struct sf_flow_key key; /* local is the sender */
    struct sf_tcp_segment segment;
    uint8_t ttl, tos;
};

/* 0; -EAGAIN: the driver is full; -EHOSTUNREACH: no way there is known yet. */
int sf_tcp_send_bare(struct sf_tcpip *, const struct sf_tcp_bare *);
/* segment_out.c. 0: it has left, or is as good as lost on its way; -EAGAIN. */
int sf_tcp_emit_frame(struct sf_tcpip *, const struct sf_tcp_template *, const struct sf_tcp_segment *,
                      const struct iovec *payload, int n, uint32_t len);
/* detour.c: the same by the kernel's routes. -EMSGSIZE: too long for that way. */
int sf_tcp_detour_emit(struct sf_tcpip *, const struct sf_tcp_template *, const struct sf_tcp_segment *,
                       const struct iovec *payload, int n, uint32_t len);
/* RFC 9293, 3.5.2, group 1: to a segment that is for no connection. */
void sf_tcp_reset_for(struct sf_tcpip *, const struct sf_flow_key *, const struct sf_tcp_segment *);
/* True if an unwanted segment may be answered now, half a second after the last one of the same peer. */
bool sf_tcp_may_answer(struct sf_tcpip *, sf_ns *last);
/* The same of a challenge ACK (RFC 5961, 7), which is counted. */
bool sf_tcp_may_challenge(struct sf_tcpip *, sf_ns *last);

/* ---- accepting ---- */

struct sf_tcp_half;
/* accept.c: a segment for a listener. half_open.c: for one of the SYNs that wait. */
void sf_tcp_listener_input(struct sf_tcp_listener *, const struct sf_flow_key *, const struct sf_tcp_segment *, bool keep);
void sf_tcp_half_input(struct sf_tcpip *, struct sf_tcp_half *, const struct sf_tcp_segment *, bool keep);
void sf_tcp_half_timeout(struct sf_tcpip *, struct sf_tcp_half *);
struct sf_tcp_port **sf_tcp_half_port(struct sf_tcp_half *);
void sf_tcp_half_free(struct sf_tcpip *, struct sf_tcp_half *);
struct sf_tcp_half *sf_tcp_half_of_timer(struct sf_tcp_timer *);

/* ---- TIME_WAIT ---- */

/* Takes the connection's place among the flows. Without memory the connection simply ends. */
void sf_tcp_wait_enter(struct sf_tcp_conn *);
void sf_tcp_wait_input(struct sf_tcpip *, struct sf_tcp_wait *, const struct sf_flow_key *, const struct sf_tcp_segment *,
                       bool keep);
void sf_tcp_wait_free(struct sf_tcpip *, struct sf_tcp_wait *);
void sf_tcp_wait_timeout(struct sf_tcpip *);

/* ---- sequence numbers and timestamps (isn.c) ---- */

uint64_t sf_siphash(const uint64_t key[2], const uint64_t *words, int n);
uint32_t sf_tcp_isn(struct sf_tcpip *, const struct sf_flow_key *);
/* Our timestamp clock runs in ms, from a start of each pair of addresses' own (RFC 7323, 5.4 and 7.1). */
uint32_t sf_tcp_ts_offset(struct sf_tcpip *, const struct sf_flow_key *);
uint32_t sf_tcp_ts_clock(const struct sf_tcpip *);

/* ---- ICMP (icmp.c) ---- */

/* The raw socket, while there are privileges; and, with the first connection, what it brings. */
int sf_tcp_icmp_open(struct sf_tcpip *);
void sf_tcp_icmp_listen(struct sf_tcpip *);
void sf_tcp_icmp_poll(struct sf_tcpip *);
void sf_tcp_icmp_input(struct sf_tcpip *, const struct sf_ipv4 *);

/* ---- segments that go by the kernel (detour.c) ---- */

/* The raw socket, while there are privileges. */
int sf_tcp_detour_open(struct sf_tcpip *);
/* Of packets to dst from src. 0: the kernel has no route. */
uint32_t sf_tcp_detour_mtu(const struct sf_tcpip *, uint32_t dst, uint32_t src);
bool sf_tcp_may_detour(const struct sf_tcpip *, enum sf_way);
/* reset.c: by the detour, wherever the path leads. */
int sf_tcp_send_detour(struct sf_tcpip *, const struct sf_tcp_bare *);

/* ---- segments of ours that the kernel receives (stray.c) ---- */

/* The raw socket, while there are privileges, and the driver's reset guard. */
int sf_tcp_stray_open(struct sf_tcpip *);
/* Resets that the guard has held back. */
void sf_tcp_stray_resets(struct sf_tcpip *);
void sf_tcp_stray_poll(struct sf_tcpip *);
/* No more segments, until the guard has held back another reset. */
void sf_tcp_stray_close_up(struct sf_tcpip *);

static inline struct sf_tcp_endpoint *sf_tcp_endpoint_of(struct sf_flow_link *link)
{
    return (struct sf_tcp_endpoint *)link;
}

#endif
