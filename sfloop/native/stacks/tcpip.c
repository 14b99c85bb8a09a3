/*
 * sfloop's own TCP/IP over a frame driver, behind the stack seam. What it does is in tcpip/; here are the seam's functions
 * around it. UDP so far: streams are refused by adopt(), and their functions are there to say so.
 */
#define _GNU_SOURCE
#include "sf/stack.h"

#include "../tcpip/tcpip.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 64
#define BACKLOG_BYTES (1024 * 1024)

struct tcpip_stack {
    struct sf_stack base;
    struct sf_tcpip tcpip;
};

struct tcpip_sock {
    struct sf_sock base;
    struct sf_udp_socket udp;
};

_Static_assert((int)SF_UDP_READABLE == (int)SF_READABLE && (int)SF_UDP_WRITABLE == (int)SF_WRITABLE, "the same bits");

static inline struct sf_tcpip *tcpip_of(struct sf_stack *stack)
{
    return &((struct tcpip_stack *)stack)->tcpip;
}

static inline struct sf_udp_socket *udp_of(struct sf_sock *sock)
{
    return &((struct tcpip_sock *)sock)->udp;
}

static inline struct tcpip_sock *sock_of(struct sf_udp_socket *udp)
{
    return (struct tcpip_sock *)((char *)udp - offsetof(struct tcpip_sock, udp));
}

/* ---- the turn ---- */

/* Where the array is full, the ring is turned, so that the next poll begins with those that were left out. */
__attribute__((noinline)) static int take_events(struct sf_tcpip *t, struct sf_event *out, int max)
{
    struct sf_udp_link *anchor = &t->ready, *link = anchor->next;
    int n = 0;

    for (; link != anchor && n < max; link = link->next) {
        struct tcpip_sock *sock = sock_of((struct sf_udp_socket *)link);
        uint32_t what = sf_udp_events(&sock->udp);

        if (what)
            out[n++] = (struct sf_event){.slot = sock->base.slot, .generation = sock->base.generation, .what = what};
    }
    if (link == anchor || link == anchor->next)
        return n;
    anchor->prev->next = anchor->next;
    anchor->next->prev = anchor->prev;
    anchor->next = link;
    anchor->prev = link->prev;
    anchor->prev->next = link->prev = anchor;
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
    struct tcpip_sock *sock;
    int rc;

    if (kind != SF_KIND_DATAGRAM)
        return -EOPNOTSUPP;
    sock = calloc(1, sizeof(*sock));
    if (!sock)
        return -ENOMEM;
    rc = sf_udp_open(tcpip_of(stack), &sock->udp, fd);
    if (rc < 0) {
        free(sock);
        return rc;
    }
    sock->base = (struct sf_sock){.stack = stack, .slot = slot, .generation = generation};
    *out = &sock->base;
    return 0;
}

static void tcpip_release(struct sf_sock *sock)
{
    sf_udp_close(udp_of(sock));
    free(sock);
}

static int tcpip_interest(struct sf_sock *sock, uint32_t what)
{
    sock->stack->touched = true;
    return sf_udp_interest(udp_of(sock), what);
}

/* ---- datagrams ---- */

static int tcpip_recv_batch(struct sf_sock *sock, struct sf_datagram *out, int max)
{
    struct sf_udp_received got[BATCH];
    struct sf_stack_stats *stats = &sock->stack->stats;
    int n = sf_udp_receive(udp_of(sock), got, max < BATCH ? max : BATCH);

    for (int i = 0; i < n; i++) {
        out[i] = (struct sf_datagram){
            .data = got[i].data,
            .len = got[i].len,
            .addr = (const struct sockaddr *)got[i].from,
            .addr_len = sizeof(*got[i].from),
            .flags = got[i].flags,
            .timestamp = got[i].timestamp,
        };
        stats->rx_bytes += got[i].len;
    }
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

/* ---- streams: none yet ---- */

static ssize_t no_sendv(struct sf_sock *sock, const struct iovec *iov, int n)
{
    (void)sock;
    (void)iov;
    (void)n;
    return -EOPNOTSUPP;
}

static ssize_t no_recv_borrow(struct sf_sock *sock, const void **data)
{
    (void)sock;
    *data = NULL;
    return -EOPNOTSUPP;
}

static void no_recv_done(struct sf_sock *sock, size_t used)
{
    (void)sock;
    (void)used;
}

static ssize_t no_recv_into(struct sf_sock *sock, void *buf, size_t len)
{
    (void)sock;
    (void)buf;
    (void)len;
    return -EOPNOTSUPP;
}

static int no_shutdown_tx(struct sf_sock *sock)
{
    (void)sock;
    return -EOPNOTSUPP;
}

static int no_accept(struct sf_sock *sock, struct sockaddr *addr, socklen_t *len)
{
    (void)sock;
    (void)addr;
    (void)len;
    return -EOPNOTSUPP;
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
            tcpip_release(&sock_of(t->sockets[i])->base);
    sf_tcpip_destroy(t);
    free(stack);
}

/* wait and wait_on are the kernel stack's alone: it is the one that the loop sleeps in. */
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
    .sendv = no_sendv,
    .recv_borrow = no_recv_borrow,
    .recv_done = no_recv_done,
    .recv_into = no_recv_into,
    .shutdown_tx = no_shutdown_tx,
    .accept = no_accept,
    .recv_batch = tcpip_recv_batch,
    .send_to = tcpip_send_to,
    .want_timestamps = tcpip_want_timestamps,
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

    if (!stack) {
        *error = -ENOMEM;
        strcpy(message, "the tcpip stack cannot be made: no memory");
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

int sf_stack_tcpip_counters(struct sf_stack *stack, struct sf_counter *out, int max)
{
    int n = 0;

    for (const char *name; n < max && (name = sf_counters_name(n)); n++)
        out[n] = (struct sf_counter){.name = name, .value = sf_counters_value(&tcpip_of(stack)->counters, n)};
    return n;
}

void sf_stack_tcpip_cork(struct sf_stack *stack, bool corked)
{
    sf_tcpip_cork(tcpip_of(stack), corked);
}

void sf_stack_tcpip_refresh(struct sf_sock *sock)
{
    sf_udp_refresh(udp_of(sock));
}
