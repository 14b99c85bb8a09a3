/*
 * Receiving. Data in order stays in its frame until the next poll, and is read from there. Data that nobody has read by then is copied
 * into a ring (receive_ring.c). Data out of order goes straight to its place in the ring (reassembly.c).
 *
 * Unread bytes: [read, ring.end) lie in the ring, [ring.end, nxt) in frames.
 */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <stdlib.h>

#define LEAST_MSS 536 /* A full segment has at least this size. Every second full segment is acknowledged. */
#define QUICK_ACKS 16 /* As in Linux: until the peer's window has opened, or after a loss. */
#define SHARE 4       /* A window promises at most one of four bytes of memory that are left. */

/* ---- data in frames ---- */

static void forget_lent(struct sf_tcp_rcv *rcv)
{
    for (struct sf_tcp_lent *l = rcv->lent_first; l; l = l->next)
        l->conn = NULL;
    rcv->lent_first = rcv->lent_last = NULL;
}

void sf_tcp_rcv_forget(struct sf_tcp_rcv *rcv)
{
    forget_lent(rcv);
    rcv->read = rcv->ring.end = rcv->nxt - rcv->fin;
}

/* Acknowledged data may not be lost. Without memory for it the connection cannot go on. */
static void end_without_memory(struct sf_tcp_conn *c)
{
    sf_count(c->tcpip, SF_COUNT_TCP_NO_MEMORY);
    forget_lent(&c->rcv);
    c->rcv.nxt = c->rcv.ring.end + c->rcv.fin;
    sf_tcp_send_reset(c);
    sf_tcp_conn_end(c, -ENOMEM);
}

/* Copies as many bytes as the ring has room for, and returns their number. If some are refused, the peer is told of a smaller window,
 * because it then probes for room and does not give up. */
static uint32_t copy_what_fits(struct sf_tcp_conn *c, const uint8_t *data, uint32_t len)
{
    struct sf_tcp_rcv *rcv = &c->rcv;
    uint32_t held = rcv->ring.end - rcv->read;

    if (SF_UNLIKELY(sf_tcp_rcv_room(c, held + len, SF_TCP_ROOM_NEXT) < 0)) {
        len = rcv->ring.size - held < len ? rcv->ring.size - held : len;
        sf_count(c->tcpip, SF_COUNT_TCP_RX_REFUSED);
        rcv->refused = true;
        sf_tcp_starve(c);
    }
    sf_byte_ring_append(&rcv->ring, data, len);
    return len;
}

/* Refuses the data in frames, from ring.end on. It was not acknowledged yet, so the peer still has it. */
static void take_back(struct sf_tcp_conn *c)
{
    struct sf_tcp_rcv *rcv = &c->rcv;

    forget_lent(rcv);
    c->rcv.n_bytes -= rcv->nxt - rcv->ring.end;
    rcv->nxt = rcv->ring.end;
    sf_tcp_owe(c, SF_TCP_OWED_ACK);
    sf_tcp_conn_update(c);
}

/* Copies the bytes that lie in frames. Without memory the connection ends. */
static void spill(struct sf_tcp_conn *c)
{
    struct sf_tcp_rcv *rcv = &c->rcv;

    for (struct sf_tcp_lent *l = rcv->lent_first; l; l = l->next) {
        bool owed = rcv->fin || sf_seq_lt(rcv->ring.end, rcv->acked);

        sf_count(c->tcpip, SF_COUNT_RX_BACKLOG_COPIES);
        if (SF_UNLIKELY(!owed)) {
            if (copy_what_fits(c, l->data, l->len) == l->len)
                continue;
            take_back(c);
            return;
        }
        if (SF_UNLIKELY(sf_tcp_rcv_room(c, rcv->ring.end - rcv->read + l->len, SF_TCP_ROOM_OWED) < 0)) {
            end_without_memory(c);
            return;
        }
        sf_byte_ring_append(&rcv->ring, l->data, l->len);
    }
    forget_lent(&c->rcv);
}

void sf_tcp_spill(struct sf_tcpip *t)
{
    struct sf_tcp *tcp = &t->tcp;

    for (int i = 0; i < tcp->n_lent; i++)
        if (SF_UNLIKELY(tcp->lent[i].conn != NULL))
            spill(tcp->lent[i].conn);
    tcp->n_lent = 0;
}

