/*
 * Exporting a connection: its whole state as an image, with which another TCP goes on. Then the connection is taken out, and its peer
 * notices nothing.
 *
 * Data out of order is not exported, and the peer sends it again. It may have been reported by SACK, which RFC 2018, 8, allows: the next
 * ACKs report nothing beyond RCV.NXT, and the peer must keep its data until it is acknowledged.
 */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include "tcpip/tcp/loss/congestion.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>

/* Returns the state's number in an image. 0: the state has no image. */
static uint8_t state_of(const struct sf_tcp_conn *c)
{
    switch (c->dead ? SF_TCP_CLOSED : c->state) {
    case SF_TCP_ESTABLISHED:
        return TCP_ESTABLISHED;
    case SF_TCP_CLOSE_WAIT:
        return TCP_CLOSE_WAIT;
    case SF_TCP_FIN_WAIT_1:
        return TCP_FIN_WAIT1;
    case SF_TCP_FIN_WAIT_2:
        return TCP_FIN_WAIT2;
    default:
        return 0;
    }
}

static uint8_t *copy_ring(const struct sf_byte_ring *ring, uint32_t seq, uint32_t len, uint8_t *to)
{
    struct iovec pieces[2];
    int n = len ? sf_byte_ring_pieces(ring, seq, len, pieces) : 0;

    for (int i = 0; i < n; i++) {
        memcpy(to, pieces[i].iov_base, pieces[i].iov_len);
        to += pieces[i].iov_len;
    }
    return to;
}

/* Unread bytes lie in the ring, and then in frames of this poll. */
static bool copy_unread(const struct sf_tcp_conn *c, struct sf_tcp_image *out)
{
    const struct sf_tcp_rcv *rcv = &c->rcv;
    uint8_t *at;

    out->n_unread = sf_tcp_unread(rcv);
    if (!out->n_unread)
        return true;
    at = out->unread = malloc(out->n_unread);
    if (!at)
        return false;
    at = copy_ring(&rcv->ring, rcv->read, rcv->ring.end - rcv->read, at);
    for (const struct sf_tcp_lent *l = rcv->lent_first; l; l = l->next) {
        memcpy(at, l->data, l->len);
        at += l->len;
    }
    return true;
}

static bool copy_unacked(const struct sf_tcp_conn *c, struct sf_tcp_image *out)
{
    out->n_unacked = sf_tcp_unacked(&c->snd, &c->loss);
    if (!out->n_unacked)
        return true;
    out->unacked = malloc(out->n_unacked);
    if (!out->unacked)
        return false;
    copy_ring(&c->snd.ring, c->loss.una, out->n_unacked, out->unacked);
    return true;
}

static void give_numbers(const struct sf_tcp_conn *c, struct sf_tcp_image *out)
{
    const struct sf_tcp_loss *l = &c->loss;
    const struct sf_tcp_rcv *rcv = &c->rcv;

    out->snd_una = l->una;
    out->snd_nxt = l->nxt;
    out->snd_end = c->snd.ring.end;
    out->snd_wl1 = c->snd.wl1;
    out->snd_wnd = c->snd.wnd;
    out->max_window = c->snd.max_wnd;
    out->rcv_nxt = rcv->nxt;
    out->rcv_wup = rcv->acked;
    out->rcv_wnd = rcv->adv - rcv->acked;
}

static void give_estimates(const struct sf_tcp_loss *l, struct sf_tcp_image *out)
{
    out->rtt = l->rtt.smoothed;
    out->rtt_var = l->rtt.variance;
    out->cwnd = l->cc.cwnd;
    out->ssthresh = l->cc.ssthresh < SF_TCP_CWND_MAX ? l->cc.ssthresh : 0;
}

int sf_tcp_export(const struct sf_tcp_conn *c, struct sf_tcp_image *out)
{
    const struct sf_flow_key *key = &c->flow.key;
    const struct sf_tcp_agreed *a = &c->agreed;

    *out = (struct sf_tcp_image){
        .local_addr = key->local_addr,
        .remote_addr = key->remote_addr,
        .local_port = key->local_port,
        .remote_port = key->remote_port,
        .state = state_of(c),
        .scaling = a->scaling,
        .sack = a->sack,
        .timestamps = a->timestamps,
        .snd_scale = a->snd_scale,
        .rcv_scale = a->rcv_scale,
        .mss = a->mss,
        .ts_recent = a->ts_recent,
        .ts_clock = sf_tcp_ts_now(c->tcpip, a),
        .read_at = c->tcpip->now,
    };
    if (!out->state || c->sock.error)
        return -EOPNOTSUPP;
    give_numbers(c, out);
    give_estimates(&c->loss, out);
    if (copy_unread(c, out) && copy_unacked(c, out))
        return 0;
    sf_tcp_image_free(out);
    return -ENOMEM;
}

void sf_tcp_export_done(struct sf_tcp_conn *c)
{
    sf_count(c->tcpip, SF_COUNT_TCP_EXPORTED);
    c->sock.owner = NULL;
    sf_tcp_conn_bury(c);
}
