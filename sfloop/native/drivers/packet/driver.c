/*
 * The packet driver: an AF_PACKET socket with a receive ring. It runs on every Ethernet interface of the kernel, including those
 * without AF_XDP. See ring.c for the ring, send.c for sending, and program.c for the programs that select flows.
 *
 * sf_driver_packet_open() does everything that needs a privilege. Later filters are only entries of a map whose descriptor is
 * open, so the process may drop its capabilities after opening. A process that dies leaves nothing behind, because a descriptor
 * holds the tcx program too.
 */
#define _GNU_SOURCE 1
#include "driver.h"

#include "drivers/driver_util.h"
#include "drivers/kernel/interface_info.h"
#include "overflow.h"
#include "program.h"
#include "ring.h"
#include "send.h"
#include "drivers/kernel/reset_guard.h"
#include "drivers/kernel/stacked_device.h"
#include "storage/epoll.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

#define RING_BYTES (128u << 20) /* memory for frames if rx_frames is not set: 50 ms of a million packets a second */
#define WARM_BYTES (4u << 20)   /* memory for the ring's slots if an overflow holds the other frames */
#define RX_FRAMES_MIN 256u
#define TX_FRAMES 256u
#define FRAMES_MAX 65536u
#define SLOT_MIN 256u
#define SLOT_MAX 131072u
#define RING_BYTES_MAX (1u << 30) /* the kernel cannot reclaim this memory */
#define SEND_BUFFER (4 << 20)
#define RECEIVE_BUFFER (32 << 20) /* for frames longer than a slot, which the kernel queues beside the ring */

struct packet {
    struct sf_driver base;
    struct sf_packet_ring ring;
    struct sf_packet_overflow overflow;
    struct sf_packet_sender sender;
    int fd;
    int epoll;            /* has the socket and the overflow; -1: there is no overflow */
    uint32_t slot, count; /* wanted size and number of the slots; with an overflow, the frames of ring and overflow */
    bool shared, dead;
    bool reduced; /* the kernel had no memory for the usual number of slots */
    uint32_t mtu;
    uint64_t dropped; /* by the kernel; reading the kernel's count resets it */
    struct sf_interface_info interface;
    struct sf_packet_program program;
    struct sf_reset_guard guard;
};

static inline struct packet *driver_of(struct sf_driver *driver)
{
    return (struct packet *)driver;
}

/* ---- every turn ---- */

static int packet_rx_burst(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    struct packet *p = driver_of(driver);

    if (SF_UNLIKELY(p->sender.refusals)) /* the send queue was full */
        sf_packet_sender_flush(&p->sender);
    if (SF_UNLIKELY(sf_overflow_waits(&p->overflow.buffer)) && n > 0)
        return sf_packet_overflow_burst(&p->overflow, &p->ring, frames, n);
    return sf_packet_ring_pending(&p->ring) ? sf_packet_overflow_ring_burst(&p->overflow, &p->ring, frames, n) : 0;
}

static void packet_rx_release(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    struct packet *p = driver_of(driver);

    if (SF_LIKELY(!p->overflow.buffer.lent))
        sf_packet_ring_release(&p->ring, frames, n);
    else
        sf_packet_overflow_release(&p->overflow, &p->ring, frames, n);
}

static int packet_tx_reserve(struct sf_driver *driver, uint32_t len, struct sf_frame *pieces, int max)
{
    return sf_packet_sender_reserve(&driver_of(driver)->sender, len, pieces, max);
}

static void packet_tx_cancel(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    for (int i = 0; i < n; i++)
        sf_packet_sender_cancel(&driver_of(driver)->sender, &pieces[i]);
}

static void packet_tx_commit(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    if (SF_LIKELY(n == 1)) { /* tx_reserve() lends one piece at most */
        sf_packet_sender_commit(&driver_of(driver)->sender, pieces);
    } else {
        driver_of(driver)->sender.errors++;
        packet_tx_cancel(driver, pieces, n);
    }
}

static void packet_tx_flush(struct sf_driver *driver)
{
    struct packet *p = driver_of(driver);

    if (p->sender.queued)
        sf_packet_sender_flush(&p->sender);
}

/* ---- the interface's state ---- */

/* A socket whose interface is deleted or moved to another namespace is bound to no interface. A socket whose interface is down
 * works again once the interface is up. A moved interface keeps our program, which would withhold frames from programs there. */
