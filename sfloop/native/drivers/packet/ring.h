/*
 * The receive ring of an AF_PACKET socket (TPACKET_V2), mapped into this process. The kernel copies each frame into the next slot
 * and hands the slot over by its status word. TPACKET_V3 would hand over whole blocks, up to a millisecond late.
 *
 * Slots may be returned in any order. But the kernel fills them in sequence and stops before a slot that is still lent, so a
 * frame that is never returned stops the ring.
 */
#ifndef SF_DRIVERS_PACKET_RING_H
#define SF_DRIVERS_PACKET_RING_H

#include "sf/driver.h"

#include <linux/if_packet.h>

/*
 * A frame longer than its slot. It did not cross a cable in this form: the kernel has merged segments of a TCP stream (GRO), or a
 * sender on this machine left their splitting to hardware (TSO on a veth pair). The kernel hands it over whole through the
 * socket's receive queue, and its beginning in the slot (PACKET_COPY_THRESH).
 */
enum { SF_PACKET_LARGE = 64 /* the most of a burst */, SF_PACKET_LARGE_ROOM = 65536 + 64 };

struct sf_packet_large {
    uint8_t *bytes; /* NULL: not allocated yet */
    bool lent;
};

struct sf_packet_ring {
    uint8_t *slots; /* NULL: not mapped */
    uint32_t count; /* of slots, a power of two, like their size */
    uint32_t slot_size;
    uint32_t shift; /* log2 of the slot size */
    uint32_t next;  /* the slot that the kernel fills next, not wrapped */
    bool skip_own;  /* the kernel brings outgoing frames too */
    int fd;
    struct sf_packet_large large[SF_PACKET_LARGE];
    uint64_t frames, bytes, invalid;
};

/* The longest frame that fits into a slot of this size, and the slot size for a frame. Both in bytes, Ethernet header
 * included. */
uint32_t sf_packet_ring_room(uint32_t slot_size);
uint32_t sf_packet_ring_slot_size(uint32_t frame);

/*
 * Sets up a ring for a socket that is not bound yet, and maps it. `count` is rounded up to a power of two. `slot_size` is a power
 * of two. Returns 0 or a negative errno.
 */
int sf_packet_ring_open(struct sf_packet_ring *ring, int fd, uint32_t count, uint32_t slot_size);
void sf_packet_ring_close(struct sf_packet_ring *ring);
/* For a forked child. */
void sf_packet_ring_abandon(struct sf_packet_ring *ring);

int sf_packet_ring_burst(struct sf_packet_ring *ring, struct sf_frame *frames, int n);
void sf_packet_ring_release(struct sf_packet_ring *ring, const struct sf_frame *frames, int n);

static inline struct tpacket2_hdr *sf_packet_slot_at(const struct sf_packet_ring *ring, uint64_t index)
{
    return (struct tpacket2_hdr *)(void *)(ring->slots + ((index & (ring->count - 1)) << ring->shift));
}

static inline uint32_t sf_packet_status_of(const struct tpacket2_hdr *slot)
{
    return __atomic_load_n(&slot->tp_status, __ATOMIC_ACQUIRE);
}

/* True: the kernel has handed over the next slot. */
static inline bool sf_packet_ring_pending(const struct sf_packet_ring *ring)
{
    return sf_packet_status_of(sf_packet_slot_at(ring, ring->next)) & TP_STATUS_USER;
}

/* How many slots have a frame that no burst has brought. */
uint32_t sf_packet_ring_waiting(const struct sf_packet_ring *ring);

#endif
