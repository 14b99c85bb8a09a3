/*
 * Connecting (RFC 9293, 3.5). The SYN may have to wait for the kernel's answer, by rtnetlink, about the route and the neighbour. The
 * answer may also be that another interface leads to the peer; then the kernel connects.
 */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>

#define FIRST_RTO SF_SEC            /* RFC 6298, 2.1 */
#define SYNC_AGAIN (2 * SF_MS)        /* The reset arrives before the SYN, unless the network reorders them. */
#define FULL_AGAIN (50 * SF_US)       /* The driver has no room. */
#define RESOLVE_AGAIN (200 * SF_MS)   /* A lost answer would not wake a loop that sleeps. */
#define RESOLVE_PATIENCE (5 * SF_SEC) /* The kernel gives a neighbour up after 3 s. */

/* ---- the SYN ---- */

uint8_t sf_tcp_window_scale(uint32_t limit)
{
    uint8_t scale = 0;

    while (scale < SF_TCP_WINDOW_SCALE_MAX && limit >> scale > UINT16_MAX)
        scale++;
    return scale;
}

void sf_tcp_syn_options(struct sf_tcpip *t, struct sf_tcp_segment *reply, const struct sf_tcp_agreed *a, uint32_t mtu,
                        const struct sf_tcp_socket_options *options)
{
    uint32_t mss = mtu - SF_IPV4_HEADER - SF_TCP_HEADER;

    if (t->tcp.limits.mss && mss > t->tcp.limits.mss)
        mss = t->tcp.limits.mss;
    if (options->maxseg && mss > options->maxseg)
        mss = options->maxseg;
    reply->flags |= SF_TCP_SYN;
    reply->has = SF_TCP_HAS_MSS;
    reply->mss = mss < UINT16_MAX ? (uint16_t)mss : UINT16_MAX;
    reply->window = sf_tcp_first_window(options);
    if (a->scaling)
        reply->has |= SF_TCP_HAS_WINDOW_SCALE;
    reply->window_scale = a->rcv_scale;
    if (a->sack)
        reply->has |= SF_TCP_HAS_SACK_PERMITTED;
    sf_tcp_stamp(t, a, reply);
}

/* The peer's SYN has come. An option is agreed on if both sides have it. */
void sf_tcp_agree(struct sf_tcp_agreed *a, const struct sf_tcp_segment *syn)
{
    a->irs = syn->seq;
    a->mss = syn->has & SF_TCP_HAS_MSS && syn->mss ? syn->mss : SF_TCP_MSS_DEFAULT;
    a->scaling = a->scaling && syn->has & SF_TCP_HAS_WINDOW_SCALE;
    a->snd_scale = !a->scaling                                    ? 0
                   : syn->window_scale > SF_TCP_WINDOW_SCALE_MAX ? SF_TCP_WINDOW_SCALE_MAX
                                                                  : syn->window_scale;
    if (!a->scaling)
        a->rcv_scale = 0;
    a->sack = a->sack && syn->has & SF_TCP_HAS_SACK_PERMITTED;
    a->timestamps = a->timestamps && syn->has & SF_TCP_HAS_TIMESTAMPS;
    a->ts_recent = a->timestamps ? syn->ts_val : 0;
}

/* TCP_USER_TIMEOUT counts from the first SYN. As in Linux, it has no effect before a SYN was repeated once. */
static sf_ns gives_up_at(const struct sf_tcp_conn *c)
{
    return c->rcv.measured + c->options.user_timeout * SF_MS;
}

/* Sends or repeats the SYN, or the SYN-ACK in SYN-RECEIVED. */
static void send_syn(struct sf_tcp_conn *c)
{
    struct sf_tcpip *t = c->tcpip;
    struct sf_tcp_segment syn = {.seq = c->agreed.iss};
    int rc = 0;

    if (c->state == SF_TCP_SYN_RECEIVED) {
        syn.flags = SF_TCP_ACK;
        syn.ack = c->agreed.irs + 1;
    }
    if (sf_tcp_find_way(c)) {
        sf_tcp_syn_options(t, &syn, &c->agreed, c->way.mtu, &c->options);
        rc = sf_tcp_emit_frame(t, &c->way.template, &syn, NULL, 0, 0);
        c->snd.n_segments += rc == 0;
    } else if (c->way.detour) {
        sf_tcp_syn_options(t, &syn, &c->agreed, c->way.mtu, &c->options);
        rc = sf_tcp_detour_emit(t, &c->way.template, &syn, NULL, 0, 0);
        c->snd.n_segments += rc == 0;
    } else {
        sf_count(t, SF_COUNT_TCP_TX_NO_WAY);
    }
    c->timers.end_at = t->now + (rc < 0 ? FULL_AGAIN : FIRST_RTO << (c->probe.retries < 6 ? c->probe.retries : 6));
    if (c->probe.retries && c->options.user_timeout && c->timers.end_at > gives_up_at(c))
        c->timers.end_at = gives_up_at(c);
    if (rc < 0 && c->probe.retries)
        c->probe.retries--;
    sf_tcp_conn_timer(c);
}