static void check_alive(struct packet *p)
{
    struct sockaddr_ll bound;
    socklen_t size = sizeof(bound);

    if (p->dead)
        return;
    if (p->sender.gone || (getsockname(p->fd, (struct sockaddr *)&bound, &size) == 0 && bound.sll_ifindex <= 0))
        p->dead = true;
    if (p->dead)
        sf_flow_program_detach(&p->program.flow);
}

/* ---- control ---- */

static void packet_caps(struct sf_driver *driver, struct sf_driver_caps *caps)
{
    struct packet *p = driver_of(driver);

    check_alive(p);
    *caps = (struct sf_driver_caps){
        .flags = (p->dead ? (uint32_t)SF_DRIVER_DEAD : 0) | (p->shared ? (uint32_t)SF_DRIVER_SHARES : 0) |
                 (sf_flow_program_sees_ports(&p->program.flow) ? (uint32_t)SF_DRIVER_SEES_PORTS : 0),
        .mtu = p->mtu,
        .rx_lent = p->ring.count,
        .tx_queue = p->sender.count,
        .ifindex = p->interface.ifindex,
    };
    memcpy(caps->mac, p->interface.mac, sizeof(caps->mac));
    sf_mode_add(caps, "%s, ring of %u slots of %u bytes%s", p->shared ? "shared with the kernel" : "tcx", p->ring.count,
                p->ring.slot_size, p->reduced ? " (no memory for more)" : "");
    if (sf_overflow_is_open(&p->overflow.buffer))
        sf_mode_add(caps, ", overflow of %zu MiB", p->overflow.buffer.ring.size >> 20);
    if (!sf_flow_program_sees_ports(&p->program.flow))
        sf_mode_add(caps, ", ports unwatched");
    if (p->guard.link < 0)
        sf_mode_add(caps, ", no reset guard");
}

static void packet_stats(struct sf_driver *driver, struct sf_driver_stats *stats)
{
    struct packet *p = driver_of(driver);
    struct tpacket_stats kernel = {0};
    socklen_t size = sizeof(kernel);

    if (getsockopt(p->fd, SOL_PACKET, PACKET_STATISTICS, &kernel, &size) == 0)
        p->dropped += kernel.tp_drops;
    *stats = (struct sf_driver_stats){
        .rx_frames = p->ring.frames,
        .rx_bytes = p->ring.bytes,
        .tx_frames = p->sender.frames,
        .tx_bytes = p->sender.bytes,
        .rx_dropped = p->dropped + sf_overflow_lost(&p->overflow.buffer),
        .rx_invalid = p->ring.invalid,
        .tx_full = p->sender.full,
        .tx_errors = p->sender.errors,
        .wakeups = p->sender.calls,
    };
}

static int packet_filter_add(struct sf_driver *driver, const struct sf_flow *flow)
{
    return sf_flow_program_add(&driver_of(driver)->program.flow, flow);
}

static int packet_filter_del(struct sf_driver *driver, const struct sf_flow *flow)
{
    return sf_flow_program_del(&driver_of(driver)->program.flow, flow);
}

static int packet_filter_renew(struct sf_driver *driver, const struct sf_flow *flow)
{
    return sf_flow_program_renew(&driver_of(driver)->program.flow, flow);
}

static int packet_watch_port(struct sf_driver *driver, uint8_t protocol, uint16_t port, bool on)
{
    return sf_flow_program_watch(&driver_of(driver)->program.flow, protocol, port, on);
}

static uint32_t packet_port_changes(struct sf_driver *driver, uint8_t protocol)
{
    return sf_flow_program_changes(&driver_of(driver)->program.flow, protocol);
}

/* Lets all frames into the ring and makes the interface promiscuous. Both end with the socket. */
static int packet_sniff(struct sf_driver *driver, bool on)
{
    struct packet *p = driver_of(driver);
    const struct packet_mreq promiscuous = {.mr_ifindex = p->interface.ifindex, .mr_type = PACKET_MR_PROMISC};
    int error;

    if (setsockopt(p->fd, SOL_PACKET, on ? PACKET_ADD_MEMBERSHIP : PACKET_DROP_MEMBERSHIP, &promiscuous,
                   sizeof(promiscuous)) < 0)
        return -errno;
    error = on ? sf_packet_program_filter_nothing(&p->program, p->fd) : sf_packet_program_filter(&p->program, p->fd);
    if (!error)
        sf_packet_overflow_count(&p->overflow, &p->ring, !on);
    return error;
}

/*
 * A sleeper waits on the socket itself: its ring makes it readable, and so does the error that the kernel sets when the interface
 * goes down. Reading the error clears it. The kernel reports the ring readable while the slot that it filled last is lent, so a
 * sleep with that frame lent ends at once. No frame is lost, but the sleep saves nothing.
 */
