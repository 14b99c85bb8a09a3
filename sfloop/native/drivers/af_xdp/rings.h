/*
 * An AF_XDP socket: its memory (UMEM) and the four rings that it shares with the kernel. Positions count up and wrap at 2^32.
 * Only one side writes an index. It stores the index with release semantics after the entries.
 *
 * The memory is divided into frames of frame_size bytes. The first rx_frames circulate through the fill and receive rings, the
 * other tx_frames through the transmit and completion rings.
 */
#ifndef SF_DRIVERS_AF_XDP_RINGS_H
#define SF_DRIVERS_AF_XDP_RINGS_H

#include "sf/base.h"
#include "drivers/kernel/xdp_overflow.h"

#include <linux/if_xdp.h>
#include <stdbool.h>

/* Since Linux 6.6; Debian 12's headers are older. */
#ifndef XDP_USE_SG
#define XDP_USE_SG (1 << 4)
#endif
#ifndef XDP_PKT_CONTD
#define XDP_PKT_CONTD (1 << 0)
#endif

/* Bytes that the kernel leaves free before the received bytes of a frame (XDP_PACKET_HEADROOM). */
#define SF_XSK_HEADROOM 256

struct sf_xsk_ring {
    uint32_t *producer, *consumer, *flags;
    void *entries; /* fill and completion: uint64_t; receive and transmit: struct xdp_desc */
    uint32_t mask;
    uint32_t position; /* our own index, published by storing it */
    void *map;
    size_t map_size;
};

struct sf_xsk_sizes {
    uint32_t frame_size; /* 2048 or 4096 */
    uint32_t rx_frames;  /* a power of two */
    uint32_t tx_frames;  /* a power of two; 0: this socket does not send */
};

struct sf_xsk {
    _Alignas(SF_CACHE_LINE) struct sf_xsk_ring rx;
    /* Returned frames that wait for the fill ring. */
    uint64_t *recycled;
    uint32_t recycled_count;
    uint32_t recycle_batch;
    struct sf_overflow_queue *overflow; /* NULL: taken frames are not counted */
    uint8_t *memory;
    uint64_t frame_mask; /* turns an address within a frame into the frame's own */
    struct sf_xsk_ring fill, tx, completion;
    struct sf_xsk_sizes sizes;
    size_t memory_size;
    int fd;
};

static inline uint32_t sf_xsk_load(const uint32_t *index)
{
    return __atomic_load_n(index, __ATOMIC_ACQUIRE);
}

static inline void sf_xsk_publish(uint32_t *index, uint32_t value)
{
    __atomic_store_n(index, value, __ATOMIC_RELEASE);
}

static inline bool sf_xsk_needs_wakeup(const struct sf_xsk_ring *ring)
{
    return __atomic_load_n(ring->flags, __ATOMIC_RELAXED) & XDP_RING_NEED_WAKEUP;
}

/*
 * Creates the socket, its memory and its rings, and fills the fill ring. Returns 0 or a negative errno: -EPERM (no CAP_NET_RAW),
 * -ENOBUFS (locked memory exceeds the limit, even after an attempt to raise it), -EAFNOSUPPORT (a kernel without AF_XDP).
 */
int sf_xsk_open(struct sf_xsk *xsk, const struct sf_xsk_sizes *sizes);
int sf_xsk_bind(const struct sf_xsk *xsk, int ifindex, uint32_t queue, uint16_t flags);
void sf_xsk_close(struct sf_xsk *xsk);
/* For a forked child, which inherits the descriptor but neither the rings nor the memory's contents. */
void sf_xsk_abandon(struct sf_xsk *xsk);

/* Gives all recycled frames to the kernel. True: the kernel needs a wake-up. That happens with zero copy only. */
bool sf_xsk_refill(struct sf_xsk *xsk);

#endif
