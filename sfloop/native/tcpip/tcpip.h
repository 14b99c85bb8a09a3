/*
 * IPv4 over a driver: the whole of a stack's state. The stacks layer puts the seam's functions around it.
 *
 * Files: input.c (frames in), tcpip/net/source.c (from whom), udp_*.c (one socket), side*.c (the kernel's sockets beside), tcpip/net/path.c (where to), tcpip/net/netlink.c
 * with tcpip/net/route.c, tcpip/net/neighbour.c and tcpip/net/link.c (what the kernel knows), flows.c (whom for), tcpip/sharing/filters.h and what it names (which frames
 * the driver brings, and which the kernel keeps for others), tcpip/udp/backlog.c (what was not read in time),
 * tcpip/tcp/tcp.h and what it names.
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
    SF_TCPIP_LENT = 256, /* datagrams of a poll: more than frames, since one to a group may be for several sockets */
};

/* How often the kernel's side is looked at while the driver is polled. */
#define SF_TCPIP_SIDE_INTERVAL (20 * SF_US)

/* What the descriptors in the stack's epoll set are. */
enum sf_wake_source { SF_WAKE_SIDES, SF_WAKE_NETLINK, SF_WAKE_DRIVER, SF_WAKE_ICMP, SF_WAKE_RESETS, SF_WAKE_STRAYS, SF_WAKE_SOURCES };

struct sf_tcpip {
    /* What every poll looks at. */
    struct sf_driver *driver; /* NULL in a forked child: it is the parent's */
    sf_ns now;                /* of the last poll */
    sf_ns due; /* the earliest of what is not brought by frames: TCP's timers, the kernel's side */
    sf_ns side_due, caps_due;
    int n_frames, n_lent;
    int burst;
    bool corked, unflushed;
    bool unfinished; /* TCP has left something for the next poll to begin with */
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
    uint32_t groups_at; /* the id of the socket whose groups are looked at next */
    sf_ns groups_due;
    struct sf_host_groups host_groups;
    int epoll_fd; /* the driver's descriptor, netlink's and the side sockets' epoll set */
    int driver_fd; /* -1: not in the set yet */
    bool armed;
    size_t backlog_limit; /* of a UDP socket for which SO_RCVBUF was not set */
    int default_rcvbuf;   /* SO_RCVBUF of such a socket; 0: not asked yet */
    uint8_t ttl;
    struct sf_counters counters;
    struct sf_tcp tcp;

    struct sf_frame frames[SF_TCPIP_BURST];
    struct sf_udp_lent lent[SF_TCPIP_LENT];
    uint8_t joined[65536 + SF_ETH_HEADER_MAX]; /* a frame of several pieces, put together */
};

struct sf_tcpip_setup {
    struct sf_driver *driver;
    const char *interface;
    sf_ns now;
    size_t backlog_limit;
    uint8_t ttl;
    struct sf_tcp_limits_set tcp;
};

/* Takes the driver, if it succeeds. `message` has SF_DRIVER_ERROR_SIZE bytes. */
int sf_tcpip_init(struct sf_tcpip *, const struct sf_tcpip_setup *, char *message);
void sf_tcpip_destroy(struct sf_tcpip *);
/* Lets events of the descriptor wake the stack. The source says who looks at them: look_at_kernel() in tcpip.c. */
int sf_tcpip_watch(struct sf_tcpip *, int fd, enum sf_wake_source);
/* What the last poll has left to do: frames to give back, frames to send. */
void sf_tcpip_finish(struct sf_tcpip *);
/* What holds now of one that is in the ring of the ready. */
uint32_t sf_tcpip_events(struct sf_ready_link *);
/* Timers, and the kernel's side. */
void sf_tcpip_look(struct sf_tcpip *);
sf_ns sf_tcpip_poll_at(struct sf_tcpip *, sf_ns now);
int sf_tcpip_arm(struct sf_tcpip *, int *fd);
void sf_tcpip_disarm(struct sf_tcpip *);
/* In a forked child: leaves the driver to the parent; the side sockets serve from now on. */
int sf_tcpip_after_fork(struct sf_tcpip *);
/* Between true and false, what is sent need not leave; it does at the end, or at the next poll. */
void sf_tcpip_cork(struct sf_tcpip *, bool corked);
/* Asks the driver: the other side of a wire comes and goes, and an interface can vanish. */
void sf_tcpip_refresh_caps(struct sf_tcpip *);

/* The interface can carry packets, or not. */
void sf_tcpip_link_is(struct sf_tcpip *, bool up);

/* input.c: takes the n frames of a burst apart. */
void sf_input(struct sf_tcpip *, int n);

/* Nearly every poll finds nothing, so that what it costs then is all that counts. */
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

/* What was sent leaves, unless more is being collected. */
static inline void sf_tcpip_flush(struct sf_tcpip *t)
{
    if (!t->unflushed || t->corked || !t->driver)
        return;
    t->driver->fast.tx_flush(t->driver);
    t->unflushed = false;
}

static inline bool sf_tcpip_is_wire(const struct sf_tcpip *t)
{
    return t->caps.flags & SF_DRIVER_POINT_TO_POINT;
}

/* Nearly always the source is that of the packet before. */
static inline bool sf_source_is_good(struct sf_tcpip *t, const struct sf_ipv4 *ip)
{
    return SF_LIKELY(ip->src == t->sources.latest) || sf_source_check(t, ip);
}

static inline void sf_count(struct sf_tcpip *t, enum sf_counter_id id)
{
    t->counters.value[id]++;
}

#endif