static void fail(struct sf_tcp_conn *c, int error)
{
    sf_ready_set(&c->tcpip->tcp.resolving, &c->pending, false);
    sf_tcp_conn_end(c, error);
}

/* ---- the way ---- */

/* A connection of ours in TIME_WAIT gives its place to a new one, because its sequence numbers and timestamps are lower (RFC 6191). */
static int take_place(struct sf_tcp_conn *c)
{
    struct sf_tcpip *t = c->tcpip;
    struct sf_flow_link *link = sf_flows_find(&t->tcp.flows, &c->flow.key);
    struct sf_tcp_wait *w = link ? (struct sf_tcp_wait *)link : NULL;

    c->agreed.iss = sf_tcp_isn(t, &c->flow.key);
    if (w && w->flow.kind == SF_TCP_WAIT) {
        if (sf_seq_le(c->agreed.iss, w->snd_nxt + UINT16_MAX))
            c->agreed.iss = w->snd_nxt + UINT16_MAX + 2;
        sf_count(t, SF_COUNT_TCP_TIME_WAIT_REUSED);
        sf_tcp_wait_free(t, w);
    }
    return sf_tcp_conn_place(c);
}

static int begin(struct sf_tcp_conn *c)
{
    struct sf_tcpip *t = c->tcpip;
    int rc;

    sf_ready_set(&t->tcp.resolving, &c->pending, false);
    rc = take_place(c);
    if (rc == 0)
        rc = sf_tcp_port_filter(t, c->port, &c->flow.key);
    if (rc < 0)
        return rc == -EADDRNOTAVAIL || rc == -ENOMEM ? rc : -EOPNOTSUPP;
    c->agreed.scaling = c->agreed.sack = c->agreed.timestamps = true;
    c->agreed.rcv_scale = sf_tcp_window_scale(c->options.receive_buffer);
    c->agreed.ts_offset = sf_tcp_ts_offset(t, &c->flow.key);
    c->state = SF_TCP_SYN_SENT;
    c->rcv.measured = t->now;
    send_syn(c);
    return 0;
}

/* Finds the way. Without a source address, takes the route's, and asks the kernel again for the route from this address. */
static enum sf_way find_way(struct sf_tcp_conn *c, struct sf_hop *hop)
{
    struct sf_flow_key *key = &c->flow.key;
    enum sf_way way = sf_path_find(c->tcpip, key->remote_addr, key->local_addr, hop);

    if (way != SF_WAY_DIRECT || key->local_addr)
        return way;
    key->local_addr = hop->src;
    return sf_path_find(c->tcpip, key->remote_addr, key->local_addr, hop);
}

/* Returns 0 if the SYN was sent, or still waits. */
static int look(struct sf_tcp_conn *c)
{
    struct sf_tcpip *t = c->tcpip;
    const struct sf_flow_key *key = &c->flow.key;
    struct sf_hop hop = {.src = key->local_addr};

    switch (find_way(c, &hop)) {
    case SF_WAY_DIRECT:
        if (hop.mtu < SF_IPV4_MTU_MIN || !sf_interface_owns(&t->interface, key->local_addr))
            return -EOPNOTSUPP;
        return begin(c);
    case SF_WAY_UNRESOLVED:
        sf_path_provoke(t, key->remote_addr, key->local_addr);
        if (sf_path_failed(t, key->remote_addr, key->local_addr, c->rcv.measured) || t->now - c->rcv.measured > RESOLVE_PATIENCE)
            return -EHOSTUNREACH;
        sf_ready_set(&t->tcp.resolving, &c->pending, true);
        c->timers.end_at = t->now + RESOLVE_AGAIN;
        sf_tcp_conn_timer(c);
        return 0;
    default:
        return -EOPNOTSUPP;
    }
}

void sf_tcp_resolve(struct sf_tcpip *t)
{
    struct sf_ready_link *anchor = &t->tcp.resolving, *link = anchor->next, *next;

    for (; link != anchor; link = next) {
        struct sf_tcp_conn *c = sf_tcp_conn_of_pending(link);
        int rc;

        next = link->next;
        rc = look(c);
        if (rc < 0)
            fail(c, rc);
    }
}

/* ---- the program's side ---- */

int sf_tcp_connect(struct sf_tcpip *t, int fd, const struct sockaddr_in *to, struct sf_tcp_conn **out)
{
    struct sockaddr_in local;
    struct sf_tcp_conn *c;
    int rc = sf_tcp_port_name(t, fd, &local);

    if (rc == 0 && (!to->sin_port || !to->sin_addr.s_addr || sf_is_multicast(to->sin_addr.s_addr) ||
                    sf_interface_is_broadcast(&t->interface, to->sin_addr.s_addr)))
        rc = -EOPNOTSUPP; /* The kernel knows the right errno. */
    if (rc == 0)
        rc = sf_tcp_conn_like(t, fd, &c);
    if (rc < 0)
        return rc;
    c->flow.key = (struct sf_flow_key){
        .local_addr = local.sin_addr.s_addr,
        .local_port = local.sin_port,
        .remote_addr = to->sin_addr.s_addr,
        .remote_port = to->sin_port,
    };
    c->state = SF_TCP_RESOLVING;
    c->sock.connecting = true;
    c->rcv.measured = t->now;
    rc = sf_tcp_port_hold(fd, &c->port);
    if (rc == 0)
        rc = look(c);
    if (rc < 0) {
        sf_ready_set(&t->tcp.resolving, &c->pending, false);
        sf_tcp_conn_bury(c);
        return rc;
    }
    *out = c;
    return 0;
}

