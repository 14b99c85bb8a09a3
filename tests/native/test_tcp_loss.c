/* Loss recovery with an injected clock: one scenario of the RFCs each, run from a few places of sequence space. */
#include "tcp_loss_check.h"

#include <errno.h>
#include <string.h>

enum { MSS = 1000, RTT_MS = 10 };

#define RTT (RTT_MS * SF_MS)
#define MIN_RTO (200 * SF_MS) /* beyond the round trip */

static struct sf_tcp_loss l;
static sf_ns now;
static uint32_t iss, timestamp_echo;
static bool with_timestamps;

static void begin(bool sack)
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
static uint32_t at(uint32_t n)
{
    return iss + n * MSS;
}

static void send_new(uint32_t n)
{
    for (; n; n--)
        CHECK(sf_tcp_loss_sent(&l, l.nxt, MSS, now) == 0);
    check_loss(&l);
}

static uint32_t ack_ranges(uint32_t ack, const struct sf_tcp_range *ranges, uint8_t n)
{
    struct sf_tcp_ack a = {
        .ack = ack, .n_sack = n, .sack = ranges, .may_be_duplicate = true, .has_ts = with_timestamps,
        .ts_now = (uint32_t)(now / SF_TCP_TS_TICK), .ts_ecr = timestamp_echo,
    };
    uint32_t result = sf_tcp_loss_ack(&l, &a, now);

    check_loss(&l);
    return result;
}

static uint32_t ack(uint32_t n)
{
    return ack_ranges(at(n), NULL, 0);
}

/* Segments [left, right) have arrived beyond a hole. */
static uint32_t ack_sack(uint32_t n, uint32_t left, uint32_t right)
{
    struct sf_tcp_range range = {at(left), at(right)};

    return ack_ranges(at(n), &range, 1);
}

/* Sends again what there is room for; returns how many segments, and the first in *first. */
static uint32_t resend(uint32_t *first)
{
    uint32_t seq, len, n = 0;

    while (sf_tcp_loss_room(&l) && sf_tcp_loss_next(&l, &seq, &len)) {
        if (!n++ && first)
            *first = (seq - iss) / MSS;
        CHECK(sf_tcp_loss_sent(&l, seq, len, now) == 0);
        check_loss(&l);
    }
    return n;
}

static enum sf_tcp_timeout fire(void)
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

/* ---- RFC 5681, 6675, 8985: what is lost ---- */

static void test_slow_start(void)
{
    begin(true);
    CHECK(l.cc.cwnd == 10 * MSS && sf_tcp_loss_room(&l) == 10 * MSS);
    send_new(10);
    CHECK(sf_tcp_loss_room(&l) == 0 && sf_tcp_loss_in_flight(&l) == 10 * MSS);
    now += RTT;
    CHECK(ack(4) == SF_TCP_ACKED_NEW);
    CHECK(l.cc.cwnd == 14 * MSS && sf_tcp_loss_room(&l) == 8 * MSS);
    CHECK(ack(10) == SF_TCP_ACKED_NEW && l.cc.cwnd == 20 * MSS);
    CHECK(sf_tcp_loss_deadline(&l) == SF_NEVER && l.delivered == 10 * MSS);
}

static void test_a_program_with_little_to_send_opens_no_window(void)
{
    begin(true);
    for (uint32_t i = 1; i < 200; i++) {
        send_new(1);
        now += RTT;
        ack(i);
    }
    CHECK(l.cc.cwnd == 10 * MSS);
}

static void test_three_sacked_segments_make_a_loss(void)
{
    uint32_t first;

    begin(true);
    send_new(10);
    now += RTT;
    CHECK(ack_sack(0, 1, 2) == SF_TCP_ACKED_SACK && l.state == SF_TCP_OPEN);
    CHECK(sf_tcp_loss_room(&l) == MSS); /* limited transmit (RFC 3042) */
    CHECK(ack_sack(0, 1, 3) == SF_TCP_ACKED_SACK && l.state == SF_TCP_OPEN);
    CHECK(ack_sack(0, 1, 3) == 0);
    CHECK(ack_sack(0, 1, 4) == (SF_TCP_ACKED_SACK | SF_TCP_ACKED_LOST));
    CHECK(l.state == SF_TCP_RECOVERY && l.recover == at(10) && l.cc.ssthresh == 5 * MSS && l.n_recoveries == 1);
    CHECK(resend(&first) == 1 && first == 0);
    now += RTT;
    CHECK(ack(10) == SF_TCP_ACKED_NEW && l.state == SF_TCP_OPEN && l.cc.cwnd >= 5 * MSS && l.cc.cwnd < 7 * MSS);
    CHECK(l.n_retransmits == 1 && l.n_timeouts == 0);
}

