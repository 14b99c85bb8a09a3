/* A segment arrives: finds its connection or listener, and checks whether it is acceptable (RFC 9293, 3.10.7; RFC 5961; RFC 7323, 5). */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>

#define PAWS_LIFE (24 * 24 * 3600 * SF_SEC) /* RFC 7323, 5.5: older timestamps say nothing. */
#define PROBE_INTERVAL (10 * SF_MS)

/* ---- segments without a connection ---- */

/* An interface that is shared with the kernel also brings segments of flows that were ours a moment ago. The stack does not reset them,
 * because the kernel may now have the flow. */
static void for_nobody(struct sf_tcpip *t, const struct sf_flow_key *key, const struct sf_tcp_segment *s)
{
    sf_count(t, SF_COUNT_TCP_RX_NO_SOCKET);
    if (sf_tcpip_is_point_to_point(t) && sf_interface_owns(&t->interface, key->local_addr))
        sf_tcp_reset_for(t, key, s);
}

void sf_tcp_input(struct sf_tcpip *t, const struct sf_ipv4 *ip, uint32_t flags, bool keep)
{
    struct sf_tcp_segment s;
    struct sf_flow_link *link;
    enum sf_refusal reason = sf_tcp_parse(ip, flags, &s);

    if (SF_UNLIKELY(reason)) {
        t->counters.refused[reason]++;
        return;
    }
    struct sf_flow_key key = {
        .local_addr = ip->dst,
        .remote_addr = ip->src,
        .local_port = s.dst_port,
        .remote_port = s.src_port,
    };
    link = sf_flows_match(&t->tcp.flows, &key);
    if (SF_UNLIKELY(!link)) {
        for_nobody(t, &key, &s);
        return;
    }
    if (SF_LIKELY(link->kind == SF_TCP_CONN))
        sf_tcp_conn_input((struct sf_tcp_conn *)link, &s, keep);
    else if (link->kind == SF_TCP_HALF)
        sf_tcp_half_input(t, (struct sf_tcp_half *)link, &s, keep);
    else if (link->kind == SF_TCP_WAIT)
        sf_tcp_wait_input(t, (struct sf_tcp_wait *)link, &key, &s, keep);
    else if (sf_interface_owns(&t->interface, ip->dst)) /* RFC 9293, 3.10.7.2: not to a group, nor to a broadcast address. */
        sf_tcp_listener_input(sf_tcp_listener_pick(&t->tcp.flows, link, &key), &key, &s, keep);
    else
        sf_count(t, SF_COUNT_TCP_RX_NO_SOCKET);
}

/* ---- segments of a connection ---- */

/* RFC 7323, 5.3. A reset needs no timestamp. As in Linux, every other segment is also accepted without one, because a middlebox that
 * strips timestamps after the SYN would otherwise end the connection. */
static bool fails_paws(const struct sf_tcp_conn *c, const struct sf_tcp_segment *s)
{
    if (s->flags & SF_TCP_RST)
        return false;
    if (SF_UNLIKELY(!(s->has & SF_TCP_HAS_TIMESTAMPS))) {
        sf_count(c->tcpip, SF_COUNT_TCP_RX_NO_TIMESTAMPS);
        return false;
    }
    return sf_tcp_ts_is_old(s->ts_val, c->agreed.ts_recent) && c->tcpip->now - c->probe.heard < PAWS_LIFE;
}

/*
 * The peer may have connected anew from the same port, and the kernel may have got its SYN by another interface. A peer that has accepted
 * the kernel's answer knows nothing of our connection, which would answer its segments for ever. Only the kernel can tell whether the
 * peer knows its numbers, and our connection stays until then. True: do not answer the segment.
 */
static bool gives_way(struct sf_tcp_conn *c, const struct sf_tcp_segment *s)
{
    struct sf_flow_key key = c->flow.key;
    enum sf_whose whose = sf_kernel_conns_find(c->tcpip, &key);

    if (whose == SF_WHOSE_BEGUN) {
        sf_kernel_conns_hand(c->tcpip, &key, s);
    } else if (whose == SF_WHOSE_KERNELS) {
        sf_tcp_conn_end(c, -ECONNRESET);
        sf_kernel_conns_give(c->tcpip, &key, s);
    }
    return whose >= SF_WHOSE_BEGUN;
}

void sf_tcp_bad_ack(struct sf_tcp_conn *c, const struct sf_tcp_segment *s)
{
    sf_count(c->tcpip, SF_COUNT_TCP_RX_BAD_ACK);
    if (!gives_way(c, s))
        sf_tcp_challenge(c);
}

/* RFC 5961, 5.2: the segment acknowledges bytes that we have never sent, or have sent too long ago. */
static bool has_bad_ack(const struct sf_tcp_snd *snd, const struct sf_tcp_loss *l, const struct sf_tcp_segment *s)
{
    return (s->flags & (SF_TCP_SYN | SF_TCP_ACK)) == SF_TCP_ACK && l->nxt - s->ack > l->nxt - l->una + snd->max_wnd;
}

