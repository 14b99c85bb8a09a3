/*
 * Data out of order. The bytes lie in their place in the receive ring, and a bounded list of ranges says where. The list has the order
 * that SACK requires (RFC 2018, 4): first the range to which the latest segment belongs, then the others, the most recently reported first.
 *
 * The sender's scoreboard (tcp/loss/scoreboard.h) is another structure, because it has an entry for each segment under way, in order of
 * sequence numbers, with the time at which the segment was sent.
 */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <stdlib.h>

enum { FIRST_RANGES = 8, MOST_RANGES = 128 };

static struct sf_tcp_ooo *list_with_room(struct sf_tcp_conn *c)
{
    struct sf_tcp_ooo *ooo = c->rcv.ooo;
    uint32_t capacity = ooo ? ooo->capacity * 2 : FIRST_RANGES;

    if (ooo && ooo->n < ooo->capacity)
        return ooo;
    if (capacity > MOST_RANGES)
        return NULL;
    ooo = realloc(ooo, sizeof(*ooo) + capacity * sizeof(ooo->range[0]));
    if (!ooo)
        return NULL;
    if (c->rcv.ooo) { /* The list may have moved. */
        ooo->link.prev->next = ooo->link.next->prev = &ooo->link;
    } else {
        ooo->n = 0;
        ooo->conn = c;
        ooo->link.next = NULL;
        sf_ready_set(&c->tcpip->tcp.holding, &ooo->link, true);
    }
    ooo->capacity = capacity;
    c->rcv.ooo = ooo;
    return ooo;
}

void sf_tcp_ooo_free(struct sf_tcp_rcv *rcv)
{
    if (!rcv->ooo)
        return;
    sf_ready_remove(&rcv->ooo->link);
    free(rcv->ooo);
    rcv->ooo = NULL;
}

static void take_out(struct sf_tcp_ooo *ooo, uint32_t i)
{
    ooo->n--;
    memmove(&ooo->range[i], &ooo->range[i + 1], (ooo->n - i) * sizeof(ooo->range[0]));
}

/* Takes out the ranges that touch the new one, and makes the new one cover them. */
static void merge(struct sf_tcp_ooo *ooo, struct sf_tcp_range *new)
{
    for (uint32_t i = 0; i < ooo->n;) {
        struct sf_tcp_range *r = &ooo->range[i];

        if (sf_seq_lt(r->right, new->left) || sf_seq_lt(new->right, r->left)) {
            i++;
            continue;
        }
        if (sf_seq_lt(r->left, new->left))
            new->left = r->left;
        if (sf_seq_lt(new->right, r->right))
            new->right = r->right;
        take_out(ooo, i);
        i = 0; /* The new range may touch more now. */
    }
}

uint32_t sf_tcp_range_end(const struct sf_tcp_rcv *rcv, const struct sf_tcp_range *r)
{
    return r->right + (rcv->fin_known && r->right == rcv->fin_at);
}

/* Counts a duplicate, and has the next ACK report it. */
static void duplicate(struct sf_tcp_conn *c, struct sf_tcp_range range)
{
    sf_count(c->tcpip, SF_COUNT_TCP_RX_DUPLICATE);
    if (c->agreed.sack)
        c->rcv.duplicate = range;
}

void sf_tcp_repeated(struct sf_tcp_conn *c, uint32_t left, uint32_t right)
{
    if (sf_seq_lt(c->rcv.nxt, right))
        right = c->rcv.nxt;
    if (sf_seq_lt(left, right))
        duplicate(c, (struct sf_tcp_range){left, right});
}

/* Returns the first part of the piece, FIN included, that was received before (RFC 2883, 4). Empty: none. */
static struct sf_tcp_range known_part(const struct sf_tcp_rcv *rcv, const struct sf_tcp_piece *piece)
{
    uint32_t piece_end = piece->seq + piece->len + piece->fin;

    for (uint32_t i = 0; rcv->ooo && i < rcv->ooo->n; i++) {
        const struct sf_tcp_range *r = &rcv->ooo->range[i];
        uint32_t left = sf_seq_lt(r->left, piece->seq) ? piece->seq : r->left;
        uint32_t end = sf_tcp_range_end(rcv, r), right = sf_seq_lt(end, piece_end) ? end : piece_end;

        if (sf_seq_lt(left, right))
            return (struct sf_tcp_range){left, right};
    }
    return (struct sf_tcp_range){piece->seq, piece->seq};
}