/* Half of what arrives leaves, from the first ACK on, and not a burst of half the window at the end (RFC 6937). */
static void test_the_window_shrinks_in_proportion(void)
{
    uint32_t sent = 0;

    begin(true);
    l.cc.cwnd = 20 * MSS;
    l.cc.ssthresh = 10 * MSS; /* congestion avoidance */
    send_new(20);
    now += RTT;
    for (uint32_t i = 2; i <= 20; i++) {
        ack_sack(0, 1, i);
        sent += resend(NULL);
        while (l.state != SF_TCP_OPEN && sf_tcp_loss_room(&l) >= MSS) {
            send_new(1);
            sent++;
        }
        if (l.state != SF_TCP_OPEN)
            CHECK(2 * sent + 3 >= i - 3 && 2 * sent <= i - 3 + 3); /* three had arrived when it began */
    }
    CHECK(sent >= 8 && sent <= 10 && l.cc.ssthresh == 10 * MSS);
    now += RTT;
    ack(20);
    CHECK(l.state == SF_TCP_OPEN && l.cc.cwnd >= 10 * MSS && l.cc.cwnd <= 11 * MSS);
}

static void test_several_holes_are_filled_in_order(void)
{
    struct sf_tcp_range ranges[3];
    uint32_t seq, len;

    begin(true);
    send_new(10);
    now += RTT;
    ranges[0] = (struct sf_tcp_range){at(6), at(10)};
    ranges[1] = (struct sf_tcp_range){at(3), at(5)};
    ranges[2] = (struct sf_tcp_range){at(1), at(2)};
    CHECK(ack_ranges(at(0), ranges, 3) & SF_TCP_ACKED_LOST);
    CHECK(l.sacked_segments == 7 && l.lost_bytes == 3 * MSS && sf_tcp_loss_in_flight(&l) == 0);
    for (uint32_t i = 0, expected[] = {0, 2, 5}; i < 3; i++) {
        CHECK(sf_tcp_loss_next(&l, &seq, &len) && seq == at(expected[i]) && len == MSS);
        CHECK(sf_tcp_loss_sent(&l, seq, len, now) == 0);
    }
    CHECK(!sf_tcp_loss_next(&l, &seq, &len) && sf_tcp_loss_in_flight(&l) == 3 * MSS);
}

static void test_a_segment_overtaken_is_waited_for(void)
{
    begin(true);
    send_new(4);
    now += RTT;
    ack_sack(0, 1, 2);
    CHECK(l.timer == SF_TCP_TIMER_RACK && sf_tcp_loss_deadline(&l) == now + RTT / 4);
    now += RTT / 8;
    ack(2);
    CHECK(l.rack_reordering && l.state == SF_TCP_OPEN && l.timer != SF_TCP_TIMER_RACK);
    /* From now on three are no proof. */
    ack_sack(2, 3, 4);
    send_new(4);
    now += RTT;
    ack_sack(2, 3, 8);
    CHECK(l.state == SF_TCP_RECOVERY || l.timer == SF_TCP_TIMER_RACK);
}

static void test_what_is_waited_for_is_lost_in_the_end(void)
{
    uint32_t first;

    begin(true);
    send_new(4);
    now += RTT;
    ack_sack(0, 1, 2);
    CHECK(fire() == SF_TCP_TIMEOUT_LOST && l.state == SF_TCP_RECOVERY);
    CHECK(resend(&first) == 1 && first == 0);
}

