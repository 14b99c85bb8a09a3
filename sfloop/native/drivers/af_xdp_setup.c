#define _GNU_SOURCE 1
#include "af_xdp_setup.h"

#include "xdp_holder.h"

#include <errno.h>
#include <linux/if_link.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where a process has just ended, its queues are released 12 to 20 ms later. */
#define BUSY_PATIENCE (150 * SF_MS)
#define BUSY_PAUSE (2 * SF_MS)

#define ETHERNET_SIZE 18 /* header and one VLAN tag */
#define RX_FRAMES 65536       /* of each queue: 50 ms of a million packets a second */
#define RX_BYTES (256u << 20) /* of all queues together, or where there are many: */
#define RX_FRAMES_MANY 2048
#define RX_FRAMES_LEAST 256 /* where there is no more memory to be had */
#define TX_FRAMES 1024
#define FRAMES_MAX 65536

struct mode {
    const char *name;
    uint32_t hook_flags;
    uint16_t bind_flags;
};

/* The best first. */
static const struct mode modes[] = {
    {"zerocopy", XDP_FLAGS_DRV_MODE, XDP_ZEROCOPY},
    {"native", XDP_FLAGS_DRV_MODE, XDP_COPY},
    {"skb", XDP_FLAGS_SKB_MODE, XDP_COPY},
};
#define MODES (sizeof(modes) / sizeof(modes[0]))

/* Writes the message and returns the error. */
__attribute__((format(printf, 3, 4))) static int fail(char *message, int error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(message, SF_DRIVER_ERROR_SIZE, format, arguments);
    va_end(arguments);
    return error;
}

/* ---- what was asked for ---- */

static int check_interface(struct sf_af_xdp_place *place, const struct sf_driver_config *config, char *message)
{
    const char *name = config->interface;
    int error;

    if (!name || !*name)
        return fail(message, -EINVAL, "The af_xdp driver needs the name of an interface, such as eth0; none was given");
    error = sf_interface_read(name, &place->interface);
    if (error == -ENODEV)
        return fail(message, error, "There is no interface '%s' in this network namespace; 'ip link' lists those there are", name);
    if (error)
        return fail(message, error, "Cannot read the properties of interface '%s': %s", name, strerror(-error));
    strcpy(place->name, name);
    if (!place->interface.up)
        return fail(message, -ENETDOWN, "Interface '%s' is down: bring it up with 'ip link set %s up'", name, name);
    if (config->queue >= 0 && (uint32_t)config->queue >= place->interface.queues)
        return fail(message, -EINVAL, "Interface '%s' has %u receive queue(s), counted from 0; queue %d was asked for", name,
                    place->interface.queues, config->queue);
    place->first_queue = config->queue < 0 ? 0 : (uint32_t)config->queue;
    place->queues = config->queue < 0 ? place->interface.queues : 1;
    return 0;
}

static uint32_t power_of_two(uint32_t frames)
{
    uint32_t power = 64;

    while (power < frames)
        power *= 2;
    return power;
}

static uint32_t usual_ring(uint32_t frame_size, uint32_t queues)
{
    uint32_t frames = RX_FRAMES;

    while (frames > RX_FRAMES_MANY && (uint64_t)frames * frame_size * queues > RX_BYTES)
        frames /= 2;
    return frames;
}

static int choose_sizes(struct sf_af_xdp_place *place, const struct sf_driver_config *config, char *message)
{
    uint32_t frame = place->interface.mtu + ETHERNET_SIZE;
    struct sf_xsk_sizes *sizes = &place->sizes;

    if (config->frame_size && config->frame_size != 2048 && config->frame_size != 4096)
        return fail(message, -EINVAL, "A frame_size of %u was asked for; AF_XDP has 2048 and 4096 bytes", config->frame_size);
    if (config->rx_frames > FRAMES_MAX || config->tx_frames > FRAMES_MAX)
        return fail(message, -EINVAL, "%u frames to receive into and %u to send from were asked for; at most %d each are possible",
                    config->rx_frames, config->tx_frames, FRAMES_MAX);
    sizes->frame_size = config->frame_size ? config->frame_size : frame + SF_XSK_HEADROOM <= 2048 ? 2048 : 4096;
    place->pieces = frame + SF_XSK_HEADROOM > sizes->frame_size;
    sizes->rx_frames = config->rx_frames ? power_of_two(config->rx_frames) : usual_ring(sizes->frame_size, place->queues);
    place->may_reduce = !config->rx_frames;
    sizes->tx_frames = power_of_two(config->tx_frames ? config->tx_frames : TX_FRAMES);
    return 0;
}

