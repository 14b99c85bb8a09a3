/* The standard: a segment for each window that arrives, half of it for a loss (RFC 5681). */
#include "congestion.h"

static void avoid(struct sf_tcp_cc *cc, uint32_t acked, uint32_t mss, sf_ns rtt, sf_ns now)
{
    (void)rtt;
    (void)now;
    cc->credit += acked; /* appropriate byte counting (RFC 3465): ACKs that come in pieces are worth no more */
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
