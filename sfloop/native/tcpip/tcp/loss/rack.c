#include "rack.h"

enum { DUP_THRESH = 3, PERSIST = 16 };

/* Compares the ends too, because segments sent in one turn of the loop have the same time. */
static inline bool sent_after(sf_ns a, uint32_t a_end, sf_ns b, uint32_t b_end)
{
    return a > b || (a == b && sf_seq_lt(b_end, a_end));
}

void sf_tcp_rack_delivered(struct sf_tcp_loss *l, const struct sf_tcp_sent *s, const struct sf_tcp_ack *a, sf_ns now)
{
    uint32_t end = s->seq + s->len;
    sf_ns rtt = now - s->sent_at;

    if (SF_LIKELY(sf_seq_lt(l->rack_fack, end)))
        l->rack_fack = end;
    else if (!(s->flags & SF_TCP_SENT_TWICE))
        l->rack_reordering = true;
    /* Ignore an ACK that arrived sooner than possible or has an older timestamp, because it is for an earlier transmission. */
    if (SF_UNLIKELY(s->flags & SF_TCP_SENT_TWICE) && (rtt < l->rtt.min || sf_tcp_echoes_before(a, s->sent_at, now)))
        return;
    l->rack_rtt = rtt;
    if (sent_after(s->sent_at, end, l->rack_sent_at, l->rack_end)) {
        l->rack_sent_at = s->sent_at;
        l->rack_end = end;
    }
}

void sf_tcp_rack_dsack(struct sf_tcp_loss *l, bool dsack)
{
    if (l->rack_dsack_round_open && sf_seq_le(l->rack_dsack_round, l->una))
        l->rack_dsack_round_open = false;
    if (!dsack || l->rack_dsack_round_open)
        return;
    l->rack_dsack_round_open = true;
    l->rack_dsack_round = l->nxt;
    l->rack_persist = PERSIST;
    if (l->rack_window_multiplier < UINT8_MAX)
        l->rack_window_multiplier++;
}

void sf_tcp_rack_recovered(struct sf_tcp_loss *l)
{
    if (l->rack_persist && !--l->rack_persist)
        l->rack_window_multiplier = 1;
}

/* The time beyond the RTT within which a reordered segment may still arrive. */
static sf_ns reordering_window(const struct sf_tcp_loss *l)
{
    sf_ns window;

    if (!l->rack_reordering && (l->state != SF_TCP_OPEN || l->sacked_segments >= DUP_THRESH))
        return 0;
    window = l->rtt.min / 4 * l->rack_window_multiplier;
    return window < l->rtt.smoothed ? window : l->rtt.smoothed;
}

bool sf_tcp_rack_detect(struct sf_tcp_loss *l, sf_ns now)
{
    sf_ns wait = l->rack_rtt + reordering_window(l);
    bool lost = false;

    l->rack_at = 0;
    if (!l->sack || !l->rack_sent_at)
        return false;
    while (l->oldest != SF_TCP_SENT_NONE) {
        struct sf_tcp_sent *s = &l->ring[l->oldest];

        if (!sent_after(l->rack_sent_at, l->rack_end, s->sent_at, s->seq + s->len))
            break;
        if (s->sent_at + wait > now) {
            l->rack_at = s->sent_at + wait; /* later ones of the list not before */
            break;
        }
        sf_tcp_sent_mark_lost(l, s);
        lost = true;
    }
    return lost;
}

void sf_tcp_rack_timeout(struct sf_tcp_loss *l, sf_ns now)
{
    sf_ns wait = l->rack_rtt + reordering_window(l);
    struct sf_tcp_sent *first = sf_tcp_sent_at(l, 0);

    l->rack_at = 0;
    if (sf_tcp_sent_is_in_flight(first))
        sf_tcp_sent_mark_lost(l, first);
    while (l->oldest != SF_TCP_SENT_NONE) {
        struct sf_tcp_sent *s = &l->ring[l->oldest];

        if (l->sack && l->rack_sent_at && s->sent_at + wait > now)
            break;
        sf_tcp_sent_mark_lost(l, s);
    }
}

sf_ns sf_tcp_tlp_delay(const struct sf_tcp_loss *l)
{
    sf_ns delay = l->rtt.smoothed ? 2 * l->rtt.smoothed : SF_SEC;

    if (!l->sack || l->tlp_out || l->state != SF_TCP_OPEN || l->sacked_segments || l->rtt.backoff)
        return SF_NEVER;
    /* The ACK of a single segment may be delayed. The minimum RTO allows for it, because the peer does not tell by how much. */
    return l->ring_count == 1 ? delay + l->rtt.min_rto : delay;
}

bool sf_tcp_tlp_repaired(struct sf_tcp_loss *l, const struct sf_tcp_ack *a, const struct sf_tcp_delivered *d, bool advanced)
{
    if (sf_seq_lt(l->una, l->tlp_end))
        return false;
    if (!l->tlp_is_retransmit || (d->dsack && d->dsack_right == l->tlp_end)) {
        l->tlp_out = false; /* new data, or both copies have arrived */
        return false;
    }
    if (sf_seq_lt(l->tlp_end, l->una)) {
        l->tlp_out = false; /* a DSACK would have come before this ACK */
        return true;
    }
    if (!advanced && a->may_be_duplicate && !a->n_sack)
        l->tlp_out = false;
    return false;
}
