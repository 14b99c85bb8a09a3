/* The functions that the connection calls. */
#include "loss.h"

#include "congestion.h"
#include "dupack.h"
#include "rack.h"
#include "recovery.h"
#include "rto.h"
#include "sack.h"

#include <errno.h>
#include <stdlib.h>

#define LOST_SYN_RTO (3 * SF_SEC) /* RFC 6298, 5.7 */

void sf_tcp_loss_init(struct sf_tcp_loss *l, uint32_t iss, uint32_t mss, const char *congestion, sf_ns min_rto)
{
    *l = (struct sf_tcp_loss){
        .una = iss,
        .nxt = iss,
        .mss = mss ? mss : 1,
        .oldest = SF_TCP_SENT_NONE,
        .newest = SF_TCP_SENT_NONE,
        .rack_fack = iss,
        .rack_window_multiplier = 1,
        .round_end = iss,
    };
    sf_tcp_rtt_init(&l->rtt, min_rto);
    sf_tcp_cc_init(&l->cc, congestion, l->mss);
}

void sf_tcp_loss_free(struct sf_tcp_loss *l)
{
    free(l->ring);
    free(l->past);
    l->ring = NULL;
    l->past = NULL;
    l->undo_possible = false;
    l->n_last_sack = 0;
    l->ring_size = 0;
    l->ring_count = 0;
    l->oldest = l->newest = SF_TCP_SENT_NONE;
    l->timer = SF_TCP_TIMER_NONE;
}

void sf_tcp_loss_set_congestion(struct sf_tcp_loss *l, const char *congestion)
{
    struct sf_tcp_cc before = l->cc;

    sf_tcp_cc_init(&l->cc, congestion, l->mss);
    l->cc.cwnd = before.cwnd;
    l->cc.ssthresh = before.ssthresh;
    l->cc.hystart = before.hystart;
    l->undo_possible = false; /* it would restore the other algorithm's state */
}

void sf_tcp_loss_trim(struct sf_tcp_loss *l)
{
    if (!l->ring_count)
        sf_tcp_loss_free(l);
}

/* Marks segments in flight that are too long for the new MSS as lost. The window stays, because this is no sign of congestion. */
static void lose_too_long(struct sf_tcp_loss *l)
{
    for (uint32_t i = 0; i < l->ring_count; i++) {
        struct sf_tcp_sent *s = sf_tcp_sent_at(l, i);
        bool may_end_in_fin = i + 1 == l->ring_count;

        if (s->len > l->mss + may_end_in_fin && sf_tcp_sent_is_in_flight(s))
            sf_tcp_sent_mark_lost(l, s);
    }
    if (!l->sack)
        sf_tcp_dupack_bound(l);
    if (!l->lost_bytes || l->state != SF_TCP_OPEN)
        return;
    l->state = SF_TCP_LOSS;
    l->recover = l->nxt;
    l->recovered = false;
    l->undo_possible = false;
    l->frto = false;
    l->tlp_out = false;
}

void sf_tcp_loss_set_mss(struct sf_tcp_loss *l, uint32_t mss)
{
    bool shorter = mss < l->mss;

    l->mss = mss ? mss : 1;
    if (!l->delivered && l->una == l->nxt && !l->n_timeouts)
        l->cc.cwnd = sf_tcp_cc_initial_window(l->mss);
    if (l->cc.cwnd < l->mss)
        l->cc.cwnd = l->mss;
    if (l->cc.ssthresh < 2 * l->mss)
        l->cc.ssthresh = 2 * l->mss;
    if (shorter)
        lose_too_long(l);
}

/* ---- sending ---- */

static int sent_new(struct sf_tcp_loss *l, uint32_t len, sf_ns now)
{
    struct sf_tcp_sent *s;
    uint32_t slot, flight;

    if (SF_UNLIKELY(sf_tcp_sent_reserve(l) < 0))
        return -ENOMEM;
    if (l->una == l->nxt)
        sf_tcp_rto_restart(l, now);
    slot = sf_tcp_sent_slot(l, l->ring_count++);
    s = &l->ring[slot];
    s->sent_at = now;
    s->seq = l->nxt;
    s->len = len;
    s->flags = 0;
    sf_tcp_sent_link(l, slot);
    l->nxt += len;
    flight = sf_tcp_loss_in_flight(l);
    if (flight > l->flight_max)
        l->flight_max = flight;
    return 0;
}