/* The bytes stay in their frame until the next poll. */
static void lend(struct sf_tcp_conn *c, const struct sf_tcp_piece *piece)
{
    struct sf_tcp_rcv *rcv = &c->rcv;
    struct sf_tcp *tcp = &c->tcpip->tcp;
    struct sf_tcp_lent *l = &tcp->lent[tcp->n_lent++];

    l->conn = c;
    l->next = NULL;
    l->data = piece->data;
    l->len = piece->len;
    if (rcv->lent_last)
        rcv->lent_last->next = l;
    else
        rcv->lent_first = l;
    rcv->lent_last = l;
}

/* ---- acknowledging ---- */

static void owe_ack(struct sf_tcp_conn *c)
{
    struct sf_tcp_rcv *rcv = &c->rcv;
    uint32_t full = rcv->mss > LEAST_MSS ? rcv->mss : LEAST_MSS;

    if (rcv->quick || c->options.quickack || rcv->nxt - rcv->acked >= 2 * full) {
        sf_tcp_owe(c, SF_TCP_OWED_ACK);
        return;
    }
    if (c->timers.ack_at != SF_NEVER)
        return;
    c->timers.ack_at = c->tcpip->now + c->tcpip->tcp.limits.delayed_ack;
    if (SF_LIKELY(!c->dead))
        sf_tcp_timer_by(c->tcpip, &c->timers.timer, c->timers.ack_at); /* No other deadline has changed. */
}

/* Sends an ACK at once that reports a loss or a duplicate, because the peer should know it soon. */
static void ack_out_of_turn(struct sf_tcp_conn *c)
{
    c->rcv.quick = QUICK_ACKS;
    sf_tcp_ack_now(c);
}

/* The window's limit when memory is short. A connection whose window is about to close is served when there is more memory. */
__attribute__((noinline)) static uint32_t limit_when_short(struct sf_tcp_conn *c)
{
    uint32_t most = sf_tcp_memory_affords(&c->tcpip->tcp, c->rcv.ring.size, SHARE), least = sf_tcp_rcv_least(c->loss.mss);

    if (most < least)
        most = least;
    if (most >= c->rcv.limit)
        return c->rcv.limit;
    if (sf_tcp_unread(&c->rcv) + c->rcv.limit / 4 > most)
        sf_tcp_starve(c);
    return most;
}

static uint32_t free_window(struct sf_tcp_conn *c)
{
    uint32_t unread = sf_tcp_unread(&c->rcv), limit = c->rcv.limit;

    if (SF_UNLIKELY(!sf_tcp_memory_allows(&c->tcpip->tcp, (uint64_t)limit * 2 * SHARE)))
        limit = limit_when_short(c);
    return SF_LIKELY(unread < limit) ? limit - unread : 0;
}

/* Receiver's silly window avoidance: the window moves at least by this. */
static uint32_t least_step(const struct sf_tcp_rcv *rcv, uint32_t mss)
{
    return rcv->limit / 2 < mss ? rcv->limit / 2 : mss;
}

/* How far the window's right edge could move if memory were not short. */
static int32_t most_gain(const struct sf_tcp_rcv *rcv)
{
    return (int32_t)(rcv->nxt - sf_tcp_unread(rcv) + rcv->limit - rcv->adv);
}

/* Returns the window's right edge after data was refused. It is the end of the room, and less than was advertised before. */
static uint32_t refused_edge(struct sf_tcp_rcv *rcv, uint32_t edge, uint32_t step)
{
    if (!sf_seq_lt(edge, rcv->adv)) {
        rcv->refused = false;
        return rcv->adv;
    }
    return edge - rcv->nxt < step ? rcv->nxt : edge;
}

/* Receiver's silly window avoidance (RFC 9293, 3.8.6.2.2): the edge moves by a segment or half the buffer, or not at all. It never moves
 * back, unless data was refused. */
