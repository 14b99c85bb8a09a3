/* Half-open connections: a listener has answered the SYN, and the ACK has not come. They are small records, and their number is bounded
 * (RFC 4987, 3.2 and 3.4). */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_RTO SF_SEC
#define MOST_RETRIES 5   /* As in Linux (tcp_synack_retries). */
#define NO_WAY_YET SF_MS /* Wait for the route or the neighbour. Doubles with each attempt. */
#define MOST_UNSENT 12   /* Such attempts, about 4 s together. */

struct sf_tcp_half {
    struct sf_flow_link flow;
    struct sf_tcp_timer timer;
    struct sf_tcp_listener *listener;
    struct sf_tcp_port *port;
    struct sf_tcp_half *next, *prev; /* In the listener's list. */
    struct sf_tcp_agreed agreed;
    sf_ns began, sent_at; /* Times at which the SYN-ACK was sent first and last. */
    sf_ns challenged;     /* Time of the last answer to an unacceptable segment or a repeated SYN. */
    uint8_t retries, unsent;
    bool no_way;   /* The last SYN-ACK could not be sent. */
    bool answered; /* The SYN-ACK was sent again, because the SYN was repeated. */
};

_Static_assert(sizeof(struct sf_tcp_half) <= 160, "a SYN flood fills max_half_open of these");

struct sf_tcp_half *sf_tcp_half_of_timer(struct sf_tcp_timer *timer)
{
    return (struct sf_tcp_half *)((char *)timer - offsetof(struct sf_tcp_half, timer));
}

struct sf_tcp_port **sf_tcp_half_port(struct sf_tcp_half *h)
{
    return &h->port;
}

void sf_tcp_half_free(struct sf_tcpip *t, struct sf_tcp_half *h)
{
    sf_flows_remove(&t->tcp.flows, &h->flow);
    sf_tcp_timer_remove(t, &h->timer);
    if (h->prev)
        h->prev->next = h->next;
    else
        h->listener->halves = h->next;
    if (h->next)
        h->next->prev = h->prev;
    t->tcp.n_half_open--;
    sf_tcp_port_drop(t, h->port);
    free(h);
}

/* Hands the port to the connection that the record becomes. */
struct sf_tcp_port *sf_tcp_half_take_port(struct sf_tcp_half *h)
{
    struct sf_tcp_port *port = h->port;

    h->port = NULL;
    return port;
}

void sf_tcp_half_forget(struct sf_tcp_listener *l)
{
    while (l->halves)
        sf_tcp_half_free(l->tcpip, l->halves);
}

/* ---- the SYN-ACK ---- */

static uint32_t path_mtu(struct sf_tcpip *t, const struct sf_flow_key *key)
{
    struct sf_hop hop = {.src = key->local_addr};
    uint32_t mtu = t->interface.mtu < t->caps.mtu ? t->interface.mtu : t->caps.mtu;

    if (sf_path_find(t, key->remote_addr, key->local_addr, &hop) == SF_WAY_DIRECT)
        mtu = hop.mtu;
    return mtu > SF_IPV4_MTU_MIN ? mtu : SF_IPV4_MTU_MIN;
}

static void send_syn_ack(struct sf_tcpip *t, struct sf_tcp_half *h)
{
    const struct sf_tcp_socket_options *options = &h->listener->options;
    struct sf_tcp_bare bare = {
        .key = h->flow.key,
        .segment = {.seq = h->agreed.iss, .ack = h->agreed.irs + 1, .flags = SF_TCP_ACK},
        .ttl = options->ttl,
        .tos = options->tos,
    };
    int rc;

    sf_tcp_syn_options(t, &bare.segment, &h->agreed, path_mtu(t, &h->flow.key), options);
    rc = sf_tcp_send_bare(t, &bare);
    h->no_way = rc < 0 && h->unsent < MOST_UNSENT;
    if (h->no_way) {
        sf_tcp_timer_by(t, &h->timer, t->now + (NO_WAY_YET << h->unsent++));
        return;
    }
    h->sent_at = t->now;
    if (!h->began)
        h->began = t->now;
    sf_tcp_timer_by(t, &h->timer, t->now + (FIRST_RTO << h->retries));
}

void sf_tcp_half_timeout(struct sf_tcpip *t, struct sf_tcp_half *h)
{
    sf_ns due = h->sent_at + (FIRST_RTO << h->retries);

    if (!h->no_way && t->now < due) { /* The SYN-ACK was sent again after the timer was set. */
        sf_tcp_timer_by(t, &h->timer, due);
        return;
    }
    if (!h->no_way && h->retries++ >= MOST_RETRIES) {
        sf_count(t, SF_COUNT_TCP_HALF_OPEN_TIMED_OUT);
        sf_tcp_half_free(t, h);
        return;
    }
    if (h->sent_at)
        sf_count(t, SF_COUNT_TCP_SYN_RETRANSMITS);
    send_syn_ack(t, h);
}

