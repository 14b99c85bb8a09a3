#define _GNU_SOURCE 1
#include "setup.h"

#include "queues.h"
#include "drivers/driver_util.h"
#include "drivers/kernel/link_info.h"
#include "drivers/kernel/netdev_info.h"
#include "drivers/kernel/stacked_device.h"
#include "holder.h"

#include <errno.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Attaching a program restarts the link of some NICs (igb). Wait at most this time for the carrier. */
#define CARRIER_PATIENCE (6 * SF_SEC)
#define CARRIER_PAUSE (20 * SF_MS)
/* The kernel releases the queues of an ended process 12 to 20 ms later. */
#define BUSY_PATIENCE (150 * SF_MS)
#define RELEASE_PATIENCE SF_SEC /* on a busy machine */

#define HEADERS (SF_ETHERNET_HEADER + SF_VLAN_TAG) /* before the IP packet */
#define RX_FRAMES 65536       /* of each queue: 50 ms of a million packets a second */
#define RX_BYTES (256u << 20) /* of all queues together; but each of many queues gets at least RX_FRAMES_MANY */
#define RX_FRAMES_MANY 2048
#define RX_FRAMES_HOT 2048 /* of a socket with an overflow */
#define RX_FRAMES_HOT_ZERO_COPY 4096
#define OVERFLOW_BYTES 2048 /* for a frame: enough for an MTU of 1,500 */
#define TX_FRAMES 1024
#define FRAMES_MAX 65536
#define FRAME_SMALL 2048
#define FRAME_LARGE 4096

/* In order of preference. */
static const struct sf_af_xdp_mode modes[] = {
    {"zerocopy", XDP_FLAGS_DRV_MODE, XDP_ZEROCOPY},
    {"native", XDP_FLAGS_DRV_MODE, XDP_COPY},
    {"skb", XDP_FLAGS_SKB_MODE, XDP_COPY},
};
#define MODES (sizeof(modes) / sizeof(modes[0]))

/* ---- the configuration ---- */

static bool wants_skb(const struct sf_driver_config *config)
{
    return config->mode && strcmp(config->mode, "skb") == 0;
}

static int check_interface(struct sf_af_xdp_place *place, const struct sf_driver_config *config, char *message)
{
    const char *name = config->interface;
    uint32_t queues;
    int error;

    if (!name || !*name)
        return sf_driver_refuse(message, -EINVAL,
                                "The af_xdp driver needs the name of an interface, such as eth0; none was given");
    error = sf_interface_read(name, &place->interface);
    if (error == -ENODEV)
        return sf_driver_refuse(message, error,
                                "There is no interface '%s' in this network namespace; 'ip link' lists those there are", name);
    if (error)
        return sf_driver_refuse(message, error, "Cannot read the properties of interface '%s': %s", name, strerror(-error));
    strcpy(place->name, name);
    if (!place->interface.up)
        return sf_driver_refuse(message, -ENETDOWN, "Interface '%s' is down: bring it up with 'ip link set %s up'", name, name);
    queues = sf_af_xdp_count_queues(place);
    if (config->queue >= 0 && (uint32_t)config->queue >= queues)
        return sf_driver_refuse(message, -EINVAL,
                                "Interface '%s' has %u receive queue(s), counted from 0; queue %d was asked for", name, queues,
                                config->queue);
    place->first_queue = config->queue < 0 ? 0 : (uint32_t)config->queue;
    place->all_queues = config->queue < 0;
    return sf_stacked_device_check(name, place->interface.ifindex, wants_skb(config) ? SF_TAP_KERNEL : SF_TAP_NATIVE, message);
}

static uint32_t power_of_two(uint32_t frames)
{
    uint32_t power = 64;

    while (power < frames)
        power *= 2;
    return power;
}

uint32_t sf_af_xdp_ring_size(const struct sf_af_xdp_place *place, uint32_t frame_size, uint32_t queues)
{
    uint32_t frames = RX_FRAMES;

    if (sf_overflow_is_open(&place->overflow))
        frames = frame_size == FRAME_LARGE ? RX_FRAMES_HOT_ZERO_COPY : RX_FRAMES_HOT;
    else if (place->rx_frames)
        return place->rx_frames;
    while (frames > RX_FRAMES_MANY && (uint64_t)frames * frame_size * queues > RX_BYTES)
        frames /= 2;
    return frames;
}

