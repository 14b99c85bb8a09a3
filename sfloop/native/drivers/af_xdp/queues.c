#define _GNU_SOURCE 1
#include "queues.h"

#include "drivers/driver_util.h"
#include "drivers/kernel/link_info.h"
#include "drivers/kernel/netdev_info.h"

#include <dirent.h>
#include <sys/stat.h>

#define BUSY_PAUSE (2 * SF_MS)
#define QUEUES_MAX 1024
#define RX_FRAMES_LEAST 256 /* if memory is short */

bool sf_af_xdp_pause(const struct sf_af_xdp_place *place)
{
    struct timespec pause = {.tv_nsec = BUSY_PAUSE};

    if (sf_now() >= place->deadline)
        return false;
    nanosleep(&pause, NULL);
    return true;
}

/* ---- counting ---- */

/* True: /sys shows this interface. It may be mounted for another network namespace. */
static bool is_in_sys(const struct sf_af_xdp_place *place)
{
    const uint8_t *mac = place->interface.mac;
    char path[64], found[20] = "", expected[20];
    FILE *file;

    snprintf(path, sizeof(path), "/sys/class/net/%s/address", place->name);
    file = fopen(path, "re");
    if (!file)
        return false;
    if (!fgets(found, sizeof(found), file))
        found[0] = 0;
    fclose(file);
    snprintf(expected, sizeof(expected), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    return strncmp(found, expected, 17) == 0;
}

/* 0: not known. */
static uint32_t count_in_sys(const struct sf_af_xdp_place *place)
{
    uint32_t count = 0;
    struct dirent *entry;
    char path[64];
    DIR *folder;

    if (!is_in_sys(place))
        return 0;
    snprintf(path, sizeof(path), "/sys/class/net/%s/queues", place->name);
    folder = opendir(path);
    if (!folder)
        return 0;
    while ((entry = readdir(folder)))
        count += strncmp(entry->d_name, "rx-", 3) == 0;
    closedir(folder);
    return count;
}

/* Counts receive queues. The first two sources also know the queues that the driver has added; ethtool knows only those that
 * were configured. */
uint32_t sf_af_xdp_count_queues(const struct sf_af_xdp_place *place)
{
    struct sf_interface_info now;
    uint32_t count = sf_netdev_rx_queues(place->interface.ifindex);

    if (!count)
        count = count_in_sys(place);
    if (!count)
        count = sf_interface_read(place->name, &now) ? place->interface.queues : now.queues;
    return count;
}

uint32_t sf_af_xdp_most_queues(const struct sf_af_xdp_place *place)
{
    uint32_t most = place->interface.queues_most, count = sf_af_xdp_count_queues(place);
    struct sf_link_info link;

    if (!sf_link_read(place->interface.ifindex, &link) && link.rx_queues_most > most)
        most = link.rx_queues_most;
    if (most < count)
        most = count;
    return most < QUEUES_MAX ? most : QUEUES_MAX;
}

/* ---- reasons for a failure ---- */

static int explain_open(const struct sf_af_xdp_place *place, int error, char *message)
{
    size_t frames = (size_t)place->sizes.rx_frames + place->sizes.tx_frames;

    switch (error) {
    case -EPERM:
        return sf_driver_refuse(message, error,
                              "AF_XDP sockets need the capability CAP_NET_RAW; run as root, or grant it with setcap");
    case -EAFNOSUPPORT:
        return sf_driver_refuse(message, error, "This kernel is built without AF_XDP (CONFIG_XDP_SOCKETS)");
    case -ENOBUFS:
        return sf_driver_refuse(message, error,
                              "Locking %zu KiB for each queue's frames exceeds RLIMIT_MEMLOCK; raise it (ulimit -l, "
                              "LimitMEMLOCK=), grant CAP_IPC_LOCK, or use fewer frames or queues",
                              frames * place->sizes.frame_size / 1024);
    default:
        return sf_driver_refuse(message, error, "Cannot create an AF_XDP socket for interface '%s': %s", place->name,
                              strerror(-error));
    }
}

static int explain_bind(const struct sf_af_xdp_place *place, uint32_t queue, const struct sf_af_xdp_mode *mode, int error,
                        char *message)
{
    switch (error) {
    case -EBUSY:
        return sf_driver_refuse(message, error,
                              "An AF_XDP socket of another program has queue %u of interface '%s'; end that program, or "
                              "use another queue",
                              queue, place->name);
    case -ENETDOWN:
        return sf_driver_refuse(message, error, "Interface '%s' is down; bring it up with 'ip link set %s up'", place->name,
                              place->name);
    case -EPERM:
        return sf_driver_refuse(message, error, "Binding AF_XDP to queue %u of interface '%s' needs the capability CAP_NET_RAW",
                              queue, place->name);
    default:
        return sf_driver_refuse(message, error, "Queue %u of interface '%s' cannot be used in %s mode%s: %s", queue, place->name,
                              mode->name,
                              place->pieces ? " with this large MTU (Linux 6.6 can, and a later one in skb mode)" : "",
                              strerror(-error));
    }
}

/* ---- opening ---- */

/* The kernel counts a closed socket's memory for a while, which matters after a change of frame size. */
static int open_queue(struct sf_af_xdp_place *place, uint32_t index, char *message)
{
    struct sf_xsk_sizes sizes = place->sizes;
    int error;

    if (index > 0)
        sizes.tx_frames = 0;
    do {
        error = sf_xsk_open(&place->xsk[index], &sizes);
    } while (error == -ENOBUFS && place->reopened && sf_af_xdp_pause(place));
    while ((error == -ENOBUFS || error == -ENOMEM) && !place->rx_frames && sizes.rx_frames > RX_FRAMES_LEAST) {
        place->sizes.rx_frames = sizes.rx_frames /= 2;
        place->reduced = true;
        error = sf_xsk_open(&place->xsk[index], &sizes);
    }
    return error ? explain_open(place, error, message) : 0;
}

static int bind_once(struct sf_af_xdp_place *place, uint32_t index, uint16_t flags)
{
    const struct sf_xsk *xsk = &place->xsk[index];
    uint32_t queue = place->first_queue + index;
    int error = sf_xsk_bind(xsk, place->interface.ifindex, queue, flags | (place->pieces || place->merged ? XDP_USE_SG : 0));

    if (error == -EINVAL && place->merged && !place->pieces) { /* Linux before 6.6 */
        place->merged = false;
        error = sf_xsk_bind(xsk, place->interface.ifindex, queue, flags);
    }
    return error;
}

static int bind_patiently(struct sf_af_xdp_place *place, uint32_t index, uint16_t flags)
{
    int error;

    do {
        error = bind_once(place, index, flags);
    } while (error == -EBUSY && sf_af_xdp_pause(place));
    return error;
}

/*
 * virtio_net adds queues beyond those that ethtool knows when a program is attached, and removes them with it. In Linux 7.3 it
 * then keeps a reference to the memory of a zero-copy socket on such a queue, and the kernel crashes when the queue is added the
 * next time.
 */
static bool may_be_zero_copy(const struct sf_af_xdp_place *place, uint32_t index)
{
    return place->first_queue + index < place->interface.queues;
}

/* If the first queue has zero copy and another cannot, the other copies, because its frames would otherwise be lost to us. */
static int bind_queue(struct sf_af_xdp_place *place, uint32_t index, const struct sf_af_xdp_mode *mode, char *message)
{
    bool zero_copy = mode->bind_flags == XDP_ZEROCOPY;
    uint32_t queue = place->first_queue + index;
    int error = -EOPNOTSUPP;

    if (!zero_copy || index == 0 || may_be_zero_copy(place, index))
        error = bind_patiently(place, index, (uint16_t)(XDP_USE_NEED_WAKEUP | mode->bind_flags));
    if (zero_copy && index > 0 && (error == -EINVAL || error == -EOPNOTSUPP)) {
        error = bind_patiently(place, index, XDP_USE_NEED_WAKEUP | XDP_COPY);
        place->copied += !error;
    }
    if (!error) {
        place->xsk[index].overflow = sf_overflow_begin(&place->overflow, queue);
        error = sf_flow_program_set_socket(&place->program, queue, place->xsk[index].fd);
    }
    return error ? explain_bind(place, queue, mode, error, message) : 0;
}

int sf_af_xdp_open_queues(struct sf_af_xdp_place *place, uint32_t count, const struct sf_af_xdp_mode *mode, char *message)
{
    while (place->queues < count) {
        uint32_t index = place->queues;
        int error = place->xsk[index].fd < 0 ? open_queue(place, index, message) : 0;

        if (!error)
            error = bind_queue(place, index, mode, message);
        if (error)
            return error;
        place->queues++;
    }
    return 0;
}

static void close_from(struct sf_af_xdp_place *place, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++)
        if (place->xsk[i].fd >= 0)
            sf_xsk_close(&place->xsk[i]);
}

