/*
 * The af_xdp driver: sending, control and sleeping. See receive.c for receiving, setup.c for opening, rings.c for the rings.
 *
 * sf_driver_af_xdp_open() does everything that needs a privilege. Later filters are only entries of a map whose descriptor is
 * open, and sending and receiving work on rings. So the process may drop its capabilities after opening.
 */
#define _GNU_SOURCE 1
#include "driver.h"
#include "drivers/driver_util.h"
#include "storage/epoll.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#ifndef SOL_XDP
#define SOL_XDP 283
#endif

#define COPY_BATCH 32 /* descriptors that the kernel sends in one call in copy mode */

/* ---- sending, through the first socket ---- */

static uint32_t waiting(const struct af_xdp *x)
{
    return x->xsk->tx.position - sf_xsk_load(x->xsk->tx.consumer);
}

/* An interface that is moved to another namespace keeps our program, which would withhold frames from programs there. */
static void die(struct af_xdp *x)
{
    x->dead = true;
    sf_flow_program_detach(&x->place.program);
}

/* True: another call may send more. */
static bool kick_once(struct af_xdp *x)
{
    x->stats.wakeups++;
    if (sendto(x->xsk->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) >= 0) {
        x->stalled = x->down = false;
        return false;
    }
    x->stalled = true;
    if (errno == ENXIO || errno == ENODEV) /* unbound, because the interface was deleted or moved */
        die(x);
    else if (errno == ENETDOWN)
        x->down = true;
    return errno == EAGAIN;
}

/* In copy mode the kernel sends 32 frames a call and then returns EAGAIN. It also returns EAGAIN when the socket's send buffer
 * is full. */
static void kick(struct af_xdp *x)
{
    for (uint32_t calls = waiting(x) / COPY_BATCH + 2; calls > 0; calls--)
        if (!kick_once(x))
            return;
}

static void collect_completed(struct af_xdp *x)
{
    struct sf_xsk_ring *completion = &x->xsk->completion;
    const uint64_t *addresses = completion->entries;
    uint32_t end = sf_xsk_load(completion->producer);

    if (end == completion->position)
        return;
    while (completion->position != end) {
        uint64_t address = addresses[completion->position++ & completion->mask];

        x->free_frames[x->free_count++] = (uint32_t)(address & x->xsk->frame_mask);
        x->in_flight--;
    }
    sf_xsk_publish(completion->consumer, completion->position);
}

void sf_af_xdp_take_back_sent(struct af_xdp *x)
{
    collect_completed(x);
    if (SF_UNLIKELY(x->stalled) && !x->down && !x->dead)
        kick(x);
}

