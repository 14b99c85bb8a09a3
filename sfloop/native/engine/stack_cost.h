/*
 * Measures the cost of a bypass stack alone: no Python, no other process, both ends on the calling CPU. Only `sfloop bench` uses
 * it (case stack-cost).
 */
#ifndef SF_ENGINE_STACK_COST_H
#define SF_ENGINE_STACK_COST_H

#include "sf/stack.h"

struct sf_datagram_cost {
    double send_ns;    /* for each datagram: send_to(), and its share of the sender's next poll */
    double receive_ns; /* poll(), recv_batch(), and the return of the memory at the next poll */
};

/*
 * Sends bursts of datagrams of `size` bytes from a connected socket to its peer and receives them. Computes medians over bursts
 * for about `span` ns. Both sockets must be idle, with an interest in READABLE. Returns 0, -ETIMEDOUT if part of a burst is lost,
 * or the stack's error.
 */
int sf_measure_datagrams(struct sf_sock *from, struct sf_sock *to, uint32_t size, sf_ns span, struct sf_datagram_cost *out);
struct sf_segment_cost {
    double send_ns;    /* for each segment: sendv(), and its share of processing the ACKs */
    double receive_ns; /* poll(), recv_borrow(), recv_done(), and sending the ACKs */
};

/* Does the same for the two ends of a TCP connection: bursts of writes of `size` bytes, each a segment of its own
 * (TCP_NODELAY), until a burst is acknowledged. */
int sf_measure_segments(struct sf_sock *from, struct sf_sock *to, uint32_t size, sf_ns span, struct sf_segment_cost *out);
/* The ns of a poll that finds nothing, as a median over about `span` ns. Does not include reading the clock, which the loop
 * does once a turn for all stacks. Negative: no memory. */
double sf_measure_idle(struct sf_stack *, sf_ns span);

#endif
