/* Shared by the drivers: errors in words, and the functions of a wrapper that only pass a call on. */
#ifndef SF_DRIVER_UTIL_H
#define SF_DRIVER_UTIL_H

#include "sf/driver.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SF_ETHERNET_HEADER 14
#define SF_VLAN_TAG 4

/* Writes a sentence into `message` (SF_DRIVER_ERROR_SIZE bytes) and returns the error. */
__attribute__((format(printf, 3, 4))) static inline int sf_driver_refuse(char *message, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(message, SF_DRIVER_ERROR_SIZE, format, args);
    va_end(args);
    return error;
}

/* For an open function: `return sf_driver_fail(error, message, -EINVAL, "shm: …", …);` also sets *error, and returns NULL. */
#define sf_driver_fail(error, message, code, ...)                             \
    (*(error) = sf_driver_refuse((message), (code), __VA_ARGS__), (struct sf_driver *)NULL)

/* ---- in a forked child ---- */

/* Call this once after mapping memory for the NIC or the kernel. They write to the parent's pages, which must not be copied,
 * so a forked child finds zeroes instead. Huge pages cannot be zeroed, so the child has a hole there. */
static inline void sf_keep_from_children(void *memory, size_t size)
{
    if (madvise(memory, size, MADV_WIPEONFORK) < 0)
        madvise(memory, size, MADV_DONTFORK);
}

/* Replaces the child's shared mapping with zeroes, because lent frames in it may still be read. */
static inline void sf_leave_mapping(void *memory, size_t size)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;

    if (mmap(memory, size, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED)
        munmap(memory, size);
}

static inline void sf_close_descriptor(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* The common head of wrappers. */
struct sf_wrapper {
    struct sf_driver driver;
    struct sf_driver *below;
};

static inline struct sf_driver *sf_below(struct sf_driver *driver)
{
    return ((struct sf_wrapper *)driver)->below;
}

static inline int sf_pass_rx_burst(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    return sf_below(driver)->fast.rx_burst(sf_below(driver), frames, n);
}

static inline void sf_pass_rx_release(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    sf_below(driver)->fast.rx_release(sf_below(driver), frames, n);
}

static inline int sf_pass_tx_reserve(struct sf_driver *driver, uint32_t len, struct sf_frame *pieces, int max)
{
    return sf_below(driver)->fast.tx_reserve(sf_below(driver), len, pieces, max);
}

static inline void sf_pass_tx_cancel(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    sf_below(driver)->fast.tx_cancel(sf_below(driver), pieces, n);
}

static inline void sf_pass_tx_commit(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    sf_below(driver)->fast.tx_commit(sf_below(driver), pieces, n);
}

static inline void sf_pass_tx_flush(struct sf_driver *driver)
{
    sf_below(driver)->fast.tx_flush(sf_below(driver));
}

static inline void sf_pass_caps(struct sf_driver *driver, struct sf_driver_caps *caps)
{
    sf_below(driver)->fast.control->caps(sf_below(driver), caps);
}

static inline void sf_pass_stats(struct sf_driver *driver, struct sf_driver_stats *stats)
{
    sf_below(driver)->fast.control->stats(sf_below(driver), stats);
}

static inline int sf_pass_filter_add(struct sf_driver *driver, const struct sf_flow *flow)
{
    return sf_below(driver)->fast.control->filter_add(sf_below(driver), flow);
}

static inline int sf_pass_filter_del(struct sf_driver *driver, const struct sf_flow *flow)
{
    return sf_below(driver)->fast.control->filter_del(sf_below(driver), flow);
}

static inline int sf_pass_arm(struct sf_driver *driver, int *fd)
{
    return sf_below(driver)->fast.control->arm(sf_below(driver), fd);
}

static inline void sf_pass_disarm(struct sf_driver *driver)
{
    sf_below(driver)->fast.control->disarm(sf_below(driver));
}

static inline int sf_pass_sniff(struct sf_driver *driver, bool on)
{
    const struct sf_driver_control *control = sf_below(driver)->fast.control;

    return control->sniff ? control->sniff(sf_below(driver), on) : -EOPNOTSUPP;
}

/* Only for a wrapper that commits below exactly the frames committed to it, because stamps refer to frames by number. */
static inline int sf_pass_tx_stamps(struct sf_driver *driver, struct sf_stamp *stamps, int max)
{
    const struct sf_driver_control *control = sf_below(driver)->fast.control;

    return control->tx_stamps ? control->tx_stamps(sf_below(driver), stamps, max) : 0;
}

static inline void sf_pass_rx_stamps(struct sf_driver *driver, bool on)
{
    sf_driver_rx_stamps(sf_below(driver), on);
}

static inline int sf_pass_watch_port(struct sf_driver *driver, uint8_t protocol, uint16_t port, bool on)
{
    const struct sf_driver_control *control = sf_below(driver)->fast.control;

    return control->watch_port ? control->watch_port(sf_below(driver), protocol, port, on) : -EOPNOTSUPP;
}

static inline uint32_t sf_pass_port_changes(struct sf_driver *driver, uint8_t protocol)
{
    const struct sf_driver_control *control = sf_below(driver)->fast.control;

    return control->port_changes ? control->port_changes(sf_below(driver), protocol) : 0;
}

static inline int sf_pass_filter_renew(struct sf_driver *driver, const struct sf_flow *flow)
{
    const struct sf_driver_control *control = sf_below(driver)->fast.control;

    return control->filter_renew ? control->filter_renew(sf_below(driver), flow) : -EOPNOTSUPP;
}

static inline int sf_pass_kept_resets(struct sf_driver *driver, struct sf_kept_reset *resets, int n)
{
    const struct sf_driver_control *control = sf_below(driver)->fast.control;

    return control->kept_resets ? control->kept_resets(sf_below(driver), resets, n) : 0;
}

static inline int sf_pass_kept_resets_fd(struct sf_driver *driver)
{
    const struct sf_driver_control *control = sf_below(driver)->fast.control;

    return control->kept_resets_fd ? control->kept_resets_fd(sf_below(driver)) : -1;
}

static inline sf_ns sf_pass_due(struct sf_driver *driver)
{
    return sf_driver_due(sf_below(driver));
}

/* Appends to caps.mode: "2 x 1024 frames" becomes "2 x 1024 frames, pcap to feed.pcap". */
__attribute__((format(printf, 2, 3))) static inline void sf_mode_add(struct sf_driver_caps *caps, const char *format, ...)
{
    size_t used = strnlen(caps->mode, sizeof(caps->mode));
    va_list args;

    va_start(args, format);
    if (used < sizeof(caps->mode))
        vsnprintf(caps->mode + used, sizeof(caps->mode) - used, format, args);
    va_end(args);
}

/* The operations that every wrapper passes on unchanged, for its struct sf_driver_control. */
#define SF_PASS_CONTROL                       \
    .filter_add = sf_pass_filter_add,         \
    .filter_del = sf_pass_filter_del,         \
    .disarm = sf_pass_disarm,                 \
    .sniff = sf_pass_sniff,                   \
    .rx_stamps = sf_pass_rx_stamps,           \
    .watch_port = sf_pass_watch_port,         \
    .port_changes = sf_pass_port_changes,     \
    .filter_renew = sf_pass_filter_renew,     \
    .kept_resets = sf_pass_kept_resets,       \
    .kept_resets_fd = sf_pass_kept_resets_fd

#endif
