/* Congestion control against the formulas of RFC 9438, 5681 and 9406, with an injected clock. */
#include "tcpip/tcp/loss/congestion.h"

#include "check.h"

#include <math.h>
#include <string.h>

enum { MSS = 1000 };

static struct sf_tcp_cc cc;

static bool near(double a, double b, double tolerance)
{
    return fabs(a - b) <= tolerance * fabs(b);
}

/* The ACKs of one window, spread over a round trip. */
static void round_trip(sf_ns rtt, sf_ns *now)
{
    uint32_t segments = cc.cwnd / MSS;

    for (uint32_t i = 0; i < segments; i++) {
        *now += rtt / segments;
        sf_tcp_cc_acked(&cc, MSS, MSS, rtt, *now);
    }
}

static void test_names(void)
{
    CHECK(sf_tcp_cc_find("cubic") == &sf_tcp_cc_cubic && sf_tcp_cc_find("newreno") == &sf_tcp_cc_newreno);
    CHECK(!sf_tcp_cc_find("vegas") && !sf_tcp_cc_find(NULL));
    sf_tcp_cc_init(&cc, "vegas", MSS);
    CHECK(cc.ops == &sf_tcp_cc_cubic);
}

static void test_initial_windows(void)
{
    CHECK(sf_tcp_cc_initial_window(536) == 5360 && sf_tcp_cc_initial_window(1448) == 14480);
    CHECK(sf_tcp_cc_initial_window(1460) == 14600 && sf_tcp_cc_initial_window(8948) == 2 * 8948);
}

/* W(t) = C (t - K)^3 + W_max, K = cbrt((W_max - cwnd) / C), in segments (RFC 9438, 4.2): a concave rise, a plateau, a convex
 * rise. The round trip is long, so NewReno would be slower. */
static void test_cubic_grows_as_the_formula_says(void)
{
    sf_ns now = 50 * SF_SEC, rtt = 200 * SF_MS;
    double w_max = 2000, k = cbrt(w_max * 0.3 / 0.4);

    sf_tcp_cc_init(&cc, "cubic", MSS);
    cc.cwnd = (uint32_t)w_max * MSS;
    sf_tcp_cc_lost(&cc, MSS);
    CHECK(near(cc.ssthresh, 0.7 * w_max * MSS, 0.001));
    cc.cwnd = cc.ssthresh;
    sf_tcp_cc_acked(&cc, MSS, MSS, rtt, now);
    for (int i = 1; i < 120; i++) {
        double t = 0.2 * i, expected;

        round_trip(rtt, &now);
        t = (double)(now - 50 * SF_SEC) / SF_SEC;
        expected = 0.4 * pow(t - k, 3) + w_max;
        CHECK(near((double)cc.cwnd / MSS, expected, 0.03));
        if (t > k * 0.9 && t < k * 1.1)
            CHECK(near((double)cc.cwnd / MSS, w_max, 0.01));
    }
    CHECK((double)cc.cwnd / MSS > 1.3 * w_max);
}

/* In short round trips CUBIC grows as an AIMD with the same average window would: by 0.53 segments in a round trip (4.3). */
static void test_cubic_is_no_slower_than_newreno(void)
{
    sf_ns now = 50 * SF_SEC, rtt = SF_MS;
    uint32_t before;

    sf_tcp_cc_init(&cc, "cubic", MSS);
    cc.cwnd = 100 * MSS;
    sf_tcp_cc_lost(&cc, MSS);
    cc.cwnd = cc.ssthresh;
    before = cc.cwnd;
    for (int i = 0; i < 20; i++)
        round_trip(rtt, &now);
    CHECK(near(cc.cwnd - before, 20 * 3 * 0.3 / 1.7 * MSS, 0.1));
    for (int i = 0; i < 60; i++) /* up to the window before the loss, then by one segment a round trip */
        round_trip(rtt, &now);
    before = cc.cwnd;
    CHECK(before > 100 * MSS);
    for (int i = 0; i < 20; i++)
        round_trip(rtt, &now);
    CHECK(near(cc.cwnd - before, 20 * MSS, 0.1));
}

static void test_cubic_makes_room_for_others(void)
{
    sf_tcp_cc_init(&cc, "cubic", MSS);
    cc.cwnd = 100 * MSS;
    sf_tcp_cc_lost(&cc, MSS);
    CHECK(near(cc.w_max, 100 * MSS, 0.001));
    cc.cwnd = 80 * MSS; /* a loss before the window is back at w_max (4.7) */
    sf_tcp_cc_lost(&cc, MSS);
    CHECK(near(cc.w_max, 80 * MSS * 1.7 / 2, 0.001) && near(cc.ssthresh, 56 * MSS, 0.001));
}

