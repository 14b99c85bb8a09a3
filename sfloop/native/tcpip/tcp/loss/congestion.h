/*
 * Congestion control: how much may be under way. An algorithm says how the window grows in congestion avoidance and what a
 * loss leaves of it; slow start is common to all (congestion.c).
 */
#ifndef SF_TCPIP_TCP_LOSS_CONGESTION_H
#define SF_TCPIP_TCP_LOSS_CONGESTION_H

#include "loss.h"

enum { SF_TCP_CWND_MAX = 1 << 30 };

struct sf_tcp_cc_ops {
    const char *name;
    /* Congestion avoidance: `acked` bytes have arrived while the window was in use. */
    void (*avoid)(struct sf_tcp_cc *, uint32_t acked, uint32_t mss, sf_ns rtt, sf_ns now);
    /* Something was lost: sets ssthresh, at least two segments. */
    void (*lost)(struct sf_tcp_cc *, uint32_t mss);
    /* Nothing was sent for so long. NULL: it does not matter. */
    void (*idle)(struct sf_tcp_cc *, sf_ns span);
};

extern const struct sf_tcp_cc_ops sf_tcp_cc_cubic;   /* RFC 9438 */
extern const struct sf_tcp_cc_ops sf_tcp_cc_newreno; /* RFC 5681 */

/* "cubic", "newreno"; NULL, or another name: NULL. */
const struct sf_tcp_cc_ops *sf_tcp_cc_find(const char *name);
void sf_tcp_cc_init(struct sf_tcp_cc *, const char *name, uint32_t mss);
/* RFC 6928: ten segments, or what there is room for in 14600 bytes, but two at least. */
uint32_t sf_tcp_cc_initial_window(uint32_t mss);
/* In slow start or congestion avoidance. rtt: smoothed. */
void sf_tcp_cc_acked(struct sf_tcp_cc *, uint32_t acked, uint32_t mss, sf_ns rtt, sf_ns now);
/* HyStart++: an RTT sample of a segment sent once, and the end of a round trip. */
void sf_tcp_cc_rtt(struct sf_tcp_cc *, sf_ns rtt);
void sf_tcp_cc_round(struct sf_tcp_cc *);
/* Loss: ssthresh, no more slow start by delay. The window itself is its caller's. */
void sf_tcp_cc_lost(struct sf_tcp_cc *, uint32_t mss);

static inline void sf_tcp_cc_grow(struct sf_tcp_cc *cc, uint32_t by)
{
    cc->cwnd = by > SF_TCP_CWND_MAX - cc->cwnd ? SF_TCP_CWND_MAX : cc->cwnd + by;
}

#endif
