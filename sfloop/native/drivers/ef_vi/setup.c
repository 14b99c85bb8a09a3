/* Creates a VI, frees it, and explains failures in words. Source: Onload's etherfabric/vi.h and pd.h. */
#define _GNU_SOURCE
#include "driver.h"
#include "storage/epoll.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define RX_RING 512u
#define TX_RING 512u
#define RX_LENT 256u    /* frames that may be lent before the ring runs low */
#define RING_MIN 32u
#define RING_MAX 4096u
#define CTPIO_STORE_MAX 500u /* above, store-and-forward is no faster than DMA */
#define CTPIO_CUT_MAX 1518u
#define CUT_THRESHOLD 64u
#define HUGE_PAGE ((size_t)2 << 20)

/* ---- config.mode ---- */

int efvi_parse_mode(struct efvi_mode *mode, const char *text, char *message)
{
    const struct {
        const char *word;
        bool *flag;
    } words[] = {
        {"dma", &mode->dma_only},   {"pio", &mode->no_ctpio},         {"cut-through", &mode->cut_through},
        {"merge", &mode->merge},    {"exclusive", &mode->exclusive}, {"express", &mode->express},
    };

    memset(mode, 0, sizeof(*mode));
    if (!text || strcmp(text, "auto") == 0)
        return 0;
    while (*text) {
        size_t len = strcspn(text, ","), i = 0;

        while (i < sizeof(words) / sizeof(words[0]) && (strlen(words[i].word) != len || strncmp(words[i].word, text, len) != 0))
            i++;
        if (i == sizeof(words) / sizeof(words[0]))
            return sf_driver_refuse(message, -EINVAL, "ef_vi: there is no mode \"%.*s\": auto, or some of dma, pio, cut-through, "
                                    "merge, exclusive, express, with commas between them", (int)len, text);
        *words[i].flag = true;
        text += len + (text[len] == ',');
    }
    return 0;
}

/* ---- step by step ---- */

static int check_interface(struct efvi *d, char *message)
{
    int rc = sf_interface_read(d->name, &d->interface);

    if (rc == -ENODEV)
        return sf_driver_refuse(message, rc, "ef_vi: there is no interface '%s' in this network namespace; 'ip link' lists those "
                                "there are", d->name);
    if (rc < 0)
        return sf_driver_refuse(message, rc, "ef_vi: cannot read the properties of interface '%s': %s", d->name, strerror(-rc));
    return 0;
}

static int open_handle(struct efvi *d, char *message)
{
    int rc = ef_driver_open(&d->handle);

    if (rc == -EACCES || rc == -EPERM)
        return sf_driver_refuse(message, rc,
                                "ef_vi: no access to /dev/sfc_char (%s): run as root, or give the program's user access "
                                "to it", strerror(-rc));
    if (rc < 0)
        return sf_driver_refuse(message, rc,
                                "ef_vi: Onload's kernel module sfc_char is not there (%s): install Onload and load it "
                                "with 'onload_tool reload'", strerror(-rc));
    fcntl(d->handle, F_SETFD, FD_CLOEXEC); /* the library leaves it open in child processes */
    return 0;
}

static int open_domain(struct efvi *d, char *message)
{
    int rc = -EOPNOTSUPP;

    if (!d->mode.express || EFVI_HAS_EXPRESS)
        rc = ef_pd_alloc(&d->pd, d->handle, d->interface.ifindex, d->mode.express ? EFVI_PD_EXPRESS : EF_PD_DEFAULT);
    if (rc < 0)
        return sf_driver_refuse(message, rc, "ef_vi: no protection domain on '%s' (%s): it has to be the physical interface of a "
                                "Solarflare NIC, no VLAN or bond, with the driver sfc", d->name, strerror(-rc));
    d->has_pd = true;
    return 0;
}

/* Returns the value, or 0 if the NIC or the installed driver does not know the capability. */
static unsigned long capability(struct efvi *d, enum ef_vi_capability which)
{
    unsigned long value = 0;

    return efvi_ask(d->handle, &d->pd, d->interface.ifindex, which, &value) == 0 ? value : 0;
}

static enum ef_vi_flags choose_flags(struct efvi *d)
{
    /* Disable checksum offload, because CTPIO has none and the way of a frame is not known when it is written. */
    unsigned long long flags = EF_VI_TX_IP_CSUM_DIS | EF_VI_TX_TCPUDP_CSUM_DIS;
    bool ctpio = capability(d, EF_VI_CAP_CTPIO);

