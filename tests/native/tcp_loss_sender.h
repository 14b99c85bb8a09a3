/* A sender with an injected clock: segments, ACKs and timeouts of one struct sf_tcp_loss. Each test runs from several initial
 * sequence numbers. */
#ifndef SF_TEST_TCP_LOSS_SENDER_H
#define SF_TEST_TCP_LOSS_SENDER_H

#include "tcp_loss_check.h"

enum { MSS = 1000, RTT_MS = 10 };

#define RTT (RTT_MS * SF_MS)
#define MIN_RTO (200 * SF_MS) /* added to the smoothed RTT */

static struct sf_tcp_loss l;
static sf_ns now;
static uint32_t iss, timestamp_echo;
static bool with_timestamps;

static inline void begin(bool sack)
{
    sf_tcp_loss_free(&l);
    now = 1000 * SF_SEC;
    sf_tcp_loss_init(&l, iss, MSS, "newreno", MIN_RTO);
    l.sack = sack;
    l.timestamps = with_timestamps = false;
    sf_tcp_loss_rtt_sample(&l, RTT);
    check_loss(&l);
}

/* The first byte of segment n, counted from 0. */
static inline uint32_t at(uint32_t n)
{
    return iss + n * MSS;
}

static inline void send_new(uint32_t n)
{
    for (; n; n--)
        CHECK(sf_tcp_loss_sent(&l, l.nxt, MSS, now) == 0);
    check_loss(&l);
}

static inline uint32_t ack_ranges(uint32_t ack, const struct sf_tcp_range *ranges, uint8_t n)
{
    struct sf_tcp_ack a = {
        .ack = ack, .n_sack = n, .sack = ranges, .may_be_duplicate = true, .has_ts = with_timestamps,
        .ts_now = (uint32_t)(now / SF_TCP_TS_TICK), .ts_ecr = timestamp_echo,
    };
    uint32_t result = sf_tcp_loss_ack(&l, &a, now);

    check_loss(&l);
    return result;
}

static inline uint32_t ack(uint32_t n)
{
    return ack_ranges(at(n), NULL, 0);
}

/* An ACK of n segments, with a SACK block of the segments [left, right). */
static inline uint32_t ack_sack(uint32_t n, uint32_t left, uint32_t right)
{
    struct sf_tcp_range range = {at(left), at(right)};

    return ack_ranges(at(n), &range, 1);
}

/* Retransmits lost segments while there is room. Returns their number, and the first one in *first. */
static inline uint32_t resend(uint32_t *first)
{
    uint32_t seq, len, n = 0;

    if (first)
        *first = UINT32_MAX;
    while (sf_tcp_loss_room(&l) && sf_tcp_loss_next(&l, &seq, &len)) {
        if (!n++ && first)
            *first = (seq - iss) / MSS;
        CHECK(sf_tcp_loss_sent(&l, seq, len, now) == 0);
        check_loss(&l);
    }
    return n;
}

static inline enum sf_tcp_timeout fire(void)
{
    uint32_t seq, len;
    enum sf_tcp_timeout what;

    CHECK(sf_tcp_loss_deadline(&l) != SF_NEVER);
    CHECK(sf_tcp_loss_timeout(&l, sf_tcp_loss_deadline(&l) - 1, false, &seq, &len) == SF_TCP_TIMEOUT_NONE);
    if (now < sf_tcp_loss_deadline(&l))
        now = sf_tcp_loss_deadline(&l);
    what = sf_tcp_loss_timeout(&l, now, false, &seq, &len);
    check_loss(&l);
    return what;
}

/* Initial sequence numbers: near the unsigned wrap, near the signed one, and far from both. */
static const uint32_t places[] = {1, 0xffffffff - 3 * MSS, 0x7fffffff - 5 * MSS, 0xfffffff0};

/* Runs the tests from each of the places. */
static inline void run_everywhere(void (*const *tests)(void), size_t n)
{
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        iss = places[i];
        for (size_t k = 0; k < n; k++)
            tests[k]();
    }
    sf_tcp_loss_free(&l);
}

#endif
