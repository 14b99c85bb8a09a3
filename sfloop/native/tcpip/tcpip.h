/*
 * IPv4 over a driver: the whole state of a stack. stacks/tcpip puts the seam's functions around it.
 *
 * Files: input.c (frames in), side.c and side_errors.c (the kernel sockets beside), flows.c (the receiver of a packet),
 * counters.c; tcpip/net (the interface, sources, routes, neighbours and paths, from rtnetlink); tcpip/sharing/filters.h (the
 * frames that the driver brings, and those that the kernel keeps for others); tcpip/udp (sockets, groups, and the backlog of
 * unread datagrams); tcpip/tcp/tcp.h (connections).
 */
#ifndef SF_TCPIP_TCPIP_H
#define SF_TCPIP_TCPIP_H

#include "counters.h"
#include "tcpip/sharing/filters.h"
#include "flows.h"
#include "tcpip/net/interface.h"
#include "tcpip/net/netlink.h"
#include "tcpip/net/neighbour.h"
#include "tcpip/net/path.h"
#include "sf/driver.h"
#include "storage/epoll.h"
#include "side.h"
#include "tcpip/net/source.h"
#include "tcpip/tcp/conn.h"
#include "tcpip/udp/host_groups.h"
#include "tcpip/udp/socket.h"

enum {
    SF_TCPIP_BURST = 64,
    SF_TCPIP_LENT = 256, /* datagrams of a poll: more than frames, because a group's may go to several sockets */
};

/* The interval between looks at the kernel's side while the driver is polled. */
#define SF_TCPIP_SIDE_INTERVAL (20 * SF_US)

/* The descriptors in the stack's epoll set. */
enum sf_wake_source { SF_WAKE_SIDES, SF_WAKE_NETLINK, SF_WAKE_DRIVER, SF_WAKE_ICMP, SF_WAKE_RESETS, SF_WAKE_STRAYS, SF_WAKE_SOURCES };

struct sf_tcpip {
    /* Fields that every poll reads. */
    struct sf_driver *driver; /* NULL in a forked child, because the driver is the parent's */
    sf_ns now;                /* of the last poll */
    sf_ns due; /* the earliest work that frames do not bring: TCP's timers, the kernel's side */
    sf_ns side_due, caps_due;
    int n_frames, n_lent;
    int burst;
    bool corked, unflushed;
    bool unfinished; /* TCP has work for the beginning of the next poll */
    bool usable; /* the driver and the interface work */
    struct sf_ready_link ready; /* the ring's anchor */

    struct sf_driver_caps caps;
    struct sf_interface interface;
    struct sf_sources sources;
    struct sf_flows udp;
    struct sf_filters filters;
    struct sf_paths paths;
    struct sf_neighbours neighbours;
    struct sf_netlink netlink;
    struct sf_sides sides;
    struct sf_udp_socket **sockets; /* by id; NULL: free */
    uint32_t *generations;
    uint32_t n_sockets;
    uint32_t groups_at; /* id of the socket whose groups are checked next */
    sf_ns groups_due;
    struct sf_host_groups host_groups;
    int epoll_fd; /* contains the driver's descriptor, netlink's, and the side sockets' epoll set */
    int driver_fd; /* -1: not in the set yet */
    bool armed;
    size_t backlog_limit; /* of a UDP socket that has not set SO_RCVBUF */
    int default_rcvbuf;   /* SO_RCVBUF of such a socket; 0: not read yet */
    uint8_t ttl;
    struct sf_counters counters;
    struct sf_tcp tcp;

    struct sf_frame frames[SF_TCPIP_BURST];
    struct sf_udp_lent lent[SF_TCPIP_LENT];
    uint8_t joined[65536 + SF_ETH_HEADER_MAX]; /* a joined frame of several pieces */
};

struct sf_tcpip_setup {
    struct sf_driver *driver;
    const char *interface;
    sf_ns now;
    size_t backlog_limit;
    uint8_t ttl;
    struct sf_tcp_limits_set tcp;
};

/* On success the stack owns the driver. Returns 0, or a negative errno with a sentence in `message` (SF_DRIVER_ERROR_SIZE
 * bytes). */
int sf_tcpip_init(struct sf_tcpip *, const struct sf_tcpip_setup *, char *message);
void sf_tcpip_destroy(struct sf_tcpip *);
/* Lets events of the descriptor wake the stack. look_at_kernel() in tcpip.c handles each source. */
int sf_tcpip_watch(struct sf_tcpip *, int fd, enum sf_wake_source);
/* Finishes the last poll: returns frames, and sends. */
void sf_tcpip_finish(struct sf_tcpip *);
/* The current events of a member of the ready ring. */
uint32_t sf_tcpip_events(struct sf_ready_link *);
/* Runs timers, and looks at the kernel's side. */
void sf_tcpip_look(struct sf_tcpip *);
sf_ns sf_tcpip_poll_at(struct sf_tcpip *, sf_ns now);
int sf_tcpip_arm(struct sf_tcpip *, int *fd);
void sf_tcpip_disarm(struct sf_tcpip *);
/* For a forked child: leaves the driver to the parent. From then on the side sockets serve the program. */
int sf_tcpip_after_fork(struct sf_tcpip *);
/* While corked, sent packets may stay queued. They leave at the uncork or at the next poll, whichever is first. */
void sf_tcpip_cork(struct sf_tcpip *, bool corked);
/* Reads the driver's caps again, because a peer comes and goes, and an interface can vanish. */
void sf_tcpip_refresh_caps(struct sf_tcpip *);

/* Sets whether the interface can carry packets. */
void sf_tcpip_link_is(struct sf_tcpip *, bool up);

/* input.c: processes the n frames of a burst. */
void sf_input(struct sf_tcpip *, int n);

/* Optimized for polls that find nothing, because nearly all do. */
static inline void sf_tcpip_poll(struct sf_tcpip *t, sf_ns now)
{
    int n = 0;

    t->now = now;
    if (SF_UNLIKELY(t->n_frames | t->unflushed | t->unfinished))
        sf_tcpip_finish(t);
    if (SF_LIKELY(t->driver != NULL))
        n = t->driver->fast.rx_burst(t->driver, t->frames, t->burst);
    if (SF_UNLIKELY(n > 0))
        sf_input(t, n);
    if (SF_UNLIKELY(now >= t->due))
        sf_tcpip_look(t);
}

/* Sends the queued frames, unless the stack is corked. */
static inline void sf_tcpip_flush(struct sf_tcpip *t)
{
    if (!t->unflushed || t->corked || !t->driver)
        return;
    t->driver->fast.tx_flush(t->driver);
    t->unflushed = false;
}

static inline bool sf_tcpip_is_point_to_point(const struct sf_tcpip *t)
{
    return t->caps.flags & SF_DRIVER_POINT_TO_POINT;
}

/* Checks the source only if it differs from the last packet's, because it rarely does. */
static inline bool sf_source_is_good(struct sf_tcpip *t, const struct sf_ipv4 *ip)
{
    return SF_LIKELY(ip->src == t->sources.latest) || sf_source_check(t, ip);
}

static inline void sf_count(struct sf_tcpip *t, enum sf_counter_id id)
{
    t->counters.value[id]++;
}

#endif
