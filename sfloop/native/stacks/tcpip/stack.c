/*
 * sfloop's own TCP/IP over a frame driver, behind the stack seam. This file has the seam's functions for the stack and for
 * datagrams; stream.c has those for streams and listeners. tcpip/ does the work.
 */
#define _GNU_SOURCE
#include "socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BACKLOG_BYTES (4 * 1024 * 1024)

_Static_assert((int)SF_UDP_READABLE == (int)SF_READABLE && (int)SF_UDP_WRITABLE == (int)SF_WRITABLE, "the same bits");

static inline struct sf_udp_socket *udp_of(struct sf_sock *sock)
{
    return &((struct tcpip_datagram *)sock)->udp;
}

static inline struct tcpip_datagram *datagram_of(struct sf_udp_socket *udp)
{
    return (struct tcpip_datagram *)((char *)udp - offsetof(struct tcpip_datagram, udp));
}

static inline struct sf_sock *sock_of(struct sf_ready_link *link)
{
    if (SF_LIKELY(sf_ready_kind_of(link) == SF_READY_UDP))
        return &datagram_of((struct sf_udp_socket *)link)->sock.base;
    return tcpip_stream_of(link);
}

/* ---- the turn ---- */

__attribute__((noinline)) static int take_events(struct sf_tcpip *t, struct sf_event *out, int max)
{
    struct sf_ready_link *anchor = &t->ready, *link = anchor->next;
    int n = 0;

    for (; link != anchor && n < max; link = link->next) {
        struct sf_sock *sock = sock_of(link);
        uint32_t what = sf_tcpip_events(link);

        if (what)
            out[n++] = (struct sf_event){.slot = sock->slot, .generation = sock->generation, .what = what};
    }
    sf_ready_begin_with(anchor, link);
    return n;
}

static int tcpip_poll(struct sf_stack *stack, sf_ns now, struct sf_event *out, int max)
{
    struct sf_tcpip *t = tcpip_of(stack);
    int n = 0;

    stack->stats.polls++;
    sf_tcpip_poll(t, now);
    if (SF_UNLIKELY(t->ready.next != &t->ready))
        n = take_events(t, out, max);
    if (SF_LIKELY(!n))
        stack->stats.empty_polls++;
    stack->stats.events += (uint64_t)n;
    return n;
}

static sf_ns tcpip_poll_at(struct sf_stack *stack, sf_ns now)
{
    return sf_tcpip_poll_at(tcpip_of(stack), now);
}

static int tcpip_arm(struct sf_stack *stack, int *fd)
{
    return sf_tcpip_arm(tcpip_of(stack), fd);
}

static void tcpip_disarm(struct sf_stack *stack)
{
    sf_tcpip_disarm(tcpip_of(stack));
}

/* ---- sockets ---- */

static int tcpip_adopt(struct sf_stack *stack, int fd, enum sf_sock_kind kind, uint32_t slot, uint32_t generation,
                       struct sf_sock **out)
{
    struct tcpip_datagram *datagram;
    int rc;

    if (kind != SF_KIND_DATAGRAM)
        return -EOPNOTSUPP;
    datagram = calloc(1, sizeof(*datagram));
    if (!datagram)
        return -ENOMEM;
    rc = sf_udp_open(tcpip_of(stack), &datagram->udp, fd);
    if (rc < 0) {
        free(datagram);
        return rc;
    }
    datagram->sock = (struct tcpip_sock){
        .base = {.stack = stack, .slot = slot, .generation = generation}, .kind = TCPIP_DATAGRAM};
    *out = &datagram->sock.base;
    return 0;
}

static bool is_datagram(const struct sf_sock *sock)
{
    return ((const struct tcpip_sock *)sock)->kind == TCPIP_DATAGRAM;
}

static void tcpip_release(struct sf_sock *sock)
{
    if (!is_datagram(sock)) {
        tcpip_stream_release(sock);
        return;
    }
    sf_udp_close(udp_of(sock));
    free(sock);
}

static int tcpip_interest(struct sf_sock *sock, uint32_t what)
{
    sock->stack->touched = true;
    if (!is_datagram(sock))
        return tcpip_stream_interest(sock, what);
    return sf_udp_interest(udp_of(sock), what);
}

/* ---- datagrams ---- */

static int tcpip_recv_batch(struct sf_sock *sock, struct sf_datagram *out, int max)
{
    struct sf_stack_stats *stats = &sock->stack->stats;
    int n = sf_udp_receive(udp_of(sock), out, max);

    for (int i = 0; i < n; i++)
        stats->rx_bytes += out[i].len;
    if (SF_LIKELY(n > 0))
        stats->rx_messages += (uint64_t)n;
    return n;
}

static ssize_t tcpip_send_to(struct sf_sock *sock, const void *data, size_t len, const struct sockaddr *addr,
                             socklen_t addr_len)
{
    struct sf_stack_stats *stats = &sock->stack->stats;
    ssize_t sent = sf_udp_send(udp_of(sock), data, len, addr, addr_len);

    if (SF_UNLIKELY(sent < 0)) {
        stats->tx_would_block += sent == -EAGAIN;
        return sent;
    }
    sock->stack->touched = true;
    stats->tx_messages++;
    stats->tx_bytes += (uint64_t)sent;
    return sent;
}

static int tcpip_want_timestamps(struct sf_sock *sock, bool wanted)
{
    return sf_udp_want_timestamps(udp_of(sock), wanted);
}

