/*
 * A driver that compiles and does nothing: the start of a new one. See docs/writing-a-driver.md. The functions are in the order
 * in which to write them, and each comment says what the function must do. In a copy, replace "skeleton" with the driver's name,
 * and the comments with code.
 */
#define _GNU_SOURCE
#include "drivers/driver_util.h"

#include <errno.h>
#include <stdlib.h>

struct skeleton_driver {
    struct sf_driver base; /* first, with the fast table in it, so that a turn reads one cache line for it */
    /* Fields that rx_burst() needs next: ring positions, addresses, masks. */
    struct sf_driver_stats stats;
    /* Fields that only control functions need: descriptors, names, mappings. */
};

static inline struct skeleton_driver *skeleton_of(struct sf_driver *driver)
{
    return (struct skeleton_driver *)driver;
}

/* ---- 1. describe: the stack asks before anything else, and again after a sleep ---- */

static void skeleton_caps(struct sf_driver *driver, struct sf_driver_caps *caps)
{
    (void)driver;
    *caps = (struct sf_driver_caps){
        .flags = 0,      /* UNFILTERED if it cannot tell flows apart; DEAD once the device is gone for good */
        .mtu = 1500,     /* tx_reserve() takes 14 bytes more than this */
        .rx_lent = 256,  /* most frames lent at a time before receiving stops */
        .tx_queue = 256, /* most frames committed before tx_reserve() returns -EAGAIN */
        .queue = -1,
        .ifindex = 0,
    };
    caps->mac[0] = 2; /* the interface's own */
    sf_mode_add(caps, "skeleton, nothing behind it"); /* the choices made, for people; never overruns the field */
}

/* ---- 2. receive ---- */

/*
 * Returns up to n frames without copying. It is called every turn, mostly without result, so the empty case should be a load and
 * a compare, without a clock or a system call. Reclaim sent frames and give the NIC new buffers here, because no other function
 * does.
 *
 * Check lengths and offsets that come from a device or another process. Count frames that fail in rx_invalid and skip them. A
 * frame in several pieces has SF_FRAME_MORE on all but its last piece. If n is too small for all of them, it waits for the next
 * burst.
 */
static int skeleton_rx_burst(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    (void)driver;
    (void)frames;
    (void)n;
    return 0;
}

/* Frames return in any order, at any time. The token is the driver's own, usually an index. */
static void skeleton_rx_release(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    (void)driver;
    (void)frames;
    (void)n;
}

/* ---- 3. send ---- */

/* Lends memory for a frame. One reservation is open at a time, until tx_cancel() or tx_commit(). */
static int skeleton_tx_reserve(struct sf_driver *driver, uint32_t len, struct sf_frame *pieces, int max)
{
    struct skeleton_driver *s = skeleton_of(driver);

    if (len > 1500 + SF_ETHERNET_HEADER + SF_VLAN_TAG || max < 1)
        return -EMSGSIZE;
    (void)pieces;
    s->stats.tx_full++; /* count every -EAGAIN */
    return -EAGAIN;
}

/* Undoes a reservation. */
static void skeleton_tx_cancel(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    (void)driver;
    (void)pieces;
    (void)n;
}

/* Queues the frame. Count a frame that cannot be sent in tx_errors and do not wait, because the stack's protocols cope with
 * loss. */
static void skeleton_tx_commit(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    (void)pieces;
    (void)n;
    skeleton_of(driver)->stats.tx_errors++;
}

/* Rings the doorbell once for all frames committed since the last call. Without any, this must cost nothing. */
static void skeleton_tx_flush(struct sf_driver *driver)
{
    (void)driver;
}

/* ---- 4. filter: take this flow, and no other, from the kernel's path ---- */

/* -EEXIST: added already. -ENOSPC: no room. -EOPNOTSUPP: the driver cannot match such a flow. */
static int skeleton_filter_add(struct sf_driver *driver, const struct sf_flow *flow)
{
    (void)driver;
    (void)flow;
    return -EOPNOTSUPP;
}

/* -ENOENT: no such flow. */
static int skeleton_filter_del(struct sf_driver *driver, const struct sf_flow *flow)
{
    (void)driver;
    (void)flow;
    return -ENOENT;
}

/* ---- 5. sleep ---- */

/*
 * Empties the descriptor, requests a wake-up, then checks for work once more, because a frame in between would wake no one. If
 * there is work, takes the request back and returns -EAGAIN. The descriptor must stay the same for the driver's life, because the
 * loop keeps it in its epoll set. If it has to be replaced, put it into an epoll descriptor of the driver.
 */
static int skeleton_arm(struct sf_driver *driver, int *fd)
{
    (void)driver;
    (void)fd;
    return -EAGAIN;
}

/* Ends the request for wake-ups. Also called when the driver is not armed. */
static void skeleton_disarm(struct sf_driver *driver)
{
    (void)driver;
}

/* ---- 6. count ---- */

static void skeleton_stats(struct sf_driver *driver, struct sf_driver_stats *stats)
{
    *stats = skeleton_of(driver)->stats;
}

/* ---- 7. close: with frames lent, a reservation open and filters set, release everything ---- */

static void skeleton_close(struct sf_driver *driver)
{
    free(skeleton_of(driver));
}

/*
 * For a forked child: closes the child's copies of descriptors and mappings, and nothing that the parent needs. Sends no request
 * to the device and writes nothing. Memory of lent frames must stay readable: sf_leave_mapping() in driver_util.h.
 */
static void skeleton_abandon(struct sf_driver *driver)
{
    free(skeleton_of(driver));
}

/* ---- 8. the two tables ---- */

static const struct sf_driver_control skeleton_control = {
    .name = "skeleton",
    .close = skeleton_close,
    .abandon = skeleton_abandon,
    .caps = skeleton_caps,
    .stats = skeleton_stats,
    .filter_add = skeleton_filter_add,
    .filter_del = skeleton_filter_del,
    .arm = skeleton_arm,
    .disarm = skeleton_disarm,
};

static const struct sf_driver_fast skeleton_fast = {
    .rx_burst = skeleton_rx_burst,
    .rx_release = skeleton_rx_release,
    .tx_reserve = skeleton_tx_reserve,
    .tx_cancel = skeleton_tx_cancel,
    .tx_commit = skeleton_tx_commit,
    .tx_flush = skeleton_tx_flush,
    .control = &skeleton_control,
};

/* ---- 9. open: the only function that registry.c knows ---- */

/* On failure, undoes everything and writes a sentence: the request, the missing condition, and a remedy. */
struct sf_driver *sf_driver_skeleton_open(const struct sf_driver_config *config, int *error, char *message);

struct sf_driver *sf_driver_skeleton_open(const struct sf_driver_config *config, int *error, char *message)
{
    struct skeleton_driver *s;

    if (!config->interface)
        return sf_driver_fail(error, message, -EINVAL, "skeleton: there is no interface name; set one");
    s = calloc(1, sizeof(*s));
    if (!s)
        return sf_driver_fail(error, message, -ENOMEM, "skeleton: out of memory");
    s->base.fast = skeleton_fast;
    return &s->base;
}
