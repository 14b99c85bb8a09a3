/*
 * A simulator of the ef_vi API and of the NICs behind it, over the shm driver's wire. sfloop's ef_vi driver is built and tested with
 * it on machines without a Solarflare NIC. It is written from the API's documentation. Misuse that real hardware does not report (it
 * deadlocks, corrupts a frame or leaks a buffer) ends the process here, with a message.
 *
 * The index of an interface identifies its simulated NIC. The NIC's options come from the variable SFLOOP_TEST_EF_VI at the first
 * use, or from a test that has called efsim_nic() before:
 *
 *     SFLOOP_TEST_EF_VI="wire=NAME,arch=ef10,strict"
 *
 * arch: ef10, ef100, efct, ef10ct, af_xdp. no-ctpio, no-pio, no-timestamps: the NIC lacks the feature. force-merge: receive events
 * are merged. shared: the receive queue also brings frames for the filters of others. strict: the NIC's buffers are filled with a
 * pattern and frames under way are hashed, to find a program that writes to them.
 */
#ifndef EFSIM_H
#define EFSIM_H

#include "sf/driver.h"

#include <etherfabric/base.h>
#include <etherfabric/capabilities.h>
#include <etherfabric/efct_vi.h>
#include <etherfabric/memreg.h>
#include <etherfabric/pd.h>
#include <etherfabric/pio.h>
#include <etherfabric/vi.h>

#include "../copy.h"
#include "wire/checksum.h"

#define EFSIM_PREFIX 14        /* of a frame received by EF10 */
#define EFSIM_RX_BYTES 1792    /* of a buffer that the NIC fills, with the prefix */
#define EFSIM_PAGE 4096
#define EFSIM_FILTERS 4096
#define EFSIM_PIO_BYTES 2048
#define EFSIM_FIFO_BYTES 16384 /* EFCT: frames to send that have not completed */
#define EFSIM_SUPERBUF (1u << 20)
#define EFSIM_SUPERBUFS 4
#define EFSIM_SLOT 2048u /* room for a frame in a superbuf */
#define EFSIM_SLOTS (EFSIM_SUPERBUF / EFSIM_SLOT)

/* Ends the process with the message unless `holds`. */
#define EFSIM_MUST(holds, ...)                                                                                                 \
    do {                                                                                                                       \
        if (!(holds))                                                                                                          \
            efsim_misused(__func__, __VA_ARGS__);                                                                              \
    } while (0)
__attribute__((cold, noreturn, format(printf, 2, 3))) void efsim_misused(const char *function, const char *format, ...);

struct efsim_options {
    enum ef_vi_arch arch;
    bool no_ctpio, no_pio, no_timestamps, force_merge, shared, strict;
    char wire[64];
};

/* Faults to simulate. Tests set them at any time. */
struct efsim_faults {
    int discards;        /* number of next frames to discard */
    unsigned subtype;    /* the reason for these: EF_EVENT_RX_DISCARD_… */
    int ctpio_failures;  /* number of next CTPIO sends that need their fallback */
    bool tx_error;       /* the next frame sent stops the queue */
    bool tx_stays;       /* ef_vi_reinit_txq_post_error() does not start the queue again */
    bool reset, overflow; /* the next poll returns this event */
    int absent;          /* number of next ef_driver_open() that fail */
    bool gone;           /* the interface no longer has a NIC */
    bool unsynchronised; /* the NIC has no timestamps yet */
    bool clock_unset;    /* the NIC has timestamps, but its clock was never set */
    bool pio_taken, no_filters, unprivileged;
    int trunc;           /* number of next frames in several buffers that lack their last one */
};

struct efsim_counts {
    unsigned long received, to_kernel, no_descriptor, no_superbuf, discarded, truncated;
    unsigned long sent, ctpio, fallbacks, pio, dma, tx_errors, padded;
    unsigned long opened, primed, merged;
};

struct efsim_filter {
    bool used;
    unsigned type, data[12];
};

/* The flow of the last frame that matched a filter, because the next frame probably belongs to it too. */
struct efsim_known {
    uint64_t addrs;
    uint32_t ports;
    uint8_t protocol; /* 0: no frame has matched yet */
};

struct efsim_nic {
    bool used;
    int ifindex;
    uint32_t wire_addr; /* address of our end of the wire, in network byte order */
    struct efsim_options options;
    struct efsim_faults faults;
    struct efsim_counts counts;
    struct sf_driver *wire;
    uint8_t **pages; /* registered memory, by DMA page */
    unsigned n_pages;
    struct efsim_filter *filters;
    int n_filters, sniffing;
    struct efsim_known known;
    struct efsim_vi *vi;
    bool domain, pio, pio_linked;
};

