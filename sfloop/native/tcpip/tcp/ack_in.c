/* An ACK tells which bytes have arrived, and how many more may be sent (RFC 9293, 3.10.7.4, fifth; RFC 5961, 5). */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>

/* The peer has acknowledged our FIN. */
static void fin_acked(struct sf_tcp_conn *c)
{
    switch (c->state) {
    case SF_TCP_FIN_WAIT_1:
        c->state = SF_TCP_FIN_WAIT_2;
        if (c->sock.orphan)
            c->timers.end_at = c->tcpip->now + c->tcpip->tcp.limits.orphan_timeout;
        break;
    case SF_TCP_CLOSING:
        sf_tcp_wait_enter(c);
        break;
    case SF_TCP_LAST_ACK:
        sf_tcp_conn_end(c, 0);
        break;
    default:
        break;
    }
}

/* Takes the peer's window, unless a newer segment has told another one. Returns true if the window has changed. */
static bool take_window(struct sf_tcp_snd *snd, const struct sf_tcp_segment *s, uint8_t scale)
{
    uint32_t window = (uint32_t)s->window << scale;
    bool changed = window != snd->wnd;

    if (!sf_seq_lt(snd->wl1, s->seq) && !(snd->wl1 == s->seq && sf_seq_le(snd->wl2, s->ack)))
        return false;
    snd->wl1 = s->seq;
    snd->wl2 = s->ack;
    if (SF_LIKELY(!changed))
        return false;
    snd->wnd = window;
    if (window > snd->max_wnd)
        snd->max_wnd = window;
    return true;
}

/* A new window ends the probes of a zero window. */
static void window_changed(struct sf_tcp_conn *c, bool was_closed)
{
    if (c->snd.wnd) {
        c->probe.retries = 0;
        c->timers.probe_at = SF_NEVER;
    }
    if (SF_UNLIKELY(was_closed))
        c->loss.first_timeout = 0; /* A wait for an ACK begins anew. */
}

static uint32_t tell_loss(struct sf_tcp_conn *c, const struct sf_tcp_segment *s, bool new_window)
{
    struct sf_tcp_ack ack = {
        .ack = s->ack,
        .n_sack = s->n_sack,
        .has_ts = s->has & SF_TCP_HAS_TIMESTAMPS && c->agreed.timestamps,
        .may_be_duplicate = !s->payload_len && !(s->flags & (SF_TCP_SYN | SF_TCP_FIN)) && !new_window,
        .ts_ecr = s->ts_ecr,
        .ts_now = sf_tcp_ts_now(c->tcpip, &c->agreed),
        .sack = s->sack,
    };

    return sf_tcp_loss_ack(&c->loss, &ack, c->tcpip->now);
}

/* The peer is there. An unacceptable ACK does not get here, because its sender may have guessed it (RFC 5961, 5.2). */
static inline void heard(struct sf_tcp_probing *probe, sf_ns now)
{
    probe->heard = now;
    probe->keep_probes = 0;
}

/* Other ACKs have overtaken this one. It may still report data that arrived out of order before them. */
static void take_old_sack(struct sf_tcp_conn *c, const struct sf_tcp_segment *s)
{
    struct sf_tcp_loss *l = &c->loss;
    struct sf_tcp_range news[SF_TCP_SACK_MAX];
    struct sf_tcp_ack ack = {.ack = l->una, .sack = news};

    for (uint8_t i = 0; c->agreed.sack && i < s->n_sack && i < SF_TCP_SACK_MAX; i++)
        if (sf_seq_lt(l->una, s->sack[i].left))
            news[ack.n_sack++] = s->sack[i];
    if (ack.n_sack && sf_tcp_loss_ack(l, &ack, c->tcpip->now))
        sf_tcp_output(c);
}

/* An ACK that is older than others. True: the segment and its data are acceptable. */
__attribute__((noinline)) static bool old_ack(struct sf_tcp_conn *c, const struct sf_tcp_segment *s)
{
    uint32_t age = c->loss.una - s->ack;

    if (age <= c->snd.max_wnd && age <= c->loss.delivered) {
        heard(&c->probe, c->tcpip->now);
        take_old_sack(c, s);
        return true;
    }
    sf_tcp_bad_ack(c, s);
    return false;
}

/* The peer has acknowledged all that the program has written, and no deadline has come nearer. So there is nothing to send, and no timer
 * to set. An answer to a request is acknowledged like this. */
static inline bool is_settled(const struct sf_tcp_conn *c)
{
    return c->loss.una == c->snd.ring.end && !c->snd.fin && c->loss.state == SF_TCP_OPEN && !c->options.keepalive &&
           c->timers.probe_at == SF_NEVER && c->timers.idle_at != SF_NEVER;
}

bool sf_tcp_ack_input(struct sf_tcp_conn *c, const struct sf_tcp_segment *s)
{
    struct sf_tcp_loss *l = &c->loss;
    uint32_t news = 0;
    bool changed, was_closed = !c->snd.wnd;

    if (SF_UNLIKELY(sf_seq_lt(l->nxt, s->ack))) {
        sf_tcp_bad_ack(c, s);
        return false;
    }
    if (SF_UNLIKELY(sf_seq_lt(s->ack, l->una)))
        return old_ack(c, s);
    /* TS.Recent is taken only now, because one guessed segment with a timestamp of the future would make PAWS refuse all that follow. */
    if (SF_LIKELY(c->agreed.timestamps) && sf_seq_le(s->seq, c->rcv.acked) && s->has & SF_TCP_HAS_TIMESTAMPS)
        c->agreed.ts_recent = s->ts_val;
    heard(&c->probe, c->tcpip->now);
    changed = take_window(&c->snd, s, c->agreed.snd_scale);
    if (changed)
        window_changed(c, was_closed);
    if (s->ack == l->una && (!s->n_sack || !c->agreed.sack) && (s->payload_len || l->nxt == l->una)) {
        if (changed)
            sf_tcp_output(c);
        return true;
    }
    news = tell_loss(c, s, changed);
    if (news & SF_TCP_ACKED_NEW) {
        if (SF_UNLIKELY(c->snd.fin_sent && l->una == c->snd.ring.end + 1))
            fin_acked(c);
        if (SF_UNLIKELY(c->snd.blocked))
            sf_tcp_conn_update(c);
    }
    if (SF_UNLIKELY(c->dead))
        return false;
    if (SF_LIKELY(is_settled(c)))
        return true;
    if (c->state != SF_TCP_TIME_WAIT && (news || changed || l->state != SF_TCP_OPEN || sf_tcp_unsent(&c->snd, &c->loss)))
        sf_tcp_output(c);
    return c->state != SF_TCP_TIME_WAIT;
}