/* ---- attaching ---- */

static bool pause_while_busy(const struct sf_af_xdp_place *place)
{
    struct timespec pause = {.tv_nsec = BUSY_PAUSE};

    if (sf_now() >= place->deadline)
        return false;
    nanosleep(&pause, NULL);
    return true;
}

/* An interface has one XDP program: -EBUSY when there is one in this mode, -EEXIST when there is one in the other mode. */
static bool is_busy(int error)
{
    return error == -EBUSY || error == -EEXIST;
}

static int busy_interface(const struct sf_af_xdp_place *place, char *message)
{
    struct sf_xdp_holder holder = {0};
    char who[64] = "another program", how[64] = "end it";

    if (sf_xdp_find_holder(place->interface.ifindex, &holder)) {
        bool own = strcmp(holder.name, SF_FLOW_PROGRAM_NAME) == 0;

        if (holder.pid)
            snprintf(who, sizeof(who), "%s, process %d", own ? "another sfloop" : "another program", holder.pid);
        else if (own)
            strcpy(who, "another sfloop");
        else
            snprintf(how, sizeof(how), "take it off with 'ip link set %s xdp off'", place->name);
    }
    return fail(message, -EBUSY,
                "Interface '%s' carries one XDP program at a time, and has that of %s (program '%s', id %u): %s, or use the "
                "packet driver or another interface",
                place->name, who, holder.name, holder.program_id, how);
}

static int attach(struct sf_af_xdp_place *place, const struct mode *mode, char *message)
{
    int error;

    do {
        error = sf_flow_program_attach(&place->program, SF_FLOW_XDP, place->interface.ifindex, mode->hook_flags);
    } while (is_busy(error) && pause_while_busy(place));
    if (!error)
        place->hook_flags = mode->hook_flags;
    else if (is_busy(error))
        error = busy_interface(place, message);
    else if (error == -EPERM)
        fail(message, error, "Attaching an XDP program to interface '%s' needs CAP_NET_ADMIN and CAP_BPF: run as root", place->name);
    else
        fail(message, error,
             "Interface '%s' takes no XDP program in %s mode (%s): its driver cannot, or not with an MTU of %u; ask for mode "
             "auto or skb, or lower the MTU",
             place->name, mode->hook_flags == XDP_FLAGS_SKB_MODE ? "skb" : "native", strerror(-error), place->interface.mtu);
    return error;
}

/* ---- queues ---- */

static int explain_open(const struct sf_af_xdp_place *place, int error, char *message)
{
    size_t frames = (size_t)place->sizes.rx_frames + place->sizes.tx_frames;

    switch (error) {
    case -EPERM:
        return fail(message, error, "AF_XDP sockets need the capability CAP_NET_RAW: run as root, or grant it with setcap");
    case -EAFNOSUPPORT:
        return fail(message, error, "This kernel is built without AF_XDP (CONFIG_XDP_SOCKETS)");
    case -ENOBUFS:
        return fail(message, error,
                    "Locking %zu KiB for each queue's frames exceeds RLIMIT_MEMLOCK: raise it (ulimit -l, LimitMEMLOCK=), grant "
                    "CAP_IPC_LOCK, or use fewer frames or queues",
                    frames * place->sizes.frame_size / 1024);
    default:
        return fail(message, error, "Cannot make an AF_XDP socket for interface '%s': %s", place->name, strerror(-error));
    }
}