uint16_t sf_tcp_advertise(struct sf_tcp_conn *c)
{
    struct sf_tcp_rcv *rcv = &c->rcv;
    uint32_t step = least_step(rcv, c->loss.mss), edge, window;

    if (SF_LIKELY(!rcv->refused && most_gain(rcv) < (int32_t)step))
        return (uint16_t)((rcv->adv - rcv->nxt) >> c->agreed.rcv_scale);
    edge = rcv->nxt + free_window(c);
    if ((int32_t)(edge - rcv->adv) < (int32_t)step)
        edge = SF_UNLIKELY(rcv->refused) ? refused_edge(rcv, edge, step) : rcv->adv;
    window = (edge - rcv->nxt) >> c->agreed.rcv_scale;
    if (window > UINT16_MAX)
        window = UINT16_MAX;
    edge = rcv->nxt + (window << c->agreed.rcv_scale);
    if (sf_seq_lt(rcv->adv, edge))
        rcv->adv = edge;
    return (uint16_t)window;
}

void sf_tcp_bound_window(struct sf_tcp_rcv *rcv, uint8_t scale)
{
    uint32_t most = (uint32_t)UINT16_MAX << scale;

    if (rcv->limit > most)
        rcv->limit = most;
}

/* Call this after the program has read. Tells the peer about a larger window if the gain is large, or if the window was about to close. */
static void window_opened(struct sf_tcp_conn *c)
{
    const struct sf_tcp_rcv *rcv = &c->rcv;
    uint32_t open = rcv->adv - rcv->nxt, room;
    int32_t gain = most_gain(rcv);

    if (SF_LIKELY(!rcv->refused && gain < (int32_t)(rcv->limit / 4) && gain < (int32_t)(2 * c->loss.mss)))
        return;
    room = free_window(c);
    gain = (int32_t)(rcv->nxt + room - rcv->adv);
    if (SF_UNLIKELY(rcv->refused) && room >= least_step(rcv, c->loss.mss) && sf_tcp_may_receive(c)) {
        sf_tcp_owe(c, SF_TCP_OWED_ACK);
        return;
    }
    if (gain <= 0 || !sf_tcp_may_receive(c))
        return;
    if ((uint32_t)gain >= rcv->limit / 2 || (open < rcv->limit / 4 && (uint32_t)gain >= 2u * c->loss.mss) ||
        (open < c->loss.mss && (uint32_t)gain >= rcv->limit / 4))
        sf_tcp_owe(c, SF_TCP_OWED_ACK);
}

void sf_tcp_rcv_relieved(struct sf_tcp_conn *c)
{
    window_opened(c);
}

/* ---- data ---- */

static void fin_input(struct sf_tcp_conn *c)
{
    c->rcv.nxt++;
    if (sf_seq_lt(c->rcv.adv, c->rcv.nxt)) /* A FIN needs no room, so it may arrive at the window's end. */
        c->rcv.adv = c->rcv.nxt;
    c->rcv.fin = true;
    c->rcv.fin_known = false;
    switch (c->state) {
    case SF_TCP_ESTABLISHED:
        c->state = SF_TCP_CLOSE_WAIT;
        sf_tcp_owe(c, SF_TCP_OWED_ACK);
        break;
    case SF_TCP_FIN_WAIT_1: /* Our FIN is not acknowledged, otherwise the state would be FIN_WAIT_2. */
        c->state = SF_TCP_CLOSING;
        sf_tcp_ack_now(c);
        break;
    default:
        sf_tcp_ack_now(c);
        sf_tcp_wait_enter(c);
        break;
    }
    if (!c->dead)
        sf_tcp_conn_update(c);
}

/* Copies a piece into the ring. The part without room is cut off. */
static void copy_piece(struct sf_tcp_conn *c, struct sf_tcp_piece *piece)
{
    uint32_t before = piece->len;

    spill(c);
    piece->len = c->dead || piece->seq != c->rcv.nxt ? 0 : copy_what_fits(c, piece->data, piece->len);
    if (SF_UNLIKELY(piece->len < before) && !c->dead)
        sf_tcp_owe(c, SF_TCP_OWED_ACK);
}

