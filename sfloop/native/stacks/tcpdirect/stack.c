/*
 * TCPDirect (libonload_zf) behind the stack seam: one zf_stack with one muxer. This file has the turn, the sleep, opening and
 * closing; stack.h lists the other files. Names with zf are the vendor's, from zf/zf.h and the TCPDirect user guide.
 */
#define _GNU_SOURCE
#include "stack.h"
#include "storage/epoll.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PASSES 16                  /* most passes of the reactor in one poll, while datagrams come */
#define QUIESCE (200 * SF_MS)      /* for connections that destroy() itself closes */
#define UNKNOWABLE (200 * SF_MS)   /* with open streams, "not quiescent" may mean these */
#define BLIND_SLEEP (100 * SF_US)  /* of a stack that cannot wake us (an emulator) */
#define TICK_IDLE (100 * SF_MS)

/* ---- the turn ---- */

static void tick(struct td_stack *t)
{
    struct sf_ready_link *link = t->all.next, *next;

    t->due = t->now + (t->n_sides ? TD_SIDE_INTERVAL : t->retries ? TD_RETRY : TICK_IDLE);
    if (t->n_sides)
        td_sides_poll(t);
    for (; link != &t->all; link = next) {
        struct td_sock *s = (struct td_sock *)((char *)link - offsetof(struct td_sock, all));

        next = link->next;
        if (s->kind == SF_KIND_DATAGRAM)
            td_udp_tick(s);
        else if (s->retry && s->kind == SF_KIND_STREAM)
            td_stream_tick(s);
    }
}

/* A pass of the reactor ends at the first packet. More passes pay off for a burst of datagrams, because they are delivered
 * together. For a stream they would only delay the received data. */
__attribute__((noinline)) static void take_more(struct td_stack *t, int n)
{
    bool datagrams = td_take_muxer_events(t, n);

    for (int pass = 1; datagrams && pass < PASSES && t->zf.zf_stack_has_pending_work(t->zs); pass++) {
        n = t->zf.zf_muxer_wait(t->muxer, t->events, TD_EVENTS, 0);
        datagrams = td_take_muxer_events(t, n) || n == 0;
    }
}

static int td_poll(struct sf_stack *stack, sf_ns now, struct sf_event *out, int max)
{
    struct td_stack *t = td_of(stack);
    int n = 0;

    stack->stats.polls++;
    t->now = now;
    if (SF_LIKELY(!t->dead)) {
        n = t->zf.zf_muxer_wait(t->muxer, t->events, TD_EVENTS, 0);
        if (SF_UNLIKELY(n > 0))
            take_more(t, n);
    }
    if (SF_UNLIKELY(now >= t->due))
        tick(t);
    n = 0;
    if (SF_UNLIKELY(!sf_ready_empty(&t->ready)))
        n = td_take_events(t, out, max);
    if (SF_LIKELY(!n))
        stack->stats.empty_polls++;
    stack->stats.events += (uint64_t)n;
    return n;
}

/* ---- sleeping ---- */

static sf_ns td_poll_at(struct sf_stack *stack, sf_ns now)
{
    struct td_stack *t = td_of(stack);
    sf_ns at = SF_NEVER;

    if (t->zf_fd < 0 && !t->dead)
        at = now + BLIND_SLEEP;
    else if (t->retries)
        at = now + TD_RETRY;
    for (struct sf_ready_link *link = t->all.next; link != &t->all && at > now + TD_RETRY; link = link->next) {
        struct td_sock *s = (struct td_sock *)((char *)link - offsetof(struct td_sock, all));

        if (s->kind == SF_KIND_DATAGRAM && s->udp.multicast && s->udp.groups_due < at)
            at = s->udp.groups_due;
    }
    return at;
}

static int watch_zf(struct td_stack *t, bool on)
{
    int rc = 0;

    if (t->zf_fd < 0 || t->zf_fd_watched == on)
        return 0;
    if (on)
        rc = sf_epoll_add(t->epoll_fd, t->zf_fd, EPOLLIN, 0);
    else
        sf_epoll_remove(t->epoll_fd, t->zf_fd);
    t->zf_fd_watched = on && rc == 0;
    return rc;
}

/*
 * The library's descriptor stays readable once its timer of 10 ms has run out, until it is primed again. So it is in our epoll
 * set only during a sleep. Look for work after priming, because earlier packets do not make it readable.
 */
static int td_arm(struct sf_stack *stack, int *fd)
{
    struct td_stack *t = td_of(stack);

    *fd = t->epoll_fd;
    if (!sf_ready_empty(&t->ready))
        return -EAGAIN;
    if (t->dead || t->zf_fd < 0)
        return 0;
    if (t->zf.zf_waitable_fd_prime(t->zs) < 0 || watch_zf(t, true) < 0)
        return -EAGAIN;
    if (!t->zf.zf_stack_has_pending_work(t->zs))
        return 0;
    watch_zf(t, false);
    return -EAGAIN;
}

static void td_disarm(struct sf_stack *stack)
{
    watch_zf(td_of(stack), false);
}

