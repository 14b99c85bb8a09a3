/* Loss recovery: detection of losses, tail loss probes, and the retransmission timer. Each test is one scenario of the RFCs. */
#include "tcp_loss_sender.h"

#include <string.h>

/* ---- RFC 5681, 6675, 8985: detection of losses ---- */

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

/* From the first ACK on, one segment leaves for every two that arrive. No burst of half a window leaves at the end (RFC 6937). */
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
            CHECK(2 * sent + 3 >= i - 3 && 2 * sent <= i - 3 + 3); /* three had arrived when recovery began */
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
    /* Three SACKed segments are no proof of a loss any more, because reordering was seen. */
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
    CHECK(ack_sack(0, 1, 12) & SF_TCP_ACKED_LOST); /* segments sent after the retransmission have arrived */
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
    CHECK(l.cc.ssthresh == SF_TCP_CWND_MAX); /* the sender does not know of the loss yet */
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
    CHECK(l.timer == SF_TCP_TIMER_TLP && sf_tcp_loss_deadline(&l) == now + RTT + MIN_RTO); /* the RTO, because it is earlier */
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
        now += 100 * SF_MS; /* the path has become longer */
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
    CHECK(!l.first_timeout && l.rtt.backoff == 12); /* Karn's algorithm: no RTT sample */
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
    fire(); /* a tail loss probe */
    now = l.rto_at - RTT / 2;
    send_new(3);
    CHECK(fire() == SF_TCP_TIMEOUT_LOST && l.lost_bytes == MSS && sf_tcp_loss_in_flight(&l) == 3 * MSS);
    CHECK(sf_tcp_loss_room(&l) == MSS && resend(NULL) == 1); /* room though three are in flight and cwnd is one segment */
}

int main(void)
{
    static void (*const tests[])(void) = {
        test_slow_start,
        test_a_program_with_little_to_send_opens_no_window,
        test_three_sacked_segments_make_a_loss,
        test_the_window_shrinks_in_proportion,
        test_several_holes_are_filled_in_order,
        test_a_segment_overtaken_is_waited_for,
        test_what_is_waited_for_is_lost_in_the_end,
        test_a_lost_retransmission_is_noticed,
        test_a_probe_finds_a_loss_in_front_of_it,
        test_a_probe_that_repairs_a_loss_costs_window,
        test_a_probe_that_was_not_needed_costs_nothing,
        test_a_probe_of_new_data,
        test_a_single_segment_is_given_the_time_of_a_delayed_ack,
        test_rto_of_the_rfc,
        test_the_least_rtt_is_of_the_last_seconds,
        test_timeouts_back_off,
        test_retransmissions_are_not_sampled,
        test_what_was_sent_just_before_a_timeout_is_not_lost,
    };

    run_everywhere(tests, sizeof tests / sizeof *tests);
    return 0;
}