static int explain_bind(const struct sf_af_xdp_place *place, uint32_t queue, const struct mode *mode, int error, char *message)
{
    switch (error) {
    case -EBUSY:
        return fail(message, error,
                    "Queue %u of interface '%s' is bound by another program's AF_XDP socket: end that program, or use "
                    "another queue",
                    queue, place->name);
    case -ENETDOWN:
        return fail(message, error, "Interface '%s' is down: bring it up with 'ip link set %s up'", place->name, place->name);
    case -EPERM:
        return fail(message, error, "Binding AF_XDP to queue %u of interface '%s' needs the capability CAP_NET_RAW", queue, place->name);
    default:
        return fail(message, error, "Queue %u of interface '%s' cannot be used in %s mode%s: %s", queue, place->name, mode->name,
                    place->pieces ? " with an MTU this large (that takes Linux 6.6, and more for skb mode)" : "",
                    strerror(-error));
    }
}

static int bind_queue(struct sf_af_xdp_place *place, uint32_t index, const struct mode *mode, char *message)
{
    uint16_t flags = (uint16_t)(XDP_USE_NEED_WAKEUP | mode->bind_flags);
    uint32_t queue = place->first_queue + index;
    struct sf_xsk *xsk = &place->xsk[index];
    int error;

    do {
        error = sf_xsk_bind(xsk, place->interface.ifindex, queue, flags | (place->pieces || place->merged ? XDP_USE_SG : 0));
        if (error == -EINVAL && place->merged && !place->pieces) { /* before Linux 6.6 */
            place->merged = false;
            error = sf_xsk_bind(xsk, place->interface.ifindex, queue, flags);
        }
    } while (error == -EBUSY && pause_while_busy(place));
    if (!error)
        error = sf_flow_program_set_socket(&place->program, queue, xsk->fd);
    return error ? explain_bind(place, queue, mode, error, message) : 0;
}

static void close_queues(struct sf_af_xdp_place *place, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (place->xsk[i].fd >= 0)
            sf_xsk_close(&place->xsk[i]);
}

static int open_queue(struct sf_af_xdp_place *place, uint32_t index, char *message)
{
    struct sf_xsk_sizes sizes = place->sizes;
    int error;

    if (index > 0)
        sizes.tx_frames = 0;
    error = sf_xsk_open(&place->xsk[index], &sizes);
    while ((error == -ENOBUFS || error == -ENOMEM) && place->may_reduce && sizes.rx_frames > RX_FRAMES_LEAST) {
        place->sizes.rx_frames = sizes.rx_frames /= 2;
        place->reduced = true;
        error = sf_xsk_open(&place->xsk[index], &sizes);
    }
    return error ? explain_open(place, error, message) : 0;
}

/*
 * A socket that could not be bound serves the next mode. To make another one would need twice the locked memory: the kernel
 * counts a closed socket's for a while yet.
 */
static int open_queues(struct sf_af_xdp_place *place, const struct mode *mode, char *message)
{
    for (uint32_t i = 0; i < place->queues; i++) {
        int error = place->xsk[i].fd < 0 ? open_queue(place, i, message) : 0;

        if (!error)
            error = bind_queue(place, i, mode, message);
        if (error) {
            close_queues(place, i); /* these are bound */
            return error;
        }
    }
    return 0;
}

/* ---- modes ---- */

/* What another mode would not help with. */
static bool is_final(int error)
{
    return error == -EBUSY || error == -EPERM || error == -ENOBUFS || error == -ENETDOWN || error == -ENOMEM;
}

/* Before a program is attached that would take a VLAN's frames for untagged ones. */
static int check_tags(const struct sf_af_xdp_place *place, char *message)
{
    if (!place->tags.hidden || place->program.sees_tags)
        return 0;
    return fail(message, -EOPNOTSUPP,
                "Interface '%s' takes VLAN tags out of frames, and XDP programs do not see them in this mode: leave the tags in with "
                "'ethtool -K %s rxvlan off', or use the packet driver",
                place->name, place->name);
}

static int put_program(struct sf_af_xdp_place *place, const struct mode *mode, bool pieces, char *message)
{
    int error;

    place->limits.pieces = pieces;
    place->limits.tag_source = place->tags.told && mode->hook_flags == XDP_FLAGS_DRV_MODE ? place->interface.ifindex : 0;
    place->merged = pieces && !place->pieces;
    error = sf_flow_program_load(&place->program, &place->limits, message);
    if (!error)
        error = check_tags(place, message);
    return error ? error : attach(place, mode, message);
}

