/* The tcpip stack's streams and listeners behind the seam. */
#define _GNU_SOURCE
#include "socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static inline struct sf_tcp_conn *conn_of(struct sf_sock *sock)
{
    return ((struct tcpip_stream *)sock)->conn;
}

static inline struct sf_tcp_listener *listener_of(struct sf_sock *sock)
{
    return ((struct tcpip_listener *)sock)->listener;
}

static inline bool is_stream(const struct sf_sock *sock)
{
    return ((const struct tcpip_sock *)sock)->kind == TCPIP_STREAM;
}

/* Sends the segments of this call with it, unless the stack is corked. */
static inline void leave(struct sf_sock *sock)
{
    sock->stack->touched = true;
    sf_tcpip_flush(tcpip_of(sock->stack));
}

/* ---- sockets ---- */

static struct tcpip_stream *new_stream(struct sf_stack *stack)
{
    struct tcpip_stack *all = (struct tcpip_stack *)stack;
    struct tcpip_stream *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->sock = (struct tcpip_sock){.base = {.stack = stack, .slot = UINT32_MAX}, .kind = TCPIP_STREAM};
    s->next = all->streams;
    if (s->next)
        s->next->prev = s;
    all->streams = s;
    return s;
}

static void free_stream(struct tcpip_stream *s)
{
    if (s->prev)
        s->prev->next = s->next;
    else
        ((struct tcpip_stack *)s->sock.base.stack)->streams = s->next;
    if (s->next)
        s->next->prev = s->prev;
    free(s);
}

static void free_listener(struct tcpip_listener *l)
{
    if (l->prev)
        l->prev->next = l->next;
    else
        ((struct tcpip_stack *)l->sock.base.stack)->listeners = l->next;
    if (l->next)
        l->next->prev = l->prev;
    free(l);
}

static void attach(struct tcpip_stream *s, struct sf_tcp_conn *conn)
{
    s->conn = conn;
    conn->sock.owner = s;
}

int tcpip_connect(struct sf_stack *stack, int fd, const struct sockaddr *to, socklen_t len, uint32_t slot, uint32_t generation,
                  struct sf_sock **out)
{
    struct sf_tcp_conn *conn;
    struct tcpip_stream *s;
    struct sockaddr_in peer;
    int rc;

    if (len < sizeof(peer) || to->sa_family != AF_INET)
        return -EOPNOTSUPP;
    memcpy(&peer, to, sizeof(peer));
    s = new_stream(stack);
    if (!s)
        return -ENOMEM;
    rc = sf_tcp_connect(tcpip_of(stack), fd, &peer, &conn);
    if (rc < 0) {
        free_stream(s);
        return rc;
    }
    attach(s, conn);
    s->sock.base.slot = slot;
    s->sock.base.generation = generation;
    leave(&s->sock.base);
    *out = &s->sock.base;
    return 0;
}

int tcpip_stream_around(struct sf_stack *stack, struct sf_tcp_conn *conn, uint32_t slot, uint32_t generation, struct sf_sock **out)
{
    struct tcpip_stream *s = new_stream(stack);

    if (!s)
        return -ENOMEM;
    attach(s, conn);
    s->sock.base.slot = slot;
    s->sock.base.generation = generation;
    *out = &s->sock.base;
    return 0;
}

int tcpip_connect_result(struct sf_sock *sock)
{
    return is_stream(sock) ? sf_tcp_connect_result(conn_of(sock)) : -EOPNOTSUPP;
}

int tcpip_listen(struct sf_stack *stack, int fd, int backlog, uint32_t slot, uint32_t generation, struct sf_sock **out)
{
    struct tcpip_stack *all = (struct tcpip_stack *)stack;
    struct tcpip_listener *l = calloc(1, sizeof(*l));
    int rc;

    if (!l)
        return -ENOMEM;
    rc = sf_tcp_listen(tcpip_of(stack), fd, backlog, &l->listener);
    if (rc < 0) {
        free(l);
        return rc;
    }
    l->sock = (struct tcpip_sock){
        .base = {.stack = stack, .slot = slot, .generation = generation}, .kind = TCPIP_LISTENER};
    l->listener->owner = l;
    l->next = all->listeners;
    if (l->next)
        l->next->prev = l;
    all->listeners = l;
    *out = &l->sock.base;
    return 0;
}

