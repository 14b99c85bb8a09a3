/* What an ACK says: what has arrived, how much more may be sent (RFC 9293, 3.10.7.4, fifth; RFC 5961, 5). */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>

/* The FIN of ours is acknowledged. */
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

/* An older segment's window is not taken for the newer one's. Returns true if it has changed. */
static bool take_window(struct sf_tcp_conn *c, const struct sf_tcp_segment *s)
{
    struct sf_tcp_snd *snd = &c->snd;
    uint32_t window = (uint32_t)s->window << c->agreed.snd_scale;
    bool changed = window != snd->wnd, opened = !snd->wnd;

    if (!sf_seq_lt(snd->wl1, s->seq) && !(snd->wl1 == s->seq && sf_seq_le(snd->wl2, s->ack)))
        return false;
    snd->wl1 = s->seq;
    snd->wl2 = s->ack;
    if (SF_LIKELY(!changed))
        return false;
    snd->wnd = window;
    if (window > snd->max_wnd)
        snd->max_wnd = window;
    if (window) {
        c->probe.retries = 0; /* of zero-window probes */
        c->timers.probe_at = SF_NEVER;
    }
    if (SF_UNLIKELY(opened))
        c->loss.first_timeout = 0; /* what waits for an ACK from now on is another matter */
    return true;
}

static uint32_t tell_loss(struct sf_tcp_conn *c, const struct sf_tcp_segment *s, bool window_changed)
{
    struct sf_tcp_ack ack = {
        .ack = s->ack,
        .n_sack = s->n_sack,
        .has_ts = s->has & SF_TCP_HAS_TIMESTAMPS && c->agreed.timestamps,
        .may_be_duplicate = !s->payload_len && !(s->flags & (SF_TCP_SYN | SF_TCP_FIN)) && !window_changed,
        .ts_ecr = s->ts_ecr,
        .ts_now = sf_tcp_conn_ts(c),
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

/* It was overtaken by others, and may still tell of data that arrived out of order before them. */
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

/* An ACK that is older than others. True: its segment is good, and so is its data. */
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

bool sf_tcp_ack_input(struct sf_tcp_conn *c, const struct sf_tcp_segment *s)
{
    struct sf_tcp_loss *l = &c->loss;
    uint32_t news = 0;
    bool window_changed;

    if (SF_UNLIKELY(sf_seq_lt(l->nxt, s->ack))) {
        sf_tcp_bad_ack(c, s);
        return false;
    }
    if (SF_UNLIKELY(sf_seq_lt(s->ack, l->una)))
        return old_ack(c, s);
    /* TS.Recent only now: one guessed segment with a timestamp of the future would make PAWS refuse all that follow. */
    if (SF_LIKELY(c->agreed.timestamps) && sf_seq_le(s->seq, c->rcv.acked) && s->has & SF_TCP_HAS_TIMESTAMPS)
        c->agreed.ts_recent = s->ts_val;
    heard(&c->probe, c->tcpip->now);
    window_changed = take_window(c, s);
    if (s->ack == l->una && (!s->n_sack || !c->agreed.sack) && (s->payload_len || l->nxt == l->una)) {
        if (window_changed)
            sf_tcp_output(c);
        return true;
    }
    news = tell_loss(c, s, window_changed);
    if (news & SF_TCP_ACKED_NEW) {
        if (SF_UNLIKELY(c->snd.fin_sent && l->una == c->snd.ring.end + 1))
            fin_acked(c);
        if (SF_UNLIKELY(c->snd.blocked))
            sf_tcp_conn_update(c);
    }
    if (SF_UNLIKELY(c->dead))
        return false;
    if (c->state != SF_TCP_TIME_WAIT && (news || window_changed || l->state != SF_TCP_OPEN || sf_tcp_unsent(c)))
        sf_tcp_output(c);
    return c->state != SF_TCP_TIME_WAIT;
}