void sf_tcp_half_open(struct sf_tcp_listener *l, const struct sf_flow_key *key, const struct sf_tcp_segment *syn)
{
    struct sf_tcpip *t = l->tcpip;
    struct sf_tcp_half *h = calloc(1, sizeof(*h));

    if (!h)
        return;
    h->flow.kind = SF_TCP_HALF;
    h->flow.key = *key;
    if (sf_tcp_timer_add(t, &h->timer, SF_TCP_TIMER_HALF) < 0) {
        free(h);
        return;
    }
    if (sf_flows_add(&t->tcp.flows, &h->flow) < 0) {
        sf_tcp_timer_remove(t, &h->timer);
        free(h);
        return;
    }
    h->listener = l;
    h->port = sf_tcp_listener_port(l, key);
    h->next = l->halves;
    if (h->next)
        h->next->prev = h;
    l->halves = h;
    t->tcp.n_half_open++;
    h->agreed = (struct sf_tcp_agreed){
        .iss = sf_tcp_isn(t, key),
        .scaling = true,
        .sack = true,
        .timestamps = true,
        .rcv_scale = sf_tcp_window_scale(l->options.receive_buffer),
        .ts_offset = sf_tcp_ts_offset(t, key),
    };
    sf_tcp_agree(&h->agreed, syn);
    send_syn_ack(t, h);
}

/* ---- the answer ---- */

/*
 * The peer's SYN, or a later SYN from the same port, may have reached the kernel too: by another interface, or while the driver left the
 * port to the kernel. If the peer has accepted the kernel's answer, our record must not disturb the kernel's connection.
 */
static enum sf_whose look_for_kernels(struct sf_tcpip *t, struct sf_tcp_half *h, const struct sf_tcp_segment *s)
{
    struct sf_flow_key key = h->flow.key;
    enum sf_whose whose = sf_kernel_conns_find(t, &key);

    if (whose >= SF_WHOSE_BEGUN) {
        sf_tcp_half_free(t, h);
        sf_kernel_conns_give(t, &key, s);
    }
    return whose;
}

/* Sends a challenge ACK with the number that we expect, unless the connection turns out to be the kernel's. */
static void challenge(struct sf_tcpip *t, struct sf_tcp_half *h, const struct sf_tcp_segment *s)
{
    struct sf_tcp_bare bare = {
        .key = h->flow.key,
        .segment = {.seq = h->agreed.iss + 1,
                    .ack = h->agreed.irs + 1,
                    .flags = SF_TCP_ACK,
                    .window = (uint16_t)(sf_tcp_first_window(&h->listener->options) >> h->agreed.rcv_scale)},
    };

    if (!sf_tcp_may_challenge(t, &h->challenged) || look_for_kernels(t, h, s) >= SF_WHOSE_BEGUN)
        return;
    sf_tcp_stamp(t, &h->agreed, &bare.segment);
    sf_tcp_send_bare(t, &bare);
}

/*
 * The peer has repeated its SYN, because our answer was lost or is late. As in Linux, the answer is sent again at once, and the timer is
 * restarted. The record's limit for challenges holds, so a flood of such SYNs with a forged source causes only two answers a second.
 */
static void answer_again(struct sf_tcpip *t, struct sf_tcp_half *h)
{
    if (!sf_tcp_may_answer(t, &h->challenged))
        return;
    if (h->sent_at) {
        h->answered = true;
        sf_count(t, SF_COUNT_TCP_SYN_RETRANSMITS);
    }
    send_syn_ack(t, h);
}

/* True if the segment is the ACK of our SYN-ACK. */
static bool check(struct sf_tcpip *t, struct sf_tcp_half *h, const struct sf_tcp_segment *s)
{
    uint32_t next = h->agreed.irs + 1;

    if (s->flags & SF_TCP_SYN && !(s->flags & (SF_TCP_ACK | SF_TCP_RST)) && s->seq == h->agreed.irs) {
        answer_again(t, h);
        return false;
    }
    if (h->agreed.timestamps && !(s->flags & SF_TCP_RST) && s->has & SF_TCP_HAS_TIMESTAMPS &&
        sf_tcp_ts_is_old(s->ts_val, h->agreed.ts_recent)) {
        sf_count(t, SF_COUNT_TCP_RX_PAWS);
        challenge(t, h, s);
        return false;
    }
    if (s->seq - next > sf_tcp_first_window(&h->listener->options)) {
        sf_count(t, SF_COUNT_TCP_RX_OUTSIDE_WINDOW);
        if (s->flags & SF_TCP_RST)
            look_for_kernels(t, h, s);
        else
            challenge(t, h, s);
        return false;
    }
    if (s->flags & SF_TCP_RST) {
        if (s->seq == next) {
            sf_count(t, SF_COUNT_TCP_RESETS_RECEIVED);
            sf_tcp_half_free(t, h);
        } else {
            challenge(t, h, s);
        }
        return false;
    }
    if (s->flags & SF_TCP_SYN) {
        challenge(t, h, s);
        return false;
    }
    if (!(s->flags & SF_TCP_ACK))
        return false;
    if (s->ack == h->agreed.iss + 1)
        return true;
    sf_count(t, SF_COUNT_TCP_RX_BAD_ACK);
    if (look_for_kernels(t, h, s) == SF_WHOSE_OURS)
        sf_tcp_reset_for(t, &h->flow.key, s);
    return false;
}

void sf_tcp_half_input(struct sf_tcpip *t, struct sf_tcp_half *h, const struct sf_tcp_segment *s, bool keep)
{
    struct sf_tcp_segment copy = *s;
    struct sf_flow_key key = h->flow.key;
    struct sf_tcp_agreed agreed = h->agreed;
    struct sf_tcp_handshake handshake = {
        .repeats = h->retries, .answered = h->answered, .began = h->began, .left = h->sent_at};
    struct sf_tcp_conn *c;

    if (!check(t, h, s))
        return;
    c = sf_tcp_listener_establish(h->listener, &key, h, &agreed, &handshake, s);
    if (c) /* Otherwise the ACK is dropped, and the peer's first data carries it again. */
        sf_tcp_conn_input(c, &copy, keep);
}