/*
 * In skb mode a program that takes pieces is tried first: without pieces the kernel has to find 64 KiB for each merged frame.
 * In native mode it is tried second, because a sender on this machine then merges segments; veth takes no other program while its
 * peer's MTU is larger than a page.
 */
static int hook(struct sf_af_xdp_place *place, const struct mode *mode, char *message)
{
    bool pieces = place->pieces || mode->hook_flags == XDP_FLAGS_SKB_MODE;
    char other[SF_DRIVER_ERROR_SIZE];
    int error;

    sf_flow_program_detach(&place->program);
    place->hook_flags = 0;
    error = put_program(place, mode, pieces, message);
    if (!error || is_final(error) || place->pieces)
        return error;
    return put_program(place, mode, !pieces, other) ? error : 0;
}

static int attempt(struct sf_af_xdp_place *place, const struct mode *mode, char *message)
{
    int error = 0;

    /* A NIC may restart its link for a program, so one that is there in the right way is kept. */
    if (place->hook_flags != mode->hook_flags)
        error = hook(place, mode, message);
    if (!error)
        error = open_queues(place, mode, message);
    if (error)
        return error;
    place->native = mode->hook_flags == XDP_FLAGS_DRV_MODE;
    place->zero_copy = mode->bind_flags == XDP_ZEROCOPY;
    return 0;
}

static int try_modes(struct sf_af_xdp_place *place, const char *wanted, char *message)
{
    bool automatic = !wanted || !*wanted || strcmp(wanted, "auto") == 0;
    int error = -EINVAL;

    snprintf(message, SF_DRIVER_ERROR_SIZE, "There is no mode '%s' of the af_xdp driver: auto, zerocopy, native, skb",
             wanted ? wanted : "");
    for (size_t i = 0; i < MODES; i++) {
        if (!automatic && strcmp(wanted, modes[i].name) != 0)
            continue;
        error = attempt(place, &modes[i], message);
        if (!error || !automatic || is_final(error))
            break;
    }
    return error;
}

/* ---- opening and closing ---- */

static int make_place(struct sf_af_xdp_place *place)
{
    size_t size = place->queues * sizeof(*place->xsk);

    place->xsk = aligned_alloc(SF_CACHE_LINE, size);
    if (!place->xsk)
        return -ENOMEM;
    memset(place->xsk, 0, size);
    for (uint32_t i = 0; i < place->queues; i++)
        place->xsk[i].fd = -1;
    return 0;
}

int sf_af_xdp_set_up(struct sf_af_xdp_place *place, const struct sf_driver_config *config, char *message)
{
    int error;

    memset(place, 0, sizeof(*place));
    place->program = SF_FLOW_PROGRAM_NONE;
    place->deadline = sf_now() + BUSY_PATIENCE;
    if ((error = check_interface(place, config, message)) || (error = choose_sizes(place, config, message)))
        return error;
    if ((error = make_place(place)))
        return fail(message, error, "Out of memory");
    place->limits.mtu = place->interface.mtu;
    sf_vlan_tags_read(&place->tags, place->name, place->interface.ifindex);
    error = sf_flow_program_open(&place->program, place->first_queue + place->queues, message);
    if (!error) {
        sf_flow_program_set_mac(&place->program, place->interface.mac);
        error = try_modes(place, config->mode, message);
    }
    if (error)
        sf_af_xdp_tear_down(place);
    return error;
}

void sf_af_xdp_tear_down(struct sf_af_xdp_place *place)
{
    sf_flow_program_close(&place->program);
    if (place->xsk)
        close_queues(place, place->queues);
    free(place->xsk);
    place->xsk = NULL;
}

/* The program stays on the interface, because the parent has the link open. */
void sf_af_xdp_abandon(struct sf_af_xdp_place *place)
{
    sf_flow_program_close(&place->program);
    for (uint32_t i = 0; i < place->queues; i++)
        sf_xsk_abandon(&place->xsk[i]);
    free(place->xsk);
}
