/*
 * TIME_WAIT (RFC 9293, 3.6.1): a small record takes the connection's place among the flows. All records last equally long. So a list has
 * them in order, and one timer, for the first, is enough. Beyond the limit the oldest record is evicted.
 */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <stdlib.h>

static void list_remove(struct sf_tcp *tcp, struct sf_tcp_wait *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        tcp->wait_first = w->next;
    if (w->next)
        w->next->prev = w->prev;
    else
        tcp->wait_last = w->prev;
}

static void list_append(struct sf_tcpip *t, struct sf_tcp_wait *w)
{
    struct sf_tcp *tcp = &t->tcp;

    w->until = t->now + tcp->limits.time_wait;
    w->next = NULL;
    w->prev = tcp->wait_last;
    if (w->prev)
        w->prev->next = w;
    else
        tcp->wait_first = w;
    tcp->wait_last = w;
    sf_tcp_timer_by(t, &tcp->wait_timer, tcp->wait_first->until);
}

/* A connection that we made has a descriptor of its own for its port. A listener's port is reserved anyway. */
static bool has_own_port(const struct sf_tcp_wait *w)
{
    return w->port && w->port->filter.remote_port && w->port->fd >= 0;
}

void sf_tcp_wait_free(struct sf_tcpip *t, struct sf_tcp_wait *w)
{
    t->tcp.wait_ports -= has_own_port(w);
    list_remove(&t->tcp, w);
    sf_flows_remove(&t->tcp.flows, &w->flow);
    sf_tcp_port_drop(t, w->port);
    t->tcp.n_wait--;
    free(w);
}

void sf_tcp_wait_timeout(struct sf_tcpip *t)
{
    while (t->tcp.wait_first && t->tcp.wait_first->until <= t->now)
        sf_tcp_wait_free(t, t->tcp.wait_first);
    if (t->tcp.wait_first)
        sf_tcp_timer_by(t, &t->tcp.wait_timer, t->tcp.wait_first->until);
}

static void make_room(struct sf_tcpip *t)
{
    struct sf_tcp *tcp = &t->tcp;
    struct sf_tcp_wait *w = tcp->wait_first;

    if (tcp->n_wait >= tcp->limits.max_time_wait && w) {
        sf_count(t, SF_COUNT_TCP_TIME_WAIT_EVICTED);
        sf_tcp_wait_free(t, w);
    }
    if (tcp->wait_ports < tcp->max_wait_ports)
        return;
    for (w = tcp->wait_first; w && !has_own_port(w); w = w->next)
        ;
    if (!w)
        return;
    sf_count(t, SF_COUNT_TCP_TIME_WAIT_EVICTED);
    sf_tcp_wait_free(t, w);
}

void sf_tcp_wait_enter(struct sf_tcp_conn *c)
{
    struct sf_tcpip *t = c->tcpip;
    struct sf_tcp_wait *w;

    make_room(t);
    w = calloc(1, sizeof(*w));
    if (!w) {
        sf_tcp_conn_end(c, 0);
        return;
    }
    w->flow.kind = SF_TCP_WAIT;
    w->flow.key = c->flow.key;
    w->snd_nxt = c->loss.nxt;
    w->rcv_nxt = c->rcv.nxt;
    w->ts_recent = c->agreed.ts_recent;
    w->ts_offset = c->agreed.ts_offset;
    w->timestamps = c->agreed.timestamps;
    w->window = (uint16_t)((c->rcv.adv - c->rcv.nxt) >> c->agreed.rcv_scale);
    w->ttl = c->options.ttl;
    w->tos = c->options.tos;
    w->port = c->port;
    c->port = NULL;
    c->state = SF_TCP_TIME_WAIT;
    sf_tcp_conn_detach(c);
    t->tcp.n_wait++;
    t->tcp.wait_ports += has_own_port(w);
    list_append(t, w);
    if (sf_flows_add(&t->tcp.flows, &w->flow) < 0) { /* Unlikely, because the connection's place is free. */
        list_remove(&t->tcp, w);
        t->tcp.n_wait--;
        t->tcp.wait_ports -= has_own_port(w);
        sf_tcp_port_drop(t, w->port);
        free(w);
    }
    if (c->sock.owner || c->sock.listener)
        sf_tcp_conn_update(c);
    else
        sf_tcp_conn_bury(c);
}

