/*
 * Data that came before what precedes it: it lies in its place in the receive ring, and a bounded list says where. The list is kept
 * as SACK wants it (RFC 2018, 4): the range that the latest segment belongs to first, then the others as they were last told of.
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
    if (c->rcv.ooo) { /* it may have moved */
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

/* Those that touch the new one become part of it. */
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
        i = 0; /* it may touch more now */
    }
}

uint32_t sf_tcp_range_end(const struct sf_tcp_rcv *rcv, const struct sf_tcp_range *r)
{
    return r->right + (rcv->fin_known && r->right == rcv->fin_at);
}

/* The part of the piece that we have already, with its FIN; the first such part is enough (RFC 2883, 4). */
static void find_duplicate(struct sf_tcp_conn *c, const struct sf_tcp_piece *new)
{
    uint32_t new_end = new->seq + new->len + new->fin;

    for (uint32_t i = 0; c->rcv.ooo && i < c->rcv.ooo->n; i++) {
        const struct sf_tcp_range *r = &c->rcv.ooo->range[i];
        uint32_t left = sf_seq_lt(r->left, new->seq) ? new->seq : r->left;
        uint32_t end = sf_tcp_range_end(&c->rcv, r), right = sf_seq_lt(end, new_end) ? end : new_end;

        if (sf_seq_lt(left, right)) {
            sf_tcp_duplicate(c, left, right);
            return;
        }
    }
}

void sf_tcp_duplicate(struct sf_tcp_conn *c, uint32_t left, uint32_t right)
{
    sf_count(c->tcpip, SF_COUNT_TCP_RX_DUPLICATE);
    if (c->agreed.sack)
        c->rcv.duplicate = (struct sf_tcp_range){left, right};
}

void sf_tcp_repeated(struct sf_tcp_conn *c, uint32_t left, uint32_t right)
{
    if (sf_seq_lt(c->rcv.nxt, right))
        right = c->rcv.nxt;
    if (sf_seq_lt(left, right))
        sf_tcp_duplicate(c, left, right);
}

/* A FIN without data is an empty range. */
void sf_tcp_out_of_order(struct sf_tcp_conn *c, const struct sf_tcp_piece *piece)
{
    struct sf_tcp_range new = {piece->seq, piece->seq + piece->len};
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
    find_duplicate(c, piece);
    if (piece->len)
        sf_byte_ring_put(&c->rcv.ring, piece->seq, piece->data, piece->len);
    merge(ooo, &new);
    memmove(&ooo->range[1], &ooo->range[0], ooo->n * sizeof(ooo->range[0]));
    ooo->range[0] = new;
    ooo->n++;
}

/* What came in order and reaches into the ranges: that part of it was a duplicate (RFC 2883, 4.2). The first such part is told. */
static void find_overlap(struct sf_tcp_conn *c, uint32_t nxt)
{
    const struct sf_tcp_ooo *ooo = c->rcv.ooo;
    struct sf_tcp_range first = {nxt, nxt};

    for (uint32_t i = 0; i < ooo->n; i++) {
        const struct sf_tcp_range *r = &ooo->range[i];

        if (sf_seq_lt(r->left, r->right) && sf_seq_lt(r->left, first.left)) {
            first.left = r->left;
            first.right = sf_seq_lt(r->right, nxt) ? r->right : nxt;
        }
    }
    if (first.left != nxt && c->rcv.duplicate.left == c->rcv.duplicate.right)
        sf_tcp_duplicate(c, first.left, first.right);
}

/* The ring has everything up to nxt: what was out of order is spilled before, and what follows it is copied. */
void sf_tcp_reassemble(struct sf_tcp_conn *c)
{
    struct sf_tcp_rcv *rcv = &c->rcv;
    struct sf_tcp_ooo *ooo = rcv->ooo;

    find_overlap(c, rcv->nxt);
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

void sf_tcp_sack_blocks(struct sf_tcp_conn *c, struct sf_tcp_segment *s)
{
    struct sf_tcp_rcv *rcv = &c->rcv;
    uint32_t most = c->agreed.timestamps ? SF_TCP_SACK_MAX - 1 : SF_TCP_SACK_MAX;

    if (!c->agreed.sack)
        return;
    if (rcv->duplicate.left != rcv->duplicate.right) {
        s->sack[s->n_sack++] = rcv->duplicate;
        rcv->duplicate = (struct sf_tcp_range){0, 0};
    }
    for (uint32_t i = 0; rcv->ooo && i < rcv->ooo->n && s->n_sack < most; i++) {
        struct sf_tcp_range told = {rcv->ooo->range[i].left, sf_tcp_range_end(rcv, &rcv->ooo->range[i])};

        if (told.left != told.right) /* else the peer has sent its FIN with another number since */
            s->sack[s->n_sack++] = told;
    }
}