static int choose_sizes(struct sf_af_xdp_place *place, const struct sf_driver_config *config, char *message)
{
    struct sf_xsk_sizes *sizes = &place->sizes;

    if (config->frame_size && config->frame_size != FRAME_SMALL && config->frame_size != FRAME_LARGE)
        return sf_driver_refuse(message, -EINVAL, "A frame_size of %u was asked for; AF_XDP has 2048 and 4096 bytes",
                                config->frame_size);
    if (config->rx_frames > FRAMES_MAX || config->tx_frames > FRAMES_MAX)
        return sf_driver_refuse(message, -EINVAL,
                                "%u frames to receive into and %u to send from were asked for; at most %d each are possible",
                                config->rx_frames, config->tx_frames, FRAMES_MAX);
    place->frame_size = config->frame_size;
    place->pieces = place->interface.mtu + HEADERS + SF_XSK_HEADROOM > (config->frame_size ? config->frame_size : FRAME_LARGE);
    place->rx_frames = config->rx_frames ? power_of_two(config->rx_frames) : 0;
    sizes->tx_frames = power_of_two(config->tx_frames ? config->tx_frames : TX_FRAMES);
    return 0;
}

/* ---- attaching ---- */

/* An interface has one XDP program: -EBUSY if one is attached in this mode, -EEXIST if in the other mode. */
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
    return sf_driver_refuse(message, -EBUSY,
                            "Interface '%s' takes one XDP program, and has that of %s (program '%s', id %u); %s, or use the "
                            "packet driver or another interface",
                            place->name, who, holder.name, holder.program_id, how);
}

static int attach(struct sf_af_xdp_place *place, const struct sf_af_xdp_mode *mode, char *message)
{
    int error;

    do {
        error = sf_flow_program_attach(&place->program, SF_FLOW_XDP, place->interface.ifindex, mode->hook_flags);
    } while (is_busy(error) && sf_af_xdp_pause(place));
    if (!error)
        place->hook_flags = mode->hook_flags;
    else if (is_busy(error))
        error = busy_interface(place, message);
    else if (error == -EPERM)
        sf_driver_refuse(message, error,
                         "Attaching an XDP program to interface '%s' needs CAP_NET_ADMIN and CAP_BPF: run as root", place->name);
    else
        sf_driver_refuse(message, error,
                         "Interface '%s' takes no XDP program in %s mode (%s), perhaps because of its MTU of %u; use mode "
                         "auto or skb, or lower the MTU",
                         place->name, mode->hook_flags == XDP_FLAGS_SKB_MODE ? "skb" : "native", strerror(-error),
                         place->interface.mtu);
    return error;
}

/* ---- modes ---- */

/* No other mode helps with these errors. */
static bool is_final(int error)
{
    return error == -EBUSY || error == -EPERM || error == -ENOBUFS || error == -ENETDOWN || error == -ENOMEM;
}

/* On failure the sockets hold all frames. */
static void open_overflow(struct sf_af_xdp_place *place)
{
    uint32_t frames = place->rx_frames ? place->rx_frames : RX_FRAMES;

    if (frames > RX_FRAMES_HOT && !sf_overflow_open(&place->overflow, (size_t)frames * OVERFLOW_BYTES, RX_FRAMES_HOT / 2))
        place->limits.overflow = &place->overflow;
}

static void close_overflow(struct sf_af_xdp_place *place)
{
    sf_overflow_close(&place->overflow);
    place->limits.overflow = NULL;
}

/*
 * Checks for a program that would take a VLAN's frames for untagged ones. A virtual interface gets such frames only from its
 * neighbours, so a user who names the mode may have it.
 */
static int check_tags(struct sf_af_xdp_place *place, char *message)
{
    place->tags_unseen = place->tags.aside != SF_TAGS_IN_FRAMES && !place->program.sees_tags;
    if (!place->tags_unseen)
        return 0;
    if (place->tags.aside == SF_TAGS_BY_NIC)
        return sf_driver_refuse(message, -EOPNOTSUPP,
                                "Interface '%s' removes VLAN tags from frames, and XDP programs do not see them in this mode; keep the tags "
                                "with 'ethtool -K %s rxvlan off', or use the packet driver",
                                place->name, place->name);
    if (place->automatic)
        return sf_driver_refuse(message, -EOPNOTSUPP,
                                "Interface '%s' gets frames whose VLAN tags the kernel has removed, and XDP programs do not see them in this "
                                "mode; use the packet driver, which sees them",
                                place->name);
    return 0;
}

