/*
 * Congestion control: how much data may be in flight. An algorithm defines how the window grows in congestion avoidance and what
 * remains of it after a loss. Slow start is common to all (congestion.c).
 */
#ifndef SF_TCPIP_TCP_LOSS_CONGESTION_H
#define SF_TCPIP_TCP_LOSS_CONGESTION_H

#include "loss.h"

enum { SF_TCP_CWND_MAX = 1 << 30 };

struct sf_tcp_cc_ops {
    const char *name;
    /* Congestion avoidance: `acked` bytes have arrived while the window was fully used. */
    void (*avoid)(struct sf_tcp_cc *, uint32_t acked, uint32_t mss, sf_ns rtt, sf_ns now);
    /* On a loss: sets ssthresh to two segments at least. */
    void (*lost)(struct sf_tcp_cc *, uint32_t mss);
    /* After `span` ns without sending. NULL: no effect. */
    void (*idle)(struct sf_tcp_cc *, sf_ns span);
};

extern const struct sf_tcp_cc_ops sf_tcp_cc_cubic;   /* RFC 9438 */
extern const struct sf_tcp_cc_ops sf_tcp_cc_newreno; /* RFC 5681 */

/* Finds "cubic" or "newreno". NULL: `name` is NULL or unknown. */
const struct sf_tcp_cc_ops *sf_tcp_cc_find(const char *name);
void sf_tcp_cc_init(struct sf_tcp_cc *, const char *name, uint32_t mss);
/* RFC 6928: ten segments, limited to 14600 bytes, but at least two. */
uint32_t sf_tcp_cc_initial_window(uint32_t mss);
/* Grows the window in slow start or congestion avoidance. `rtt` is the smoothed RTT. */
void sf_tcp_cc_acked(struct sf_tcp_cc *, uint32_t acked, uint32_t mss, sf_ns rtt, sf_ns now);
/* HyStart++: takes an RTT sample of a segment sent once, or the end of a round trip. */
void sf_tcp_cc_rtt(struct sf_tcp_cc *, sf_ns rtt);
void sf_tcp_cc_round(struct sf_tcp_cc *);
/* On a loss: sets ssthresh and ends HyStart++. The caller sets the window. */
void sf_tcp_cc_lost(struct sf_tcp_cc *, uint32_t mss);

static inline void sf_tcp_cc_grow(struct sf_tcp_cc *cc, uint32_t by)
{
    cc->cwnd = by > SF_TCP_CWND_MAX - cc->cwnd ? SF_TCP_CWND_MAX : cc->cwnd + by;
}

#endif
