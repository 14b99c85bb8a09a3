#include "dupack.h"

enum { DUP_THRESH = 3 };

void sf_tcp_dupack_bound(struct sf_tcp_loss *l)
{
    uint32_t missing = l->lost_bytes, most;

    if (!l->ring_count) {
        l->sacked_bytes = 0;
        return;
    }
    if (!(sf_tcp_sent_at(l, 0)->flags & SF_TCP_SENT_LOST))
        missing += sf_tcp_sent_at(l, 0)->len;
    most = l->nxt - l->una - missing;
    if (l->sacked_bytes > most)
        l->sacked_bytes = most;
}

/* Handles an ACK for a hole and for the segments after it that duplicate ACKs have announced. */
static bool advanced(struct sf_tcp_loss *l, uint32_t acked, struct sf_tcp_delivered *d)
{
    uint32_t announced = acked > l->mss ? acked - l->mss : 0;
    struct sf_tcp_sent *first;

    if (announced > l->sacked_bytes)
        announced = l->sacked_bytes;
    l->sacked_bytes -= announced;
    d->bytes -= announced < d->bytes ? announced : d->bytes;
    if (l->state != SF_TCP_RECOVERY || sf_seq_le(l->recover, l->una)) {
        l->duplicate_acks = 0;
        l->sacked_bytes = 0;
        return false;
    }
    first = sf_tcp_sent_at(l, 0); /* a partial ACK: this segment is lost too */
    if (!(first->flags & SF_TCP_SENT_LOST))
        sf_tcp_sent_mark_lost(l, first);
    sf_tcp_dupack_bound(l);
    return true;
}

bool sf_tcp_dupack_input(struct sf_tcp_loss *l, const struct sf_tcp_ack *a, uint32_t acked, struct sf_tcp_delivered *d)
{
    uint32_t before = l->sacked_bytes;

    if (acked)
        return advanced(l, acked, d);
    if (!a->may_be_duplicate || !l->ring_count || l->state == SF_TCP_LOSS)
        return false;
    l->duplicate_acks++;
    l->sacked_bytes += l->mss;
    sf_tcp_dupack_bound(l);
    if (l->sacked_bytes > before)
        d->bytes += l->sacked_bytes - before;
    if (l->state != SF_TCP_OPEN || l->duplicate_acks < DUP_THRESH || (l->recovered && l->una == l->recover))
        return false;
    sf_tcp_sent_mark_lost(l, sf_tcp_sent_at(l, 0));
    return true;
}
