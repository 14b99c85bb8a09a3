/*
 * A buffer for bursts, so that the receive ring can be small: its few slots stay in the CPU's caches and TLB. The buffer is that of
 * drivers/kernel/xdp_overflow.h. The socket's filter puts a datagram there when half of the ring is full.
 */
#ifndef SF_DRIVERS_PACKET_OVERFLOW_H
#define SF_DRIVERS_PACKET_OVERFLOW_H

#include "drivers/kernel/xdp_overflow.h"
#include "ring.h"

struct sf_packet_overflow {
    struct sf_overflow buffer;
    struct sf_overflow_queue *counts; /* NULL: there is no buffer, or the filter does not count */
};

void sf_packet_overflow_none(struct sf_packet_overflow *overflow);
/* Opens an overflow for a ring of this number of slots. False: the kernel has no memory for it, or lacks ring buffers. */
bool sf_packet_overflow_open(struct sf_packet_overflow *overflow, uint64_t size, uint32_t slots);
void sf_packet_overflow_close(struct sf_packet_overflow *overflow);

/* Tells whether the socket's filter counts from now on. */
void sf_packet_overflow_count(struct sf_packet_overflow *overflow, const struct sf_packet_ring *ring, bool on);

/* Does what rx_burst of sf/driver.h does, while no frame waits in the buffer. */
static inline int sf_packet_overflow_ring_burst(const struct sf_packet_overflow *overflow, struct sf_packet_ring *ring,
                                                struct sf_frame *frames, int n)
{
    uint32_t before = ring->next;
    int taken = sf_packet_ring_burst(ring, frames, n);

    if (overflow->counts)
        sf_overflow_taken(overflow->counts, ring->next - before);
    return taken;
}

/* Does the same while frames wait in the buffer: takes the ring's frames, and then the buffer's. */
int sf_packet_overflow_burst(struct sf_packet_overflow *overflow, struct sf_packet_ring *ring, struct sf_frame *frames, int n);
/* Does what rx_release does, while frames of the buffer are lent. */
void sf_packet_overflow_release(struct sf_packet_overflow *overflow, struct sf_packet_ring *ring, const struct sf_frame *frames, int n);

#endif