static void test_a_lost_retransmission_is_noticed(void)
{
    uint32_t first;

    begin(true);
    send_new(10);
    now += RTT;
    ack_sack(0, 1, 6);
    CHECK(resend(&first) == 1 && first == 0);
    send_new(2);
    now += RTT;
    CHECK(ack_sack(0, 1, 12) & SF_TCP_ACKED_LOST); /* what was sent after it has arrived */
    CHECK(l.state == SF_TCP_RECOVERY && l.n_recoveries == 1);
    CHECK(resend(&first) == 1 && first == 0);
    now += RTT;
    CHECK(ack(12) == SF_TCP_ACKED_NEW && l.state == SF_TCP_OPEN);
}

/* ---- RFC 8985, 7: tail loss probes ---- */

static void probe_the_tail(void)
{
    uint32_t seq, len;

    begin(true);
    send_new(4);
    CHECK(l.timer == SF_TCP_TIMER_TLP && sf_tcp_loss_deadline(&l) == now + 2 * RTT);
    now += RTT;
    ack(2);
    CHECK(l.timer == SF_TCP_TIMER_TLP);
    now = sf_tcp_loss_deadline(&l);
    CHECK(sf_tcp_loss_timeout(&l, now, false, &seq, &len) == SF_TCP_TIMEOUT_PROBE && seq == at(3) && len == MSS);
    CHECK(sf_tcp_loss_sent(&l, seq, len, now) == 0);
    check_loss(&l);
    CHECK(l.timer == SF_TCP_TIMER_RTO && l.n_probes == 1 && sf_tcp_loss_in_flight(&l) == 2 * MSS);
    now += RTT;
}

static void test_a_probe_finds_a_loss_in_front_of_it(void)
{
    probe_the_tail();
    CHECK(ack_sack(2, 3, 4) & SF_TCP_ACKED_LOST && l.state == SF_TCP_RECOVERY);
}

static void test_a_probe_that_repairs_a_loss_costs_window(void)
{
    probe_the_tail();
    ack(4);
    CHECK(l.cc.ssthresh == SF_TCP_CWND_MAX); /* not known yet */
    send_new(1);
    now += RTT;
    ack(5);
    CHECK(l.cc.ssthresh < 10 * MSS && l.cc.cwnd <= l.cc.ssthresh + MSS && l.n_recoveries == 1);
}

static void test_a_probe_that_was_not_needed_costs_nothing(void)
{
    struct sf_tcp_range duplicate;

    probe_the_tail();
    ack(4);
    duplicate = (struct sf_tcp_range){at(3), at(4)};
    ack_ranges(at(4), &duplicate, 1);
    send_new(1);
    now += RTT;
    ack(5);
    CHECK(l.cc.ssthresh == SF_TCP_CWND_MAX && l.n_recoveries == 0 && !l.tlp_out);
}

static void test_a_probe_of_new_data(void)
{
    uint32_t seq, len;

    begin(true);
    send_new(2);
    now = sf_tcp_loss_deadline(&l);
    CHECK(sf_tcp_loss_timeout(&l, now, true, &seq, &len) == SF_TCP_TIMEOUT_PROBE);
    send_new(1);
    CHECK(l.timer == SF_TCP_TIMER_RTO);
    now += RTT;
    ack(3);
    CHECK(!l.tlp_out && l.n_recoveries == 0 && l.n_retransmits == 0);
}

static void test_a_single_segment_is_given_the_time_of_a_delayed_ack(void)
{
    begin(true);
    send_new(1);
    CHECK(l.timer == SF_TCP_TIMER_TLP && sf_tcp_loss_deadline(&l) == now + RTT + MIN_RTO); /* an RTO, which is sooner */
}

/* ---- RFC 6298: RTT and RTO ---- */