int tcpip_accept_stream(struct sf_sock *sock, struct sf_sock **out)
{
    struct tcpip_stream *s;
    struct sf_tcp_conn *conn;
    int rc;

    if (is_stream(sock))
        return -EOPNOTSUPP;
    if (!listener_of(sock)->first)
        return -EAGAIN;
    s = new_stream(sock->stack);
    if (!s)
        return -ENOMEM;
    rc = sf_tcp_accept(listener_of(sock), &conn);
    if (rc < 0) {
        free_stream(s);
        return rc;
    }
    attach(s, conn);
    *out = &s->sock.base;
    return 0;
}

void tcpip_stream_release(struct sf_sock *sock)
{
    if (is_stream(sock)) {
        sf_tcp_release(conn_of(sock));
        leave(sock);
        free_stream((struct tcpip_stream *)sock);
    } else {
        sf_tcp_listener_close(listener_of(sock));
        leave(sock);
        free_listener((struct tcpip_listener *)sock);
    }
}

void tcpip_stream_exported(struct sf_sock *sock)
{
    sf_tcp_export_done(conn_of(sock));
    free_stream((struct tcpip_stream *)sock);
}

void tcpip_abort(struct sf_sock *sock)
{
    if (!is_stream(sock)) {
        tcpip_stream_release(sock);
        return;
    }
    sf_tcp_abort(conn_of(sock));
    leave(sock);
    free_stream((struct tcpip_stream *)sock);
}

void tcpip_streams_destroy(struct tcpip_stack *stack)
{
    while (stack->streams)
        tcpip_abort(&stack->streams->sock.base);
    while (stack->listeners)
        tcpip_stream_release(&stack->listeners->sock.base);
}

int tcpip_stream_interest(struct sf_sock *sock, uint32_t what)
{
    if (is_stream(sock))
        sf_tcp_conn_interest(conn_of(sock), what);
    else
        sf_tcp_listener_interest(listener_of(sock), what);
    return 0;
}

struct sf_sock *tcpip_stream_of(struct sf_ready_link *link)
{
    bool is_conn = sf_ready_kind_of(link) == SF_READY_TCP;
    void *owner = is_conn ? sf_tcp_conn_of_ready(link)->sock.owner : sf_tcp_listener_of_ready(link)->owner;

    return &((struct tcpip_sock *)owner)->base;
}

/* ---- bytes ---- */

ssize_t tcpip_sendv(struct sf_sock *sock, const struct iovec *iov, int n)
{
    struct sf_stack_stats *stats = &sock->stack->stats;
    ssize_t sent;

    if (SF_UNLIKELY(!is_stream(sock)))
        return -EOPNOTSUPP;
    sent = sf_tcp_sendv(conn_of(sock), iov, n);
    if (SF_UNLIKELY(sent < 0)) {
        stats->tx_would_block += sent == -EAGAIN;
        return sent;
    }
    stats->tx_messages++;
    stats->tx_bytes += (uint64_t)sent;
    leave(sock);
    return sent;
}

ssize_t tcpip_recv_borrow(struct sf_sock *sock, const void **data)
{
    if (SF_LIKELY(is_stream(sock)))
        return sf_tcp_recv_borrow(conn_of(sock), data);
    *data = NULL;
    return -EOPNOTSUPP;
}

void tcpip_recv_done(struct sf_sock *sock, size_t used)
{
    sock->stack->stats.rx_messages++;
    sock->stack->stats.rx_bytes += used;
    sf_tcp_recv_done(conn_of(sock), used);
}

ssize_t tcpip_recv_into(struct sf_sock *sock, void *buf, size_t len)
{
    ssize_t got;

    if (SF_UNLIKELY(!is_stream(sock)))
        return -EOPNOTSUPP;
    got = sf_tcp_recv_into(conn_of(sock), buf, len);
    if (SF_LIKELY(got > 0)) {
        sock->stack->stats.rx_messages++;
        sock->stack->stats.rx_bytes += (uint64_t)got;
    }
    return got;
}

int tcpip_shutdown_tx(struct sf_sock *sock)
{
    int rc;

    if (!is_stream(sock))
        return -EOPNOTSUPP;
    rc = sf_tcp_shutdown(conn_of(sock));
    leave(sock);
    return rc;
}

/* ---- questions about a stream ---- */

int tcpip_name_of(struct sf_sock *sock, bool peer, struct sockaddr *out, socklen_t *len)
{
    const struct sf_flow_key *key = is_stream(sock) ? &conn_of(sock)->flow.key : &listener_of(sock)->flow.key;
    struct sockaddr_in name = {
        .sin_family = AF_INET,
        .sin_port = peer ? key->remote_port : key->local_port,
        .sin_addr.s_addr = peer ? key->remote_addr : key->local_addr,
    };

    if (peer && (!is_stream(sock) || (conn_of(sock)->state < SF_TCP_ESTABLISHED && conn_of(sock)->sock.connecting)))
        return -ENOTCONN;
    memcpy(out, &name, *len < sizeof(name) ? *len : sizeof(name));
    *len = sizeof(name);
    return 0;
}

