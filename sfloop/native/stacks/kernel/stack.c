/*
 * The kernel's own sockets behind one epoll set. It is level-triggered: the next poll reports a socket again that was not read to
 * its end. The seam requires this, and no read is spent to learn that there is no more.
 *
 * A descriptor is in the epoll set only while it has an interest. EPOLLHUP and EPOLLERR cannot be masked, so every poll would
 * otherwise report a paused connection whose peer is gone.
 */
#define _GNU_SOURCE
#include "sleep.h"
#include "storage/epoll.h"
#include "sf/stack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STREAM_SCRATCH (256 * 1024)
#define BATCH 64
/* The largest UDP datagram, and a little more, so that the buffers of small datagrams do not share one cache set. */
#define DATAGRAM_STRIDE (65536 + 3 * SF_CACHE_LINE)
#define EPOLL_BATCH 256

struct kernel_sock {
    struct sf_sock base;
    struct kernel_sock *next, *prev;
    int fd;
    enum sf_sock_kind kind;
    uint32_t interest;
    bool large; /* AF_UNIX: datagrams may exceed 64 KiB */
    bool timestamps;
    bool gone; /* the program has closed the descriptor; find_gone() has found it */
};

/* The control data of a datagram with a timestamp. */
union control {
    struct cmsghdr align;
    char space[CMSG_SPACE(sizeof(struct timespec))];
};

struct batch {
    int joined; /* buffers of a datagram in the prepared headers; 0: no headers are prepared */
    struct mmsghdr header[BATCH];
    struct iovec iov[BATCH];
    struct sockaddr_storage addr[BATCH];
    union control control[BATCH];
};

struct kernel_stack {
    struct sf_stack base;
    int epoll_fd;
    pid_t owner; /* the process that created the epoll set */
    struct kernel_sleep sleep;
    struct kernel_sock *socks;
    char *stream_scratch;
    char *datagram_scratch;
    struct batch *batch;
    struct epoll_event polled[EPOLL_BATCH];
};

static inline struct kernel_stack *stack_of(struct sf_stack *stack)
{
    return (struct kernel_stack *)stack;
}

static inline struct kernel_sock *sock_of(struct sf_sock *sock)
{
    return (struct kernel_sock *)sock;
}

static uint64_t tag_of(uint32_t slot, uint32_t generation)
{
    return (uint64_t)generation << 32 | slot;
}

static uint64_t epoll_data(const struct kernel_sock *s)
{
    return tag_of(s->base.slot, s->base.generation);
}

static uint32_t epoll_bits(uint32_t interest)
{
    return (interest & SF_READABLE ? (uint32_t)EPOLLIN : 0) | (interest & SF_WRITABLE ? (uint32_t)EPOLLOUT : 0);
}

/* ---- the turn ---- */

static int take_events(struct kernel_stack *k, int n, struct sf_event *out)
{
    for (int i = 0; i < n; i++) {
        uint32_t bits = k->polled[i].events;

        out[i].slot = (uint32_t)k->polled[i].data.u64;
        out[i].generation = (uint32_t)(k->polled[i].data.u64 >> 32);
        out[i].what = (bits & ~(uint32_t)EPOLLOUT ? (uint32_t)SF_READABLE : 0) |
                      (bits & ~(uint32_t)EPOLLIN ? (uint32_t)SF_WRITABLE : 0);
    }
    k->base.stats.events += (uint64_t)n;
    return n;
}

static int kernel_poll(struct sf_stack *stack, sf_ns now, struct sf_event *out, int max)
{
    struct kernel_stack *k = stack_of(stack);
    int n;

    (void)now;
    stack->stats.polls++;
    n = epoll_wait(k->epoll_fd, k->polled, max < EPOLL_BATCH ? max : EPOLL_BATCH, 0);
    if (n > 0)
        return take_events(k, n, out);
    stack->stats.empty_polls++;
    return 0;
}

static sf_ns kernel_poll_at(struct sf_stack *stack, sf_ns now)
{
    (void)stack;
    (void)now;
    return SF_NEVER;
}

static int kernel_arm(struct sf_stack *stack, int *fd)
{
    *fd = stack_of(stack)->epoll_fd;
    return 0;
}

static void kernel_disarm(struct sf_stack *stack)
{
    (void)stack;
}

static int kernel_wait(struct sf_stack *stack, sf_ns timeout, struct sf_event *out, int max)
{
    struct kernel_stack *k = stack_of(stack);
    int n;

    stack->stats.polls++;
    n = kernel_sleep(&k->sleep, k->epoll_fd, k->polled, max < EPOLL_BATCH ? max : EPOLL_BATCH, timeout);
    if (n > 0)
        return take_events(k, n, out);
    stack->stats.empty_polls++;
    return n < 0 ? -errno : 0;
}