/* ---- accept: use accept_stream(), because connections have no descriptors ---- */

static int no_accept(struct sf_sock *sock, struct sockaddr *addr, socklen_t *len)
{
    (void)sock;
    (void)addr;
    (void)len;
    return -EOPNOTSUPP;
}

static void tcpip_options_changed(struct sf_sock *sock)
{
    if (!is_datagram(sock))
        return;
    sf_udp_refresh(udp_of(sock));
    sf_udp_groups_learn(udp_of(sock));
}

/* ---- life ---- */

static int tcpip_rebuild(struct sf_stack *stack)
{
    return sf_tcpip_after_fork(tcpip_of(stack));
}

static void tcpip_destroy(struct sf_stack *stack)
{
    struct sf_tcpip *t = tcpip_of(stack);

    for (uint32_t i = 0; i < t->n_sockets; i++)
        if (t->sockets[i])
            tcpip_release(&datagram_of(t->sockets[i])->sock.base);
    tcpip_streams_destroy((struct tcpip_stack *)stack);
    sf_tcpip_destroy(t);
    free(stack);
}

/* ---- counters, flows and the driver, for the loop ---- */

static int tcpip_counters(struct sf_stack *stack, struct sf_counter *out, int max)
{
    int n = 0;

    for (const char *name; n < max && (name = sf_counters_name(n)); n++)
        out[n] = (struct sf_counter){.name = name, .value = sf_counters_value(&tcpip_of(stack)->counters, n)};
    return n;
}

static int tcpip_flows(struct sf_stack *stack, int first, struct sf_stack_flow *out, int max)
{
    int i = 0, n = 0;

    for (const struct sf_filter *f = tcpip_of(stack)->filters.first; f && n < max; f = f->next) {
        if (i++ < first)
            continue;
        out[n++] = (struct sf_stack_flow){
            .addr = f->link.key.local_addr,
            .port = f->link.key.local_port,
            .remote_addr = f->link.key.remote_addr,
            .remote_port = f->link.key.remote_port,
            .protocol = f->protocol,
            .why = sf_filter_why_name(f->why),
            .holder = f->why == SF_WHY_OTHER_SOCKET ? f->holder : 0,
            .process = f->why == SF_WHY_OTHER_PROCESS ? f->process : 0,
        };
    }
    return n;
}

static struct sf_driver *tcpip_driver(struct sf_stack *stack)
{
    return tcpip_of(stack)->driver;
}

static void tcpip_cork(struct sf_stack *stack, bool corked)
{
    sf_tcpip_cork(tcpip_of(stack), corked);
}

/* No wait and wait_on, because the loop sleeps in the kernel stack. */
static const struct sf_stack_ops tcpip_ops = {
    .name = "tcpip",
    .poll = tcpip_poll,
    .poll_at = tcpip_poll_at,
    .arm = tcpip_arm,
    .disarm = tcpip_disarm,
    .wait = NULL,
    .wait_on = NULL,
    .rebuild = tcpip_rebuild,
    .destroy = tcpip_destroy,
    .adopt = tcpip_adopt,
    .release = tcpip_release,
    .interest = tcpip_interest,
    .sendv = tcpip_sendv,
    .recv_borrow = tcpip_recv_borrow,
    .recv_done = tcpip_recv_done,
    .recv_into = tcpip_recv_into,
    .shutdown_tx = tcpip_shutdown_tx,
    .accept = no_accept,
    .connect = tcpip_connect,
    .connect_result = tcpip_connect_result,
    .listen = tcpip_listen,
    .accept_stream = tcpip_accept_stream,
    .abort = tcpip_abort,
    .name_of = tcpip_name_of,
    .set_option = tcpip_set_option,
    .get_option = tcpip_get_option,
    .stream_info = tcpip_stream_info,
    .levels = tcpip_levels,
    .import_stream = tcpip_import_stream,
    .export_stream = tcpip_export_stream,
    .lingering = tcpip_lingering,
    .recv_batch = tcpip_recv_batch,
    .send_to = tcpip_send_to,
    .want_timestamps = tcpip_want_timestamps,
    .options_changed = tcpip_options_changed,
    .counters = tcpip_counters,
    .flows = tcpip_flows,
    .driver = tcpip_driver,
    .cork = tcpip_cork,
    .use_test_clock = tcpip_use_test_clock,
};

struct sf_stack *sf_stack_tcpip_create(const struct sf_tcpip_config *config, int *error, char *message)
{
    struct sf_tcpip_setup setup = {
        .driver = config->driver,
        .interface = config->interface,
        .now = config->now ? config->now() : sf_now(),
        .backlog_limit = config->rx_backlog_bytes ? config->rx_backlog_bytes : BACKLOG_BYTES,
        .ttl = config->ttl ? config->ttl : SF_IPV4_TTL,
    };
    struct tcpip_stack *stack = calloc(1, sizeof(*stack));
    struct sf_driver_caps caps;

    config->driver->fast.control->caps(config->driver, &caps);
    setup.tcp = tcpip_limits(&config->tcp, caps.flags & SF_DRIVER_POINT_TO_POINT);
    if (!stack) {
        *error = -ENOMEM;
        strcpy(message, "there is no memory for the tcpip stack");
        return NULL;
    }
    *error = sf_tcpip_init(&stack->tcpip, &setup, message);
    if (*error < 0) {
        free(stack);
        return NULL;
    }
    stack->base.ops = &tcpip_ops;
    return &stack->base;
}