int tcpip_set_option(struct sf_sock *sock, int level, int name, const void *value, socklen_t len)
{
    int rc;

    if (!is_stream(sock))
        return sf_tcp_listener_set_option(listener_of(sock), level, name, value, len);
    rc = sf_tcp_set_option(conn_of(sock), level, name, value, len);
    leave(sock);
    return rc;
}

int tcpip_get_option(struct sf_sock *sock, int level, int name, void *value, socklen_t *len)
{
    if (!is_stream(sock))
        return sf_tcp_listener_get_option(listener_of(sock), level, name, value, len);
    return sf_tcp_get_option(conn_of(sock), level, name, value, len);
}

int tcpip_stream_info(struct sf_sock *sock, struct sf_stream_info *out)
{
    const struct sf_tcp_conn *c;
    const struct sf_tcp_loss *l;

    if (!is_stream(sock))
        return -EOPNOTSUPP;
    c = conn_of(sock);
    l = &c->loss;
    *out = (struct sf_stream_info){
        .state = sf_tcp_state_name(c->state),
        .congestion = c->options.congestion,
        .rtt = l->rtt.smoothed,
        .rtt_var = l->rtt.variance,
        .rtt_min = l->rtt.min,
        .rto = l->rtt.rto,
        .mss = l->mss,
        .cwnd = l->cc.cwnd,
        .ssthresh = l->cc.ssthresh,
        .snd_wnd = c->snd.wnd,
        .rcv_wnd = c->rcv.adv - c->rcv.nxt,
        .unread = sf_tcp_unread(&c->rcv),
        .bytes_sent = c->snd.n_bytes,
        .bytes_received = c->rcv.n_bytes,
        .segments_sent = c->snd.n_segments,
        .segments_received = c->rcv.n_segments,
        .retransmits = l->n_retransmits,
        .timeouts = l->n_timeouts,
        .recoveries = l->n_recoveries,
        .probes = l->n_probes + c->probe.sent,
        .duplicate_acks = l->n_duplicate_acks,
        .out_of_order = c->rcv.n_out_of_order,
    };
    if (c->state >= SF_TCP_ESTABLISHED && c->state != SF_TCP_TIME_WAIT) {
        out->in_flight = sf_tcp_loss_in_flight(l);
        out->unsent = sf_tcp_unsent(&c->snd, &c->loss);
    }
    return 0;
}

uint32_t tcpip_levels(struct sf_sock *sock)
{
    return is_stream(sock) ? sf_tcp_conn_levels(conn_of(sock)) : 0;
}

int tcpip_lingering(struct sf_stack *stack)
{
    return (int)sf_tcp_lingering(tcpip_of(stack));
}

/* ---- limits ---- */

struct sf_tcp_limits_set tcpip_limits(const struct sf_tcp_limits *l, bool point_to_point)
{
    return (struct sf_tcp_limits_set){
        .congestion = l->congestion ? l->congestion : "cubic",
        .max_connections = l->max_connections ? l->max_connections : 65536,
        .max_half_open = l->max_half_open ? l->max_half_open : 1024,
        .max_time_wait = l->max_time_wait ? l->max_time_wait : 16384,
        .send_buffer = l->send_buffer ? l->send_buffer : 4u << 20,
        .receive_buffer = l->receive_buffer ? l->receive_buffer : 4u << 20,
        .memory = l->memory ? l->memory : 1u << 30,
        .time_wait = l->time_wait ? l->time_wait : 60 * SF_SEC,
        .orphan_timeout = l->orphan_timeout ? l->orphan_timeout : 60 * SF_SEC,
        .user_timeout = l->user_timeout ? l->user_timeout : 924 * SF_SEC, /* Linux's default with 15 retries (tcp(7)) */
        .min_rto = l->min_rto ? l->min_rto : point_to_point ? 5 * SF_MS : 200 * SF_MS,
        .delayed_ack = l->delayed_ack ? l->delayed_ack : point_to_point ? SF_MS : 40 * SF_MS, /* well below the peer's RTO */
        .syn_retries = l->syn_retries ? l->syn_retries : 6,
        .retries = l->retries ? l->retries : 15,
        .mss = l->mss,
        .first_sequence = l->first_sequence,
    };
}