/* Notes that the i-th segment was sent again as a whole. */
static void resent_one(struct sf_tcp_loss *l, uint32_t i, sf_ns now)
{
    struct sf_tcp_sent *s = sf_tcp_sent_at(l, i);

    l->n_retransmits++;
    if (s->flags & SF_TCP_SENT_SACKED)
        return;
    if (sf_tcp_sent_is_in_flight(s)) {
        sf_tcp_sent_unlink(l, s); /* a probe, whose original does not count as lost */
    } else {
        s->flags |= SF_TCP_SENT_AGAIN;
        l->retransmitted_bytes += s->len;
    }
    s->flags |= SF_TCP_SENT_TWICE;
    s->sent_at = now;
    sf_tcp_sent_link(l, sf_tcp_sent_slot(l, i));
    if (l->state == SF_TCP_OPEN)
        return;
    l->past->retransmits++;
    if (!l->past->at)
        l->past->at = now;
}

static int resent(struct sf_tcp_loss *l, uint32_t seq, uint32_t len, sf_ns now)
{
    uint32_t end = seq + len, i;

    if (l->tlp_out && l->state == SF_TCP_OPEN && end == l->tlp_end) {
        l->tlp_is_retransmit = true;
        if (!l->first_timeout)
            l->first_timeout = now;
    }
    if (seq == l->una)
        sf_tcp_rto_restart(l, now);
    for (; sf_seq_lt(seq, end) && sf_seq_lt(seq, l->nxt); seq = sf_tcp_sent_at(l, i)->seq + sf_tcp_sent_at(l, i)->len) {
        struct sf_tcp_sent *s;
        uint32_t here;

        i = sf_tcp_sent_find(l, seq);
        s = sf_tcp_sent_at(l, i);
        here = s->seq != seq ? seq - s->seq : sf_seq_lt(end, s->seq + s->len) ? end - s->seq : 0;
        if (here && !(s->flags & SF_TCP_SENT_SACKED) && sf_tcp_sent_split(l, i, here) < 0)
            return -ENOMEM;
        if (sf_tcp_sent_at(l, i)->seq == seq)
            resent_one(l, i, now);
    }
    return 0;
}

int sf_tcp_loss_sent(struct sf_tcp_loss *l, uint32_t seq, uint32_t len, sf_ns now)
{
    int rc;

    if (SF_UNLIKELY(!len))
        return 0;
    if (SF_LIKELY(seq == l->nxt))
        rc = sent_new(l, len, now);
    else if (sf_seq_lt(seq, l->una) || sf_seq_lt(l->nxt, seq))
        return 0; /* a window or keepalive probe, which loss recovery ignores */
    else
        rc = resent(l, seq, len, now);
    if (SF_UNLIKELY(rc < 0))
        return rc;
    if (SF_UNLIKELY(l->state == SF_TCP_RECOVERY))
        l->past->prr_out += len;
    l->last_sent = now;
    sf_tcp_timer_arm(l, now);
    return 0;
}

void sf_tcp_loss_unsent(struct sf_tcp_loss *l, uint32_t seq, uint32_t len)
{
    struct sf_tcp_sent *s;

    if (!l->ring_count)
        return;
    s = sf_tcp_sent_at(l, l->ring_count - 1);
    if (s->seq != seq || s->len != len || !sf_tcp_sent_is_in_flight(s))
        return;
    sf_tcp_sent_unlink(l, s);
    l->ring_count--;
    l->nxt -= len;
    if (l->state == SF_TCP_RECOVERY)
        l->past->prr_out -= len < l->past->prr_out ? len : l->past->prr_out;
    if (l->una == l->nxt)
        l->timer = SF_TCP_TIMER_NONE;
}

uint32_t sf_tcp_loss_room(const struct sf_tcp_loss *l)
{
    uint32_t flight = sf_tcp_loss_in_flight(l), room = l->cc.cwnd > flight ? l->cc.cwnd - flight : 0;

    if (SF_LIKELY(room >= l->mss))
        return room;
    if (l->state == SF_TCP_LOSS && l->ring_count && sf_tcp_sent_is_to_be_resent(sf_tcp_sent_at(l, 0)))
        return l->mss;
    return 0;
}