/* Answers a segment that came too late or too early, so that the peer gets an ACK that was lost. Limits the answers to empty segments,
 * because two peers that disagree would answer each other for ever. */
static void not_acceptable(struct sf_tcp_conn *c, const struct sf_tcp_segment *s)
{
    uint32_t end = s->seq + sf_tcp_segment_len(s);
    bool repeats_fin = c->rcv.fin && s->flags & SF_TCP_FIN && end == c->rcv.nxt;

    sf_count(c->tcpip, SF_COUNT_TCP_RX_OUTSIDE_WINDOW);
    if (s->flags & SF_TCP_RST || (has_bad_ack(&c->snd, &c->loss, s) && gives_way(c, s)))
        return;
    if ((s->payload_len || repeats_fin) && !(s->flags & SF_TCP_SYN)) {
        sf_tcp_repeated(c, s->seq, end);
        sf_tcp_ack_now(c);
        return;
    }
    if (s->seq + 1 == c->rcv.nxt && !(s->flags & SF_TCP_SYN) && c->tcpip->now - c->probe.challenged >= PROBE_INTERVAL)
        c->probe.challenged = 0; /* The segment is a keepalive or window probe, which needs an answer. */
    sf_tcp_challenge(c);
}

/* RFC 5961, 3.2: a reset is accepted at RCV.NXT. Linux accepts two other numbers too. One is the FIN's, because the peer may not know that
 * we have its FIN. The other is the right edge that we reported by SACK, because some peers send the reset with the number after their
 * last segment. */
static bool is_at_edge(const struct sf_tcp_rcv *rcv, bool sack, uint32_t seq)
{
    uint32_t right = rcv->nxt;

    if (seq == rcv->nxt || (rcv->fin && seq + 1 == rcv->nxt))
        return true;
    for (uint32_t i = 0; sack && rcv->ooo && i < rcv->ooo->n; i++)
        if (sf_seq_lt(right, sf_tcp_range_end(rcv, &rcv->ooo->range[i])))
            right = sf_tcp_range_end(rcv, &rcv->ooo->range[i]);
    return seq == right;
}

static void reset_input(struct sf_tcp_conn *c, const struct sf_tcp_segment *s)
{
    struct sf_tcpip *t = c->tcpip;

    if (!is_at_edge(&c->rcv, c->agreed.sack, s->seq)) {
        sf_tcp_challenge(c);
        return;
    }
    sf_count(t, SF_COUNT_TCP_RESETS_RECEIVED);
    if (c->state == SF_TCP_CLOSING || c->state == SF_TCP_LAST_ACK)
        sf_tcp_conn_end(c, 0);
    else /* After the peer's FIN a reader has all data, so only writing fails, as on Linux (tcp_reset). */
        sf_tcp_conn_end(c, c->state == SF_TCP_CLOSE_WAIT ? -EPIPE : -ECONNRESET);
}

/* The first check that fails decides. True: the segment is acceptable so far. */
static bool check(struct sf_tcp_conn *c, const struct sf_tcp_segment *s)
{
    const struct sf_tcp_rcv *rcv = &c->rcv;

    if (SF_UNLIKELY(c->agreed.timestamps && fails_paws(c, s))) {
        sf_count(c->tcpip, SF_COUNT_TCP_RX_PAWS);
        not_acceptable(c, s);
        return false;
    }
    if (SF_UNLIKELY(sf_seq_lt(rcv->adv, s->seq) || sf_seq_lt(s->seq + sf_tcp_segment_len(s), rcv->acked))) {
        not_acceptable(c, s);
        return false;
    }
    if (SF_LIKELY((s->flags & (SF_TCP_RST | SF_TCP_SYN | SF_TCP_ACK)) == SF_TCP_ACK))
        return true;
    if (s->flags & SF_TCP_RST)
        reset_input(c, s);
    else if (s->flags & SF_TCP_SYN)
        sf_tcp_challenge(c);
    else
        sf_count(c->tcpip, SF_COUNT_TCP_RX_BAD_ACK);
    return false;
}

void sf_tcp_conn_input(struct sf_tcp_conn *c, struct sf_tcp_segment *s, bool keep)
{
    c->rcv.n_segments++;
    if (SF_UNLIKELY(c->state < SF_TCP_ESTABLISHED)) {
        sf_tcp_syn_sent_input(c, s, keep);
        return;
    }
    if (SF_UNLIKELY(!check(c, s)))
        return;
    if (SF_UNLIKELY(!sf_tcp_ack_input(c, s)))
        return;
    if (s->payload_len || s->flags & SF_TCP_FIN)
        sf_tcp_rcv_input(c, s, keep);
}