static void test_rto_of_the_rfc(void)
{
    sf_ns rto;

    sf_tcp_loss_free(&l);
    sf_tcp_loss_init(&l, iss, MSS, NULL, 0);
    CHECK(l.rtt.rto == SF_SEC && strcmp(l.cc.ops->name, "cubic") == 0);
    sf_tcp_loss_rtt_sample(&l, 100 * SF_MS);
    CHECK(l.rtt.smoothed == 100 * SF_MS && l.rtt.variance == 50 * SF_MS && l.rtt.rto == 300 * SF_MS);
    sf_tcp_loss_rtt_sample(&l, 180 * SF_MS);
    CHECK(l.rtt.smoothed == 110 * SF_MS && l.rtt.variance == 50 * SF_MS * 3 / 4 + 20 * SF_MS);
    rto = l.rtt.smoothed + 4 * l.rtt.variance;
    CHECK(l.rtt.rto == rto && l.rtt.min == 100 * SF_MS);
}

static void test_the_least_rtt_is_of_the_last_seconds(void)
{
    begin(true);
    for (uint32_t i = 1; i <= 300; i++) {
        send_new(1);
        now += 100 * SF_MS; /* a longer way since */
        ack(i);
    }
    CHECK(l.rtt.min == 100 * SF_MS);
}

static void test_timeouts_back_off(void)
{
    sf_ns gap = RTT + MIN_RTO;
    uint32_t first;

    begin(false);
    send_new(10);
    for (int i = 0; i < 12; i++) {
        sf_ns started = now;

        CHECK(l.timer == SF_TCP_TIMER_RTO && sf_tcp_loss_deadline(&l) == now + gap);
        CHECK(fire() == SF_TCP_TIMEOUT_LOST && l.state == SF_TCP_LOSS && l.cc.cwnd == MSS && l.cc.ssthresh == 5 * MSS);
        CHECK(resend(&first) == 1 && first == 0);
        CHECK(l.first_timeout && l.first_timeout <= now && now == started + gap);
        gap = gap * 2 < 120 * SF_SEC ? gap * 2 : 120 * SF_SEC;
    }
    CHECK(l.n_timeouts == 12);
    now += RTT;
    ack(1);
    CHECK(!l.first_timeout && l.rtt.backoff == 12); /* Karn: no sample */
    CHECK(l.cc.cwnd == 2 * MSS && resend(&first) == 2 && first == 1);
    now += RTT;
    ack(10);
    CHECK(l.state == SF_TCP_OPEN);
    send_new(1);
    now += RTT;
    ack(11);
    CHECK(l.rtt.backoff == 0);
}

static void test_retransmissions_are_not_sampled(void)
{
    begin(true);
    send_new(1);
    CHECK(fire() == SF_TCP_TIMEOUT_PROBE && fire() == SF_TCP_TIMEOUT_LOST && resend(NULL) == 1);
    now += 3 * RTT;
    ack(1);
    CHECK(l.rtt.smoothed == RTT && l.rtt.latest == RTT);
}

static void test_what_was_sent_just_before_a_timeout_is_not_lost(void)
{
    begin(true);
    send_new(2);
    now += RTT;
    ack(1);
    fire(); /* a probe */
    now = l.rto_at - RTT / 2;
    send_new(3);
    CHECK(fire() == SF_TCP_TIMEOUT_LOST && l.lost_bytes == MSS && sf_tcp_loss_in_flight(&l) == 3 * MSS);
    CHECK(sf_tcp_loss_room(&l) == MSS && resend(NULL) == 1); /* although the window is one segment */
}

/* ---- what was spurious ---- */

static void test_a_spurious_timeout_is_undone(void)
{
    begin(true);
    send_new(10);
    l.tlp_out = true; /* no probe */
    l.tlp_end = at(20);
    ack_ranges(at(0), NULL, 0);
    sf_tcp_loss_sent(&l, l.nxt, MSS, now);
    CHECK(fire() == SF_TCP_TIMEOUT_LOST && l.lost_bytes == 11 * MSS && resend(NULL) == 1);
    now += RTT / 2; /* the originals were late */
    ack(1);
    CHECK(l.state == SF_TCP_LOSS && resend(NULL) == 2);
    ack_sack(1, 4, 5); /* one that was not sent again */
    CHECK(l.state == SF_TCP_OPEN && l.n_undone == 1 && l.cc.cwnd >= 10 * MSS && l.cc.ssthresh == SF_TCP_CWND_MAX);
    CHECK(l.lost_bytes == 0 && sf_tcp_loss_in_flight(&l) == 9 * MSS);
    ack(11);
    CHECK(sf_tcp_loss_in_flight(&l) == 0 && l.n_recoveries == 0);
}