static int put_program(struct sf_af_xdp_place *place, const struct sf_af_xdp_mode *mode, bool pieces, char *message)
{
    int error;

    place->limits.pieces = pieces;
    place->limits.tag_source = place->tags.told && mode->hook_flags == XDP_FLAGS_DRV_MODE ? place->interface.ifindex : 0;
    place->limits.many_cpus = mode->hook_flags == XDP_FLAGS_SKB_MODE;
    place->merged = pieces && !place->pieces;
    error = sf_flow_program_load(&place->program, &place->limits, message);
    if (!error && !place->program.overflows)
        close_overflow(place);
    if (!error)
        error = check_tags(place, message);
    return error ? error : attach(place, mode, message);
}

/*
 * In skb mode a program for pieces is tried first, because without pieces the kernel has to allocate 64 KiB for each merged
 * frame. In native mode it is tried second, because it makes a sender on this machine merge segments. It is needed there, because
 * veth takes no other program while its peer's MTU is larger than a page.
 */
static int hook(struct sf_af_xdp_place *place, const struct sf_af_xdp_mode *mode, char *message)
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

/*
 * Zero copy uses large frames, because a NIC's driver may round down the room after the headroom: igb makes 1,024 bytes of 1,792,
 * and splits longer frames. In copy mode smaller frames stay in the cache.
 */
static uint32_t frame_size_for(const struct sf_af_xdp_place *place, const struct sf_af_xdp_mode *mode)
{
    if (place->frame_size)
        return place->frame_size;
    if (mode->bind_flags == XDP_ZEROCOPY || place->interface.mtu + HEADERS + SF_XSK_HEADROOM > FRAME_SMALL)
        return FRAME_LARGE;
    return FRAME_SMALL;
}

/* Sockets that the last mode could not bind have frames of that mode's size, so reopen them if this mode's size differs. */
static void choose_frames(struct sf_af_xdp_place *place, const struct sf_af_xdp_mode *mode, uint32_t queues)
{
    uint32_t size = frame_size_for(place, mode);

    if (place->sizes.frame_size == size)
        return;
    if (place->sizes.frame_size) {
        sf_af_xdp_close_queues(place);
        place->reopened = true;
        place->deadline = sf_now() + BUSY_PATIENCE;
    }
    place->sizes.frame_size = size;
    place->sizes.rx_frames = sf_af_xdp_ring_size(place, size, queues);
    place->reduced = false;
}

/* Counts the queues again, because attaching may have changed their number. */
static int open_queues(struct sf_af_xdp_place *place, const struct sf_af_xdp_mode *mode, char *message)
{
    uint32_t count = place->all_queues ? sf_af_xdp_count_queues(place) : 1;
    int error;

    choose_frames(place, mode, count);
    place->deadline = sf_now() + RELEASE_PATIENCE; /* the program is ours, so the queues' last owner is gone */
    error = sf_af_xdp_open_queues(place, count < place->places ? count : place->places, mode, message);
    if (error)
        sf_af_xdp_unbind_queues(place);
    else
        place->missing = count > place->places ? count - place->places : 0;
    return error;
}

static int attempt(struct sf_af_xdp_place *place, const struct sf_af_xdp_mode *mode, char *message)
{
    int error = 0;

    /* Keep a program that is attached in the right way, because a NIC may restart its link for a new one. */
    if (place->hook_flags != mode->hook_flags)
        error = hook(place, mode, message);
    if (!error)
        error = open_queues(place, mode, message);
    if (error)
        return error;
    place->mode = mode;
    place->native = mode->hook_flags == XDP_FLAGS_DRV_MODE;
    place->zero_copy = mode->bind_flags == XDP_ZEROCOPY;
    return 0;
}