static int kernel_wait_on(struct sf_stack *stack, int fd, uint32_t slot, uint32_t generation)
{
    return sf_epoll_add(stack_of(stack)->epoll_fd, fd, EPOLLIN, tag_of(slot, generation));
}

/* ---- sockets ---- */

/* The program may close a watched descriptor at any time. -ENOENT tells its owner that the number belongs to another file,
 * which is not watched yet. So a watched descriptor is not added again if it should be in the set. */
static int epoll_set(struct kernel_stack *k, struct kernel_sock *s, bool added, uint32_t interest)
{
    if (added && s->kind == SF_KIND_WATCH)
        return sf_epoll_change(k->epoll_fd, s->fd, epoll_bits(interest), epoll_data(s));
    return sf_epoll_set(k->epoll_fd, s->fd, epoll_bits(interest), epoll_data(s), added);
}

static int kernel_interest(struct sf_sock *sock, uint32_t what)
{
    struct kernel_sock *s = sock_of(sock);
    struct kernel_stack *k = stack_of(sock->stack);
    int rc = 0;

    if (!what) {
        if (s->interest)
            sf_epoll_remove(k->epoll_fd, s->fd);
    } else {
        rc = epoll_set(k, s, s->interest != 0, what);
    }
    sock->stack->touched = true;
    if (rc == 0) {
        sock->stack->watched += (uint32_t)(what != 0) - (uint32_t)(s->interest != 0);
        s->interest = what;
    }
    return rc;
}

static int kernel_adopt(struct sf_stack *stack, int fd, enum sf_sock_kind kind, uint32_t slot, uint32_t generation,
                        struct sf_sock **out)
{
    struct kernel_stack *k = stack_of(stack);
    struct kernel_sock *s = calloc(1, sizeof(*s));
    int domain = AF_UNSPEC;
    socklen_t len = sizeof(domain);

    if (!s)
        return -ENOMEM;
    s->base = (struct sf_sock){.stack = stack, .slot = slot, .generation = generation};
    s->fd = fd;
    s->kind = kind;
    if (kind == SF_KIND_DATAGRAM && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0)
        s->large = domain == AF_UNIX;
    s->next = k->socks;
    if (s->next)
        s->next->prev = s;
    k->socks = s;
    *out = &s->base;
    return 0;
}

static void kernel_release(struct sf_sock *sock)
{
    struct kernel_sock *s = sock_of(sock);
    struct kernel_stack *k = stack_of(sock->stack);

    kernel_interest(sock, 0);
    if (s->prev)
        s->prev->next = s->next;
    else
        k->socks = s->next;
    if (s->next)
        s->next->prev = s->prev;
    free(s);
}

/* ---- streams ---- */

/* Counts the result of a system call that sends. Returns it as the contract of the seam requires. */
static inline ssize_t count_sent(struct sf_sock *sock, ssize_t sent)
{
    struct sf_stack_stats *stats = &sock->stack->stats;

    if (SF_UNLIKELY(sent < 0)) {
        stats->tx_would_block += errno == EAGAIN;
        return -errno;
    }
    sock->stack->touched = true;
    stats->tx_messages++;
    stats->tx_bytes += (uint64_t)sent;
    return sent;
}

static ssize_t kernel_sendv(struct sf_sock *sock, const struct iovec *iov, int n)
{
    int fd = sock_of(sock)->fd;
    ssize_t sent;

    do {
        if (SF_LIKELY(n == 1)) {
            sent = send(fd, iov->iov_base, iov->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
        } else {
            struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n};

            sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        }
    } while (SF_UNLIKELY(sent < 0 && errno == EINTR));
    return count_sent(sock, sent);
}

static ssize_t kernel_recv_into(struct sf_sock *sock, void *buf, size_t len)
{
    struct sf_stack_stats *stats = &sock->stack->stats;
    ssize_t got;

    do {
        got = recv(sock_of(sock)->fd, buf, len, MSG_DONTWAIT);
    } while (SF_UNLIKELY(got < 0 && errno == EINTR));
    if (SF_UNLIKELY(got < 0))
        return -errno;
    stats->rx_messages++;
    stats->rx_bytes += (uint64_t)got;
    return got;
}

static ssize_t kernel_recv_from(struct sf_sock *sock, const struct iovec *iov, int n, struct sockaddr *addr,
                                socklen_t *addr_len)
{
    struct sf_stack_stats *stats = &sock->stack->stats;
    struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n, .msg_name = addr};
    ssize_t got;

    do {
        message.msg_namelen = addr ? *addr_len : 0;
        got = recvmsg(sock_of(sock)->fd, &message, MSG_DONTWAIT);
    } while (SF_UNLIKELY(got < 0 && errno == EINTR));
    if (SF_UNLIKELY(got < 0))
        return -errno;
    if (addr)
        *addr_len = message.msg_namelen;
    stats->rx_messages++;
    stats->rx_bytes += (uint64_t)got;
    return got;
}

