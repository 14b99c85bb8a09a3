/* The invariants of struct sf_tcp_loss. Its sums are counted anew from its ring of segments. */
#ifndef SF_TEST_TCP_LOSS_CHECK_H
#define SF_TEST_TCP_LOSS_CHECK_H

#include "tcpip/tcp/loss/congestion.h"
#include "tcpip/tcp/loss/scoreboard.h"

#include "check.h"

static inline void check_loss_list(const struct sf_tcp_loss *l, uint32_t in_flight)
{
    uint32_t n = 0, slot = l->oldest, before = SF_TCP_SENT_NONE;
    sf_ns sent_at = 0;

    for (; slot != SF_TCP_SENT_NONE; before = slot, slot = l->ring[slot].newer, n++) {
        CHECK(slot < l->ring_size && n < l->ring_count);
        CHECK(sf_tcp_sent_is_in_flight(&l->ring[slot]));
        CHECK(l->ring[slot].older == before);
        CHECK(l->ring[slot].sent_at >= sent_at);
        sent_at = l->ring[slot].sent_at;
    }
    CHECK(l->newest == before && n == in_flight);
}

static inline void check_loss(const struct sf_tcp_loss *l)
{
    uint32_t sacked = 0, sacked_segments = 0, lost = 0, again = 0, in_flight = 0, flight = 0, seq = l->una;
    bool first_to_resend = true;

    for (uint32_t i = 0; i < l->ring_count; i++) {
        const struct sf_tcp_sent *s = sf_tcp_sent_at(l, i);

        CHECK(s->seq == seq && s->len);
        seq += s->len;
        if (s->flags & SF_TCP_SENT_SACKED) {
            CHECK(!(s->flags & (SF_TCP_SENT_LOST | SF_TCP_SENT_AGAIN)) && s->run);
            sacked += s->len;
            sacked_segments++;
            for (uint32_t j = 0; j < s->run; j += 1 + s->run / 8)
                CHECK(i + j >= l->ring_count || sf_tcp_sent_at(l, i + j)->flags & SF_TCP_SENT_SACKED);
        }
        lost += s->flags & SF_TCP_SENT_LOST ? s->len : 0;
        again += s->flags & SF_TCP_SENT_AGAIN ? s->len : 0;
        CHECK(!(s->flags & SF_TCP_SENT_AGAIN) || s->flags & SF_TCP_SENT_LOST);
        if (sf_tcp_sent_is_in_flight(s)) {
            in_flight++;
            flight += s->len;
        }
        if (sf_tcp_sent_is_to_be_resent(s) && first_to_resend) {
            first_to_resend = false;
            CHECK(!sf_seq_lt(s->seq, l->resend));
        }
    }
    CHECK(seq == l->nxt);
    CHECK(l->lost_bytes == lost && l->retransmitted_bytes == again && l->sacked_segments == sacked_segments);
    if (l->sack)
        CHECK(l->sacked_bytes == sacked && sf_tcp_loss_in_flight(l) == flight);
    CHECK(sf_tcp_loss_in_flight(l) <= l->nxt - l->una);
    check_loss_list(l, in_flight);
    CHECK(l->cc.cwnd && l->cc.cwnd <= SF_TCP_CWND_MAX && l->cc.ssthresh >= 2 * l->mss);
    CHECK((l->timer == SF_TCP_TIMER_NONE) == (l->una == l->nxt));
    CHECK(l->state == SF_TCP_OPEN ? !l->lost_bytes : sf_seq_lt(l->una, l->recover));
}

#endif