void sf_af_xdp_unbind_queues(struct sf_af_xdp_place *place)
{
    close_from(place, 0, place->queues);
    place->queues = place->copied = 0;
}

void sf_af_xdp_close_queues(struct sf_af_xdp_place *place)
{
    close_from(place, 0, place->places);
    place->queues = place->copied = 0;
}

/* ---- following the interface ---- */

uint64_t sf_af_xdp_namespace(void)
{
    struct stat status;

    return stat("/proc/thread-self/ns/net", &status) < 0 ? 0 : (uint64_t)status.st_ino;
}

bool sf_af_xdp_follow_queues(struct sf_af_xdp_place *place)
{
    char message[SF_DRIVER_ERROR_SIZE];
    uint32_t count, size, before = place->queues;
    struct sf_interface_info now;

    if (!place->all_queues)
        return true;
    if (sf_af_xdp_namespace() != place->namespace)
        return false;
    if (sf_interface_read(place->name, &now) == 0 && now.ifindex == place->interface.ifindex)
        place->interface.queues = now.queues;
    count = sf_af_xdp_count_queues(place);
    size = sf_af_xdp_ring_size(place, place->sizes.frame_size, count);
    if (size < place->sizes.rx_frames) /* only for new queues; existing ones keep their size */
        place->sizes.rx_frames = size;
    place->deadline = 0; /* the loop runs, so do not wait: try a busy queue again later */
    (void)sf_af_xdp_open_queues(place, count < place->places ? count : place->places, place->mode, message);
    if (place->queues > before)
        (void)sf_flow_program_reload(&place->program, &place->limits); /* on failure the kernel gets the frames */
    place->missing = count > place->queues ? count - place->queues : 0;
    return !place->missing || place->queues == place->places;
}

