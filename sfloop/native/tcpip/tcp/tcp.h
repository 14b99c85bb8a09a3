/*
 * TCP (RFC 9293): the layer's own state, inside struct sf_tcpip, and everything that belongs to no single connection: listeners, half-open
 * connections, TIME_WAIT, ports, timers, resets, sequence numbers.
 *
 * Files: tcp.c (making and ending the layer, its turn), parts.h and conn.h (a connection), conn.c (its life), connect.c, accept.c
 * (listeners), half_open.c and cookie.c (SYNs), segment_in.c (a segment arrives), ack_in.c, receive_data.c, receive_ring.c, reassembly.c,
 * send_data.c, segment_out.c (a segment leaves), detour.c and stray.c (segments that go by the kernel), close.c, time_wait.c, timers.c,
 * probe.c, reset.c, icmp.c, mtu.c, isn.c, port.c, socket_options.c, memory.c (the limit of all buffers), import.c and export.c (connections
 * that another TCP has opened, or goes on with). Loss recovery and congestion control are in tcpip/tcp/loss (loss.h).
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

/* The limits that the stack was made with: struct sf_tcp_limits of the seam, with the defaults in place of 0. */
struct sf_tcp_limits_set {
    const char *congestion;
    uint32_t max_connections, max_half_open, max_time_wait;
    uint32_t send_buffer, receive_buffer;
    uint64_t memory;
    sf_ns time_wait, orphan_timeout, user_timeout, min_rto, delayed_ack;
    uint32_t syn_retries, retries;
    uint16_t mss;
    uint32_t first_sequence; /* For tests: every connection begins with it. 0: RFC 6528. */
};

/* ---- entries of the table of flows ---- */

/* The kind of a struct sf_flow_link: which struct begins with the link. */
enum sf_tcp_kind { SF_TCP_CONN, SF_TCP_HALF, SF_TCP_WAIT, SF_TCP_LISTENING };

/* ---- timers (timers.c) ---- */

enum sf_tcp_timer_kind { SF_TCP_TIMER_CONN, SF_TCP_TIMER_HALF, SF_TCP_TIMER_WAIT, SF_TCP_TIMER_MEMORY };

/* A member of its owner. It fires at `at`. That may be before the deadline, because a later deadline does not move the timer. */
struct sf_tcp_timer {
    sf_ns at;       /* SF_NEVER: not set. */
    uint32_t index; /* In the heap. */
    enum sf_tcp_timer_kind kind;
};

struct sf_tcp_timers {
    struct sf_tcp_timer **heap; /* storage/heap.h */
    uint32_t count, capacity;
    uint32_t members; /* All timers, set or not. The heap has room for them. */
};

/* Makes room for one more timer. Call it before the timer is set for the first time. -ENOMEM. */
int sf_tcp_timer_add(struct sf_tcpip *, struct sf_tcp_timer *, enum sf_tcp_timer_kind);
void sf_tcp_timer_remove(struct sf_tcpip *, struct sf_tcp_timer *);
/* Sets the timer for `at`, unless it is set for an earlier time. */
void sf_tcp_timer_by(struct sf_tcpip *, struct sf_tcp_timer *, sf_ns at);
void sf_tcp_timer_clear(struct sf_tcpip *, struct sf_tcp_timer *);
void sf_tcp_timers_run(struct sf_tcpip *);
sf_ns sf_tcp_next_timer(const struct sf_tcpip *);

/* ---- ports (port.c) ---- */

/*
 * A local port that is reserved with the kernel for as long as it has users. A listener and its connections share one. A connection
 * that we made has its own. While there is a listener, the program's own descriptor reserves the port.
 */
struct sf_tcp_port {
    int fd; /* A duplicate of the program's descriptor, or a socket of ours bound to the same port. -1: none. */
    uint32_t users;
    union {
        struct sf_tcp_port *held_by; /* For a connection: the listener's port that reserves this one. NULL: none. */
        struct sf_tcp_port *next;    /* For a listener: among the ports that wait for the program to close its descriptor. */
    };
    struct sf_flow filter; /* The driver's filter for one connection. For a listener only its address and port. */
    bool filtered;   /* The driver has the filter. */
    bool listeners;  /* It is a listener's port. */
    bool reuse_port; /* The listener has SO_REUSEPORT. */
    bool waits;      /* It is among the ports that wait. */
    bool kernels;    /* The connection was the kernel's, and the driver had left its frames to the kernel. */
};

