/*
 * A driver that compiles and does nothing: the beginning of a new one. docs/writing-a-driver.md goes with it. The functions
 * stand in the order in which one would write them; each tells what is expected of it. In a copy, replace "skeleton" by the
 * driver's name and the comments by code.
 */
#define _GNU_SOURCE
#include "drivers/driver_util.h"

#include <errno.h>
#include <stdlib.h>

struct skeleton_driver {
    struct sf_driver base; /* first, and in it the fast table: the caller's turn then touches one cache line for it */
    /* What rx_burst() needs next: ring positions, addresses, masks. */
    struct sf_driver_stats stats;
    /* What only control functions need: descriptors, names, mappings. */
};

static inline struct skeleton_driver *skeleton_of(struct sf_driver *driver)
{
    return (struct skeleton_driver *)driver;
}

/* ---- 1. describe it: the stack asks before anything else, and again after a sleep ---- */

static void skeleton_caps(struct sf_driver *driver, struct sf_driver_caps *caps)
{
    (void)driver;
    *caps = (struct sf_driver_caps){
        .flags = 0,      /* UNFILTERED if it cannot tell flows apart; DEAD once the device is gone for good */
        .mtu = 1500,     /* tx_reserve() takes frames of this and 14 bytes more */
        .rx_lent = 256,  /* how many frames may be out at a time before receiving stops */
        .tx_queue = 256, /* how many may be committed before tx_reserve() is -EAGAIN */
        .queue = -1,
        .ifindex = 0,
    };
    caps->mac[0] = 2; /* the interface's own */
    sf_mode_add(caps, "skeleton, nothing behind it"); /* what was chosen, for people; sf_mode_add() never overruns it */
}

/* ---- 2. receive ---- */

/*
 * Up to n frames, none of them copied. Called every turn, mostly for nothing: the empty case is to be a load and a compare,
 * without a clock and without a system call. This is also the place to take back sent frames and to refill what the NIC
 * receives into, because nobody else will.
 *
 * Lengths and offsets that come from a device or another process are checked here, and what does not fit is counted in
 * rx_invalid and passed over. A frame in several pieces has SF_FRAME_MORE on all but its last; when n is too small for
 * all of them, it waits for the next burst.
 */
static int skeleton_rx_burst(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    (void)driver;
    (void)frames;
    (void)n;
    return 0;
}

/* In any order, some now and some later. The token is the driver's own: an index usually. */
static void skeleton_rx_release(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    (void)driver;
    (void)frames;
    (void)n;
}

/* ---- 3. send ---- */

/* Lends memory for a frame that fits. One reservation is open at a time; it ends with tx_cancel() or tx_commit(). */
static int skeleton_tx_reserve(struct sf_driver *driver, uint32_t len, struct sf_frame *pieces, int max)
{
    struct skeleton_driver *s = skeleton_of(driver);

    if (len > 1500 + SF_ETHERNET_HEADER + SF_VLAN_TAG || max < 1)
        return -EMSGSIZE;
    (void)pieces;
    s->stats.tx_full++; /* a full queue is counted each time somebody is told of it */
    return -EAGAIN;
}

/* As if it had never been reserved. */
static void skeleton_tx_cancel(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    (void)driver;
    (void)pieces;
    (void)n;
}

/* Queues it. What cannot be sent after all is counted in tx_errors; the stack's protocols cope with loss, not with waiting. */
static void skeleton_tx_commit(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    (void)pieces;
    (void)n;
    skeleton_of(driver)->stats.tx_errors++;
}

/* The doorbell, once for all that was committed since the last; nothing committed has to cost nothing. */
static void skeleton_tx_flush(struct sf_driver *driver)
{
    (void)driver;
}

/* ---- 4. filter: take the flow from the kernel's path, this one and no more ---- */

/* -EEXIST: it is there already; -ENOSPC: the table is full; -EOPNOTSUPP: this kind of flow is not possible. */
static int skeleton_filter_add(struct sf_driver *driver, const struct sf_flow *flow)
{
    (void)driver;
    (void)flow;
    return -EOPNOTSUPP;
}

/* -ENOENT: it is not there. */
static int skeleton_filter_del(struct sf_driver *driver, const struct sf_flow *flow)
{
    (void)driver;
    (void)flow;
    return -ENOENT;
}

/* ---- 5. sleep ---- */

/*
 * Asks the device for a wake-up, and looks once more after that: a frame that came in between would wake nobody. So: make the
 * descriptor empty, ask, look, and take the request back with -EAGAIN if there is something. The descriptor is the same one
 * for the driver's whole life, since the loop keeps it in its epoll set; one that has to be replaced goes into an epoll
 * descriptor of the driver's own.
 */
static int skeleton_arm(struct sf_driver *driver, int *fd)
{
    (void)driver;
    (void)fd;
    return -EAGAIN;
}

/* No more wake-ups. Also called when it was not armed. */
static void skeleton_disarm(struct sf_driver *driver)
{
    (void)driver;
}

/* ---- 6. count ---- */

static void skeleton_stats(struct sf_driver *driver, struct sf_driver_stats *stats)
{
    *stats = skeleton_of(driver)->stats;
}

/* ---- 7. close: with frames lent, a reservation open and filters set, everything goes back ---- */

static void skeleton_close(struct sf_driver *driver)
{
    free(skeleton_of(driver));
}

/*
 * In a forked child: closes the child's copies of descriptors and mappings, and nothing that the parent needs. No request to
 * the device, nothing written. Memory that frames were lent from stays readable: sf_leave_mapping() in driver_util.h.
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

/* ---- 9. open: the one function that registry.c knows ---- */

/* Undoes what it has done when it fails, and says in a sentence what was asked for, what is missing and what to do. */
struct sf_driver *sf_driver_skeleton_open(const struct sf_driver_config *config, int *error, char *message);

struct sf_driver *sf_driver_skeleton_open(const struct sf_driver_config *config, int *error, char *message)
{
    struct skeleton_driver *s;

    if (!config->interface)
        return sf_driver_fail(error, message, -EINVAL, "skeleton: no interface is given: name the one to use");
    s = calloc(1, sizeof(*s));
    if (!s)
        return sf_driver_fail(error, message, -ENOMEM, "skeleton: out of memory");
    s->base.fast = skeleton_fast;
    return &s->base;
}