static ssize_t kernel_recv_borrow(struct sf_sock *sock, const void **data)
{
    char *scratch = stack_of(sock->stack)->stream_scratch;

    *data = scratch;
    return kernel_recv_into(sock, scratch, STREAM_SCRATCH);
}

static void kernel_recv_done(struct sf_sock *sock, size_t used)
{
    (void)sock;
    (void)used;
}

static int kernel_shutdown_tx(struct sf_sock *sock)
{
    return shutdown(sock_of(sock)->fd, SHUT_WR) < 0 ? -errno : 0;
}

static int kernel_accept(struct sf_sock *sock, struct sockaddr *addr, socklen_t *len)
{
    int fd;

    do {
        fd = accept4(sock_of(sock)->fd, addr, len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED || errno == EPROTO));
    return fd < 0 ? -errno : fd;
}

/* ---- datagrams ---- */

static int batch_allocate(struct kernel_stack *k)
{
    if (k->batch)
        return 0;
    k->batch = calloc(1, sizeof(*k->batch));
    /* 4 MiB of address space. Only the part that datagrams fill takes memory. */
    k->datagram_scratch = malloc((size_t)BATCH * DATAGRAM_STRIDE);
    if (k->batch && k->datagram_scratch)
        return 0;
    free(k->batch);
    free(k->datagram_scratch);
    k->batch = NULL;
    k->datagram_scratch = NULL;
    return -ENOMEM;
}

/* Headers stay from call to call. After recvmmsg(), only the entries that it used are reset. */
static void batch_prepare(struct kernel_stack *k, int joined)
{
    struct batch *b = k->batch;

    if (b->joined == joined)
        return;
    b->joined = joined;
    for (int i = 0; i < BATCH / joined; i++) {
        b->iov[i].iov_base = k->datagram_scratch + (size_t)i * (size_t)joined * DATAGRAM_STRIDE;
        b->iov[i].iov_len = (size_t)joined * DATAGRAM_STRIDE;
        b->header[i].msg_hdr = (struct msghdr){
            .msg_name = &b->addr[i],
            .msg_namelen = sizeof(b->addr[i]),
            .msg_iov = &b->iov[i],
            .msg_iovlen = 1,
        };
    }
}

static int kernel_want_timestamps(struct sf_sock *sock, bool wanted)
{
    int on = wanted;

    if (setsockopt(sock_of(sock)->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) < 0)
        return -errno;
    sock_of(sock)->timestamps = wanted;
    return 0;
}

/* Sets the control buffers for each call, because the kernel changes the headers and other sockets share them. */
static void batch_control(struct batch *b, int n, bool wanted)
{
    for (int i = 0; i < n; i++) {
        b->header[i].msg_hdr.msg_control = wanted ? &b->control[i] : NULL;
        b->header[i].msg_hdr.msg_controllen = wanted ? sizeof(b->control[i]) : 0;
    }
}

static sf_ns timestamp_of(struct msghdr *header)
{
    struct timespec ts;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPNS) {
            memcpy(&ts, CMSG_DATA(c), sizeof(ts));
            return (sf_ns)ts.tv_sec * SF_SEC + ts.tv_nsec;
        }
    return 0;
}

/* Uses recvfrom(), because recvmmsg() would look for a second datagram. */
static int receive_one(const struct kernel_sock *s, struct batch *b, struct sf_datagram *out)
{
    struct sf_stack_stats *stats = &s->base.stack->stats;
    socklen_t addr_len = sizeof(b->addr[0]);
    ssize_t n;

    do {
        n = recvfrom(s->fd, b->iov[0].iov_base, b->iov[0].iov_len, MSG_DONTWAIT, (struct sockaddr *)&b->addr[0], &addr_len);
    } while (SF_UNLIKELY(n < 0 && errno == EINTR));
    if (n < 0)
        return -errno;
    *out = (struct sf_datagram){
        .data = b->iov[0].iov_base, .len = (uint32_t)n, .addr = (struct sockaddr *)&b->addr[0], .addr_len = addr_len};
    stats->rx_messages++;
    stats->rx_bytes += (uint64_t)n;
    return 1;
}