    d->tx.ctpio_only = capability(d, EF_VI_CAP_CTPIO_ONLY);
    d->rx.refs = capability(d, EFVI_CAP_RX_REF);
    d->tx.method = EFVI_DMA;
    if (d->tx.ctpio_only || (ctpio && !d->mode.dma_only && !d->mode.no_ctpio)) {
        d->tx.method = EFVI_CTPIO;
        flags |= EF_VI_TX_CTPIO;
        if (!d->mode.cut_through)
            flags |= EF_VI_TX_CTPIO_NO_POISON;
    } else if (!d->mode.dma_only && capability(d, EF_VI_CAP_PIO)) {
        d->tx.method = EFVI_PIO;
    }
    d->rx.timestamps = capability(d, EF_VI_CAP_HW_RX_TIMESTAMPING);
    if (d->rx.timestamps)
        flags |= EF_VI_RX_TIMESTAMPS;
    d->stamp_tx = d->stamp_tx && capability(d, EF_VI_CAP_HW_TX_TIMESTAMPING);
    if (d->stamp_tx)
        flags |= EF_VI_TX_TIMESTAMPS;
    if (!d->rx.refs && (capability(d, EF_VI_CAP_RX_FORCE_EVENT_MERGING) ||
                        (d->mode.merge && capability(d, EF_VI_CAP_RX_MERGE))))
        flags |= EF_VI_RX_EVENT_MERGE;
    return (enum ef_vi_flags)flags;
}

static int explain_vi(struct efvi *d, int rc, char *message)
{
    switch (rc) {
    case -EBUSY:
    case -ENOSPC:
        return sf_driver_refuse(message, rc,
                                "ef_vi: the NIC of '%s' has no virtual interface left: end another program that uses it, "
                                "or have more of them (sfboot: vf-count, pf-count; the driver's option num_vis)", d->name);
    case -EPERM:
        return sf_driver_refuse(message, rc,
                                "ef_vi: the NIC of '%s' refuses a virtual interface with these features: the licence, or "
                                "privileges (CAP_NET_ADMIN, CAP_NET_RAW), are missing", d->name);
    case -ENOMEM:
        return sf_driver_refuse(message, rc, "ef_vi: no memory for a virtual interface of '%s': have huge pages "
                                "(sysctl vm.nr_hugepages), or ask for smaller rings", d->name);
    default:
        return sf_driver_refuse(message, rc, "ef_vi: cannot make a virtual interface of '%s': %s", d->name, strerror(-rc));
    }
}

static int open_vi(struct efvi *d, char *message)
{
    enum ef_vi_flags flags = choose_flags(d);
    int rc = ef_vi_alloc_from_pd(&d->vi, d->handle, &d->pd, d->handle, -1, d->rx.refs ? -1 : (int)d->rx_ring, (int)d->tx_ring,
                                 NULL, -1, flags);

    if (rc < 0)
        return explain_vi(d, rc, message);
    d->has_vi = true;
    if (d->vi.nic_type.arch == EF_VI_ARCH_AF_XDP)
        return sf_driver_refuse(message, -EOPNOTSUPP,
                                "ef_vi: '%s' is no Solarflare NIC: the library would go by AF_XDP, which the "
                                "driver af_xdp does better", d->name);
    return 0;
}

/* Selects the frames that the NIC discards. The rest then has good checksums: frames that matched a flow's filter, because the
 * NIC has parsed them, and on EFCT those that it does not mark as another class. */
static void choose_discards(struct efvi *d)
{
    unsigned wanted = EF_VI_DISCARD_RX_L4_CSUM_ERR | EF_VI_DISCARD_RX_L3_CSUM_ERR | EF_VI_DISCARD_RX_ETH_FCS_ERR |
                      EF_VI_DISCARD_RX_ETH_LEN_ERR;
    const unsigned sums = EF_VI_DISCARD_RX_L4_CSUM_ERR | EF_VI_DISCARD_RX_L3_CSUM_ERR;
    const unsigned others = EF_VI_DISCARD_RX_L2_CLASS_OTHER | EF_VI_DISCARD_RX_L3_CLASS_OTHER | EF_VI_DISCARD_RX_L4_CLASS_OTHER;

    if (d->rx.refs)
        wanted |= others;
    ef_vi_receive_set_discards(&d->vi, wanted);
    d->discards = (unsigned)ef_vi_receive_get_discards(&d->vi);
    d->rx.good = 0;
    if ((d->discards & sums) == sums && (!d->rx.refs || (d->discards & others) == others))
        d->rx.good = SF_FRAME_CHECKSUM_GOOD;
}