/* ---- sockets ---- */

static int td_adopt(struct sf_stack *stack, int fd, enum sf_sock_kind kind, uint32_t slot, uint32_t generation,
                    struct sf_sock **out)
{
    struct td_stack *t = td_of(stack);

    return kind == SF_KIND_DATAGRAM && !t->dead ? td_udp_open(t, fd, slot, generation, out) : -EOPNOTSUPP;
}

static void td_release(struct sf_sock *sock)
{
    struct td_sock *s = td_sock_of(sock);

    switch (s->kind) {
    case SF_KIND_STREAM:
        if (s->stream.reset_on_release)
            td_abort(sock);
        else
            td_stream_release(s);
        return;
    case SF_KIND_LISTENER:
        td_listener_release(s);
        return;
    default:
        td_udp_release(s);
    }
}

static int td_interest(struct sf_sock *sock, uint32_t what)
{
    struct td_sock *s = td_sock_of(sock);

    s->interest = what;
    td_update(s);
    return s->kind == SF_KIND_DATAGRAM ? td_udp_interest(s) : 0;
}

static int no_accept(struct sf_sock *sock, struct sockaddr *addr, socklen_t *len)
{
    (void)sock;
    (void)addr;
    (void)len;
    return -EOPNOTSUPP; /* use accept_stream(), because connections have no descriptors */
}

/* ---- life ---- */

static int open_epoll(struct td_stack *t)
{
    int fd = -1;

    t->side->ops->arm(t->side, &fd);
    t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return t->epoll_fd < 0 ? -errno : sf_epoll_add(t->epoll_fd, fd, EPOLLIN, 0);
}

/* For a forked child: the zf_stack and the epoll set are the parent's. The child does not touch them, because the parent would
 * see the change. */
static int td_rebuild(struct sf_stack *stack)
{
    struct td_stack *t = td_of(stack);
    int rc = t->side->ops->rebuild(t->side);

    t->dead = true;
    for (struct sf_ready_link *link = t->all.next; link != &t->all; link = link->next) {
        struct td_sock *s = (struct td_sock *)((char *)link - offsetof(struct td_sock, all));

        if (s->kind == SF_KIND_STREAM)
            td_raise(s, SF_READABLE | SF_WRITABLE);
    }
    close(t->epoll_fd);
    t->zf_fd_watched = false;
    return rc < 0 ? rc : open_epoll(t);
}

/* Sends the rest and closes, until the library is quiet or the time is over, because sending and closing need the reactor. */
static void quiesce(struct td_stack *t)
{
    sf_ns until = sf_now() + t->quiesce;

    while (!t->zf.zf_stack_is_quiescent(t->zs)) {
        if (sf_now() >= until) {
            td_count(t, TD_COUNT_NOT_QUIESCENT);
            return;
        }
        t->zf.zf_reactor_perform(t->zs);
        sf_relax();
    }
}

/* The library only tells whether everything is quiet, and open connections are not. */
static int td_lingering(struct sf_stack *stack)
{
    struct td_stack *t = td_of(stack);
    bool open = false;

    if (t->dead || !t->released)
        return 0;
    if (t->zf.zf_stack_is_quiescent(t->zs)) {
        t->released = 0;
        return 0;
    }
    for (struct sf_ready_link *link = t->all.next; link != &t->all && !open; link = link->next)
        open = ((struct td_sock *)((char *)link - offsetof(struct td_sock, all)))->kind == SF_KIND_STREAM;
    return open && sf_now() - t->released_at > UNKNOWABLE ? 0 : t->released;
}

static void close_all(struct td_stack *t)
{
    for (uint32_t i = 0; i < t->max_destinations; i++)
        td_destination_free(t, &t->destinations[i]);
    /* Listeners first, because they release the connections that they hold back, which are in the list too. */
    for (int pass = 0; pass < 2; pass++) {
        struct sf_ready_link *link = t->all.next;

        while (link != &t->all) {
            struct td_sock *s = (struct td_sock *)((char *)link - offsetof(struct td_sock, all));

            if (pass || s->kind == SF_KIND_LISTENER) {
                td_release(&s->base);
                link = t->all.next;
            } else {
                link = link->next;
            }
        }
    }
}

static void td_destroy(struct sf_stack *stack)
{
    struct td_stack *t = td_of(stack);

    close_all(t);
    if (!t->dead) {
        quiesce(t);
        t->zf.zf_muxer_free(t->muxer);
        t->zf.zf_stack_free(t->zs);
        t->zf.zf_attr_free(t->attr);
    }
    if (t->side)
        t->side->ops->destroy(t->side);
    if (t->epoll_fd >= 0)
        close(t->epoll_fd);
    if (t->netlink >= 0)
        close(t->netlink);
    free(t);
}

