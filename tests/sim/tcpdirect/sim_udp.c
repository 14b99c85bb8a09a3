/* UDP. A zfur has a queue of 64 datagrams, a zfut has one destination. */
#define _GNU_SOURCE
#include "sim.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define BATCH 64
#define UDP_MSS 1472
#define DATAGRAM_MAX 65507

SIM_API int zfur_alloc(struct zfur **, struct zf_stack *, const struct zf_attr *);
SIM_API int zfur_free(struct zfur *);
SIM_API int zfur_addr_bind(struct zfur *, struct sockaddr *, socklen_t, const struct sockaddr *, socklen_t, int);
SIM_API int zfur_addr_unbind(struct zfur *, const struct sockaddr *, socklen_t, const struct sockaddr *, socklen_t, int);
SIM_API void zfur_zc_recv(struct zfur *, struct zfur_msg *, int);
SIM_API void zfur_zc_recv_done(struct zfur *, struct zfur_msg *);
SIM_API int zfur_pkt_get_header(struct zfur *, const struct zfur_msg *, const struct iphdr **, const struct udphdr **, int);
SIM_API int zfur_pkt_get_timestamp(struct zfur *, const struct zfur_msg *, struct timespec *, int, unsigned *);
SIM_API struct zf_waitable *zfur_to_waitable(struct zfur *);
SIM_API int zfut_alloc(struct zfut **, struct zf_stack *, const struct sockaddr *, socklen_t, const struct sockaddr *,
                       socklen_t, int, const struct zf_attr *);
SIM_API int zfut_free(struct zfut *);
SIM_API int zfut_get_mss(struct zfut *);
SIM_API int zfut_send_single(struct zfut *, const void *, size_t);
SIM_API int zfut_send(struct zfut *, const struct iovec *, int, int);
SIM_API struct zf_waitable *zfut_to_waitable(struct zfut *);
SIM_API int zf_muxer_del(struct zf_waitable *);

/* ---- receiving ---- */

int zfur_alloc(struct zfur **out, struct zf_stack *stack, const struct zf_attr *attr)
{
    (void)attr;
    SIM_FAULT();
    for (int i = 0; i < stack->max_rx; i++) {
        struct zfur *us = &stack->udp_rx[i];

        if (us->used)
            continue;
        memset(us, 0, sizeof(*us));
        us->used = true;
        us->stack = stack;
        sim_waitable_init(&us->w, stack);
        *out = us;
        return 0;
    }
    return -ENOBUFS;
}

static int open_bind(struct zf_stack *stack, struct sim_bind *b, enum sim_kind kind, void *owner)
{
    const struct sockaddr_in *remote = b->remote.sin_port ? &b->remote : NULL;
    int rc;

    b->fd = sim_backing(SOCK_DGRAM, &b->local, b->remote.sin_port ? 0 : b->remote.sin_addr.s_addr);
    if (b->fd < 0)
        return b->fd;
    b->slot = sim_slot_take(stack, kind, owner);
    if (remote)
        (void)!connect(b->fd, (const struct sockaddr *)remote, sizeof(*remote));
    rc = stack->inner->ops->adopt(stack->inner, b->fd, SF_KIND_DATAGRAM, b->slot, stack->slots[b->slot].generation, &b->inner);
    if (rc == 0)
        rc = stack->inner->ops->interest(b->inner, SF_READABLE);
    if (rc == 0) {
        b->used = true;
        return 0;
    }
    sim_slot_give(stack, b->slot);
    close(b->fd);
    return rc == -EOPNOTSUPP ? -EADDRNOTAVAIL : rc;
}

static void close_bind(struct zf_stack *stack, struct sim_bind *b)
{
    stack->inner->ops->release(b->inner);
    sim_slot_give(stack, b->slot);
    close(b->fd);
    b->used = false;
    stack->binds++;
}