static void test_a_spurious_timeout_is_told_by_the_timestamp(void)
{
    begin(true);
    with_timestamps = true;
    send_new(1);
    timestamp_echo = (uint32_t)(now / SF_TCP_TS_TICK);
    fire();
    CHECK(fire() == SF_TCP_TIMEOUT_LOST && resend(NULL) == 1 && l.cc.cwnd == MSS);
    now += RTT / 2;
    ack(1);
    CHECK(l.state == SF_TCP_OPEN && l.n_undone == 1 && l.cc.cwnd == 10 * MSS && l.rtt.backoff == 0);
    /* And a real one is not undone. */
    begin(true);
    with_timestamps = true;
    send_new(1);
    fire();
    CHECK(fire() == SF_TCP_TIMEOUT_LOST && resend(NULL) == 1);
    timestamp_echo = (uint32_t)(now / SF_TCP_TS_TICK);
    now += RTT;
    ack(1);
    CHECK(l.state == SF_TCP_OPEN && l.n_undone == 0 && l.cc.cwnd < 3 * MSS);
}

static void test_a_spurious_fast_retransmit_is_undone_by_dsack(void)
{
    struct sf_tcp_range ranges[2];

    begin(true);
    send_new(10);
    now += RTT;
    ack_sack(0, 1, 4);
    CHECK(l.state == SF_TCP_RECOVERY && resend(NULL) == 1 && l.cc.ssthresh == 5 * MSS);
    now += RTT / 2;
    ack(4); /* it was only late */
    CHECK(l.state == SF_TCP_RECOVERY);
    ranges[0] = (struct sf_tcp_range){at(0), at(1)};
    ack_ranges(at(4), ranges, 1);
    CHECK(l.state == SF_TCP_OPEN && l.n_undone == 1 && l.cc.cwnd >= 10 * MSS && l.cc.ssthresh == SF_TCP_CWND_MAX);
    CHECK(l.rack_window_multiplier == 2);
    /* One that duplicates what lies above the ACK is told by the range around it. */
    ranges[0] = (struct sf_tcp_range){at(6), at(7)};
    ranges[1] = (struct sf_tcp_range){at(5), at(8)};
    ack_ranges(at(4), ranges, 2);
    CHECK(l.sacked_segments == 3);
}

/* ---- peers without SACK (RFC 6582) ---- */

static void test_newreno(void)
{
    uint32_t first;

    begin(false);
    send_new(10);
    now += RTT;
    CHECK(ack(0) == 0 && sf_tcp_loss_room(&l) == MSS); /* limited transmit */
    CHECK(ack(0) == 0 && sf_tcp_loss_room(&l) == 2 * MSS);
    CHECK(ack(0) == SF_TCP_ACKED_LOST && l.state == SF_TCP_RECOVERY && l.cc.ssthresh == 5 * MSS);
    CHECK(resend(&first) == 1 && first == 0);
    for (int i = 0; i < 5; i++)
        CHECK(ack(0) == 0);
    now += RTT;
    CHECK(ack(3) & SF_TCP_ACKED_LOST); /* a partial ACK */
    CHECK(l.state == SF_TCP_RECOVERY && resend(&first) == 1 && first == 3);
    now += RTT;
    CHECK(ack(10) == SF_TCP_ACKED_NEW && l.state == SF_TCP_OPEN && l.cc.cwnd == 5 * MSS);
    /* Duplicates that the retransmissions brought about are no loss (3.2). */
    send_new(3);
    for (int i = 0; i < 5; i++)
        CHECK(ack(10) == 0);
    CHECK(l.state == SF_TCP_OPEN && l.n_recoveries == 1);
}

static void test_data_and_window_updates_are_no_duplicates(void)
{
    struct sf_tcp_ack a = {.ack = iss};

    begin(false);
    send_new(10);
    for (int i = 0; i < 10; i++)
        CHECK(sf_tcp_loss_ack(&l, &a, now) == 0);
    CHECK(l.duplicate_acks == 0 && l.state == SF_TCP_OPEN && l.n_duplicate_acks == 0);
}

