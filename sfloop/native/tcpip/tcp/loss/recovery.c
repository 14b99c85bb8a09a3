#include "recovery.h"

#include "congestion.h"
#include "rack.h"
#include "rto.h"

static void remember(struct sf_tcp_loss *l)
{
    l->past->cc = l->cc;
    l->past->una = l->una;
    l->past->retransmits = 0;
    l->past->at = 0;
    l->undo_possible = true;
}

/* Undoes a spurious recovery: lost segments are in flight again, and the window is restored. */
static void undo(struct sf_tcp_loss *l)
{
    uint32_t cwnd = l->cc.cwnd > l->past->cc.cwnd ? l->cc.cwnd : l->past->cc.cwnd;

    l->cc = l->past->cc;
    l->cc.cwnd = cwnd;
    sf_tcp_sent_unmark_lost(l);
    l->state = SF_TCP_OPEN;
    l->undo_possible = false;
    l->frto = false;
    l->rtt.backoff = 0;
    l->rack_sent_at = 0; /* it may be a retransmission's although the original arrived */
    l->rack_at = 0;
    l->n_undone++;
}

/* True: every retransmission was a duplicate (RFC 3708). */
static bool all_were_duplicates(struct sf_tcp_loss *l, const struct sf_tcp_delivered *d)
{
    if (!d->dsack || !l->past->retransmits || sf_seq_lt(d->dsack_left, l->past->una) ||
        sf_seq_lt(l->recover, d->dsack_right))
        return false;
    return --l->past->retransmits == 0;
}

static bool was_spurious(struct sf_tcp_loss *l, const struct sf_tcp_ack *a, const struct sf_tcp_delivered *d, bool advanced,
                         sf_ns now)
{
    if (!l->undo_possible)
        return false;
    if (all_were_duplicates(l, d))
        return true;
    if (l->state == SF_TCP_OPEN)
        return false;
    if (l->state == SF_TCP_LOSS && l->frto && d->was_lost)
        return true;
    return advanced && l->past->at && sf_tcp_echoes_before(a, l->past->at, now); /* Eifel */
}

static void leave(struct sf_tcp_loss *l)
{
    if (l->state == SF_TCP_RECOVERY)
        l->cc.cwnd = l->cc.ssthresh;
    l->state = SF_TCP_OPEN;
    l->duplicate_acks = 0;
    l->recovered = l->una == l->recover;
    sf_tcp_rack_recovered(l);
}

void sf_tcp_recovery_enter(struct sf_tcp_loss *l)
{
    remember(l);
    l->state = SF_TCP_RECOVERY;
    l->recover = l->nxt;
    l->recovered = false;
    l->tlp_out = false;
    l->past->prr_delivered = 0;
    l->past->prr_out = 0;
    l->past->prr_flight = l->nxt - l->una;
    l->n_recoveries++;
    sf_tcp_cc_lost(&l->cc, l->mss);
}

void sf_tcp_recovery_reduce(struct sf_tcp_loss *l, uint32_t delivered, bool safe)
{
    uint32_t pipe = sf_tcp_loss_in_flight(l), ssthresh = l->cc.ssthresh, send, owed;

    l->past->prr_delivered += delivered;
    if (pipe > ssthresh) {
        uint64_t due = ((uint64_t)l->past->prr_delivered * ssthresh + l->past->prr_flight - 1) / l->past->prr_flight;

        send = due > l->past->prr_out ? (uint32_t)(due - l->past->prr_out) : 0;
    } else {
        owed = l->past->prr_delivered > l->past->prr_out ? l->past->prr_delivered - l->past->prr_out : 0;
        send = (owed > delivered ? owed : delivered) + (safe ? l->mss : 0);
        if (send > ssthresh - pipe)
            send = ssthresh - pipe;
    }
    if ((!l->past->prr_out || pipe < l->mss) && send < l->mss)
        send = l->mss; /* the fast retransmit; also, data must be in flight to cause the next ACK */
    l->cc.cwnd = pipe + send;
}

void sf_tcp_recovery_repaired(struct sf_tcp_loss *l)
{
    l->n_recoveries++;
    sf_tcp_cc_lost(&l->cc, l->mss);
    l->cc.cwnd = l->cc.ssthresh;
}

void sf_tcp_recovery_input(struct sf_tcp_loss *l, const struct sf_tcp_ack *a, const struct sf_tcp_delivered *d, bool advanced,
                           sf_ns now)
{
    if (was_spurious(l, a, d, advanced, now))
        undo(l);
    else if (l->state != SF_TCP_OPEN && sf_seq_le(l->recover, l->una))
        leave(l);
    if (SF_UNLIKELY(l->lost_bytes && l->state == SF_TCP_OPEN))
        sf_tcp_recovery_enter(l);
}

void sf_tcp_recovery_timeout(struct sf_tcp_loss *l, sf_ns now)
{
    if (sf_tcp_sent_at(l, 0)->flags & SF_TCP_SENT_SACKED)
        sf_tcp_sent_forget_sack(l); /* otherwise the cumulative ACK would have covered it */
    if (!l->sack)
        l->sacked_bytes = 0;
    if (l->state == SF_TCP_OPEN || (l->state == SF_TCP_LOSS && !l->first_timeout)) {
        remember(l);
        sf_tcp_cc_lost(&l->cc, l->mss);
        l->frto = true;
    } else if (l->state == SF_TCP_RECOVERY) {
        l->undo_possible = false; /* because it would undo the recovery too */
        l->frto = false;
    }
    l->state = SF_TCP_LOSS;
    l->recover = l->nxt;
    l->recovered = false;
    l->tlp_out = false;
    l->duplicate_acks = 0;
    l->cc.cwnd = l->mss;
    sf_tcp_rack_timeout(l, now);
    l->n_timeouts++;
    if (!l->first_timeout)
        l->first_timeout = now;
    if (l->rtt.backoff < UINT8_MAX)
        l->rtt.backoff++;
    sf_tcp_rto_restart(l, now);
}