static bool same(const struct sim_bind *b, const struct sockaddr_in *local, const struct sockaddr_in *remote)
{
    struct sockaddr_in any = {0};

    if (!remote)
        remote = &any;
    return b->used && b->local.sin_addr.s_addr == local->sin_addr.s_addr && b->local.sin_port == local->sin_port &&
           b->remote.sin_addr.s_addr == remote->sin_addr.s_addr && b->remote.sin_port == remote->sin_port;
}

static bool is_taken(struct zf_stack *stack, const struct sockaddr_in *local, const struct sockaddr_in *remote)
{
    for (int i = 0; i < SIM_ZOCKETS; i++)
        for (int j = 0; j < SIM_BINDS && stack->udp_rx[i].used; j++)
            if (same(&stack->udp_rx[i].bind[j], local, remote))
                return true;
    return false;
}

int zfur_addr_bind(struct zfur *us, struct sockaddr *local_sa, socklen_t len, const struct sockaddr *remote_sa,
                   socklen_t remote_len, int flags)
{
    struct sockaddr_in *local = (struct sockaddr_in *)local_sa;
    const struct sockaddr_in *remote = (const struct sockaddr_in *)remote_sa;
    int rc = sim_check_address(local_sa, len);

    SIM_FAULT();
    SIM_MUST(flags == 0, "flags must be zero");
    if (rc == 0 && remote)
        rc = sim_check_address(remote_sa, remote_len);
    if (rc < 0)
        return rc;
    if (!local->sin_addr.s_addr)
        return -EINVAL;
    if (remote && !remote->sin_port && (ntohl(local->sin_addr.s_addr) >> 28) != 14)
        return -EINVAL;
    if (is_taken(us->stack, local, remote))
        return -EADDRINUSE;
    for (int i = 0; i < SIM_BINDS; i++) {
        struct sim_bind *b = &us->bind[i];

        if (b->used)
            continue;
        *b = (struct sim_bind){.local = *local};
        if (remote)
            b->remote = *remote;
        rc = open_bind(us->stack, b, SIM_UDP, us);
        local->sin_port = b->local.sin_port;
        us->stack->binds++;
        us->bound += rc == 0;
        return rc;
    }
    return -EBUSY;
}

int zfur_addr_unbind(struct zfur *us, const struct sockaddr *local, socklen_t len, const struct sockaddr *remote,
                     socklen_t remote_len, int flags)
{
    (void)len;
    (void)remote_len;
    SIM_MUST(flags == 0, "flags must be zero");
    for (int i = 0; i < SIM_BINDS; i++) {
        if (!same(&us->bind[i], (const struct sockaddr_in *)local, (const struct sockaddr_in *)remote))
            continue;
        close_bind(us->stack, &us->bind[i]);
        us->bound--;
        return 0;
    }
    return -EINVAL;
}

/* Returns a packet buffer of the stack. Buffers are used again, and freed only with the stack. */
static char *sim_buffer(struct zf_stack *stack, uint32_t zocket, uint32_t slot)
{
    char **buffer = &stack->buffers[zocket * SIM_QUEUE + slot];

    if (!*buffer)
        *buffer = malloc(65536);
    return *buffer;
}

static void keep(struct zfur *us, const struct sf_datagram *from, const struct sockaddr_in *to)
{
    uint32_t slot = (uint32_t)(us->first + us->count) % SIM_QUEUE;
    struct sim_datagram *d = &us->queue[slot];
    const struct sockaddr_in *sender = (const struct sockaddr_in *)from->addr;

    if (us->count == SIM_QUEUE) {
        us->dropped++; /* no report, as in TCPDirect */
        return;
    }
    *d = (struct sim_datagram){.data = sim_buffer(us->stack, (uint32_t)(us - us->stack->udp_rx), slot), .len = from->len};
    sim_copy(d->data, from->data, from->len);
    d->ip = (struct iphdr){.version = 4, .ihl = 5, .saddr = sender->sin_addr.s_addr, .daddr = to->sin_addr.s_addr};
    d->udp.source = sender->sin_port;
    d->udp.dest = to->sin_port;
    if (us->stack->timestamps)
        clock_gettime(CLOCK_REALTIME, &d->timestamp);
    us->count++;
}