/* ---- peers that lie ---- */

static void test_ranges_that_cannot_be(void)
{
    static const int64_t edges[][2] = {
        {0, 1}, {-5, -2}, {-1, 2}, {3, 3}, {5, 4}, {9, 11}, {11, 12}, {2000000, 2000001}, {-2000000, 5}, {0, 10},
    };

    begin(true);
    send_new(10);
    now += RTT;
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        struct sf_tcp_range r = {(uint32_t)(iss + edges[i][0] * MSS), (uint32_t)(iss + edges[i][1] * MSS)};

        CHECK(!(ack_ranges(at(0), &r, 1) & SF_TCP_ACKED_SACK));
    }
    CHECK(l.sacked_bytes == 0 && l.state == SF_TCP_OPEN && l.rack_window_multiplier == 1);
}

static void test_parts_of_segments_are_no_segments(void)
{
    begin(true);
    send_new(10);
    now += RTT;
    for (uint32_t i = 1; i < 9 * MSS; i++) {
        struct sf_tcp_range r = {at(1) - 1 + i, at(1) + i};

        CHECK(!(ack_ranges(at(0), &r, 1) & SF_TCP_ACKED_SACK));
    }
    CHECK(l.ring_count == 10);
    CHECK(ack_ranges(at(0) + 300, NULL, 0) == SF_TCP_ACKED_NEW && sf_tcp_loss_in_flight(&l) == 10 * MSS - 300);
}

static void test_dsacks_give_no_more_than_there_was(void)
{
    begin(true);
    send_new(10);
    now += RTT;
    ack_sack(0, 1, 4);
    resend(NULL);
    for (int i = 0; i < 1000; i++) {
        struct sf_tcp_range r = {at(0), at(1)};

        ack_ranges(at(1), &r, 1);
    }
    CHECK(l.cc.cwnd <= 11 * MSS && l.n_undone <= 1);
}

static void test_acks_in_pieces_are_worth_no_more(void)
{
    begin(true);
    send_new(10);
    now += RTT;
    for (uint32_t i = 1; i <= 10 * MSS; i += 10)
        ack_ranges(iss + i, NULL, 0);
    CHECK(l.cc.cwnd <= 20 * MSS);
}

static void test_a_peer_that_takes_back_what_it_had(void)
{
    begin(true);
    send_new(10);
    now += RTT;
    ack_sack(0, 5, 10);
    resend(NULL);
    ack(5); /* and yet not 10 */
    CHECK(l.sacked_segments == 5);
    CHECK(fire() == SF_TCP_TIMEOUT_LOST && l.sacked_segments == 0 && l.lost_bytes == 5 * MSS);
}

/* ---- the ring ---- */

static void test_a_shorter_mss_cuts_what_is_lost(void)
{
    uint32_t seq, len, pieces = 0;

    begin(true);
    send_new(10);
    sf_tcp_loss_set_mss(&l, 300);
    check_loss(&l);
    CHECK(l.lost_bytes == 10 * MSS && l.cc.cwnd == 10 * MSS && l.cc.ssthresh == SF_TCP_CWND_MAX);
    while (sf_tcp_loss_next(&l, &seq, &len)) {
        CHECK(sf_tcp_loss_sent(&l, seq, len < 300 ? len : 300, now) == 0);
        check_loss(&l);
        pieces++;
    }
    CHECK(pieces == 40 && l.ring_count == 40);
    now += RTT;
    ack_ranges(iss + 300, &(struct sf_tcp_range){iss + 600, iss + 900}, 1);
    CHECK(l.sacked_segments == 1);
    ack(10);
    CHECK(l.state == SF_TCP_OPEN && sf_tcp_loss_deadline(&l) == SF_NEVER);
}

static void test_the_last_can_be_taken_back(void)
{
    begin(true);
    send_new(3);
    sf_tcp_loss_unsent(&l, at(1), MSS); /* not the last: nothing happens */
    CHECK(l.nxt == at(3));
    sf_tcp_loss_unsent(&l, at(2), MSS);
    check_loss(&l);
    CHECK(l.nxt == at(2));
    sf_tcp_loss_unsent(&l, at(1), MSS);
    sf_tcp_loss_unsent(&l, at(0), MSS);
    check_loss(&l);
    CHECK(l.nxt == at(0) && sf_tcp_loss_deadline(&l) == SF_NEVER);
    sf_tcp_loss_trim(&l);
    CHECK(!l.ring);
    send_new(1);
}