bool sf_tcp_loss_next(struct sf_tcp_loss *l, uint32_t *seq, uint32_t *len)
{
    struct sf_tcp_sent *s;
    uint32_t i;

    if (SF_LIKELY(l->lost_bytes == l->retransmitted_bytes))
        return false;
    i = sf_tcp_sent_find(l, sf_seq_lt(l->resend, l->una) ? l->una : l->resend);
    while (!sf_tcp_sent_is_to_be_resent(sf_tcp_sent_at(l, i))) {
        uint32_t next = sf_tcp_sent_skip_sacked(l, i);

        i = next == i ? i + 1 : next;
        if (SF_UNLIKELY(i >= l->ring_count))
            return false;
    }
    s = sf_tcp_sent_at(l, i);
    *seq = l->resend = s->seq;
    *len = s->len;
    return true;
}

/* ---- ACKs ---- */

/* Takes an RTT sample from segments sent once (Karn's algorithm). After a timeout, such samples may be long in coming, so the
 * coarse timestamps serve too (RFC 7323, 4). */
static void sample_rtt(struct sf_tcp_loss *l, const struct sf_tcp_ack *a, const struct sf_tcp_delivered *d, uint32_t flight,
                       sf_ns now)
{
    if (SF_LIKELY(d->oldest_sent_at)) {
        sf_tcp_rtt_sample(l, now - d->oldest_sent_at, flight, now);
        sf_tcp_cc_rtt(&l->cc, l->rtt.latest);
    } else if (SF_UNLIKELY(l->rtt.backoff && a->has_ts && d->bytes)) {
        uint32_t ticks = a->ts_now - a->ts_ecr;

        if (ticks < 3600 * (SF_SEC / SF_TCP_TS_TICK))
            sf_tcp_rtt_sample(l, (ticks ? ticks : 1) * SF_TCP_TS_TICK, 0, now);
    }
}

/* True if the window limits us. It must not grow for a program with little to send (RFC 9438, 5.8; RFC 7661). */
static bool is_limited(const struct sf_tcp_loss *l)
{
    uint32_t most = l->flight_max > l->last_flight_max ? l->flight_max : l->last_flight_max;

    if (l->cc.cwnd < l->cc.ssthresh)
        return most >= l->cc.cwnd / 2;
    return most + 2 * l->mss >= l->cc.cwnd;
}

static void grow(struct sf_tcp_loss *l, uint32_t acked, const struct sf_tcp_delivered *d, bool lost, sf_ns now)
{
    if (SF_UNLIKELY(l->state == SF_TCP_RECOVERY)) {
        sf_tcp_recovery_reduce(l, d->bytes, acked && !lost);
        return;
    }
    if (l->state == SF_TCP_LOSS || acked > d->bytes) /* bytes that SACK has reported left the network earlier */
        acked = d->bytes;
    if (acked && is_limited(l))
        sf_tcp_cc_acked(&l->cc, acked, l->mss, l->rtt.smoothed, now);
}

static void end_round(struct sf_tcp_loss *l)
{
    l->round_end = l->nxt;
    l->last_flight_max = l->flight_max;
    l->flight_max = sf_tcp_loss_in_flight(l);
    sf_tcp_cc_round(&l->cc);
    if (l->state == SF_TCP_OPEN && !l->recovered)
        l->undo_possible = false; /* its DSACKs would have arrived by now */
}

static void advance(struct sf_tcp_loss *l, sf_ns now)
{
    l->first_timeout = 0;
    if (l->una != l->recover)
        l->recovered = false;
    sf_tcp_rto_restart(l, now);
}

uint32_t sf_tcp_loss_ack(struct sf_tcp_loss *l, const struct sf_tcp_ack *a, sf_ns now)
{
    struct sf_tcp_delivered d = {.ack = a};
    uint32_t flight = l->nxt - l->una, acked = a->ack - l->una;
    enum sf_tcp_recovery before = l->state;
    bool lost, news = false;

    if (acked)
        sf_tcp_sent_acknowledge(l, a->ack, &d, now);
    else if (a->may_be_duplicate && flight)
        l->n_duplicate_acks++;
    if (a->n_sack && l->sack)
        news = sf_tcp_sack_input(l, a, &d, now);
    sample_rtt(l, a, &d, flight, now);
    if (SF_LIKELY(l->sack)) {
        sf_tcp_rack_dsack(l, d.dsack);
        lost = sf_tcp_rack_detect(l, now);
    } else {
        lost = sf_tcp_dupack_input(l, a, acked, &d);
    }
    l->delivered += d.bytes;
    if (acked)
        advance(l, now);
    if (SF_UNLIKELY(l->tlp_out) && sf_tcp_tlp_repaired(l, a, &d, acked != 0) && l->state == SF_TCP_OPEN)
        sf_tcp_recovery_repaired(l);
    sf_tcp_recovery_input(l, a, &d, acked != 0, now);
    if (SF_LIKELY(before != SF_TCP_RECOVERY || l->state == SF_TCP_RECOVERY)) /* the end of a recovery has set the window */
        grow(l, acked, &d, lost, now);
    if (sf_seq_le(l->round_end, l->una) && acked)
        end_round(l);
    if (acked || news || lost)
        sf_tcp_timer_arm(l, now);
    return (acked ? SF_TCP_ACKED_NEW : 0u) | (news ? SF_TCP_ACKED_SACK : 0u) |
           (l->lost_bytes != l->retransmitted_bytes ? SF_TCP_ACKED_LOST : 0u);
}