static void in_order(struct sf_tcp_conn *c, struct sf_tcp_piece *piece, bool keep)
{
    struct sf_tcp *tcp = &c->tcpip->tcp;
    struct sf_tcp_rcv *rcv = &c->rcv;

    if (SF_LIKELY(keep && tcp->n_lent < SF_TCP_LENT && !rcv->ooo)) {
        lend(c, piece);
    } else {
        copy_piece(c, piece);
        if (SF_UNLIKELY(!piece->len))
            return;
    }
    rcv->nxt += piece->len;
    c->rcv.n_bytes += piece->len;
    if (SF_UNLIKELY(piece->len > rcv->mss)) /* A merged frame (GRO, LRO) has several of the peer's segments. */
        rcv->mss = (uint16_t)(piece->len < c->loss.mss ? piece->len : c->loss.mss);
    if (SF_UNLIKELY(rcv->ooo != NULL)) {
        sf_tcp_reassemble(c);
        if (!rcv->fin_known || rcv->fin_at != rcv->nxt) /* Otherwise the FIN's ACK reports the whole overlap. */
            ack_out_of_turn(c);
    } else {
        owe_ack(c);
    }
    sf_tcp_conn_update(c);
}

/* Cuts off the parts that were received before or lie beyond the window. */
static void trim(struct sf_tcp_conn *c, struct sf_tcp_piece *piece)
{
    struct sf_tcp_rcv *rcv = &c->rcv;

    if (SF_UNLIKELY(sf_seq_lt(piece->seq, rcv->nxt))) {
        uint32_t old = rcv->nxt - piece->seq;

        sf_tcp_repeated(c, piece->seq, piece->seq + piece->len + piece->fin);
        if (old > piece->len)
            old = piece->len;
        piece->seq += old;
        piece->len -= old;
        piece->data += old;
    }
    if (SF_UNLIKELY((int32_t)(piece->seq + piece->len - rcv->adv) > 0)) {
        sf_count(c->tcpip, SF_COUNT_TCP_RX_BEYOND_WINDOW);
        piece->len = sf_seq_lt(piece->seq, rcv->adv) ? rcv->adv - piece->seq : 0;
        piece->fin = false;
    }
}

static void know_fin(struct sf_tcp_rcv *rcv, const struct sf_tcp_piece *piece)
{
    rcv->fin_known = true;
    rcv->fin_at = piece->seq + piece->len;
}

/* Takes a piece out of order. */
static void later(struct sf_tcp_conn *c, const struct sf_tcp_piece *piece)
{
    spill(c);
    if (c->dead)
        return;
    sf_tcp_out_of_order(c, piece); /* Before know_fin(), because the FIN is no duplicate the first time. */
    if (piece->fin)
        know_fin(&c->rcv, piece);
    ack_out_of_turn(c);
}

void sf_tcp_rcv_input(struct sf_tcp_conn *c, const struct sf_tcp_segment *s, bool keep)
{
    struct sf_tcp_rcv *rcv = &c->rcv;
    struct sf_tcp_piece piece = {
        .seq = s->seq, .len = s->payload_len, .data = s->payload, .fin = s->flags & SF_TCP_FIN};

    if (SF_UNLIKELY(!sf_tcp_may_receive(c))) {
        sf_tcp_repeated(c, piece.seq, piece.seq + piece.len + piece.fin);
        ack_out_of_turn(c); /* The peer has repeated its FIN, because our ACK was lost. */
        return;
    }
    trim(c, &piece);
    if (SF_UNLIKELY(!piece.len && !(piece.fin && !sf_seq_lt(piece.seq, rcv->nxt)))) {
        ack_out_of_turn(c);
        return;
    }
    if (SF_UNLIKELY(c->sock.orphan && piece.len)) {
        sf_count(c->tcpip, SF_COUNT_TCP_DATA_AFTER_CLOSE);
        sf_tcp_reset_for(c->tcpip, &c->flow.key, s); /* The peer may not have our FIN, so the reset has the number that it expects. */
        sf_tcp_conn_end(c, -ECONNRESET);
        return;
    }
    if (SF_UNLIKELY(piece.seq != rcv->nxt)) {
        later(c, &piece);
        return;
    }
    if (SF_UNLIKELY(piece.fin))
        know_fin(rcv, &piece);
    if (piece.len)
        in_order(c, &piece, keep);
    if (SF_UNLIKELY(rcv->fin_known && rcv->fin_at == rcv->nxt && !c->dead))
        fin_input(c);
}

/* ---- the program reads ---- */

static ssize_t nothing(struct sf_tcp_conn *c)
{
    int error = c->sock.error;

    if (error && !c->rcv.fin) {
        c->sock.error = 0;
        c->rcv.fin = true; /* The next read reports the end. */
        c->rcv.read = c->rcv.ring.end = c->rcv.nxt - 1;
        sf_tcp_conn_update(c);
        return error;
    }
    return c->rcv.fin || c->state == SF_TCP_CLOSED ? 0 : -EAGAIN;
}

