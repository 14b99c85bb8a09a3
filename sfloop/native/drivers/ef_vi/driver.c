/*
 * The ef_vi driver behind the seam, its sleep, and its recovery. A NIC that is reset loses its virtual interfaces, and so does an
 * event queue that overflows. The driver then creates everything again on the same memory, once no frame is lent and the NIC is
 * back. A NIC that stays away, or whose interface is gone, is dead.
 */
#define _GNU_SOURCE
#include "driver.h"
#include "storage/epoll.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define CHECK_EVERY (100 * SF_MS)
#define ADDRESSES_EVERY SF_SEC
#define RETRY_EVERY (50 * SF_MS)
#define RETRY_PATIENCE (10 * SF_SEC)
#define RX_LENT_REFS 64 /* EFCT: each lent frame may hold back a megabyte */

SF_DRIVER_EXPORT struct sf_driver *sf_driver_ef_vi_open(const struct sf_driver_config *config, int *error, char *message);
SF_DRIVER_EXPORT int sf_driver_ef_vi_probe(char *message);
SF_DRIVER_EXPORT extern const uint32_t sf_driver_abi;

/* ---- while the NIC is away ---- */

static void wake_at(struct efvi *d, sf_ns when)
{
    const struct itimerspec at = {.it_value = {.tv_sec = when / SF_SEC, .tv_nsec = when % SF_SEC}};

    timerfd_settime(d->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

void efvi_lose(struct efvi *d)
{
    if (d->state != EFVI_UP)
        return;
    d->state = EFVI_LOST;
    d->news = true;
    d->lost_since = sf_now();
    d->retry_at = d->lost_since; /* at once, because an overflow is over by then */
    d->stats.tx_errors += d->tx.buffers - d->tx.n_free; /* frames under way, which may or may not have left */
    wake_at(d, d->retry_at);
}

static void die(struct efvi *d)
{
    d->state = EFVI_DEAD;
    d->news = true;
    wake_at(d, sf_now());
}

static void come_back(struct efvi *d)
{
    char message[SF_DRIVER_ERROR_SIZE];
    sf_ns now = sf_now();
    int rc;

    if (now < d->retry_at)
        return;
    efvi_tear_down(d);
    rc = efvi_bring_up(d, message);
    if (rc == 0) {
        d->recoveries++;
        d->news = true;
        return;
    }
    if (sf_interface_read(d->name, &d->interface) == -ENODEV || now - d->lost_since > RETRY_PATIENCE) {
        die(d);
        return;
    }
    d->retry_at = now + RETRY_EVERY;
    wake_at(d, d->retry_at);
}

/* Frames received before are still valid. */
static int burst_without_nic(struct efvi *d, struct sf_frame *frames, int n)
{
    if (d->rx.first != d->rx.whole)
        return efvi_hand_out(d, frames, n);
    if (d->state == EFVI_LOST && !d->rx.lent)
        come_back(d);
    return 0;
}

/* ---- every turn ---- */

static int ef_vi_rx_burst(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    struct efvi *d = efvi_of(driver);
    ef_event events[EFVI_EVENTS];
    int n_events;

    if (SF_UNLIKELY(d->state != EFVI_UP))
        return burst_without_nic(d, frames, n);
    if (SF_UNLIKELY(d->rx.first != d->rx.whole))
        return efvi_hand_out(d, frames, n);
    n_events = ef_eventq_poll(&d->vi, events, EFVI_EVENTS);
    if (SF_UNLIKELY(n_events > 0))
        return efvi_take_events(d, events, n_events, frames, n);
    efvi_refill_at(d, d->rx.refill_at);
    return 0;
}

/* ---- control ---- */

static void check_now_and_then(struct efvi *d)
{
    sf_ns now = sf_now();

    if (now - d->checked < CHECK_EVERY || d->state == EFVI_DEAD)
        return;
    d->checked = now;
    if (sf_interface_read(d->name, &d->interface) == -ENODEV) {
        die(d);
        return;
    }
    if (d->n_any && d->state == EFVI_UP && now - d->addresses_checked >= ADDRESSES_EVERY) {
        d->addresses_checked = now;
        efvi_flows_follow_addresses(d);
    }
}

static const char *architecture(const struct efvi *d)
{
    switch (d->vi.nic_type.arch) {
    case EF_VI_ARCH_EF10:
        return "EF10";
    case EF_VI_ARCH_EF100:
        return "EF100";
    case EF_VI_ARCH_EFCT:
        return "EFCT";
    case EF_VI_ARCH_EF10CT:
        return "EF10CT";
    default:
        return "unknown NIC";
    }
}

static void describe(struct efvi *d, struct sf_driver_caps *caps)
{
    static const char *methods[] = {"DMA", "PIO", "CTPIO"};

    sf_mode_add(caps, "%s, sends by %s", architecture(d), methods[d->tx.method]);
    if (d->rx.timestamps || d->stamp_tx)
        sf_mode_add(caps, ", timestamps of%s%s", d->rx.timestamps ? " rx" : "", d->stamp_tx ? " tx" : "");
    if (d->vi.vi_flags & EF_VI_RX_EVENT_MERGE)
        sf_mode_add(caps, ", events merged");
    if (d->recoveries)
        sf_mode_add(caps, ", back %u times", d->recoveries);
    if (d->state == EFVI_LOST)
        sf_mode_add(caps, ", waiting for the NIC");
}

static void ef_vi_caps(struct sf_driver *driver, struct sf_driver_caps *caps)
{
    struct efvi *d = efvi_of(driver);
    uint32_t mtu = d->frame_max - SF_ETHERNET_HEADER - SF_VLAN_TAG;

    check_now_and_then(d);
    *caps = (struct sf_driver_caps){
        .flags = SF_DRIVER_SHARES_GROUPS | (d->state == EFVI_DEAD ? (uint32_t)SF_DRIVER_DEAD : 0) |
                 (d->stamp_tx ? (uint32_t)SF_DRIVER_STAMPS_TX : 0),
        .mtu = d->interface.mtu && d->interface.mtu < mtu ? d->interface.mtu : mtu,
        .rx_lent = d->rx.refs ? RX_LENT_REFS : d->rx.buffers,
        .tx_queue = d->tx.buffers,
        .queue = -1,
        .ifindex = d->interface.ifindex,
    };
    memcpy(caps->mac, d->interface.mac, sizeof(caps->mac));
    describe(d, caps);
}

/* Counts the frames for which the NIC had no buffer. Only EF10's driver counts them for each VI. */
static uint64_t count_dropped(struct efvi *d)
{
    const ef_vi_stats_layout *layout;
    uint8_t data[256];
    uint32_t value;

    if (d->state != EFVI_UP || ef_vi_stats_query_layout(&d->vi, &layout) < 0 || layout->evsl_data_size > (int)sizeof(data) ||
        ef_vi_stats_query(&d->vi, d->handle, data, 0) < 0)
        return 0;
    for (int i = 0; i < layout->evsl_fields_num; i++) {
        const ef_vi_stats_field_layout *field = &layout->evsl_fields[i];

        if (strcmp(field->evsfl_name, "RX no descriptor errors") != 0 || field->evsfl_size != sizeof(value))
            continue;
        memcpy(&value, data + field->evsfl_offset, sizeof(value));
        return value;
    }
    return 0;
}

static void ef_vi_stats_of(struct sf_driver *driver, struct sf_driver_stats *stats)
{
    struct efvi *d = efvi_of(driver);

    *stats = d->stats;
    stats->rx_dropped += count_dropped(d);
}

/* ---- sleep ---- */

static bool has_work(struct efvi *d)
{
    return d->rx.first != d->rx.whole || ef_eventq_has_event(&d->vi);
}

static void read_timer(struct efvi *d)
{
    uint64_t expirations;
    ssize_t n = read(d->timer, &expirations, sizeof(expirations));

    (void)n; /* it has not expired */
}

/* Priming requests one interrupt, for the first event after the position up to which the queue was read. So an event in
 * between counts too. */
static int ef_vi_arm(struct sf_driver *driver, int *fd)
{
    struct efvi *d = efvi_of(driver);

    *fd = d->epoll;
    if (d->news) {
        d->news = false;
        return -EAGAIN;
    }
    read_timer(d);
    if (d->state == EFVI_DEAD)
        return 0;
    if (d->state == EFVI_LOST) {
        wake_at(d, d->retry_at);
        return d->rx.first != d->rx.whole || sf_now() >= d->retry_at ? -EAGAIN : 0;
    }
    efvi_tx_flush(driver);
    if (d->rx.n_free >= EFVI_POST)
        efvi_refill(d);
    if (has_work(d))
        return -EAGAIN;
    d->stats.wakeups++;
    if (ef_vi_prime(&d->vi, d->handle, ef_eventq_current(&d->vi)) < 0)
        return -EAGAIN;
    return has_work(d) ? -EAGAIN : 0;
}

/* Takes the VI's descriptor out of the ready set. It stays readable until the VI is primed again, and would slow down every
 * poll of the kernel's descriptors. It is edge-triggered, so one epoll_wait() clears it. */
static void ef_vi_disarm(struct sf_driver *driver)
{
    struct epoll_event seen[2];

    epoll_wait(efvi_of(driver)->epoll, seen, 2, 0);
}

/* ---- life ---- */

static void ef_vi_close(struct sf_driver *driver)
{
    struct efvi *d = efvi_of(driver);

    efvi_tear_down(d);
    efvi_flows_close(d);
    if (d->memory)
        munmap(d->memory, d->memory_size);
    if (d->epoll >= 0)
        close(d->epoll);
    if (d->timer >= 0)
        close(d->timer);
    free(d->rx.ready);
    free(d->rx.free);
    free(d->tx.free);
    free(d->tx.sent);
    free(d);
}

/* Filters, VI, memory and domain belong to the parent's handle, so freeing them here would take them from the parent. Frames
 * in the driver's memory stay readable. */
static void ef_vi_abandon(struct sf_driver *driver)
{
    struct efvi *d = efvi_of(driver);

    if (d->handle >= 0)
        ef_driver_close(d->handle);
    sf_close_descriptor(d->epoll);
    sf_close_descriptor(d->timer);
    efvi_flows_close(d);
    free(d->rx.ready);
    free(d->rx.free);
    free(d->tx.free);
    free(d->tx.sent);
    free(d);
}

static void ef_vi_rx_stamps(struct sf_driver *driver, bool on)
{
    efvi_of(driver)->rx.stamps_wanted += on ? 1 : UINT32_MAX;
}

static const struct sf_driver_control ef_vi_control = {
    .name = "ef_vi",
    .close = ef_vi_close,
    .abandon = ef_vi_abandon,
    .caps = ef_vi_caps,
    .stats = ef_vi_stats_of,
    .filter_add = efvi_filter_add,
    .filter_del = efvi_filter_del,
    .arm = ef_vi_arm,
    .disarm = ef_vi_disarm,
    .sniff = efvi_sniff,
    .tx_stamps = efvi_tx_stamps,
    .rx_stamps = ef_vi_rx_stamps,
};

static const struct sf_driver_fast ef_vi_fast = {
    .rx_burst = ef_vi_rx_burst,
    .rx_release = efvi_rx_release,
    .tx_reserve = efvi_tx_reserve,
    .tx_cancel = efvi_tx_cancel,
    .tx_commit = efvi_tx_commit,
    .tx_flush = efvi_tx_flush,
    .control = &ef_vi_control,
};

static int open_descriptors(struct efvi *d, char *message)
{
    d->epoll = epoll_create1(EPOLL_CLOEXEC);
    d->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (d->epoll < 0 || d->timer < 0 || sf_epoll_add(d->epoll, d->timer, EPOLLIN, 0) < 0)
        return sf_driver_refuse(message, -errno, "ef_vi: no descriptor to sleep on: %s", strerror(errno));
    return 0;
}

static int start(struct efvi *d, const struct sf_driver_config *config, char *message)
{
    int rc = efvi_parse_mode(&d->mode, config->mode, message);

    if (rc < 0)
        return rc;
    if (!config->interface || !config->interface[0] || strlen(config->interface) >= sizeof(d->name))
        return sf_driver_refuse(message, -EINVAL,
                                "ef_vi: the name of an interface is needed, such as enp1s0f0; given was '%.40s'",
                                config->interface ? config->interface : "");
    strcpy(d->name, config->interface);
    d->rx_ring = config->rx_frames;
    d->tx_ring = config->tx_frames;
    d->stamp_tx = config->stamp_tx;
    rc = open_descriptors(d, message);
    if (rc == 0 && efvi_flows_open(d) < 0)
        rc = sf_driver_refuse(message, -ENOMEM, "ef_vi: out of memory");
    return rc < 0 ? rc : efvi_bring_up(d, message);
}

struct sf_driver *sf_driver_ef_vi_open(const struct sf_driver_config *config, int *error, char *message)
{
    struct efvi *d = aligned_alloc(SF_CACHE_LINE, (sizeof(*d) + SF_CACHE_LINE - 1) / SF_CACHE_LINE * SF_CACHE_LINE);

    if (!d)
        return sf_driver_fail(error, message, -ENOMEM, "ef_vi: out of memory");
    memset(d, 0, sizeof(*d));
    d->base.fast = ef_vi_fast;
    d->epoll = d->timer = d->handle = -1;
    *error = start(d, config, message);
    if (*error == 0)
        return &d->base;
    ef_vi_close(&d->base);
    return NULL;
}

/* Tells whether Onload's kernel module is usable. */
int sf_driver_ef_vi_probe(char *message)
{
    ef_driver_handle handle;
    int rc = ef_driver_open(&handle);

    if (rc < 0)
        return sf_driver_refuse(message, rc, "Onload's kernel module sfc_char cannot be used (/dev/sfc_char: %s)", strerror(-rc));
    ef_driver_close(handle);
    return 0;
}

const uint32_t sf_driver_abi = SF_DRIVER_ABI;
