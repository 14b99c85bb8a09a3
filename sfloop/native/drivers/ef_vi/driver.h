/*
 * The ef_vi driver: one virtual interface (VI) of a Solarflare NIC, by the vendor's libciul. driver.c is the seam's functions
 * and the way back after a reset, setup.c makes the VI, receive.c, transmit.c and flows.c are what
 * their names say. Names of this driver begin with efvi_, the vendor's with ef_vi_.
 *
 * It is the only driver that is not part of the engine: libciul and its headers have to be of one release, and the VI's layout
 * changes between releases. So it is a shared object of its own, built where the headers are, and loaded by sf_driver_load().
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

#define EFVI_PAGE 4096u       /* DMA addresses are contiguous within one */
#define EFVI_RX_BUFFER 2048u  /* the NIC fills as much of it as ef_vi_receive_buffer_len() says */
#define EFVI_POST 8u          /* descriptors reach the NIC in eights only */
#define EFVI_POST_UNDER_LOAD 32u
#define EFVI_EVENTS 16
#define EFVI_FLOWS 1024
#define EFVI_FLOW_ADDRS 8     /* of a flow to any local address: of the interface's addresses, so many */
#define EFVI_PIECES 8         /* pages that one frame to send lies in */
#define EFVI_STAMPS 256       /* a power of two */
#define EFVI_PIO_SLOTS 16
#define EFVI_PIO_SLOT 512u
#define EFVI_SHORTEST 60u     /* what the wire carries at least; shorter frames are filled up with zeroes */

enum efvi_state {
    EFVI_UP,
    EFVI_LOST, /* the NIC was reset, or events were lost: everything is made anew */
    EFVI_DEAD,
};

enum efvi_method { EFVI_DMA, EFVI_PIO, EFVI_CTPIO };

/* What config.mode asks for: words with commas between them. */
struct efvi_mode {
    bool dma_only, no_ctpio; /* "dma"; "pio" */
    bool cut_through;        /* "cut-through": frames leave before they are complete; may put broken ones on the wire */
    bool merge;              /* "merge": one event for several frames received; more of them, later */
    bool exclusive;          /* "exclusive": X3: a receive queue that nobody else has */
    bool express;            /* "express": X4: the low-latency datapath */
};

struct efvi_rx {
    /* Pieces of frames, a ring: from first on those of whole frames, from whole on those of one that is not complete. */
    struct sf_frame *ready;
    uint32_t ready_mask, first, whole, last;
    struct sf_frame *out; /* the caller's, while events are taken */
    uint32_t n_out, max_out;
    uint32_t *free; /* buffers that are neither the NIC's nor lent */
    uint32_t n_free, buffers;
    /* With so many posted or fewer, more are: when nothing has come, and when something has, which is not to wait for the
     * doorbell. -1: none ever (EFCT). */
    int refill_at, refill_under_load;
    uint32_t lent; /* frames that are out: nothing of the VI may go as long as there are any */
    uint32_t prefix, room;
    uint32_t seen; /* bytes of the frame that is being put together, as the events count them */
    uint32_t left; /* merged events: its bytes to come */
    uint32_t frame_len;
    bool skipping; /* the rest of a frame that was refused */
    bool refs;     /* EFCT: frames lie in buffers of the NIC's choosing */
    bool timestamps, check_flows, sniffing;
    uint32_t stamps_wanted; /* by so many: to read one takes as long as half the rest of a frame */
    uint32_t good; /* SF_FRAME_CHECKSUM_GOOD, if the NIC discards what is not */
};

/* A buffer to send from, and what it carries. */
struct efvi_sent {
    uint8_t *data;
    ef_addr addr; /* the same for the NIC */
    uint64_t number;
    uint32_t reserved;
    uint8_t method;
    int8_t pio_slot;
};

struct efvi_tx {
    uint32_t *free;
    struct efvi_sent *sent;
    uint32_t n_free, buffers, stride, descriptors; /* a frame's buffer, and how many descriptors it takes */
    uint32_t unpushed; /* descriptors that the NIC has not been told of */
    uint32_t by_dma;   /* frames sent by DMA and not completed: the NIC accepts no CTPIO meanwhile */
    enum efvi_method method;
    bool ctpio_only; /* EFCT */
    uint32_t ctpio_max, ctpio_threshold;
    uint32_t pio_free; /* bits */
    uint64_t committed;
};

/* Frames that have left, a ring. */
struct efvi_stamps {
    struct sf_stamp ring[EFVI_STAMPS];
    uint32_t first, last;
};

struct efvi_flow {
    struct sf_flow flow;
    uint32_t addrs[EFVI_FLOW_ADDRS]; /* whose filters are set */
    ef_filter_cookie cookies[EFVI_FLOW_ADDRS];
    int n;
    int next; /* of the same hash; -1 */
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
    uint8_t *memory; /* the receive buffers, then those to send from; for the driver's life */
    size_t memory_size, tx_offset;

    struct efvi_mode mode;
    bool stamp_tx;
    char name[IF_NAMESIZE];
    struct sf_interface_info interface;
    uint32_t frame_max;
    uint32_t rx_ring, tx_ring;
    unsigned discards;
    int epoll, timer; /* the descriptor to sleep on: the VI's, and the next attempt to come back */
    bool news;        /* the state has changed since the last look */
    sf_ns lost_since, retry_at, checked, addresses_checked;
    unsigned recoveries;

    struct efvi_flow *flows;
    int *buckets;
    int n_any;
    ef_filter_cookie sniff;
    struct efvi_stamps stamps; /* behind what every frame needs */
};

static inline struct efvi *efvi_of(struct sf_driver *driver)
{
    return (struct efvi *)driver;
}

/* setup.c. Makes everything from the driver's handle to the filled receive ring; the memory stays from one time to the
 * next. On failure nothing is left but the memory, and `message` (SF_DRIVER_ERROR_SIZE) says why. */
int efvi_bring_up(struct efvi *d, char *message);
void efvi_tear_down(struct efvi *d);
int efvi_parse_mode(struct efvi_mode *mode, const char *text, char *message);

/* receive.c */
void efvi_rx_reset(struct efvi *d);
void efvi_refill(struct efvi *d);
/* What the events of one poll bring: frames handed out, up to n; the rest waits. */
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
/* After the VI was made anew; before it goes. */
int efvi_flows_restore(struct efvi *d);
void efvi_flows_remove(struct efvi *d);
/* The interface's addresses may have changed, and with them what a flow to any of them means. */
void efvi_flows_follow_addresses(struct efvi *d);
/* Whether a frame belongs to a flow. A receive queue of the X3 brings frames of others that share it. */
bool efvi_flows_match(const struct efvi *d, const uint8_t *frame, uint32_t len);

static inline void efvi_refill_at(struct efvi *d, int level)
{
    if (SF_UNLIKELY(ef_vi_receive_fill_level(&d->vi) <= level) && d->rx.n_free >= EFVI_POST)
        efvi_refill(d);
}

/* driver.c: the VI is of no use any more. */
void efvi_lose(struct efvi *d);

#endif
