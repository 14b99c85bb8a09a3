/* Slow start, which HyStart++ ends on rising delay (RFC 9406). */
#include "congestion.h"

#include <string.h>

enum { RTT_SAMPLES = 8, CSS_DIVISOR = 4, CSS_ROUNDS = 5 };

#define LEAST_THRESHOLD (4 * SF_MS)
#define MOST_THRESHOLD (16 * SF_MS)

const struct sf_tcp_cc_ops *sf_tcp_cc_find(const char *name)
{
    if (name && strcmp(name, sf_tcp_cc_cubic.name) == 0)
        return &sf_tcp_cc_cubic;
    return name && strcmp(name, sf_tcp_cc_newreno.name) == 0 ? &sf_tcp_cc_newreno : NULL;
}

uint32_t sf_tcp_cc_initial_window(uint32_t mss)
{
    uint32_t most = 2 * mss > 14600 ? 2 * mss : 14600;

    return 10 * mss < most ? 10 * mss : most;
}

void sf_tcp_cc_init(struct sf_tcp_cc *cc, const char *name, uint32_t mss)
{
    const struct sf_tcp_cc_ops *ops = sf_tcp_cc_find(name);

    *cc = (struct sf_tcp_cc){
        .ops = ops ? ops : &sf_tcp_cc_cubic,
        .cwnd = sf_tcp_cc_initial_window(mss),
        .ssthresh = SF_TCP_CWND_MAX,
        .hystart = true,
    };
}

/* Returns the bytes left for congestion avoidance, because the ACK that crosses ssthresh counts for both. */
static uint32_t slow_start(struct sf_tcp_cc *cc, uint32_t acked)
{
    uint32_t room = cc->ssthresh - cc->cwnd;

    if (cc->css_rounds)
        acked /= CSS_DIVISOR;
    if (acked <= room) {
        sf_tcp_cc_grow(cc, acked);
        return 0;
    }
    sf_tcp_cc_grow(cc, room);
    return acked - room;
}

void sf_tcp_cc_acked(struct sf_tcp_cc *cc, uint32_t acked, uint32_t mss, sf_ns rtt, sf_ns now)
{
    if (cc->cwnd < cc->ssthresh)
        acked = slow_start(cc, acked);
    if (acked && cc->cwnd >= cc->ssthresh)
        cc->ops->avoid(cc, acked, mss, rtt, now);
}

static void look_for_delay(struct sf_tcp_cc *cc)
{
    sf_ns threshold = cc->last_round_min_rtt / 8;

    if (!cc->last_round_min_rtt)
        return;
    threshold = threshold < LEAST_THRESHOLD ? LEAST_THRESHOLD : threshold > MOST_THRESHOLD ? MOST_THRESHOLD : threshold;
    if (cc->round_min_rtt < cc->last_round_min_rtt + threshold)
        return;
    cc->css_rounds = 1;
    cc->css_baseline = cc->round_min_rtt;
}

void sf_tcp_cc_rtt(struct sf_tcp_cc *cc, sf_ns rtt)
{
    if (!cc->hystart)
        return;
    if (!cc->round_samples || rtt < cc->round_min_rtt)
        cc->round_min_rtt = rtt;
    if (cc->round_samples < RTT_SAMPLES && ++cc->round_samples < RTT_SAMPLES)
        return;
    if (!cc->css_rounds)
        look_for_delay(cc);
    else if (cc->round_min_rtt < cc->css_baseline)
        cc->css_rounds = 0; /* the delay is gone, so we did not cause it */
}

void sf_tcp_cc_round(struct sf_tcp_cc *cc)
{
    if (!cc->hystart)
        return;
    if (cc->css_rounds && ++cc->css_rounds > CSS_ROUNDS) {
        cc->ssthresh = cc->cwnd;
        cc->css_rounds = 0;
        cc->hystart = false;
        return;
    }
    cc->last_round_min_rtt = cc->round_samples ? cc->round_min_rtt : 0;
    cc->round_samples = 0;
}

void sf_tcp_cc_lost(struct sf_tcp_cc *cc, uint32_t mss)
{
    cc->hystart = false;
    cc->css_rounds = 0;
    cc->credit = 0;
    cc->ops->lost(cc, mss);
}