/* The window grows by no more than half in a round trip, however long ago the epoch began (4.2). */
static void test_cubic_is_bounded(void)
{
    sf_ns now = 50 * SF_SEC;
    uint32_t before;

    sf_tcp_cc_init(&cc, "cubic", MSS);
    cc.cwnd = cc.ssthresh = 100 * MSS;
    sf_tcp_cc_acked(&cc, MSS, MSS, SF_MS, now);
    now += 1000 * SF_SEC;
    before = cc.cwnd;
    round_trip(100 * SF_MS, &now);
    CHECK(cc.cwnd > before && cc.cwnd <= before * 8 / 5);
    for (int i = 0; i < 200; i++) /* up to the largest window, and no further */
        sf_tcp_cc_acked(&cc, cc.cwnd, MSS, SF_MS, now += SF_SEC);
    CHECK(cc.cwnd == SF_TCP_CWND_MAX);
}

static void test_time_not_used_is_none(void)
{
    sf_ns now = 50 * SF_SEC;

    sf_tcp_cc_init(&cc, "cubic", MSS);
    cc.cwnd = cc.ssthresh = 100 * MSS;
    sf_tcp_cc_acked(&cc, MSS, MSS, SF_MS, now);
    cc.ops->idle(&cc, 1000 * SF_SEC);
    sf_tcp_cc_acked(&cc, MSS, MSS, SF_MS, now + 1000 * SF_SEC);
    CHECK(cc.cwnd < 101 * MSS);
}

static void test_newreno_grows_by_a_segment_for_a_window(void)
{
    sf_ns now = SF_SEC;

    sf_tcp_cc_init(&cc, "newreno", MSS);
    cc.cwnd = 100 * MSS;
    sf_tcp_cc_lost(&cc, MSS);
    CHECK(cc.ssthresh == 50 * MSS);
    cc.cwnd = cc.ssthresh;
    for (int i = 0; i < 10; i++)
        round_trip(10 * SF_MS, &now);
    CHECK(cc.cwnd == 60 * MSS);
    cc.cwnd = 3 * MSS;
    sf_tcp_cc_lost(&cc, MSS);
    CHECK(cc.ssthresh == 2 * MSS);
}

static void test_slow_start_ends_at_its_threshold(void)
{
    sf_tcp_cc_init(&cc, "newreno", MSS);
    cc.ssthresh = 15 * MSS;
    sf_tcp_cc_acked(&cc, 10 * MSS, MSS, SF_MS, SF_SEC); /* five in slow start, five in congestion avoidance */
    CHECK(cc.cwnd == 15 * MSS && cc.credit == 5 * MSS);
}

/* A round trip of slow start in which each RTT sample is `rtt`. */
static void slow_round(sf_ns rtt)
{
    sf_ns now = SF_SEC;

    for (uint32_t i = 0, n = cc.cwnd / MSS; i < n; i++) {
        sf_tcp_cc_rtt(&cc, rtt);
        sf_tcp_cc_acked(&cc, MSS, MSS, rtt, now);
    }
    sf_tcp_cc_round(&cc);
}

static void test_slow_start_ends_by_delay(void)
{
    uint32_t at;

    sf_tcp_cc_init(&cc, "cubic", MSS);
    slow_round(20 * SF_MS);
    slow_round(22 * SF_MS);
    CHECK(cc.cwnd == 40 * MSS && !cc.css_rounds); /* the RTT has grown by less than 4 ms */
    slow_round(27 * SF_MS);
    CHECK(cc.css_rounds);
    at = cc.cwnd;
    for (int i = 0; i < 4; i++) {
        uint32_t before = cc.cwnd;

        slow_round(28 * SF_MS);
        CHECK(near(cc.cwnd, before * 1.25, 0.05)); /* a quarter as fast */
    }
    CHECK(cc.cwnd > at && cc.ssthresh == cc.cwnd && !cc.hystart);
}

static void test_a_delay_that_goes_away_was_not_ours(void)
{
    sf_tcp_cc_init(&cc, "cubic", MSS);
    slow_round(20 * SF_MS);
    slow_round(30 * SF_MS);
    CHECK(cc.css_rounds);
    slow_round(21 * SF_MS);
    CHECK(!cc.css_rounds && cc.ssthresh == SF_TCP_CWND_MAX && cc.hystart);
    sf_tcp_cc_lost(&cc, MSS);
    CHECK(!cc.hystart);
}

int main(void)
{
    test_names();
    test_initial_windows();
    test_cubic_grows_as_the_formula_says();
    test_cubic_is_no_slower_than_newreno();
    test_cubic_makes_room_for_others();
    test_cubic_is_bounded();
    test_time_not_used_is_none();
    test_newreno_grows_by_a_segment_for_a_window();
    test_slow_start_ends_at_its_threshold();
    test_slow_start_ends_by_delay();
    test_a_delay_that_goes_away_was_not_ours();
    return 0;
}