static int packet_arm(struct sf_driver *driver, int *fd)
{
    struct packet *p = driver_of(driver);
    int error = 0;
    socklen_t size = sizeof(error);

    *fd = p->epoll >= 0 ? p->epoll : p->fd;
    if (sf_packet_ring_pending(&p->ring) || p->sender.queued || sf_overflow_waits(&p->overflow.buffer))
        return -EAGAIN;
    getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (!error)
        return 0;
    check_alive(p);
    return -EAGAIN;
}

static void packet_disarm(struct sf_driver *driver)
{
    (void)driver;
}

/* Detaches the program first, because from then on the kernel gets the frames. */
static void packet_close(struct sf_driver *driver)
{
    struct packet *p = driver_of(driver);

    sf_packet_program_close(&p->program);
    sf_reset_guard_close(&p->guard);
    sf_packet_ring_close(&p->ring);
    sf_packet_overflow_close(&p->overflow);
    sf_packet_sender_close(&p->sender);
    sf_close_descriptor(p->epoll);
    sf_close_descriptor(p->fd);
    free(p);
}

/* The program stays attached, because the parent has the link open. */
static void packet_abandon(struct sf_driver *driver)
{
    struct packet *p = driver_of(driver);

    sf_packet_program_close(&p->program);
    sf_reset_guard_close(&p->guard);
    sf_packet_ring_abandon(&p->ring);
    sf_overflow_abandon(&p->overflow.buffer);
    sf_packet_sender_close(&p->sender);
    sf_close_descriptor(p->epoll);
    sf_close_descriptor(p->fd);
    free(p);
}

static int packet_kept_resets(struct sf_driver *driver, struct sf_kept_reset *resets, int n)
{
    return sf_reset_guard_take(&driver_of(driver)->guard, resets, n);
}

static int packet_kept_resets_fd(struct sf_driver *driver)
{
    return driver_of(driver)->guard.ring.fd;
}

static const struct sf_driver_control packet_control = {
    .name = "packet",
    .close = packet_close,
    .abandon = packet_abandon,
    .caps = packet_caps,
    .stats = packet_stats,
    .filter_add = packet_filter_add,
    .filter_del = packet_filter_del,
    .arm = packet_arm,
    .disarm = packet_disarm,
    .sniff = packet_sniff,
    .watch_port = packet_watch_port,
    .port_changes = packet_port_changes,
    .filter_renew = packet_filter_renew,
    .kept_resets = packet_kept_resets,
    .kept_resets_fd = packet_kept_resets_fd,
};

static const struct sf_driver_fast packet_fast = {
    .rx_burst = packet_rx_burst,
    .rx_release = packet_rx_release,
    .tx_reserve = packet_tx_reserve,
    .tx_cancel = packet_tx_cancel,
    .tx_commit = packet_tx_commit,
    .tx_flush = packet_tx_flush,
    .control = &packet_control,
};

/* ---- opening ---- */

static int check_config(struct packet *p, const struct sf_driver_config *config, char *message)
{
    if (config->mode && strcmp(config->mode, "auto") != 0 && strcmp(config->mode, "shared") != 0)
        return sf_driver_refuse(message, -EINVAL, "There is no mode '%s' of the packet driver: auto, shared", config->mode);
    p->shared = config->mode && strcmp(config->mode, "shared") == 0;
    if (config->queue > 0)
        return sf_driver_refuse(message, -EINVAL, "The packet driver takes all queues of an interface; queue %d was asked for",
                    config->queue);
    if (config->rx_frames > FRAMES_MAX || config->tx_frames > FRAMES_MAX)
        return sf_driver_refuse(message, -EINVAL,
                    "rx_frames is %u and tx_frames %u; at most %u each are possible",
                    config->rx_frames, config->tx_frames, FRAMES_MAX);
    if (config->frame_size && (config->frame_size < SLOT_MIN || config->frame_size > SLOT_MAX))
        return sf_driver_refuse(message, -EINVAL, "A frame_size of %u was asked for; slots of the ring have %u to %u bytes",
                    config->frame_size, SLOT_MIN, SLOT_MAX);
    return 0;
}