/* A FIN without data is an empty range. */
void sf_tcp_out_of_order(struct sf_tcp_conn *c, const struct sf_tcp_piece *piece)
{
    struct sf_tcp_range new = {piece->seq, piece->seq + piece->len}, known;
    struct sf_tcp_ooo *ooo;

    c->rcv.n_out_of_order++;
    sf_count(c->tcpip, SF_COUNT_TCP_RX_OUT_OF_ORDER);
    if (piece->len && sf_tcp_rcv_room(c, new.right - c->rcv.read, SF_TCP_ROOM_LATER) < 0)
        return;
    ooo = list_with_room(c);
    if (!ooo) {
        sf_count(c->tcpip, SF_COUNT_TCP_RX_RANGES_FULL);
        return;
    }
    known = known_part(&c->rcv, piece);
    if (known.left != known.right)
        duplicate(c, known);
    if (piece->len)
        sf_byte_ring_put(&c->rcv.ring, piece->seq, piece->data, piece->len);
    merge(ooo, &new);
    memmove(&ooo->range[1], &ooo->range[0], ooo->n * sizeof(ooo->range[0]));
    ooo->range[0] = new;
    ooo->n++;
}

/* Data in order has moved RCV.NXT into the ranges. Returns the first part of the ranges before RCV.NXT, which was sent twice (RFC 2883,
 * 4.2). Empty: none. */
static struct sf_tcp_range overlap(const struct sf_tcp_ooo *ooo, uint32_t nxt)
{
    struct sf_tcp_range first = {nxt, nxt};

    for (uint32_t i = 0; i < ooo->n; i++) {
        const struct sf_tcp_range *r = &ooo->range[i];

        if (sf_seq_lt(r->left, r->right) && sf_seq_lt(r->left, first.left)) {
            first.left = r->left;
            first.right = sf_seq_lt(r->right, nxt) ? r->right : nxt;
        }
    }
    return first;
}

/* The ring has every byte before RCV.NXT: frames were spilled when the list began, and data in order is copied while there is a list. */
void sf_tcp_reassemble(struct sf_tcp_conn *c)
{
    struct sf_tcp_rcv *rcv = &c->rcv;
    struct sf_tcp_ooo *ooo = rcv->ooo;
    struct sf_tcp_range twice = overlap(ooo, rcv->nxt);

    if (twice.left != twice.right && rcv->duplicate.left == rcv->duplicate.right)
        duplicate(c, twice);
    for (uint32_t i = 0; i < ooo->n;) {
        struct sf_tcp_range r = ooo->range[i];

        if (sf_seq_lt(rcv->nxt, r.left)) {
            i++;
            continue;
        }
        if (sf_seq_lt(rcv->nxt, r.right)) {
            c->rcv.n_bytes += r.right - rcv->nxt;
            rcv->nxt = rcv->ring.end = r.right;
        }
        take_out(ooo, i);
        i = 0;
    }
    if (!ooo->n)
        sf_tcp_ooo_free(rcv);
}

void sf_tcp_sack_blocks(struct sf_tcp_rcv *rcv, const struct sf_tcp_agreed *agreed, struct sf_tcp_segment *s)
{
    uint32_t most = agreed->timestamps ? SF_TCP_SACK_MAX - 1 : SF_TCP_SACK_MAX;

    if (!agreed->sack)
        return;
    if (rcv->duplicate.left != rcv->duplicate.right) {
        s->sack[s->n_sack++] = rcv->duplicate;
        rcv->duplicate = (struct sf_tcp_range){0, 0};
    }
    for (uint32_t i = 0; rcv->ooo && i < rcv->ooo->n && s->n_sack < most; i++) {
        struct sf_tcp_range told = {rcv->ooo->range[i].left, sf_tcp_range_end(rcv, &rcv->ooo->range[i])};

        if (told.left != told.right) /* Else the peer has sent its FIN with another number since. */
            s->sack[s->n_sack++] = told;
    }
}
