/* Loss recovery: spurious retransmissions, peers without SACK, peers that lie, and the ring of segments. */
#include "tcp_loss_sender.h"

#include <errno.h>

/* ---- spurious retransmissions ---- */

static void test_a_spurious_timeout_is_undone(void)
{
    begin(true);
    send_new(10);
    l.tlp_out = true; /* suppresses the tail loss probe */
    l.tlp_end = at(20);
    ack_ranges(at(0), NULL, 0);
    sf_tcp_loss_sent(&l, l.nxt, MSS, now);
    CHECK(fire() == SF_TCP_TIMEOUT_LOST && l.lost_bytes == 11 * MSS && resend(NULL) == 1);
    now += RTT / 2; /* the originals arrive late */
    ack(1);
    CHECK(l.state == SF_TCP_LOSS && resend(NULL) == 2);
    ack_sack(1, 4, 5); /* a segment that was not retransmitted */
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
    /* A timeout that was not spurious is not undone. */
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
    ack(4); /* the segment was only late */
    CHECK(l.state == SF_TCP_RECOVERY);
    ranges[0] = (struct sf_tcp_range){at(0), at(1)};
    ack_ranges(at(4), ranges, 1);
    CHECK(l.state == SF_TCP_OPEN && l.n_undone == 1 && l.cc.cwnd >= 10 * MSS && l.cc.ssthresh == SF_TCP_CWND_MAX);
    CHECK(l.rack_window_multiplier == 2);
    /* A DSACK block above the cumulative ACK is known by the second block, which contains it (RFC 2883, 4). */
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
    /* Duplicate ACKs that the retransmissions cause do not indicate a loss (3.2). */
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
    ack(5); /* though segments 5 to 9 were SACKed */
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
    sf_tcp_loss_unsent(&l, at(1), MSS); /* not the last segment: no effect */
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
    for (uint32_t i = 0; i < 20000; i++) { /* one more byte in each round; every second ACK repeats the earlier blocks */
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
    static void (*const tests[])(void) = {
        test_a_spurious_timeout_is_undone,
        test_a_spurious_timeout_is_told_by_the_timestamp,
        test_a_spurious_fast_retransmit_is_undone_by_dsack,
        test_newreno,
        test_data_and_window_updates_are_no_duplicates,
        test_ranges_that_cannot_be,
        test_parts_of_segments_are_no_segments,
        test_dsacks_give_no_more_than_there_was,
        test_acks_in_pieces_are_worth_no_more,
        test_a_peer_that_takes_back_what_it_had,
        test_a_shorter_mss_cuts_what_is_lost,
        test_the_last_can_be_taken_back,
        test_so_many_segments_and_no_more,
        test_a_window_not_used_decays,
    };

    run_everywhere(tests, sizeof tests / sizeof *tests);
    return 0;
}