/* The name of the program's socket. A socket without a port is bound now. -EOPNOTSUPP: not a TCP socket of IPv4, or bound to an address or
 * interface that is not ours. */
int sf_tcp_port_name(struct sf_tcpip *, int fd, struct sockaddr_in *local);
/* A listener's port has a claim, which tells other loops about its connections until they have ended. */
struct sf_tcp_listeners_port {
    struct sf_tcp_port port;
    struct sf_claim *claim;
};

/* Keeps the port of a connection that we make, with one user. */
int sf_tcp_port_hold(int fd, struct sf_tcp_port **out);
/* A connection's port that no descriptor reserves, with one user. NULL: no memory. */
struct sf_tcp_port *sf_tcp_port_unreserved(void);
/* Reserves the port of a connection by a socket of ours. False: another socket has it. */
bool sf_tcp_port_reserve(struct sf_tcp_port *);
/* A listener's port, with one user. */
struct sf_tcp_port *sf_tcp_port_of_listener(const struct sf_flow_key *key, bool reuse_port);
/* The driver's filter for the key, with these flags. */
struct sf_flow sf_tcp_flow(const struct sf_flow_key *, uint8_t flags);
int sf_tcp_port_filter(struct sf_tcpip *, struct sf_tcp_port *, const struct sf_flow_key *);
void sf_tcp_port_drop(struct sf_tcpip *, struct sf_tcp_port *);
/* Gives an accepted connection a filter of its own. Replaces *port, the listener's, by a port that has the filter. False: the driver has
 * no room, or there is no memory. */
bool sf_tcp_port_part(struct sf_tcpip *, const struct sf_flow_key *, struct sf_tcp_port **port);
/* Gives filters to all connections, half-open ones and TIME_WAIT records at a listener's address and port that have none. */
void sf_tcp_ports_part(struct sf_tcpip *, const struct sf_flow_key *listener);
/* Call this when the port's last listener closes and leaves connections. They get filters of their own, so that another program may
 * listen at the port. The port is reserved as soon as the program has closed its descriptor. */
void sf_tcp_port_orphaned(struct sf_tcpip *, struct sf_tcp_port *);
/* Tries to reserve ports whose listeners are gone. */
void sf_tcp_ports_reserve(struct sf_tcpip *);

/* ---- TIME_WAIT (time_wait.c) ---- */

struct sf_tcp_wait {
    struct sf_flow_link flow;
    struct sf_tcp_wait *next, *prev; /* By age. */
    sf_ns until;
    sf_ns answered; /* Time of the last answer to an unacceptable segment. */
    struct sf_tcp_port *port;
    uint32_t snd_nxt, rcv_nxt, ts_recent, ts_offset;
    uint16_t window;
    bool timestamps;
    uint8_t ttl, tos;
};

/* ---- segments of ours that the kernel receives (stray.c) ---- */

enum { SF_TCP_STRAY_PORTS = 16 };

struct sf_tcp_strays {
    int fd;        /* A raw socket. -1: none. */
    sf_ns until;   /* The time at which it is closed up. 0: it is closed up. */
    uint32_t addr; /* The local address for which it is open. 0: all. */
    uint32_t n_ports; /* More than SF_TCP_STRAY_PORTS: all ports. */
    uint16_t port[SF_TCP_STRAY_PORTS];
};

/* ---- the layer ---- */

/* Received bytes that lie in a frame until the next poll. */
struct sf_tcp_lent {
    struct sf_tcp_conn *conn; /* NULL: the program has read them. */
    struct sf_tcp_lent *next; /* The next one of the same connection. */
    const uint8_t *data;
    uint32_t len;
};

enum {
    SF_TCP_LENT = 64, /* One for each frame of a burst. */
    SF_TCP_WRAPPED = 16384,
};