/* ---- memory, allocated once and kept when the VI is created again ---- */

/* Two buffers in a page, or one page, or whole pages, so that no buffer crosses a page's end without need. */
static uint32_t stride_for(uint32_t frame)
{
    uint32_t pages = (frame + EFVI_PAGE - 1) / EFVI_PAGE;

    return frame <= EFVI_PAGE / 2 ? EFVI_PAGE / 2 : pages * EFVI_PAGE;
}

static int take_memory(struct efvi *d, char *message)
{
    size_t size = (size_t)d->rx.buffers * EFVI_RX_BUFFER;
    void *memory;

    d->tx_offset = (size + EFVI_PAGE - 1) / EFVI_PAGE * EFVI_PAGE;
    size = d->tx_offset + (size_t)d->tx.buffers * d->tx.stride;
    size = (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    if (memory == MAP_FAILED)
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return sf_driver_refuse(message, -errno, "ef_vi: no memory for %zu MiB of frames: ask for fewer", size >> 20);
    sf_keep_from_children(memory, size);
    d->memory = memory;
    d->memory_size = size;
    return 0;
}

static uint32_t power_of_two(uint32_t n)
{
    uint32_t power = 1;

    while (power < n)
        power *= 2;
    return power;
}

static int size_memory(struct efvi *d, char *message)
{
    uint32_t capacity = (uint32_t)ef_vi_receive_capacity(&d->vi);

    d->rx.buffers = d->rx.refs ? 0 : capacity / EFVI_POST * EFVI_POST + RX_LENT;
    d->tx.buffers = (uint32_t)ef_vi_transmit_capacity(&d->vi);
    d->tx.stride = stride_for(d->frame_max);
    d->rx.ready_mask = power_of_two(d->rx.buffers + EFVI_EVENTS) - 1;
    d->rx.ready = calloc(d->rx.ready_mask + 1, sizeof(*d->rx.ready));
    d->rx.free = calloc(d->rx.buffers + 1, sizeof(*d->rx.free));
    d->tx.free = calloc(d->tx.buffers, sizeof(*d->tx.free));
    d->tx.sent = calloc(d->tx.buffers, sizeof(*d->tx.sent));
    if (!d->rx.ready || !d->rx.free || !d->tx.free || !d->tx.sent)
        return sf_driver_refuse(message, -ENOMEM, "ef_vi: out of memory");
    return take_memory(d, message);
}

static int register_memory(struct efvi *d, char *message)
{
    int rc = 0;

    if (!d->memory)
        rc = size_memory(d, message);
    if (rc < 0)
        return rc;
    rc = ef_memreg_alloc(&d->memreg, d->handle, &d->pd, d->handle, d->memory, d->memory_size);
    if (rc < 0)
        return sf_driver_refuse(message, rc,
                                "ef_vi: the NIC cannot be given %zu MiB of memory (%s): raise the limit of locked memory "
                                "(ulimit -l)", d->memory_size >> 20, strerror(-rc));
    d->has_memreg = true;
    return 0;
}

/* ---- sending ---- */

/* Falls back to DMA if all of the NIC's few PIO buffers are in use. */
static void open_pio(struct efvi *d)
{
    int size;

    if (ef_pio_alloc(&d->pio, d->handle, &d->pd, (unsigned)-1, d->handle) < 0) {
        d->tx.method = EFVI_DMA;
        return;
    }
    if (ef_pio_link_vi(&d->pio, d->handle, &d->vi, d->handle) < 0) {
        ef_pio_free(&d->pio, d->handle);
        d->tx.method = EFVI_DMA;
        return;
    }
    d->has_pio = true;
    size = ef_vi_get_pio_size(&d->vi) / (int)EFVI_PIO_SLOT;
    if (size > EFVI_PIO_SLOTS)
        size = EFVI_PIO_SLOTS;
    d->tx.pio_free = size > 0 ? (1u << size) - 1 : 0;
}

static void open_sending(struct efvi *d)
{
    efvi_tx_reset(d);
    d->tx.descriptors = (d->tx.stride + EFVI_PAGE - 1) / EFVI_PAGE;
    d->tx.ctpio_threshold = d->mode.cut_through ? CUT_THRESHOLD : EF_VI_CTPIO_CT_THRESHOLD_SNF;
    d->tx.ctpio_max = d->mode.cut_through ? CTPIO_CUT_MAX : CTPIO_STORE_MAX;
    if (d->tx.method == EFVI_PIO)
        open_pio(d);
}

/* The level at which to refill: when `n` buffers can be posted, or a quarter of `posted` if that is less. */
static int level_for(int posted, uint32_t n)
{
    int enough = (int)n < posted / 4 ? (int)n : posted / 4;

    if (enough < (int)EFVI_POST)
        enough = (int)EFVI_POST;
    return posted > enough ? posted - enough : 0;
}

static void open_receiving(struct efvi *d)
{
    int posted;

    d->rx.prefix = (uint32_t)ef_vi_receive_prefix_len(&d->vi);
    d->rx.room = (uint32_t)ef_vi_receive_buffer_len(&d->vi);
    if (d->rx.room > EFVI_RX_BUFFER)
        d->rx.room = EFVI_RX_BUFFER;
    d->rx.check_flows = d->rx.refs && capability(d, EF_VI_CAP_RX_SHARED) && !d->mode.exclusive;
    efvi_rx_reset(d);
    d->rx.refill_at = d->rx.refill_under_load = -1;
    if (d->rx.refs)
        return;
    efvi_refill(d);
    posted = ef_vi_receive_fill_level(&d->vi);
    d->rx.refill_at = level_for(posted, EFVI_POST);
    d->rx.refill_under_load = level_for(posted, EFVI_POST_UNDER_LOAD);
}

static int watch(struct efvi *d, char *message)
{
    int rc = sf_epoll_add(d->epoll, d->handle, EPOLLIN | EPOLLET, 0); /* see ef_vi_disarm() */

    return rc < 0 ? sf_driver_refuse(message, rc, "ef_vi: the driver's descriptor cannot be waited for: %s", strerror(-rc)) : 0;
}

static int set_up(struct efvi *d, char *message)
{
    int rc;

    if ((rc = open_domain(d, message)) < 0 || (rc = open_vi(d, message)) < 0)
        return rc;
    if (!d->frame_max) /* the first time only, because the buffers are sized for it */
        d->frame_max = d->interface.mtu + SF_ETHERNET_HEADER + SF_VLAN_TAG;
    if ((rc = register_memory(d, message)) < 0)
        return rc;
    choose_discards(d);
    open_sending(d);
    open_receiving(d);
    if ((rc = watch(d, message)) < 0)
        return rc;
    rc = efvi_flows_restore(d);
    return rc < 0 ? sf_driver_refuse(message, rc, "ef_vi: the NIC takes the filters no more: %s", strerror(-rc)) : 0;
}

static uint32_t ring_size(uint32_t asked, uint32_t usual)
{
    if (!asked)
        return usual;
    return power_of_two(asked < RING_MIN ? RING_MIN : asked > RING_MAX ? RING_MAX : asked);
}

int efvi_bring_up(struct efvi *d, char *message)
{
    int rc = check_interface(d, message);

    if (rc < 0)
        return rc;
    d->rx_ring = ring_size(d->rx_ring, RX_RING);
    d->tx_ring = ring_size(d->tx_ring, TX_RING);
    d->handle = -1;
    rc = open_handle(d, message);
    if (rc < 0)
        return rc;
    rc = set_up(d, message);
    if (rc < 0)
        efvi_tear_down(d);
    else
        d->state = EFVI_UP;
    return rc;
}

/* Removes the filters first, so that no more frames arrive. */
void efvi_tear_down(struct efvi *d)
{
    efvi_flows_remove(d);
    if (d->has_pio) {
        ef_pio_unlink_vi(&d->pio, d->handle, &d->vi, d->handle);
        ef_pio_free(&d->pio, d->handle);
    }
    if (d->has_memreg)
        ef_memreg_free(&d->memreg, d->handle);
    if (d->has_vi)
        ef_vi_free(&d->vi, d->handle);
    if (d->has_pd)
        ef_pd_free(&d->pd, d->handle);
    if (d->handle >= 0)
        ef_driver_close(d->handle);
    d->handle = -1;
    d->has_pio = d->has_memreg = d->has_vi = d->has_pd = false;
}