/* Copies bytes that pass the ring's last byte into one piece, because a program that reads a message from the kernel in one read must not
 * need two here. */
static ssize_t borrow_wrapped(const struct iovec pieces[2], uint8_t whole[SF_TCP_WRAPPED], const void **data)
{
    size_t len = pieces[0].iov_len + pieces[1].iov_len;

    if (len > SF_TCP_WRAPPED)
        return (ssize_t)pieces[0].iov_len;
    memcpy(whole, pieces[0].iov_base, pieces[0].iov_len);
    memcpy(whole + pieces[0].iov_len, pieces[1].iov_base, pieces[1].iov_len);
    *data = whole;
    return (ssize_t)len;
}

ssize_t sf_tcp_recv_borrow(struct sf_tcp_conn *c, const void **data)
{
    struct sf_tcp_rcv *rcv = &c->rcv;
    uint32_t in_ring = rcv->ring.end - rcv->read;

    if (SF_UNLIKELY(in_ring)) {
        struct iovec pieces[2];
        int n = sf_byte_ring_pieces(&rcv->ring, rcv->read, in_ring, pieces);

        *data = pieces[0].iov_base;
        return SF_LIKELY(n == 1) ? in_ring : borrow_wrapped(pieces, c->tcpip->tcp.wrapped, data);
    }
    if (SF_LIKELY(rcv->lent_first != NULL)) {
        *data = rcv->lent_first->data;
        return rcv->lent_first->len;
    }
    *data = NULL;
    return nothing(c);
}

/* Dynamic right-sizing (Fisk and Feng, 2001): if the program reads more than half a window within a round trip, the window limits the
 * sender, so it grows. */
static void measure(struct sf_tcp_conn *c, uint32_t used)
{
    struct sf_tcp_rcv *rcv = &c->rcv;
    sf_ns now = c->tcpip->now;
    uint32_t most = c->options.receive_buffer;

    rcv->copied += used;
    if (SF_LIKELY(rcv->limit >= most) || now - rcv->measured < c->loss.rtt.smoothed)
        return;
    if (rcv->copied > rcv->limit / 2 && now - rcv->measured < 2 * c->loss.rtt.smoothed + SF_MS && !c->options.receive_fixed)
        rcv->limit = rcv->limit < most / 2 ? rcv->limit * 2 : most;
    sf_tcp_bound_window(&c->rcv, c->agreed.rcv_scale);
    rcv->copied = 0;
    rcv->measured = now;
}

void sf_tcp_recv_done(struct sf_tcp_conn *c, size_t used)
{
    struct sf_tcp_rcv *rcv = &c->rcv;
    uint32_t bytes = (uint32_t)used;

    if (!bytes)
        return;
    rcv->read += bytes;
    if (SF_LIKELY(sf_seq_lt(rcv->ring.end, rcv->read))) { /* The bytes came from a frame. */
        struct sf_tcp_lent *l = rcv->lent_first;

        rcv->ring.end = rcv->read;
        l->data += bytes;
        l->len -= bytes;
        if (SF_LIKELY(!l->len)) {
            l->conn = NULL;
            rcv->lent_first = l->next;
            if (!l->next)
                rcv->lent_last = NULL;
        }
    } else if (rcv->read == rcv->ring.end && !sf_ready_empty(&c->tcpip->tcp.starved)) {
        sf_tcp_rcv_trim(c); /* Other connections wait for the memory. */
    }
    measure(c, bytes);
    window_opened(c);
    sf_tcp_conn_update(c);
}

ssize_t sf_tcp_recv_into(struct sf_tcp_conn *c, void *buf, size_t len)
{
    size_t done = 0;

    while (done < len) {
        const void *data;
        ssize_t got;

        if (done && !sf_tcp_unread(&c->rcv))
            break;
        got = sf_tcp_recv_borrow(c, &data);
        if (got <= 0)
            return done ? (ssize_t)done : got;
        if ((size_t)got > len - done)
            got = (ssize_t)(len - done);
        memcpy((char *)buf + done, data, (size_t)got);
        done += (size_t)got;
        sf_tcp_recv_done(c, (size_t)got);
    }
    return (ssize_t)done;
}