int sim_udp_event(struct zfur *us)
{
    struct sf_datagram batch[BATCH];
    int before = us->count;

    for (int i = 0, seen = 0; i < SIM_BINDS && seen < us->bound; i++) {
        struct sim_bind *b = &us->bind[i];
        int n = b->used ? BATCH : 0;

        seen += b->used;
        while (n == BATCH) {
            n = us->stack->inner->ops->recv_batch(b->inner, batch, BATCH);
            for (int j = 0; j < n; j++)
                keep(us, &batch[j], &b->local);
        }
    }
    if (us->count == before)
        return 0;
    sim_mark(&us->w, EPOLLIN);
    return 1;
}

void zfur_zc_recv(struct zfur *us, struct zfur_msg *msg, int flags)
{
    SIM_MUST(!flags && msg->iovcnt > 0, "flags must be zero, with room for a datagram");
    SIM_MUST(!us->lent, "the datagram of the last call is not done");
    msg->iovcnt = us->lent = us->count > 0;
    msg->dgrams_left = us->count - us->lent;
    if (us->lent)
        msg->iov[0] = (struct iovec){.iov_base = us->queue[us->first].data, .iov_len = us->queue[us->first].len};
}

/* Overwrites the lent bytes, so that a program that still reads them fails its test. */
void zfur_zc_recv_done(struct zfur *us, struct zfur_msg *msg)
{
    struct sim_datagram *d = &us->queue[us->first];

    SIM_MUST(us->lent && msg->iovcnt == 1, "nothing is lent, or msg was changed");
    memset(d->data, 0xdd, d->len);
    us->lent = 0;
    us->first = (us->first + 1) % SIM_QUEUE;
    us->count--;
    if (!us->count)
        sim_unmark(&us->w, EPOLLIN);
}

int zfur_pkt_get_header(struct zfur *us, const struct zfur_msg *msg, const struct iphdr **ip, const struct udphdr **udp,
                        int index)
{
    SIM_MUST(us->lent, "nothing is lent");
    if (index < 0 || index >= msg->iovcnt)
        return -EINVAL;
    *ip = &us->queue[us->first].ip;
    *udp = &us->queue[us->first].udp;
    return 0;
}

int zfur_pkt_get_timestamp(struct zfur *us, const struct zfur_msg *msg, struct timespec *out, int index, unsigned *flags)
{
    (void)msg;
    (void)index;
    SIM_FAULT();
    SIM_MUST(us->lent && us->stack->timestamps, "nothing is lent, or rx_timestamping is 0");
    *out = us->queue[us->first].timestamp;
    *flags = 3;
    return 0;
}

struct zf_waitable *zfur_to_waitable(struct zfur *us)
{
    return &us->w;
}

int zfur_free(struct zfur *us)
{
    SIM_MUST(us->used, "freed twice");
    zf_muxer_del(&us->w);
    for (int i = 0; i < SIM_BINDS; i++)
        if (us->bind[i].used)
            close_bind(us->stack, &us->bind[i]);
    us->used = false;
    return 0;
}

/* ---- sending ---- */

int zfut_alloc(struct zfut **out, struct zf_stack *stack, const struct sockaddr *local, socklen_t len,
               const struct sockaddr *remote, socklen_t remote_len, int flags, const struct zf_attr *attr)
{
    int rc = sim_check_address(local, len);

    SIM_FAULT();
    SIM_MUST(flags == 0 && attr, "flags must be zero, and attr must be given");
    if (rc == 0)
        rc = sim_check_address(remote, remote_len);
    if (rc < 0)
        return rc;
    if (!((const struct sockaddr_in *)local)->sin_port || !((const struct sockaddr_in *)remote)->sin_port)
        return -EINVAL;
    for (int i = 0; i < stack->max_tx; i++) {
        struct zfut *us = &stack->udp_tx[i];

        if (us->used)
            continue;
        *us = (struct zfut){.used = true, .stack = stack};
        memcpy(&us->local, local, sizeof(us->local));
        memcpy(&us->remote, remote, sizeof(us->remote));
        sim_waitable_init(&us->w, stack);
        sim_mark(&us->w, EPOLLOUT);
        *out = us;
        return 0;
    }
    return -ENOBUFS;
}

