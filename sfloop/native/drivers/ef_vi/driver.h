/*
 * The ef_vi driver: one virtual interface (VI) of a Solarflare NIC, through the vendor's libciul. driver.c has the seam's
 * functions and the recovery after a reset, setup.c creates the VI, and receive.c, transmit.c and flows.c do what their names
 * say. This driver's names begin with efvi_, the vendor's with ef_vi_.
 *
 * Only this driver is not part of the engine. libciul and its headers must be of one release, because the VI's layout changes
 * between releases. So the driver is a shared object, built where the headers are, and loaded by sf_driver_load().
 */
#ifndef SF_DRIVERS_EF_VI_DRIVER_H
#define SF_DRIVERS_EF_VI_DRIVER_H

#include "drivers/driver_util.h"
#include "releases.h"
#include "drivers/kernel/interface_info.h"

#include <etherfabric/base.h>
#include <etherfabric/capabilities.h>
#include <etherfabric/ef_vi.h>
#include <etherfabric/efct_vi.h>
#include <etherfabric/memreg.h>
#include <etherfabric/pd.h>
#include <etherfabric/pio.h>
#include <etherfabric/vi.h>
#include <net/if.h>

#define EFVI_PAGE 4096u       /* DMA addresses are contiguous within a page */
#define EFVI_RX_BUFFER 2048u  /* the NIC fills ef_vi_receive_buffer_len() bytes of it */
#define EFVI_POST 8u          /* descriptors reach the NIC in groups of eight only */
#define EFVI_POST_UNDER_LOAD 32u
#define EFVI_EVENTS 16
#define EFVI_FLOWS 1024
#define EFVI_FLOW_ADDRS 8     /* most local addresses of a flow to any address */
#define EFVI_PIECES 8         /* most pages of a frame to send */
#define EFVI_STAMPS 256       /* a power of two */
#define EFVI_PIO_SLOTS 16
#define EFVI_PIO_SLOT 512u
#define EFVI_SHORTEST 60u     /* least length of a sent frame; shorter frames are padded with zeroes */

enum efvi_state {
    EFVI_UP,
    EFVI_LOST, /* the NIC was reset, or events were lost: create everything again */
    EFVI_DEAD,
};

enum efvi_method { EFVI_DMA, EFVI_PIO, EFVI_CTPIO };

/* The words of config.mode, separated by commas. */
struct efvi_mode {
    bool dma_only, no_ctpio; /* "dma"; "pio" */
    bool cut_through;        /* "cut-through": frames start to leave before they are complete, so broken ones may leave too */
    bool merge;              /* "merge": one event for several received frames, which gives a higher rate but more delay */
    bool exclusive;          /* "exclusive", X3: a receive queue for this VI alone */
    bool express;            /* "express", X4: the low-latency datapath */
};

struct efvi_rx {
    /* A ring of pieces of frames. Whole frames are from `first` to `whole`, an incomplete one from `whole` to `last`. */
    struct sf_frame *ready;
    uint32_t ready_mask, first, whole, last;
    struct sf_frame *out; /* the caller's array, while events are taken */
    uint32_t n_out, max_out;
    uint32_t *free; /* buffers that are neither the NIC's nor lent */
    uint32_t n_free, buffers;
    /* Post more buffers if this many or fewer are posted: after an empty poll, and after one with frames, because these must
     * not wait for the doorbell. -1: never (EFCT). */
    int refill_at, refill_under_load;
    uint32_t lent; /* lent frames; nothing of the VI may be freed while there are any */
    uint32_t prefix, room;
    uint32_t seen; /* bytes of the incomplete frame, as the events count them */
    uint32_t left; /* merged events: bytes of the frame still to come */
    uint32_t frame_len;
    bool skipping; /* skip the rest of a refused frame */
    bool refs;     /* EFCT: frames are in the NIC's own buffers */
    bool timestamps, check_flows, sniffing;
    uint32_t stamps_wanted; /* number of users of timestamps; reading one takes half as long as the rest of a frame */
    uint32_t good; /* SF_FRAME_CHECKSUM_GOOD if the NIC discards frames with wrong checksums */
};

/* A send buffer and its frame. */
struct efvi_sent {
    uint8_t *data;
    ef_addr addr; /* the same address for the NIC */
    uint64_t number;
    uint32_t reserved;
    uint8_t method;
    int8_t pio_slot;
};

struct efvi_tx {
    uint32_t *free;
    struct efvi_sent *sent;
    uint32_t n_free, buffers, stride, descriptors; /* bytes of a frame's buffer, and descriptors that it needs */
    uint32_t unpushed; /* descriptors not yet announced to the NIC */
    uint32_t by_dma;   /* frames sent by DMA and not completed; the NIC accepts no CTPIO meanwhile */
    enum efvi_method method;
    bool ctpio_only; /* EFCT */
    uint32_t ctpio_max, ctpio_threshold;
    uint32_t pio_free; /* a bit for each free slot */
    uint64_t committed;
};