static int kernel_recv_batch(struct sf_sock *sock, struct sf_datagram *out, int max)
{
    struct kernel_sock *s = sock_of(sock);
    struct kernel_stack *k = stack_of(sock->stack);
    struct sf_stack_stats *stats = &sock->stack->stats;
    int joined = s->large ? 4 : 1; /* buffers for one datagram */
    struct batch *b;
    int n;

    if (SF_UNLIKELY(batch_allocate(k) < 0))
        return -ENOMEM;
    b = k->batch;
    batch_prepare(k, joined);
    if (max > BATCH / joined)
        max = BATCH / joined;
    if (SF_UNLIKELY(s->timestamps))
        batch_control(b, max, true);
    else if (max == 1)
        return receive_one(s, b, out);
    do {
        n = recvmmsg(s->fd, b->header, (unsigned)max, MSG_DONTWAIT, NULL);
    } while (SF_UNLIKELY(n < 0 && errno == EINTR));
    if (n < 0)
        n = -errno;
    for (int i = 0; i < n; i++) {
        struct msghdr *header = &b->header[i].msg_hdr;

        out[i] = (struct sf_datagram){
            .data = b->iov[i].iov_base,
            .len = b->header[i].msg_len,
            .addr = (struct sockaddr *)&b->addr[i],
            .addr_len = header->msg_namelen,
            .flags = header->msg_flags,
            .timestamp = s->timestamps ? timestamp_of(header) : 0,
        };
        header->msg_namelen = sizeof(b->addr[i]);
        stats->rx_bytes += b->header[i].msg_len;
    }
    if (SF_UNLIKELY(s->timestamps))
        batch_control(b, max, false);
    if (n > 0)
        stats->rx_messages += (uint64_t)n;
    return n;
}

static ssize_t kernel_send_to(struct sf_sock *sock, const void *data, size_t len, const struct sockaddr *addr,
                              socklen_t addr_len)
{
    ssize_t sent;

    do {
        sent = sendto(sock_of(sock)->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL, addr, addr_len);
    } while (SF_UNLIKELY(sent < 0 && errno == EINTR));
    return count_sent(sock, sent);
}

/* ---- life ---- */

/* Finds watched descriptors that the program has closed, because their numbers may belong to other files by now. A forked
 * child cannot check, because the epoll set is its parent's until it has its own. */
static void find_gone(struct kernel_stack *k)
{
    for (struct kernel_sock *s = k->socks; s; s = s->next)
        s->gone = s->kind == SF_KIND_WATCH && k->owner == getpid() && s->interest &&
                  sf_epoll_change(k->epoll_fd, s->fd, epoll_bits(s->interest), epoll_data(s)) < 0;
}

static int kernel_rebuild(struct sf_stack *stack)
{
    struct kernel_stack *k = stack_of(stack);
    int fd = epoll_create1(EPOLL_CLOEXEC);

    if (fd < 0)
        return -errno;
    find_gone(k);
    close(k->epoll_fd);
    k->epoll_fd = fd;
    k->owner = getpid();
    for (struct kernel_sock *s = k->socks; s; s = s->next)
        if (s->interest && !s->gone)
            epoll_set(k, s, false, s->interest); /* fails for a closed descriptor, which stays out */
    return 0;
}

static void kernel_destroy(struct sf_stack *stack)
{
    struct kernel_stack *k = stack_of(stack);

    while (k->socks)
        kernel_release(&k->socks->base);
    if (k->epoll_fd >= 0)
        close(k->epoll_fd);
    free(k->stream_scratch);
    free(k->datagram_scratch);
    free(k->batch);
    free(k);
}

static const struct sf_stack_ops kernel_ops = {
    .name = "kernel",
    .poll = kernel_poll,
    .poll_at = kernel_poll_at,
    .arm = kernel_arm,
    .disarm = kernel_disarm,
    .wait = kernel_wait,
    .wait_on = kernel_wait_on,
    .rebuild = kernel_rebuild,
    .destroy = kernel_destroy,
    .adopt = kernel_adopt,
    .release = kernel_release,
    .interest = kernel_interest,
    .sendv = kernel_sendv,
    .recv_borrow = kernel_recv_borrow,
    .recv_done = kernel_recv_done,
    .recv_into = kernel_recv_into,
    .recv_from = kernel_recv_from,
    .shutdown_tx = kernel_shutdown_tx,
    .accept = kernel_accept,
    .recv_batch = kernel_recv_batch,
    .send_to = kernel_send_to,
    .want_timestamps = kernel_want_timestamps,
};

/* It has no `create`, because every engine has this stack already. */
const struct sf_stack_entry sf_stack_kernel = {
    .name = "kernel",
    .description = "the system's own sockets, busy polled; any interface, no privileges",
};

struct sf_stack *sf_stack_kernel_create(int *error)
{
    struct kernel_stack *k = calloc(1, sizeof(*k));

    if (!k) {
        *error = -ENOMEM;
        return NULL;
    }
    k->base.ops = &kernel_ops;
    k->owner = getpid();
    kernel_sleep_init(&k->sleep);
    k->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (k->epoll_fd < 0) {
        *error = -errno;
        free(k);
        return NULL;
    }
    k->stream_scratch = malloc(STREAM_SCRATCH);
    if (!k->stream_scratch) {
        *error = -ENOMEM;
        kernel_destroy(&k->base);
        return NULL;
    }
    return &k->base;
}