struct sf_tcp {
    struct sf_flows flows; /* Connections, half-open ones, TIME_WAIT, listeners. */
    struct sf_ready_link pending; /* Connections that have something to send: they owe an ACK, or the driver was full. */
    struct sf_ready_link resolving; /* Connections that wait for a route or a neighbour. */
    struct sf_tcp_conn *graves; /* Freed by the next poll, because callers in this one may still look at them. */
    struct sf_tcp_timers timers;
    struct sf_tcp_limits_set limits;
    uint64_t memory; /* The bytes of all rings. */
    struct sf_ready_link starved; /* Connections that were refused memory. */
    struct sf_ready_link holding; /* Lists of data out of order, the oldest first. */
    struct sf_tcp_timer memory_timer;
    sf_ns search_at; /* The next search for unused memory, not before. */
    bool relieved;   /* Memory was given back, and a connection is starved. */
    uint32_t n_conns, n_half_open, n_wait;
    struct sf_tcp_wait *wait_first, *wait_last;
    struct sf_tcp_timer wait_timer;
    sf_ns reserve_at;
    struct sf_tcp_port *unreserved; /* Ports of closed listeners whose descriptors the program has not closed yet. */
    uint32_t wait_ports; /* TIME_WAIT records that hold a descriptor of their own. */
    uint32_t max_wait_ports;
    uint32_t least_isn; /* Least initial sequence number, set while a successor of a TIME_WAIT record is answered. 0: no bound. */
    uint64_t key[2]; /* The secret of sequence numbers, timestamps and cookies. */
    sf_ns cookie_sent; /* Time of the last cookie sent. 0: never. */
    int default_sndbuf, default_rcvbuf; /* The kernel's values for a new socket. */
    char default_congestion[16];
    int icmp_fd; /* A raw socket. -1: none. */
    int detour_fd; /* A raw socket. -1: none. */
    struct sf_tcp_strays strays;
    bool rfc1337; /* net.ipv4.tcp_rfc1337: resets do not end TIME_WAIT */
    bool opened; /* sf_tcp_open() has run. */
    uint16_t ip_id;

    int n_lent;
    struct sf_tcp_lent lent[SF_TCP_LENT];
    uint8_t wrapped[SF_TCP_WRAPPED]; /* Bytes from a ring's end and beginning, lent in one piece. */
};

int sf_tcp_init(struct sf_tcpip *, const struct sf_tcp_limits_set *);
void sf_tcp_destroy(struct sf_tcpip *);
void sf_tcp_after_fork(struct sf_tcpip *);
/* Makes everything that only a stack with TCP needs. Called at the first use. */
int sf_tcp_open(struct sf_tcpip *);
/* Sends the segments that are left from the last poll and the turn after it: owed ACKs, and segments for which the driver had no
 * room. */
void sf_tcp_finish(struct sf_tcpip *);
/* For arm(): there is still something to send. */
bool sf_tcp_is_blocked(const struct sf_tcpip *);
void sf_tcp_look_at_kernel(struct sf_tcpip *);
/* The number of orphans whose bytes are not all acknowledged. */
uint32_t sf_tcp_lingering(const struct sf_tcpip *);

/* segment_in.c */
void sf_tcp_input(struct sf_tcpip *, const struct sf_ipv4 *, uint32_t flags, bool keep);
/* receive_data.c: copies unread bytes before the frames of a poll go back. */
void sf_tcp_spill(struct sf_tcpip *);

/* ---- memory (memory.c) ---- */

/* All buffers together may grow by this much. */
static inline bool sf_tcp_memory_allows(const struct sf_tcp *tcp, uint64_t bytes)
{
    return tcp->memory + bytes <= tcp->limits.memory;
}

void sf_tcp_memory_give(struct sf_tcpip *, uint32_t bytes);
/* The size to which a buffer of `size` bytes can grow, a power of two, if it takes at most one of `share` bytes that are left. */
uint32_t sf_tcp_memory_affords(const struct sf_tcp *, uint32_t size, uint32_t share);
/* Called after memory was given back: serves the starved connections. */
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

/* Returns the size to which a ring may grow, at most `wanted` bytes. The limit of memory does not hold up to `least` bytes, so that a
 * connection can continue beyond it. The ring may be smaller afterwards, because this may free memory. */