int sf_tcp_connect_result(struct sf_tcp_conn *c)
{
    int error = c->sock.error;

    if (c->state != SF_TCP_CLOSED && c->state < SF_TCP_ESTABLISHED)
        return -EINPROGRESS;
    c->sock.connecting = false;
    c->sock.error = 0;
    sf_tcp_conn_update(c);
    return error;
}

void sf_tcp_syn_timeout(struct sf_tcp_conn *c)
{
    int rc;

    if (c->state == SF_TCP_RESOLVING) {
        rc = look(c);
        if (rc < 0)
            fail(c, rc);
        return;
    }
    if (c->probe.retries >= c->tcpip->tcp.limits.syn_retries ||
        (c->probe.retries && c->options.user_timeout && c->tcpip->now >= gives_up_at(c))) {
        sf_count(c->tcpip, SF_COUNT_TCP_TIMED_OUT);
        sf_tcp_conn_end(c, -ETIMEDOUT);
        return;
    }
    c->probe.retries++;
    sf_count(c->tcpip, SF_COUNT_TCP_SYN_RETRANSMITS);
    send_syn(c);
}

/* ---- answers ---- */

static void establish(struct sf_tcp_conn *c, const struct sf_tcp_segment *s)
{
    struct sf_tcp_handshake handshake = {.repeats = c->probe.retries, .began = c->rcv.measured, .left = c->rcv.measured};

    sf_tcp_conn_establish(c, &handshake, s);
    c->snd.wl1 = s->seq;
    sf_count(c->tcpip, SF_COUNT_TCP_CONNECTED);
    sf_tcp_owe(c, SF_TCP_OWED_ACK); /* It leaves with the first request, if there is one in this turn. */
    sf_tcp_conn_update(c);
}

static void syn_received_input(struct sf_tcp_conn *c, struct sf_tcp_segment *s, bool keep)
{
    bool syn = s->flags & SF_TCP_SYN;

    if (s->seq != c->agreed.irs + !syn) {
        sf_count(c->tcpip, SF_COUNT_TCP_RX_OUTSIDE_WINDOW);
        return;
    }
    if (s->flags & SF_TCP_RST) {
        sf_count(c->tcpip, SF_COUNT_TCP_RESETS_RECEIVED);
        sf_tcp_conn_end(c, -ECONNREFUSED);
        return;
    }
    if (!(s->flags & SF_TCP_ACK)) {
        if (syn)
            send_syn(c); /* The peer has not got our answer. */
        return;
    }
    if (s->ack != c->agreed.iss + 1) {
        sf_tcp_reset_for(c->tcpip, &c->flow.key, s);
        return;
    }
    establish(c, s);
    if (!syn) {
        c->rcv.n_segments--;
        sf_tcp_conn_input(c, s, keep);
    }
}

/* The peer has an old connection with these ports, and our reset ends it. So the next SYN does not wait for the RTO (once, as in Linux). */
static void sync_again(struct sf_tcp_conn *c)
{
    if (c->probe.retries || c->timers.end_at <= c->tcpip->now + SYNC_AGAIN)
        return;
    c->timers.end_at = c->tcpip->now + SYNC_AGAIN;
    sf_tcp_conn_timer(c);
}

void sf_tcp_syn_sent_input(struct sf_tcp_conn *c, const struct sf_tcp_segment *s, bool keep)
{
    struct sf_tcp_segment copy = *s;

    if (c->state == SF_TCP_RESOLVING) /* It is being imported. */
        return;
    if (c->state == SF_TCP_SYN_RECEIVED) {
        syn_received_input(c, &copy, keep);
        return;
    }
    if (s->flags & SF_TCP_ACK && s->ack != c->agreed.iss + 1) {
        sf_count(c->tcpip, SF_COUNT_TCP_RX_BAD_ACK);
        sf_tcp_reset_for(c->tcpip, &c->flow.key, s);
        sync_again(c);
        return;
    }
    if (s->flags & SF_TCP_RST) {
        if (s->flags & SF_TCP_ACK) {
            sf_count(c->tcpip, SF_COUNT_TCP_RESETS_RECEIVED);
            sf_tcp_conn_end(c, -ECONNREFUSED);
        }
        return;
    }
    if (!(s->flags & SF_TCP_SYN))
        return;
    sf_tcp_agree(&c->agreed, s);
    if (s->flags & SF_TCP_ACK) {
        establish(c, s);
        return;
    }
    c->state = SF_TCP_SYN_RECEIVED; /* Both sides have connected to each other at the same time. */
    c->probe.retries = 0;
    send_syn(c);
}