/* ---- timers ---- */

static enum sf_tcp_timeout reordering_timeout(struct sf_tcp_loss *l, sf_ns now)
{
    if (!sf_tcp_rack_detect(l, now)) {
        sf_tcp_timer_arm(l, now);
        return SF_TCP_TIMEOUT_NONE;
    }
    if (l->state == SF_TCP_OPEN)
        sf_tcp_recovery_enter(l);
    if (l->state == SF_TCP_RECOVERY)
        sf_tcp_recovery_reduce(l, 0, false);
    sf_tcp_timer_arm(l, now);
    return SF_TCP_TIMEOUT_LOST;
}

static enum sf_tcp_timeout probe_timeout(struct sf_tcp_loss *l, sf_ns now, uint32_t *seq, uint32_t *len)
{
    const struct sf_tcp_sent *last = sf_tcp_sent_at(l, l->ring_count - 1);

    *seq = last->seq;
    *len = last->len;
    l->tlp_out = true;
    l->tlp_is_retransmit = false; /* until the caller resends */
    l->tlp_end = l->nxt;
    l->n_probes++;
    sf_tcp_rto_restart(l, now);
    sf_tcp_timer_arm(l, now);
    return SF_TCP_TIMEOUT_PROBE;
}

enum sf_tcp_timeout sf_tcp_loss_timeout(struct sf_tcp_loss *l, sf_ns now, bool has_new, uint32_t *seq, uint32_t *len)
{
    (void)has_new; /* the caller knows what to send, and sf_tcp_loss_sent() tells what it was */
    if (!l->timer || now < l->timer_at)
        return SF_TCP_TIMEOUT_NONE;
    if (l->timer == SF_TCP_TIMER_RACK)
        return reordering_timeout(l, now);
    if (l->timer == SF_TCP_TIMER_TLP)
        return probe_timeout(l, now, seq, len);
    sf_tcp_recovery_timeout(l, now);
    sf_tcp_timer_arm(l, now);
    return SF_TCP_TIMEOUT_LOST;
}

void sf_tcp_loss_idle(struct sf_tcp_loss *l, sf_ns now)
{
    uint32_t restart = sf_tcp_cc_initial_window(l->mss);
    sf_ns span = now - l->last_sent;

    if (l->una != l->nxt || !l->last_sent || span <= l->rtt.rto)
        return;
    if (l->cc.ops->idle)
        l->cc.ops->idle(&l->cc, span);
    if (l->cc.ssthresh < l->cc.cwnd / 4 * 3)
        l->cc.ssthresh = l->cc.cwnd / 4 * 3;
    for (; span > l->rtt.rto && l->cc.cwnd > restart; span -= l->rtt.rto)
        l->cc.cwnd = l->cc.cwnd / 2 > restart ? l->cc.cwnd / 2 : restart;
}

void sf_tcp_loss_rtt_sample(struct sf_tcp_loss *l, sf_ns rtt)
{
    sf_tcp_rtt_sample(l, rtt, 0, 0);
}

void sf_tcp_loss_be_patient(struct sf_tcp_loss *l, uint32_t ms, sf_ns now)
{
    sf_ns end = l->first_timeout + ms * SF_MS;

    l->rtt.patience = ms;
    if (!l->rtt.backoff || l->rto_at <= end)
        return;
    l->rto_at = end;
    sf_tcp_timer_arm(l, now);
}

void sf_tcp_loss_syn(struct sf_tcp_loss *l, uint8_t times)
{
    l->n_timeouts = times;
    if (!l->rtt.smoothed)
        l->rtt.rto = LOST_SYN_RTO;
    if (times > 1) /* RFC 5681, 3.1. One does not count, as in Linux, because the first RTO is 1 s (RFC 6298, A) */
        l->cc.cwnd = l->mss;
}
