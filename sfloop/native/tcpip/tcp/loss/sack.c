#include "sack.h"

/* True: the first range reports a duplicate, because it is below the ACK or within the second range (RFC 2883, 4). It must be
 * of data sent in this connection. */
static bool is_dsack(const struct sf_tcp_loss *l, const struct sf_tcp_ack *a)
{
    struct sf_tcp_range first = a->sack[0];

    if (!sf_seq_lt(first.left, first.right))
        return false;
    if (sf_seq_le(first.right, l->una))
        return l->una - first.left <= l->delivered;
    return a->n_sack > 1 && sf_seq_le(a->sack[1].left, first.left) && sf_seq_le(first.right, a->sack[1].right) &&
           sf_seq_lt(l->una, first.left) && sf_seq_le(first.right, l->nxt);
}

/* A range that begins at una contradicts the ACK, so it is ignored. */
static bool is_valid(const struct sf_tcp_loss *l, struct sf_tcp_range r)
{
    return sf_seq_lt(l->una, r.left) && sf_seq_lt(r.left, r.right) && sf_seq_le(r.right, l->nxt);
}

/* Sorts the relevant ranges in ascending order, because reordering is detected from the order in which segments arrived. */
static uint8_t sort(const struct sf_tcp_loss *l, const struct sf_tcp_ack *a, bool dsack, struct sf_tcp_range *out)
{
    uint8_t n = 0, n_sack = a->n_sack < SF_TCP_SACK_MAX ? a->n_sack : SF_TCP_SACK_MAX;

    for (uint8_t i = dsack; i < n_sack; i++) {
        uint8_t at = n;

        if (!is_valid(l, a->sack[i]))
            continue;
        for (; at > 0 && sf_seq_lt(a->sack[i].left, out[at - 1].left); at--)
            out[at] = out[at - 1];
        out[at] = a->sack[i];
        n++;
    }
    return n;
}

/* Each ACK repeats the ranges of earlier ones with a change in one place. */
static bool is_known(const struct sf_tcp_loss *l, struct sf_tcp_range r)
{
    for (uint8_t i = 0; i < l->n_last_sack; i++)
        if (sf_seq_le(l->past->last_sack[i].left, r.left) && sf_seq_le(r.right, l->past->last_sack[i].right))
            return true;
    return false;
}

/* Takes segments that lie completely in the range. A range with part of a segment is dishonest, because segments arrive as
 * they were sent. */
static bool take(struct sf_tcp_loss *l, struct sf_tcp_range r, struct sf_tcp_delivered *d, sf_ns now)
{
    uint32_t i = sf_tcp_sent_find(l, r.left), before = d->segments;

    if (sf_tcp_sent_at(l, i)->seq != r.left)
        i++;
    while ((i = sf_tcp_sent_skip_sacked(l, i)) < l->ring_count) {
        struct sf_tcp_sent *s = sf_tcp_sent_at(l, i);

        if (sf_seq_lt(r.right, s->seq + s->len))
            break;
        sf_tcp_sent_arrived(l, s, d, now);
        s->flags = (uint8_t)((s->flags & SF_TCP_SENT_TWICE) | SF_TCP_SENT_SACKED);
        s->run = 1;
        l->sacked_bytes += s->len;
        l->sacked_segments++;
        i++;
    }
    return d->segments != before;
}

bool sf_tcp_sack_input(struct sf_tcp_loss *l, const struct sf_tcp_ack *a, struct sf_tcp_delivered *d, sf_ns now)
{
    struct sf_tcp_range sorted[SF_TCP_SACK_MAX];
    bool news = false;
    uint8_t n;

    d->dsack = is_dsack(l, a);
    if (d->dsack) {
        d->dsack_left = a->sack[0].left;
        d->dsack_right = a->sack[0].right;
    }
    if (l->una == l->nxt)
        return false;
    n = sort(l, a, d->dsack, sorted);
    if (!l->sacked_segments)
        l->n_last_sack = 0; /* outdated: sequence numbers may have wrapped since */
    for (uint8_t i = 0; i < n; i++)
        if (!is_known(l, sorted[i]))
            news |= take(l, sorted[i], d, now);
    l->n_last_sack = n;
    for (uint8_t i = 0; i < n; i++)
        l->past->last_sack[i] = sorted[i];
    return news;
}