static int td_counters(struct sf_stack *stack, struct sf_counter *out, int max)
{
    static const char *const names[TD_COUNTERS] = {
        [TD_COUNT_STALE] = "stale",
        [TD_COUNT_ZOCKETS_FULL] = "zockets_full",
        [TD_COUNT_TO_KERNEL_FULL] = "to_kernel_full",
        [TD_COUNT_CONNECT_RETRIED] = "connect_retried",
        [TD_COUNT_SEND_RETRIED] = "send_retried",
        [TD_COUNT_ABORT_AS_FIN] = "abort_as_fin",
        [TD_COUNT_COPIED] = "rx_copied",
        [TD_COUNT_RX_SIDE] = "rx_by_kernel",
        [TD_COUNT_TX_SIDE_ROUTE] = "tx_by_kernel_route",
        [TD_COUNT_TX_SIDE_UNRESOLVED] = "tx_by_kernel_unresolved",
        [TD_COUNT_TX_SIDE_MULTICAST] = "tx_by_kernel_multicast",
        [TD_COUNT_TX_SIDE_FULL] = "tx_by_kernel_full",
        [TD_COUNT_TX_EVICTED] = "tx_destinations_evicted",
        [TD_COUNT_NOT_QUIESCENT] = "not_quiescent",
    };
    int n = 0;

    for (; n < TD_COUNTERS && n < max; n++)
        out[n] = (struct sf_counter){.name = names[n], .value = td_of(stack)->counters[n]};
    return n;
}

static const struct sf_stack_ops tcpdirect_ops = {
    .name = "tcpdirect",
    .poll = td_poll,
    .poll_at = td_poll_at,
    .arm = td_arm,
    .disarm = td_disarm,
    .wait = NULL,
    .wait_on = NULL,
    .rebuild = td_rebuild,
    .destroy = td_destroy,
    .adopt = td_adopt,
    .release = td_release,
    .interest = td_interest,
    .sendv = td_sendv,
    .recv_borrow = td_recv_borrow,
    .recv_done = td_recv_done,
    .recv_into = td_recv_into,
    .shutdown_tx = td_shutdown_tx,
    .accept = no_accept,
    .connect = td_connect,
    .connect_result = td_connect_result,
    .listen = td_listen,
    .accept_stream = td_accept_stream,
    .abort = td_abort,
    .name_of = td_name_of,
    .set_option = td_set_option,
    .get_option = td_get_option,
    .stream_info = td_stream_info,
    .levels = td_levels,
    .lingering = td_lingering,
    .recv_batch = td_recv_batch,
    .send_to = td_send_to,
    .want_timestamps = td_want_timestamps,
    .counters = td_counters,
};

/* The vendor's software NIC has no descriptor to wake by. It returns one that cannot be primed, or an error. */
static void open_waitable(struct td_stack *t)
{
    if (t->zf.zf_waitable_fd_get(t->zs, &t->zf_fd) < 0)
        t->zf_fd = -1;
    if (t->zf_fd >= 0 && t->zf.zf_waitable_fd_prime(t->zs) < 0)
        t->zf_fd = -1;
}

static int fail(char *message, int error, const char *what)
{
    snprintf(message, SF_STACK_ERROR_SIZE, "%s: %s", what, strerror(-error));
    return error;
}

static int start(struct td_stack *t, const struct sf_tcpdirect_config *config, char *message)
{
    int rc = 0;

    t->side = sf_stack_kernel_create(&rc);
    if (!t->side)
        return fail(message, rc, "the kernel's sockets beside TCPDirect's cannot be polled");
    rc = td_interface_open(t, config->interface);
    if (rc == 0)
        rc = open_epoll(t);
    if (rc < 0)
        return fail(message, rc, "no descriptor could be opened for routes or for waking up");
    open_waitable(t);
    rc = t->zf.zf_muxer_alloc(t->zs, &t->muxer);
    return rc < 0 ? fail(message, rc, "zf_muxer_alloc() failed") : 0;
}

struct sf_stack *sf_stack_tcpdirect_create(const struct sf_tcpdirect_config *config, int *error, char *message)
{
    struct td_stack *t = calloc(1, sizeof(*t));

    *error = fail(message, -ENOMEM, "the tcpdirect stack cannot be made");
    if (!t)
        return NULL;
    t->zf = config->functions;
    t->base.ops = &tcpdirect_ops;
    t->zs = config->stack;
    t->attr = config->attr;
    t->attr_ttl = -1;
    t->msg = (struct zft_msg *)(void *)t->msg_space;
    sf_ready_init(&t->ready);
    sf_ready_init(&t->all);
    t->epoll_fd = t->zf_fd = t->netlink = -1;
    t->address = config->address;
    t->emulated_mask = htonl(config->emulated_bits ? ~0U << (32 - config->emulated_bits) : IN_CLASSC_NET);
    t->timestamps = config->timestamps;
    t->overflow = config->overflow;
    t->quiesce = config->quiesce ? config->quiesce : QUIESCE;
    t->max_destinations = config->max_destinations && config->max_destinations < TD_DESTINATIONS
                              ? config->max_destinations : TD_DESTINATIONS;
    t->now = sf_now();
    *error = start(t, config, message);
    if (*error == 0)
        return &t->base;
    t->dead = true; /* the zf_stack is still the caller's */
    td_destroy(&t->base);
    return NULL;
}