/* Returns the inner stack's socket that has the local address: a zfur's, or one of the zfut's own. */
static struct sf_sock *sender_of(struct zfut *us)
{
    struct zf_stack *stack = us->stack;

    if (us->inner && us->binds == stack->binds)
        return us->inner;
    us->binds = stack->binds;
    us->inner = NULL;
    for (int i = 0; i < SIM_ZOCKETS && !us->inner; i++)
        for (int j = 0; j < SIM_BINDS && stack->udp_rx[i].used; j++)
            if (stack->udp_rx[i].bind[j].used && stack->udp_rx[i].bind[j].local.sin_port == us->local.sin_port &&
                stack->udp_rx[i].bind[j].local.sin_addr.s_addr == us->local.sin_addr.s_addr)
                us->inner = stack->udp_rx[i].bind[j].inner;
    if (us->inner || us->own.used) {
        us->inner = us->inner ? us->inner : us->own.inner;
        return us->inner;
    }
    us->own = (struct sim_bind){.local = us->local};
    if (open_bind(stack, &us->own, SIM_NONE, NULL) == 0)
        us->inner = us->own.inner;
    return us->inner;
}

static int transmit(struct zfut *us, const void *data, size_t len)
{
    struct sf_sock *inner = sender_of(us);
    ssize_t rc = inner ? us->stack->inner->ops->send_to(inner, data, len, (struct sockaddr *)&us->remote, sizeof(us->remote))
                       : -ENOBUFS;

    if (rc != -EAGAIN)
        return (int)rc;
    if (!us->blocked) {
        us->blocked = true;
        us->stack->waiting++;
        sim_unmark(&us->w, EPOLLOUT);
    }
    return -EAGAIN;
}

int sim_udp_look(struct zf_stack *stack)
{
    int visible = 0;

    for (int i = 0; i < stack->max_tx; i++) {
        struct zfut *us = &stack->udp_tx[i];

        if (!us->used || !us->blocked)
            continue;
        us->blocked = false;
        stack->waiting--;
        sim_mark(&us->w, EPOLLOUT);
        visible = 1;
    }
    return visible;
}

int zfut_send_single(struct zfut *us, const void *data, size_t len)
{
    SIM_FAULT();
    SIM_MUST(len <= UDP_MSS, "len exceeds zfut_get_mss(), and the real library would overrun a buffer");
    return transmit(us, data, len);
}

int zfut_send(struct zfut *us, const struct iovec *iov, int n, int flags)
{
    SIM_FAULT();
    SIM_MUST(n == 1, "sfloop sends one piece");
    if ((flags & ZFUT_FLAG_DONT_FRAGMENT && iov->iov_len > UDP_MSS) || iov->iov_len > DATAGRAM_MAX)
        return -EMSGSIZE;
    return transmit(us, iov->iov_base, iov->iov_len);
}

int zfut_get_mss(struct zfut *us)
{
    (void)us;
    return UDP_MSS;
}

struct zf_waitable *zfut_to_waitable(struct zfut *us)
{
    return &us->w;
}

int zfut_free(struct zfut *us)
{
    SIM_MUST(us->used, "freed twice");
    zf_muxer_del(&us->w);
    if (us->blocked)
        us->stack->waiting--;
    if (us->own.used)
        close_bind(us->stack, &us->own);
    us->used = false;
    return 0;
}