/* Returns the NIC of an interface. Makes it with the options of the environment if it does not exist. NULL: too many NICs. */
struct efsim_nic *efsim_nic(int ifindex);

/* ---- within the simulator ---- */

struct efsim_rx_desc {
    uint8_t *buffer;
    ef_request_id id;
    bool first; /* the buffer has the beginning of a frame */
};

struct efsim_tx_desc {
    ef_request_id id; /* in a frame's last descriptor; EF_REQUEST_ID_MASK in the ones before */
    ef_iovec iov;
    uint32_t frame_len; /* in a frame's first descriptor */
    uint64_t sum;
    uint32_t pages; /* number of the frame's descriptors */
    bool sent, by_ctpio, ours; /* ours: the bytes are in `copy` (PIO) */
    uint8_t *copy;
};

struct efsim_superbuf {
    uint8_t *memory;
    unsigned held; /* frames not released */
    bool filling, full;
    uint8_t lent[EFSIM_SLOTS];
};

struct efsim_vi {
    struct efsim_nic *nic;
    ef_driver_handle handle;
    unsigned discards;
    union {
        struct {
            bool halted, ctpio_pending, tx_stopped, tx_error_seen;
        };
        uint32_t impeded; /* not 0: one of them is set, so a send has to check */
    };
    bool plain; /* EF10 with an event for each frame, the usual case, which has a shorter code path */
    uint32_t turn; /* number of polls */

    ef_event *events;
    uint32_t events_mask, events_first, events_last;

    struct efsim_rx_desc *rx;
    uint32_t rx_mask, rx_added, rx_posted, rx_filled, rx_removed;
    unsigned merging; /* descriptors of the last merged event, while it may take more */
    struct { /* the frame of which only the headers were copied; data NULL: none */
        const uint8_t *data;
        uint8_t *to;
        uint64_t token;
        uint32_t len;
    } rest;

    struct efsim_tx_desc *tx;
    uint32_t tx_mask, tx_added, tx_pushed, tx_done, tx_removed, tx_reported;
    uint32_t fifo_used;
    size_t ctpio_len; /* of a CTPIO send that waits for its fallback */
    uint64_t ctpio_sum;
    bool ctpio_sent;

    struct efsim_superbuf superbuf[EFSIM_SUPERBUFS];
    int current;
    unsigned next_slot;
};

static inline bool efsim_refers(const struct efsim_nic *nic)
{
    return nic->options.arch == EF_VI_ARCH_EFCT || nic->options.arch == EF_VI_ARCH_EF10CT;
}

static inline bool efsim_merges(const struct efsim_vi *v, enum ef_vi_flags flags)
{
    return v->nic->options.force_merge || flags & EF_VI_RX_EVENT_MERGE;
}

uint64_t efsim_sum(const void *data, size_t len);
/* Returns the memory at a DMA address. The `len` bytes must lie within a page. */
uint8_t *efsim_dma(struct efsim_nic *nic, ef_addr addr, size_t len);
bool efsim_wants(struct efsim_nic *nic, const uint8_t *frame, uint32_t len);

/* True: the frame belongs to the known flow, so a filter wants it. It is untagged IPv4 without options, and no fragment. */
static inline bool efsim_knows(const struct efsim_nic *nic, const uint8_t *frame, uint32_t len)
{
    return len >= 42 && sf_load16(frame + 12) == sf_be16(0x800) && frame[14] == 0x45 && !(sf_load16(frame + 20) & sf_be16(0x3fff)) &&
           sf_load64(frame + 26) == nic->known.addrs && sf_load32(frame + 34) == nic->known.ports &&
           frame[23] == nic->known.protocol;
}

/* Copies word by word, because a load that is wider than the stores before it would wait for them. */
static inline void efsim_move_event(ef_event *to, const ef_event *from)
{
    for (int i = 0; i < 4; i++)
        ((volatile unsigned *)to->word)[i] = ((const volatile unsigned *)from->word)[i];
}

void efsim_put_event(struct efsim_vi *v, const ef_event *event);
void efsim_read_received(struct efsim_vi *v, const ef_event *event);
void efsim_receive(ef_vi *vi);  /* receives frames from the wire */
/* Copies the rest of the frame in `rest`. Turns its event into a discard if a checksum is wrong. */
void efsim_receive_rest(struct efsim_vi *v, ef_event *event);
void efsim_transmit(ef_vi *vi); /* sends the pushed frames for which the wire has room */
void efsim_report_sent(ef_vi *vi);
/* Makes the handle readable until the next ef_vi_prime(). */
void efsim_signal(ef_driver_handle handle);
void efsim_watch(ef_driver_handle handle, int fd);
void efsim_quiet(ef_driver_handle handle);

#endif