static int check_interface(struct packet *p, const struct sf_driver_config *config, char *message)
{
    const char *name = config->interface;
    int error;

    if (!name || !name[0])
        return sf_driver_refuse(message, -EINVAL, "The packet driver needs the name of an interface, such as eth0; none was given");
    error = sf_interface_read(name, &p->interface);
    if (error == -ENODEV)
        return sf_driver_refuse(message, error,
                    "This network namespace has no interface '%s'; 'ip link' lists its interfaces", name);
    if (error)
        return sf_driver_refuse(message, error, "Cannot read the properties of interface '%s': %s", name, strerror(-error));
    if (!p->interface.up)
        return sf_driver_refuse(message, -ENETDOWN, "Interface '%s' is down: bring it up with 'ip link set %s up'", name, name);
    return sf_stacked_device_check(name, p->interface.ifindex, SF_TAP_KERNEL, message);
}

static int open_socket(struct packet *p, char *message)
{
    /* Protocol 0, because nothing may arrive before bind(). */
    p->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (p->fd >= 0)
        return 0;
    switch (errno) {
    case EPERM:
        return sf_driver_refuse(message, -EPERM,
                    "Packet sockets need the capability CAP_NET_RAW; run as root, or grant it with setcap or the "
                    "service's AmbientCapabilities=");
    case EAFNOSUPPORT:
        return sf_driver_refuse(message, -EAFNOSUPPORT, "This kernel is built without packet sockets (CONFIG_PACKET)");
    default:
        return sf_driver_refuse(message, -errno, "Cannot make a packet socket: %s", strerror(errno));
    }
}

static void set_buffer(const struct packet *p, int force, int name, int size)
{
    if (setsockopt(p->fd, SOL_SOCKET, force, &size, sizeof(size)) < 0)
        setsockopt(p->fd, SOL_SOCKET, name, &size, sizeof(size));
}

/* All of these are optional, so ignore refusals. */
static void set_options(struct packet *p)
{
    int on = 1;

    setsockopt(p->fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on));
    set_buffer(p, SO_SNDBUFFORCE, SO_SNDBUF, SEND_BUFFER);
    set_buffer(p, SO_RCVBUFFORCE, SO_RCVBUF, RECEIVE_BUFFER);
}

/* Makes a slot large enough for a frame of the interface with a VLAN tag in it. */
static int choose_ring(struct packet *p, const struct sf_driver_config *config, char *message)
{
    p->count = config->rx_frames;
    if (config->frame_size) /* rounded up to a power of two */
        p->slot = sf_packet_ring_slot_size(sf_packet_ring_room(config->frame_size));
    else
        p->slot = sf_packet_ring_slot_size(p->interface.mtu + ETH_HLEN + SF_VLAN_TAG);
    if (!p->count)
        p->count = RING_BYTES / p->slot > RX_FRAMES_MIN ? RING_BYTES / p->slot : RX_FRAMES_MIN;
    if (p->count > RING_BYTES_MAX / p->slot)
        return sf_driver_refuse(message, -EINVAL,
                    "A ring of %u frames of %u bytes was asked for; at most %u of that size are possible", p->count, p->slot,
                    RING_BYTES_MAX / p->slot);
    return 0;
}

static uint32_t warm_slots(const struct packet *p)
{
    return WARM_BYTES / p->slot > RX_FRAMES_MIN ? WARM_BYTES / p->slot : RX_FRAMES_MIN;
}

static int open_ring(struct packet *p, const struct sf_driver_config *config, char *message)
{
    uint32_t room, count = sf_overflow_is_open(&p->overflow.buffer) ? warm_slots(p) : p->count;
    int error, on = 1;

    error = sf_packet_ring_open(&p->ring, p->fd, count, p->slot);
    while (error == -ENOMEM && !config->rx_frames && count > RX_FRAMES_MIN) {
        p->reduced = true;
        error = sf_packet_ring_open(&p->ring, p->fd, count /= 2, p->slot);
    }
    if (error)
        return sf_driver_refuse(message, error,
                    "The kernel refuses a ring of %u frames of %u bytes: %s; set smaller rx_frames or frame_size", count,
                    p->slot, strerror(-error));
    p->ring.skip_own = setsockopt(p->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) < 0;
    room = sf_packet_ring_room(p->ring.slot_size) - ETH_HLEN;
    p->mtu = p->interface.mtu < room ? p->interface.mtu : room;
    sf_packet_overflow_count(&p->overflow, &p->ring, true);
    return 0;
}

static int open_sender(struct packet *p, const struct sf_driver_config *config, char *message)
{
    uint32_t count = config->tx_frames ? config->tx_frames : TX_FRAMES;

    if (sf_packet_sender_open(&p->sender, p->fd, count, p->mtu + ETH_HLEN + SF_VLAN_TAG))
        return sf_driver_refuse(message, -ENOMEM, "There is no memory for %u packets of %u bytes to send from; ask for fewer",
                    count, p->mtu);
    return 0;
}

