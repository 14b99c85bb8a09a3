/* NewReno (RFC 5681): grows by a segment for each window that arrives, and halves on a loss. */
#include "congestion.h"

static void avoid(struct sf_tcp_cc *cc, uint32_t acked, uint32_t mss, sf_ns rtt, sf_ns now)
{
    (void)rtt;
    (void)now;
    cc->credit += acked; /* appropriate byte counting (RFC 3465): splitting ACKs gains nothing */
    while (cc->credit >= cc->cwnd) {
        cc->credit -= cc->cwnd;
        sf_tcp_cc_grow(cc, mss);
    }
}

static void lost(struct sf_tcp_cc *cc, uint32_t mss)
{
    cc->ssthresh = cc->cwnd / 2 > 2 * mss ? cc->cwnd / 2 : 2 * mss;
}

const struct sf_tcp_cc_ops sf_tcp_cc_newreno = {.name = "newreno", .avoid = avoid, .lost = lost};