/* A ring of the times at which frames left. */
struct efvi_stamps {
    struct sf_stamp ring[EFVI_STAMPS];
    uint32_t first, last;
};

struct efvi_flow {
    struct sf_flow flow;
    uint32_t addrs[EFVI_FLOW_ADDRS]; /* local addresses whose filters are set */
    ef_filter_cookie cookies[EFVI_FLOW_ADDRS];
    int n;
    int next; /* the next flow with the same hash; -1: none */
    bool used;
};

struct efvi {
    struct sf_driver base;
    enum efvi_state state;
    struct efvi_rx rx;
    struct efvi_tx tx;
    struct sf_driver_stats stats;
    ef_vi vi;

    ef_driver_handle handle;
    ef_pd pd;
    ef_memreg memreg;
    ef_pio pio;
    bool has_pd, has_vi, has_memreg, has_pio;
    uint8_t *memory; /* the receive buffers, then the send buffers, for the driver's life */
    size_t memory_size, tx_offset;

    struct efvi_mode mode;
    bool stamp_tx;
    char name[IF_NAMESIZE];
    struct sf_interface_info interface;
    uint32_t frame_max;
    uint32_t rx_ring, tx_ring;
    unsigned discards;
    int epoll, timer; /* epoll: the descriptor to sleep on, which contains the VI's; timer: the next attempt to recover */
    bool news;        /* the state has changed since the last arm() */
    sf_ns lost_since, retry_at, checked, addresses_checked;
    unsigned recoveries;

    struct efvi_flow *flows;
    int *buckets;
    int n_any;
    ef_filter_cookie sniff;
    struct efvi_stamps stamps; /* last, because not every frame needs it */
};

static inline struct efvi *efvi_of(struct sf_driver *driver)
{
    return (struct efvi *)driver;
}

/* setup.c. Creates everything from the driver's handle to the filled receive ring. The memory is kept between calls. On
 * failure only the memory is left, and `message` (SF_DRIVER_ERROR_SIZE bytes) has the reason. */
int efvi_bring_up(struct efvi *d, char *message);
void efvi_tear_down(struct efvi *d);
int efvi_parse_mode(struct efvi_mode *mode, const char *text, char *message);

/* receive.c */
void efvi_rx_reset(struct efvi *d);
void efvi_refill(struct efvi *d);
/* Takes the events of one poll. Hands out up to n frames and keeps the rest. */
int efvi_take_events(struct efvi *d, const ef_event *events, int n_events, struct sf_frame *frames, int n);
int efvi_hand_out(struct efvi *d, struct sf_frame *frames, int n);
void efvi_rx_release(struct sf_driver *driver, struct sf_frame *frames, int n);

/* transmit.c */
void efvi_tx_reset(struct efvi *d);
int efvi_tx_reserve(struct sf_driver *driver, uint32_t len, struct sf_frame *pieces, int max);
void efvi_tx_cancel(struct sf_driver *driver, struct sf_frame *pieces, int n);
void efvi_tx_commit(struct sf_driver *driver, struct sf_frame *pieces, int n);
void efvi_tx_flush(struct sf_driver *driver);
void efvi_tx_event(struct efvi *d, const ef_event *event);
int efvi_tx_stamps(struct sf_driver *driver, struct sf_stamp *stamps, int max);

/* flows.c */
int efvi_flows_open(struct efvi *d);
void efvi_flows_close(struct efvi *d);
int efvi_filter_add(struct sf_driver *driver, const struct sf_flow *flow);
int efvi_filter_del(struct sf_driver *driver, const struct sf_flow *flow);
int efvi_sniff(struct sf_driver *driver, bool on);
/* Call these after the VI was created, and before it is freed. */
int efvi_flows_restore(struct efvi *d);
void efvi_flows_remove(struct efvi *d);
/* Call this after the interface's addresses may have changed, because they define a flow to any local address. */
void efvi_flows_follow_addresses(struct efvi *d);
/* Tells whether a frame belongs to a flow, because a shared receive queue of the X3 brings other frames too. */
bool efvi_flows_match(const struct efvi *d, const uint8_t *frame, uint32_t len);

static inline void efvi_refill_at(struct efvi *d, int level)
{
    if (SF_UNLIKELY(ef_vi_receive_fill_level(&d->vi) <= level) && d->rx.n_free >= EFVI_POST)
        efvi_refill(d);
}

/* driver.c: the VI has become unusable. */
void efvi_lose(struct efvi *d);

#endif
