/*
 * A receive ring of an AF_PACKET socket (TPACKET_V2), mapped into this process: the kernel copies each frame into the
 * next slot and hands the slot over by its status word. V3 would hand over whole blocks, up to a millisecond late.
 *
 * Slots go back in any order, but the kernel fills them in turn and stops before one that is still lent: a frame that
 * is kept for good holds up the ring when it comes round to it.
 */
#ifndef SF_DRIVERS_PACKET_RING_H
#define SF_DRIVERS_PACKET_RING_H

#include "sf/driver.h"

/*
 * A frame that is longer than its slot. Nothing of that length comes over the cable: the kernel has put segments of a TCP
 * stream together (GRO), or the sender on this machine has left cutting them to the hardware (TSO on a veth pair). The
 * kernel hands it over whole by the socket's receive queue, beside the slot with its beginning (PACKET_COPY_THRESH).
 */
enum { SF_PACKET_LARGE = 64 /* as many as a burst may bring */, SF_PACKET_LARGE_ROOM = 65536 + 64 };

struct sf_packet_large {
    uint8_t *bytes; /* NULL: not needed yet */
    bool lent;
};

struct sf_packet_ring {
    uint8_t *slots; /* NULL: not mapped */
    uint32_t count; /* of slots, a power of two, as is their size */
    uint32_t slot_size;
    uint32_t shift; /* log2 of the size */
    uint32_t next;  /* the slot that the kernel fills next, not wrapped */
    bool skip_own;  /* the kernel brings outgoing frames too */
    int fd;
    struct sf_packet_large large[SF_PACKET_LARGE];
    uint64_t frames, bytes, invalid;
};

/* The longest frame, Ethernet header included, that fits into a slot of this size, and the slot size for a frame. */
uint32_t sf_packet_ring_room(uint32_t slot_size);
uint32_t sf_packet_ring_slot_size(uint32_t frame);

/*
 * Gives the socket, which is not bound yet, a ring and maps it. `count` is rounded up to a power of two; `slot_size` is
 * one. Returns 0 or a negative errno.
 */
int sf_packet_ring_open(struct sf_packet_ring *ring, int fd, uint32_t count, uint32_t slot_size);
void sf_packet_ring_close(struct sf_packet_ring *ring);
/* In a forked child. */
void sf_packet_ring_abandon(struct sf_packet_ring *ring);

int sf_packet_ring_burst(struct sf_packet_ring *ring, struct sf_frame *frames, int n);
void sf_packet_ring_release(struct sf_packet_ring *ring, const struct sf_frame *frames, int n);
bool sf_packet_ring_pending(const struct sf_packet_ring *ring);
/* How many slots have a frame that no burst has brought. */
uint32_t sf_packet_ring_waiting(const struct sf_packet_ring *ring);

#endif