static void af_xdp_tx_flush(struct sf_driver *driver)
{
    struct af_xdp *x = sf_af_xdp_of(driver);
    struct sf_xsk *xsk = x->xsk;
    uint32_t published = __atomic_load_n(xsk->tx.producer, __ATOMIC_RELAXED);

    if (published == xsk->tx.position && !x->stalled)
        return;
    sf_xsk_publish(xsk->tx.producer, xsk->tx.position);
    if (x->dead)
        return;
    /* Read the flag after the producer is stored, or both sides could wait for each other. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!x->zero_copy || sf_xsk_needs_wakeup(&xsk->tx))
        kick(x);
}

/* Frees send frames, at the price of a system call. */
static bool make_room(struct af_xdp *x, uint32_t pieces)
{
    collect_completed(x);
    if (x->free_count >= pieces)
        return true;
    af_xdp_tx_flush(&x->base);
    collect_completed(x);
    return x->free_count >= pieces;
}

/* While the interface is down, each attempt asks the kernel whether it is up again. */
static int check_alive(struct af_xdp *x)
{
    if (!x->dead && x->down)
        kick(x);
    return x->dead || x->down ? -ENETDOWN : 0;
}

static int af_xdp_tx_reserve(struct sf_driver *driver, uint32_t len, struct sf_frame *pieces, int max)
{
    struct af_xdp *x = sf_af_xdp_of(driver);
    uint32_t size = x->piece_max, count = len <= size ? 1 : (len + size - 1) / size;

    if (SF_UNLIKELY(x->dead || x->down) && check_alive(x))
        return -ENETDOWN;
    if (len > x->tx_max || count > (uint32_t)(max < 0 ? 0 : max))
        return -EMSGSIZE;
    if (len < SF_ETHERNET_HEADER)
        return -EINVAL;
    if (SF_UNLIKELY(x->free_count < count) && !make_room(x, count)) {
        x->stats.tx_full++;
        return -EAGAIN;
    }
    for (uint32_t i = 0; i < count; i++, len -= size) {
        uint32_t address = x->free_frames[--x->free_count];

        pieces[i] = (struct sf_frame){.data = x->xsk->memory + address, .len = len < size ? len : size, .token = address};
        if (i + 1 < count)
            pieces[i].flags = SF_FRAME_MORE;
    }
    return (int)count;
}

static void af_xdp_tx_cancel(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    struct af_xdp *x = sf_af_xdp_of(driver);

    while (n > 0)
        x->free_frames[x->free_count++] = (uint32_t)pieces[--n].token;
}

static bool is_sendable(const struct af_xdp *x, const struct sf_frame *pieces, int n)
{
    uint64_t total = 0;

    /* The kernel would skip an invalid descriptor and never return its frame. */
    for (int i = 0; i < n; i++) {
        if (pieces[i].len == 0 || pieces[i].len > x->piece_max)
            return false;
        total += pieces[i].len;
    }
    return total <= x->tx_max && pieces[0].len >= SF_ETHERNET_HEADER;
}

static void af_xdp_tx_commit(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    struct af_xdp *x = sf_af_xdp_of(driver);
    struct sf_xsk_ring *tx = &x->xsk->tx;
    struct xdp_desc *ring = tx->entries;

    if (n <= 0)
        return;
    if (SF_UNLIKELY(!is_sendable(x, pieces, n) || x->dead)) {
        x->stats.tx_errors++;
        af_xdp_tx_cancel(driver, pieces, n);
        return;
    }
    /* No overflow: the ring has a place for every frame. */
    for (int i = 0; i < n; i++) {
        ring[tx->position++ & tx->mask] = (struct xdp_desc){
            .addr = pieces[i].token,
            .len = pieces[i].len,
            .options = i + 1 < n ? XDP_PKT_CONTD : 0,
        };
        x->stats.tx_bytes += pieces[i].len;
    }
    x->in_flight += (uint32_t)n;
    x->stats.tx_frames++;
}

/* ---- control ---- */

/* The memory and the program are sized for the MTU at open, so a larger one is not used. The thread may be in another
 * namespace than the interface by now, but the monitor's socket stays in the interface's. */
static void read_interface_again(struct af_xdp *x)
{
    struct sf_interface_info *known = &x->place.interface, now;

    if (x->dead || sf_interface_read_by(x->monitor.links, x->place.name, &now) || now.ifindex != known->ifindex)
        return;
    known->mtu = now.mtu < x->mtu_at_open ? now.mtu : x->mtu_at_open;
    memcpy(known->mac, now.mac, sizeof(known->mac));
    sf_flow_program_set_mac(&x->place.program, now.mac);
    x->tx_max = known->mtu + SF_ETHERNET_HEADER + SF_VLAN_TAG;
}

static int watch(const struct af_xdp *x, int fd)
{
    return sf_epoll_add(x->epoll, fd, EPOLLIN, 0);
}

static void follow_queues(struct af_xdp *x)
{
    struct sf_af_xdp_place *place = &x->place;

    if (!sf_af_xdp_follow_queues(place))
        sf_af_xdp_monitor_again(&x->monitor);
    for (; x->queues < place->queues; x->queues++)
        (void)watch(x, x->xsk[x->queues].fd);
}

/* Some interface has changed. A kick tells whether ours is gone. */
static void check_monitor(struct af_xdp *x)
{
    if (SF_LIKELY(!sf_af_xdp_monitor_changed(&x->monitor)) || x->dead)
        return;
    kick(x);
    read_interface_again(x);
    if (!x->dead)
        follow_queues(x);
}

static void af_xdp_caps(struct sf_driver *driver, struct sf_driver_caps *caps)
{
    struct af_xdp *x = sf_af_xdp_of(driver);
    const struct sf_af_xdp_place *place = &x->place;

    check_monitor(x);
    *caps = (struct sf_driver_caps){
        .flags = (x->dead ? (uint32_t)SF_DRIVER_DEAD : 0) |
                 (sf_flow_program_sees_ports(&place->program) ? (uint32_t)SF_DRIVER_SEES_PORTS : 0),
        .mtu = place->interface.mtu,
        .rx_lent = place->sizes.rx_frames / 2,
        .tx_queue = place->sizes.tx_frames,
        .queue = (int)place->first_queue,
        .ifindex = place->interface.ifindex,
    };
    memcpy(caps->mac, place->interface.mac, sizeof(caps->mac));
    sf_af_xdp_describe(place, caps);
}

static void af_xdp_stats(struct sf_driver *driver, struct sf_driver_stats *stats)
{
    struct af_xdp *x = sf_af_xdp_of(driver);

    *stats = x->stats;
    stats->rx_dropped += sf_overflow_lost(&x->place.overflow);
    for (uint32_t i = 0; i < x->queues; i++) {
        struct xdp_statistics kernel = {0};
        socklen_t size = sizeof(kernel);

        if (getsockopt(x->xsk[i].fd, SOL_XDP, XDP_STATISTICS, &kernel, &size) < 0)
            continue;
        stats->rx_dropped += kernel.rx_dropped + kernel.rx_ring_full;
        stats->rx_no_frames += kernel.rx_fill_ring_empty_descs; /* 0 before Linux 5.9 */
        stats->rx_invalid += kernel.rx_invalid_descs;
        stats->tx_errors += kernel.tx_invalid_descs;
    }
}

static int af_xdp_filter_add(struct sf_driver *driver, const struct sf_flow *flow)
{
    return sf_flow_program_add(&sf_af_xdp_of(driver)->place.program, flow);
}

static int af_xdp_filter_del(struct sf_driver *driver, const struct sf_flow *flow)
{
    return sf_flow_program_del(&sf_af_xdp_of(driver)->place.program, flow);
}

static int af_xdp_filter_renew(struct sf_driver *driver, const struct sf_flow *flow)
{
    return sf_flow_program_renew(&sf_af_xdp_of(driver)->place.program, flow);
}

static int af_xdp_watch_port(struct sf_driver *driver, uint8_t protocol, uint16_t port, bool on)
{
    return sf_flow_program_watch(&sf_af_xdp_of(driver)->place.program, protocol, port, on);
}

static uint32_t af_xdp_port_changes(struct sf_driver *driver, uint8_t protocol)
{
    return sf_flow_program_changes(&sf_af_xdp_of(driver)->place.program, protocol);
}

static bool has_work(const struct af_xdp *x)
{
    for (uint32_t i = 0; i < x->queues; i++)
        if (sf_xsk_load(x->xsk[i].rx.producer) != x->xsk[i].rx.position)
            return true;
    return sf_overflow_waits(&x->place.overflow) || (x->stalled && !x->down && !x->dead);
}

/* Reports once that the interface is gone. After that nothing wakes the loop. */
static int af_xdp_arm(struct sf_driver *driver, int *fd)
{
    struct af_xdp *x = sf_af_xdp_of(driver);

    *fd = x->epoll;
    check_monitor(x);
    af_xdp_tx_flush(driver);
    if (x->dead && !x->told_dead) {
        x->told_dead = true;
        return -EAGAIN;
    }
    return has_work(x) ? -EAGAIN : 0;
}

/* The descriptors stay in the epoll set, because they cost nothing while no thread waits. */
static void af_xdp_disarm(struct sf_driver *driver)
{
    (void)driver;
}

static void af_xdp_close(struct sf_driver *driver)
{
    struct af_xdp *x = sf_af_xdp_of(driver);

    sf_close_descriptor(x->epoll);
    sf_af_xdp_monitor_close(&x->monitor);
    sf_af_xdp_tear_down(&x->place);
    free(x->free_frames);
    free(x);
}

static void af_xdp_abandon(struct sf_driver *driver)
{
    struct af_xdp *x = sf_af_xdp_of(driver);

    sf_close_descriptor(x->epoll);
    sf_af_xdp_monitor_close(&x->monitor);
    sf_af_xdp_abandon(&x->place);
    free(x->free_frames);
    free(x);
}

static int af_xdp_kept_resets(struct sf_driver *driver, struct sf_kept_reset *resets, int n)
{
    return sf_reset_guard_take(&sf_af_xdp_of(driver)->place.guard, resets, n);
}

static int af_xdp_kept_resets_fd(struct sf_driver *driver)
{
    return sf_af_xdp_of(driver)->place.guard.ring.fd;
}

static const struct sf_driver_control control = {
    .name = "af_xdp",
    .close = af_xdp_close,
    .abandon = af_xdp_abandon,
    .caps = af_xdp_caps,
    .stats = af_xdp_stats,
    .filter_add = af_xdp_filter_add,
    .filter_del = af_xdp_filter_del,
    .arm = af_xdp_arm,
    .disarm = af_xdp_disarm,
    .watch_port = af_xdp_watch_port,
    .port_changes = af_xdp_port_changes,
    .filter_renew = af_xdp_filter_renew,
    .kept_resets = af_xdp_kept_resets,
    .kept_resets_fd = af_xdp_kept_resets_fd,
};

static const struct sf_driver_fast fast = {
    .rx_burst = sf_af_xdp_rx_burst,
    .rx_release = sf_af_xdp_rx_release,
    .tx_reserve = af_xdp_tx_reserve,
    .tx_cancel = af_xdp_tx_cancel,
    .tx_commit = af_xdp_tx_commit,
    .tx_flush = af_xdp_tx_flush,
    .control = &control,
};

/* ---- opening ---- */

/* rtnetlink reports that the interface is deleted, because an AF_XDP socket does not wake its waiters then. */
static int make_descriptors(struct af_xdp *x)
{
    int error;

    x->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (x->epoll < 0)
        return -errno;
    error = sf_af_xdp_monitor_open(&x->monitor);
    if (!error)
        error = watch(x, x->monitor.epoll);
    for (uint32_t i = 0; i < x->queues && !error; i++)
        error = watch(x, x->xsk[i].fd);
    if (!error && sf_overflow_is_open(&x->place.overflow))
        error = watch(x, x->place.overflow.ring.fd);
    return error;
}

static int make_free_frames(struct af_xdp *x)
{
    const struct sf_xsk_sizes *sizes = &x->xsk->sizes; /* only the first socket sends; others may have smaller rings */

    x->free_frames = calloc(sizes->tx_frames, sizeof(*x->free_frames));
    if (!x->free_frames)
        return -ENOMEM;
    for (uint32_t i = sizes->tx_frames; i > 0; i--)
        x->free_frames[x->free_count++] = (sizes->rx_frames + i - 1) * sizes->frame_size;
    return 0;
}

static int start(struct af_xdp *x, const struct sf_driver_config *config, char *message)
{
    const struct sf_af_xdp_place *place = &x->place;
    int error = sf_af_xdp_set_up(&x->place, config, message);

    if (error)
        return error;
    x->base.fast = fast;
    x->xsk = place->xsk;
    x->queues = place->queues;
    x->zero_copy = place->zero_copy;
    x->piece_max = place->sizes.frame_size;
    x->mtu_at_open = place->interface.mtu;
    x->tx_max = place->interface.mtu + SF_ETHERNET_HEADER + SF_VLAN_TAG;
    x->whole_burst = place->sizes.rx_frames / 2 < SF_AF_XDP_PIECES_MAX ? (int)place->sizes.rx_frames / 2 : SF_AF_XDP_PIECES_MAX;
    if ((error = make_free_frames(x)) || (error = make_descriptors(x)))
        snprintf(message, SF_DRIVER_ERROR_SIZE, "Cannot open interface '%s' with af_xdp: %s", place->name, strerror(-error));
    return error;
}

struct sf_driver *sf_driver_af_xdp_open(const struct sf_driver_config *config, int *error, char *message)
{
    struct af_xdp *x = aligned_alloc(SF_CACHE_LINE, (sizeof(*x) + SF_CACHE_LINE - 1) / SF_CACHE_LINE * SF_CACHE_LINE);

    message[0] = 0;
    *error = -ENOMEM;
    if (!x)
        return NULL;
    memset(x, 0, sizeof(*x));
    x->epoll = x->monitor.epoll = x->monitor.links = x->monitor.channels = -1;
    *error = start(x, config, message);
    if (!*error)
        return &x->base;
    af_xdp_close(&x->base);
    return NULL;
}