static void test_so_many_segments_and_no_more(void)
{
    begin(true);
    for (uint32_t i = 0; i < SF_TCP_SENT_MAX; i++)
        CHECK(sf_tcp_loss_sent(&l, l.nxt, 1, now) == 0);
    CHECK(sf_tcp_loss_sent(&l, l.nxt, 1, now) == -ENOMEM && l.nxt == iss + SF_TCP_SENT_MAX);
    check_loss(&l);
    now += RTT;
    ack_ranges(iss + 1, NULL, 0);
    CHECK(sf_tcp_loss_sent(&l, l.nxt, 1, now) == 0);
    for (uint32_t i = 0; i < 20000; i++) { /* every second one, each ACK repeating ranges of before */
        struct sf_tcp_range r[2] = {{iss + 3 + i, iss + 4 + i}, {iss + 2, iss + 4 + i}};

        sf_tcp_loss_ack(&l, &(struct sf_tcp_ack){.ack = iss + 1, .n_sack = 1 + (i & 1), .sack = r}, now);
    }
    check_loss(&l);
    ack_ranges(l.nxt, NULL, 0);
    sf_tcp_loss_trim(&l);
    CHECK(!l.ring);
}

static void test_a_window_not_used_decays(void)
{
    begin(true);
    l.cc.cwnd = 100 * MSS;
    send_new(1);
    now += RTT;
    ack(1);
    sf_tcp_loss_idle(&l, l.last_sent + l.rtt.rto);
    CHECK(l.cc.cwnd == 100 * MSS);
    sf_tcp_loss_idle(&l, l.last_sent + 2 * l.rtt.rto);
    CHECK(l.cc.cwnd == 25 * MSS || l.cc.cwnd == 50 * MSS);
    sf_tcp_loss_idle(&l, now + SF_SEC * 3600);
    CHECK(l.cc.cwnd == 10 * MSS);
}

int main(void)
{
    static const uint32_t places[] = {1, 0xffffffff - 3 * MSS, 0x7fffffff - 5 * MSS, 0xfffffff0};

    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        iss = places[i];
        test_slow_start();
        test_a_program_with_little_to_send_opens_no_window();
        test_three_sacked_segments_make_a_loss();
        test_the_window_shrinks_in_proportion();
        test_several_holes_are_filled_in_order();
        test_a_segment_overtaken_is_waited_for();
        test_what_is_waited_for_is_lost_in_the_end();
        test_a_lost_retransmission_is_noticed();
        test_a_probe_finds_a_loss_in_front_of_it();
        test_a_probe_that_repairs_a_loss_costs_window();
        test_a_probe_that_was_not_needed_costs_nothing();
        test_a_probe_of_new_data();
        test_a_single_segment_is_given_the_time_of_a_delayed_ack();
        test_rto_of_the_rfc();
        test_the_least_rtt_is_of_the_last_seconds();
        test_timeouts_back_off();
        test_retransmissions_are_not_sampled();
        test_what_was_sent_just_before_a_timeout_is_not_lost();
        test_a_spurious_timeout_is_undone();
        test_a_spurious_timeout_is_told_by_the_timestamp();
        test_a_spurious_fast_retransmit_is_undone_by_dsack();
        test_newreno();
        test_data_and_window_updates_are_no_duplicates();
        test_ranges_that_cannot_be();
        test_parts_of_segments_are_no_segments();
        test_dsacks_give_no_more_than_there_was();
        test_acks_in_pieces_are_worth_no_more();
        test_a_peer_that_takes_back_what_it_had();
        test_a_shorter_mss_cuts_what_is_lost();
        test_the_last_can_be_taken_back();
        test_so_many_segments_and_no_more();
        test_a_window_not_used_decays();
    }
    sf_tcp_loss_free(&l);
    return 0;
}