/* ---- segments ---- */

static void answer(struct sf_tcpip *t, struct sf_tcp_wait *w)
{
    struct sf_tcp_bare bare = {
        .key = w->flow.key,
        .segment = {.seq = w->snd_nxt, .ack = w->rcv_nxt, .flags = SF_TCP_ACK, .window = w->window},
        .ttl = w->ttl,
        .tos = w->tos,
    };

    if (w->timestamps) {
        bare.segment.has = SF_TCP_HAS_TIMESTAMPS;
        bare.segment.ts_val = sf_tcp_ts_clock(t) + w->ts_offset;
        bare.segment.ts_ecr = w->ts_recent;
    }
    sf_tcp_send_bare(t, &bare);
}

/* True if the SYN is certainly of a later connection (RFC 6191; without timestamps RFC 1122, 4.2.2.13). The caller has checked that the
 * timestamp is not an old one. */
static bool is_successor(const struct sf_tcp_wait *w, const struct sf_tcp_segment *s, bool has_ts)
{
    return sf_seq_lt(w->rcv_nxt, s->seq) || (has_ts && s->ts_val != w->ts_recent);
}

/* RFC 9293, 3.10.7.4. RFC 1337 warns of an old reset, but a peer that starts anew from the same port has no other way to end the
 * wait. So the host's setting decides, as for the kernel's own connections. */
static void reset_input(struct sf_tcpip *t, struct sf_tcp_wait *w)
{
    sf_count(t, SF_COUNT_TCP_RESETS_RECEIVED);
    if (!t->tcp.rfc1337)
        sf_tcp_wait_free(t, w);
}

static void succeed(struct sf_tcpip *t, struct sf_tcp_wait *w, const struct sf_flow_key *key, const struct sf_tcp_segment *s,
                    bool keep)
{
    struct sf_flow_key any = *key;
    struct sf_flow_link *link;

    sf_count(t, SF_COUNT_TCP_TIME_WAIT_REUSED);
    t->tcp.least_isn = w->snd_nxt + UINT16_MAX + 2; /* As in Linux: beyond all numbers that the old connection may have sent. */
    sf_tcp_wait_free(t, w);
    any.remote_addr = any.remote_port = 0;
    link = sf_flows_match(&t->tcp.flows, &any);
    if (link && link->kind == SF_TCP_LISTENING)
        sf_tcp_listener_input(sf_tcp_listener_pick(&t->tcp.flows, link, key), key, s, keep);
    else if (sf_tcpip_is_point_to_point(t))
        sf_tcp_reset_for(t, key, s);
    t->tcp.least_isn = 0;
}

void sf_tcp_wait_input(struct sf_tcpip *t, struct sf_tcp_wait *w, const struct sf_flow_key *key,
                       const struct sf_tcp_segment *s, bool keep)
{
    bool has_ts = w->timestamps && s->has & SF_TCP_HAS_TIMESTAMPS, old = has_ts && sf_tcp_ts_is_old(s->ts_val, w->ts_recent);

    if (!old && s->seq == w->rcv_nxt && (s->flags & SF_TCP_RST || !sf_tcp_segment_len(s))) {
        if (has_ts)
            w->ts_recent = s->ts_val;
        if (s->flags & SF_TCP_RST)
            reset_input(t, w);
        return;
    }
    if (s->flags & SF_TCP_RST)
        return;
    if (s->flags & SF_TCP_SYN && !(s->flags & SF_TCP_ACK) && !old && is_successor(w, s, has_ts)) {
        succeed(t, w, key, s, keep);
        return;
    }
    if (s->flags & SF_TCP_FIN && s->seq + sf_tcp_segment_len(s) == w->rcv_nxt) {
        list_remove(&t->tcp, w); /* Our ACK of the FIN was lost, so the wait is restarted. */
        list_append(t, w);
        answer(t, w);
        return;
    }
    if (!sf_tcp_may_challenge(t, &w->answered))
        return;
    if (sf_kernel_conns_find(t, key) >= SF_WHOSE_BEGUN) { /* Its SYN came by another interface. */
        sf_tcp_wait_free(t, w);
        sf_kernel_conns_give(t, key, s);
        return;
    }
    answer(t, w);
}
