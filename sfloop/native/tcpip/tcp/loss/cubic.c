/*
 * CUBIC (RFC 9438): the window grows with the time since the last loss, W(t) = C (t - K)^3 + W_max, and at least as fast as
 * NewReno's. Windows are in bytes here and in segments in the RFC, so C is per segment.
 */
#include "congestion.h"

static const double c = 0.4, beta = 0.7;
static const double alpha_friendly = 3 * (1 - 0.7) / (1 + 0.7); /* 4.3 */

/* Uses Newton's method, from above. */
static double cube_root(double x)
{
    double y = x > 1 ? x : 1;

    for (int i = 0; i < 64; i++) {
        double next = (2 * y + x / (y * y)) / 3;

        if (next >= y)
            break;
        y = next;
    }
    return y;
}

static double window_at(const struct sf_tcp_cc *cc, double t, uint32_t mss)
{
    double d = t - cc->k;

    return c * d * d * d * mss + cc->w_max;
}

static void begin_epoch(struct sf_tcp_cc *cc, uint32_t mss, sf_ns now)
{
    cc->epoch_start = now;
    cc->w_est = cc->cwnd;
    cc->fraction = 0;
    if (cc->cwnd < cc->w_max) {
        cc->k = (float)cube_root((cc->w_max - cc->cwnd) / mss / c);
        return;
    }
    cc->k = 0; /* slow start ended above W_max, or without a loss (4.8) */
    cc->w_max = (float)cc->cwnd;
}

static void avoid(struct sf_tcp_cc *cc, uint32_t acked, uint32_t mss, sf_ns rtt, sf_ns now)
{
    double t, target, grow;

    if (!cc->epoch_start)
        begin_epoch(cc, mss, now);
    t = (double)(now - cc->epoch_start) / SF_SEC;
    cc->w_est += (cc->w_est >= cc->cwnd_prior ? 1 : alpha_friendly) * acked * mss / cc->cwnd;
    if (window_at(cc, t, mss) < cc->w_est) {
        if (cc->w_est > cc->cwnd)
            cc->cwnd = cc->w_est < SF_TCP_CWND_MAX ? (uint32_t)cc->w_est : SF_TCP_CWND_MAX;
        return;
    }
    target = window_at(cc, t + (double)rtt / SF_SEC, mss);
    if (target > 1.5 * cc->cwnd)
        target = 1.5 * cc->cwnd;
    if (target <= cc->cwnd)
        return;
    grow = (target - cc->cwnd) / cc->cwnd * acked + cc->fraction;
    cc->fraction = (float)(grow - (uint32_t)grow);
    sf_tcp_cc_grow(cc, (uint32_t)grow);
}

static void lost(struct sf_tcp_cc *cc, uint32_t mss)
{
    double left = cc->cwnd * beta;

    cc->epoch_start = 0;
    cc->cwnd_prior = (float)cc->cwnd;
    cc->w_max = (float)(cc->cwnd < cc->w_max ? cc->cwnd * (1 + beta) / 2 : cc->cwnd); /* 4.7: makes room for a new flow sooner */
    cc->ssthresh = left > 2 * mss ? (uint32_t)left : 2 * mss;
}

/* 5.8: time in which the sender does not use the window does not count. */
static void idle(struct sf_tcp_cc *cc, sf_ns span)
{
    if (cc->epoch_start)
        cc->epoch_start += span;
}

const struct sf_tcp_cc_ops sf_tcp_cc_cubic = {.name = "cubic", .avoid = avoid, .lost = lost, .idle = idle};