static int try_modes(struct sf_af_xdp_place *place, const char *wanted, char *message)
{
    bool automatic = !wanted || !*wanted || strcmp(wanted, "auto") == 0;
    int error = -EINVAL;

    place->automatic = automatic;
    snprintf(message, SF_DRIVER_ERROR_SIZE, "The af_xdp driver has no mode '%s'; its modes are auto, zerocopy, native, skb",
             wanted ? wanted : "");
    for (size_t i = 0; i < MODES; i++) {
        if (!automatic && strcmp(wanted, modes[i].name) != 0)
            continue;
        if (automatic && modes[i].bind_flags == XDP_ZEROCOPY &&
            sf_netdev_zero_copy(place->interface.ifindex) == SF_ZERO_COPY_NONE)
            continue;
        error = attempt(place, &modes[i], message);
        if (automatic && error == -ENOBUFS && modes[i].bind_flags == XDP_ZEROCOPY)
            continue; /* copy mode takes smaller frames */
        if (!error || !automatic || is_final(error))
            break;
    }
    return error;
}

/* ---- opening and closing ---- */

/* The array never moves, because tokens of lent frames are indices into it. */
static int make_place(struct sf_af_xdp_place *place)
{
    place->places = place->all_queues ? sf_af_xdp_most_queues(place) : 1;
    place->xsk = aligned_alloc(SF_CACHE_LINE, place->places * sizeof(*place->xsk));
    if (!place->xsk)
        return -ENOMEM;
    for (uint32_t i = 0; i < place->places; i++)
        place->xsk[i].fd = -1;
    return 0;
}

/*
 * Attaching may have taken the link down. Meanwhile the kernel's routes lead nowhere, and a connection made then would stay with
 * the kernel for its whole life.
 */
static void wait_for_carrier(const struct sf_af_xdp_place *place)
{
    const struct timespec pause = {.tv_nsec = CARRIER_PAUSE};
    sf_ns end = sf_now() + CARRIER_PATIENCE;
    struct sf_link_info link;

    while (sf_link_read(place->interface.ifindex, &link) == 0 && !(link.carrier && link.running) && sf_now() < end)
        nanosleep(&pause, NULL);
}

int sf_af_xdp_set_up(struct sf_af_xdp_place *place, const struct sf_driver_config *config, char *message)
{
    struct sf_link_info before;
    int error;

    memset(place, 0, sizeof(*place));
    place->program = SF_FLOW_PROGRAM_NONE;
    sf_overflow_none(&place->overflow);
    sf_reset_guard_none(&place->guard);
    place->deadline = sf_now() + BUSY_PATIENCE;
    place->namespace = sf_af_xdp_namespace();
    if ((error = check_interface(place, config, message)) || (error = choose_sizes(place, config, message)))
        return error;
    if ((error = make_place(place)))
        return sf_driver_refuse(message, error, "Out of memory");
    place->limits.mtu = place->interface.mtu;
    sf_vlan_tags_read(&place->tags, place->name, place->interface.ifindex);
    if (sf_link_read(place->interface.ifindex, &before))
        before.carrier = false;
    error = sf_flow_program_open(&place->program, place->first_queue + place->places, message);
    if (!error) {
        sf_flow_program_set_mac(&place->program, place->interface.mac);
        open_overflow(place);
        error = try_modes(place, config->mode, message);
    }
    if (error)
        sf_af_xdp_tear_down(place);
    else if (before.carrier && before.running)
        wait_for_carrier(place);
    if (!error)
        (void)sf_reset_guard_open(&place->guard, &place->program); /* optional: caps.mode reports its absence */
    return error;
}

void sf_af_xdp_tear_down(struct sf_af_xdp_place *place)
{
    sf_flow_program_close(&place->program);
    sf_overflow_close(&place->overflow);
    sf_reset_guard_close(&place->guard);
    if (place->xsk)
        sf_af_xdp_close_queues(place);
    free(place->xsk);
    place->xsk = NULL;
}

/* The program stays attached, because the parent has the link open. */
void sf_af_xdp_abandon(struct sf_af_xdp_place *place)
{
    sf_flow_program_close(&place->program);
    sf_overflow_abandon(&place->overflow);
    sf_reset_guard_close(&place->guard);
    for (uint32_t i = 0; i < place->places; i++)
        if (place->xsk[i].fd >= 0)
            sf_xsk_abandon(&place->xsk[i]);
    free(place->xsk);
}
