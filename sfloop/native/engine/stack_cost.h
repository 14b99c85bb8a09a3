/*
 * What a bypass stack costs by itself: no Python, no other process, both ends on the CPU that asks. `sfloop bench` shows
 * these figures (case stack-cost); nothing else uses them.
 */
#ifndef SF_ENGINE_STACK_COST_H
#define SF_ENGINE_STACK_COST_H

#include "sf/stack.h"

struct sf_datagram_cost {
    double send_ns;    /* for each datagram: send_to(), and its part of the sender's next poll */
    double receive_ns; /* poll(), recv_batch(), and giving the memory back at the next poll */
};

/*
 * Sends bursts of datagrams of `size` bytes from a connected socket to its peer, receives them, and takes the medians over
 * the bursts of about `span` ns. Both sockets are idle, and asked for READABLE. Returns 0, -ETIMEDOUT when a burst does not arrive whole, or
 * what a stack has returned.
 */
int sf_measure_datagrams(struct sf_sock *from, struct sf_sock *to, uint32_t size, sf_ns span, struct sf_datagram_cost *out);
struct sf_segment_cost {
    double send_ns;    /* for each segment: sendv(), and its part of taking the ACKs in */
    double receive_ns; /* poll(), recv_borrow(), recv_done(), and sending the ACKs */
};

/* The same for the two ends of a TCP connection: bursts of writes of `size` bytes, each of which leaves as a segment of its own
 * (TCP_NODELAY), until all of a burst is acknowledged. */
int sf_measure_segments(struct sf_sock *from, struct sf_sock *to, uint32_t size, sf_ns span, struct sf_segment_cost *out);
/* ns that a poll takes which finds nothing; the median over stretches of about `span` ns together. Reading the clock, which
 * the loop does once a turn for all its stacks, is not in it. */
double sf_measure_idle(struct sf_stack *, sf_ns span);

#endif