/* ---- description ---- */

static const char *plural(uint32_t count)
{
    return count > 1 ? "s" : "";
}

void sf_af_xdp_describe(const struct sf_af_xdp_place *place, struct sf_driver_caps *caps)
{
    sf_mode_add(caps, "%s, %s%s, %u queue%s of %u%s + %u frames of %u bytes%s", place->native ? "native" : "skb",
                place->zero_copy ? "zero copy" : "copy", place->pieces ? ", pieces" : "", place->queues, plural(place->queues),
                place->sizes.rx_frames, place->reduced ? " (no more by RLIMIT_MEMLOCK)" : "", place->sizes.tx_frames,
                place->sizes.frame_size,
                place->merged ? ", merged segments" : "");
    if (sf_overflow_is_open(&place->overflow))
        sf_mode_add(caps, ", overflow of %zu MiB", place->overflow.ring.size >> 20);
    if (place->copied)
        sf_mode_add(caps, ", %u queue%s copied", place->copied, plural(place->copied));
    if (place->tags_unseen)
        sf_mode_add(caps, ", VLAN tags unseen");
    if (!sf_flow_program_sees_ports(&place->program))
        sf_mode_add(caps, ", ports unwatched");
    if (place->guard.link < 0)
        sf_mode_add(caps, ", no reset guard");
    if (place->missing)
        sf_mode_add(caps, "; %u queue%s without a socket, by the kernel: restart as root", place->missing, plural(place->missing));
}