/* Makes the overflow wake a sleeper too. */
static bool watch_overflow(struct packet *p)
{
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    return p->epoll >= 0 && !sf_epoll_add(p->epoll, p->fd, EPOLLIN, 0) &&
           !sf_epoll_add(p->epoll, p->overflow.buffer.ring.fd, EPOLLIN, 0);
}

static void close_overflow(struct packet *p)
{
    sf_packet_overflow_close(&p->overflow);
    sf_close_descriptor(p->epoll);
    p->epoll = -1;
}

/* Opens the program, and the overflow if possible. Without an overflow the ring holds all frames. */
static int open_program(struct packet *p, char *message)
{
    struct sf_packet_program_kind kind = {.tcx = !p->shared, .mtu = p->interface.mtu};
    int error;

    if (p->count > warm_slots(p) && sf_packet_overflow_open(&p->overflow, (uint64_t)p->count * p->slot, warm_slots(p)))
        kind.overflow = watch_overflow(p) ? &p->overflow.buffer : NULL;
    error = sf_packet_program_open(&p->program, &kind, message);
    if (error)
        return error;
    if (!p->program.overflow)
        close_overflow(p);
    error = sf_packet_program_filter(&p->program, p->fd);
    return error ? sf_driver_refuse(message, error, "The packet socket refuses its filter: %s", strerror(-error)) : 0;
}

static int bind_socket(struct packet *p, const char *name, char *message)
{
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(ETH_P_ALL), /* not ETH_P_IP, whose hook comes after tcx and would get nothing */
        .sll_ifindex = p->interface.ifindex,
    };
    socklen_t size = sizeof(address);

    if (bind(p->fd, (struct sockaddr *)&address, size) < 0)
        return sf_driver_refuse(message, -errno, "Cannot bind a packet socket to interface '%s': %s", name, strerror(errno));
    if (getsockname(p->fd, (struct sockaddr *)&address, &size) < 0)
        return sf_driver_refuse(message, -errno, "Cannot ask for the kind of interface '%s': %s", name, strerror(errno));
    if (address.sll_hatype != ARPHRD_ETHER)
        return sf_driver_refuse(message, -EMEDIUMTYPE,
                    "Interface '%s' is not an Ethernet interface (its hardware type is %u); use the kernel stack", name,
                    address.sll_hatype);
    return 0;
}

static int attach(struct packet *p, const char *name, char *message)
{
    int error = p->shared ? 0 : sf_flow_program_attach(&p->program.flow, SF_FLOW_TCX, p->interface.ifindex, 0);

    if (error == -EPERM)
        return sf_driver_refuse(message, error,
                    "Attaching a tcx program to interface '%s' needs the capability CAP_NET_ADMIN; run as root, or "
                    "grant it with setcap or the service's AmbientCapabilities=", name);
    if (error == -EINVAL)
        return sf_driver_refuse(message, error,
                    "This kernel has no tcx (added in Linux 6.6), which keeps the flows on '%s' from the kernel's "
                    "own stack; mode 'shared' works without it, but then the kernel receives and answers them too", name);
    if (error)
        return sf_driver_refuse(message, error, "Cannot attach a tcx program to interface '%s': %s", name, strerror(-error));
    return 0;
}

static int set_up(struct packet *p, const struct sf_driver_config *config, char *message)
{
    int error;

    if ((error = check_config(p, config, message)) || (error = check_interface(p, config, message)) ||
        (error = open_socket(p, message)))
        return error;
    set_options(p);
    if ((error = choose_ring(p, config, message)) || (error = open_program(p, message)) || (error = open_ring(p, config, message)) ||
        (error = open_sender(p, config, message)) || (error = bind_socket(p, config->interface, message)))
        return error;
    error = attach(p, config->interface, message);
    if (!error)
        (void)sf_reset_guard_open(&p->guard, &p->program.flow); /* optional: caps() reports its absence */
    return error;
}

struct sf_driver *sf_driver_packet_open(const struct sf_driver_config *config, int *error, char *message)
{
    struct packet *p = calloc(1, sizeof(*p));

    if (!p)
        return sf_driver_fail(error, message, -ENOMEM, "There is no memory for a packet driver");
    p->base.fast = packet_fast;
    p->fd = p->epoll = -1;
    sf_packet_overflow_none(&p->overflow);
    p->program = SF_PACKET_PROGRAM_NONE;
    sf_reset_guard_none(&p->guard);
    *error = set_up(p, config, message);
    if (!*error)
        return &p->base;
    packet_close(&p->base);
    return NULL;
}