uint32_t sf_tcp_memory_grow(struct sf_tcpip *, const struct sf_byte_ring *, uint32_t wanted, uint32_t least);

/* ---- segments of no connection (reset.c) ---- */

struct sf_tcp_bare {
    struct sf_flow_key key; /* The local address and port are the sender's. */
    struct sf_tcp_segment segment;
    uint8_t ttl, tos;
};

/* 0. -EAGAIN: the driver is full. -EHOSTUNREACH: no way to the peer is known yet. */
int sf_tcp_send_bare(struct sf_tcpip *, const struct sf_tcp_bare *);
/* segment_out.c. 0: the segment was sent, or counts as lost. -EAGAIN: the driver is full. */
int sf_tcp_emit_frame(struct sf_tcpip *, const struct sf_tcp_template *, const struct sf_tcp_segment *,
                      const struct iovec *payload, int n, uint32_t len);
/* detour.c: the same by the kernel's routes. -EMSGSIZE: the segment is too long for that way. */
int sf_tcp_detour_emit(struct sf_tcpip *, const struct sf_tcp_template *, const struct sf_tcp_segment *,
                       const struct iovec *payload, int n, uint32_t len);
/* Answers a segment that is for no connection by a reset (RFC 9293, 3.5.2, group 1). */
void sf_tcp_reset_for(struct sf_tcpip *, const struct sf_flow_key *, const struct sf_tcp_segment *);
/* True if an unacceptable segment may be answered now, because half a second has passed since *last. Sets *last to the time. */
bool sf_tcp_may_answer(struct sf_tcpip *, sf_ns *last);
/* True if a challenge ACK may be sent now (RFC 5961, 7), with the same limit. Counts it. */
bool sf_tcp_may_challenge(struct sf_tcpip *, sf_ns *last);

/* ---- accepting ---- */

struct sf_tcp_half;
/* accept.c: a segment for a listener. half_open.c: for a half-open connection. */
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
/* Our timestamp clock runs in ms. Each pair of addresses has an offset of its own (RFC 7323, 5.4 and 7.1). */
uint32_t sf_tcp_ts_offset(struct sf_tcpip *, const struct sf_flow_key *);
uint32_t sf_tcp_ts_clock(const struct sf_tcpip *);
/* True: the peer's timestamp is older than its latest one (RFC 7323, 5.3). As in Linux, every timestamp may follow 0: some peers have 0
 * only in their SYN, and the latest timestamp of an imported connection may not be known. */
static inline bool sf_tcp_ts_is_old(uint32_t ts_val, uint32_t ts_recent)
{
    return (int32_t)(ts_val - ts_recent) < 0 && ts_recent;
}

/* ---- ICMP (icmp.c) ---- */

/* open makes the raw socket, while there are privileges. listen begins to read it, with the first connection. */
int sf_tcp_icmp_open(struct sf_tcpip *);
void sf_tcp_icmp_listen(struct sf_tcpip *);
void sf_tcp_icmp_poll(struct sf_tcpip *);
void sf_tcp_icmp_input(struct sf_tcpip *, const struct sf_ipv4 *);

/* ---- segments that go by the kernel (detour.c) ---- */

/* Makes the raw socket, while there are privileges. */
int sf_tcp_detour_open(struct sf_tcpip *);
/* The MTU of packets to dst from src. 0: the kernel has no route. */
uint32_t sf_tcp_detour_mtu(const struct sf_tcpip *, uint32_t dst, uint32_t src);
bool sf_tcp_may_detour(const struct sf_tcpip *, enum sf_way);
/* reset.c: sends by the detour, wherever the path leads. */
int sf_tcp_send_detour(struct sf_tcpip *, const struct sf_tcp_bare *);

/* ---- segments of ours that the kernel receives (stray.c) ---- */

/* Makes the raw socket, while there are privileges, and watches the driver's reset guard. */
int sf_tcp_stray_open(struct sf_tcpip *);
/* Takes the resets that the guard has held back. */
void sf_tcp_stray_resets(struct sf_tcpip *);
void sf_tcp_stray_poll(struct sf_tcpip *);
/* Closes the raw socket up: it brings no segments until the guard holds back another reset. */
void sf_tcp_stray_close_up(struct sf_tcpip *);

#endif
