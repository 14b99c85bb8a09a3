/*
 * Sending UDP. A zfut has one destination, and there are 64 at most. A zfut is created at the first send to a destination and
 * kept. The least recently used one makes room for another. The kernel socket sends what no zfut can, with the same addresses.
 */
#define _GNU_SOURCE
#include "stack.h"

#include <errno.h>

#define KERNEL_FOR (20 * SF_MS) /* without a neighbour, because the kernel's send asks for it too */
#define LOOK_AGAIN SF_SEC       /* at routes and options */
#define DATAGRAM_MAX 65507

static int option(int fd, int name, int otherwise)
{
    int value = otherwise;
    socklen_t len = sizeof(value);

    return getsockopt(fd, IPPROTO_IP, name, &value, &len) < 0 ? otherwise : value;
}

/* ---- destinations ---- */

void td_destination_free(struct td_stack *t, struct td_destination *d)
{
    if (!d->owner)
        return;
    if (d->owner->udp.latest == d)
        d->owner->udp.latest = NULL;
    if (d->owner->udp.blocked == d) {
        d->owner->udp.blocked = NULL;
        td_raise(d->owner, SF_WRITABLE);
    }
    if (d->ut) {
        td_unwatch(t, d->tag);
        if (!t->dead)
            t->zf.zfut_free(d->ut);
    }
    *d = (struct td_destination){0};
}

void td_destinations_forget(struct td_stack *t, const struct td_sock *owner)
{
    for (uint32_t i = 0; i < t->max_destinations; i++)
        if (t->destinations[i].owner == owner)
            td_destination_free(t, &t->destinations[i]);
}

void td_destination_event(struct td_stack *t, struct td_destination *d)
{
    (void)t;
    if (!d->owner || d->owner->udp.blocked != d)
        return;
    d->owner->udp.blocked = NULL;
    td_retry(d->owner, false);
    td_raise(d->owner, SF_WRITABLE);
}

static struct td_destination *find_or_take(struct td_sock *s, uint32_t addr, uint16_t port)
{
    struct td_stack *t = td_stack_of(s);
    struct td_destination *oldest = t->destinations;

    for (uint32_t i = 0; i < t->max_destinations; i++) {
        struct td_destination *d = &t->destinations[i];

        if (d->owner == s && d->addr == addr && d->port == port)
            return d;
        if (oldest->owner && (!d->owner || d->used < oldest->used))
            oldest = d;
    }
    if (oldest->owner) {
        td_count(t, TD_COUNT_TX_EVICTED);
        td_destination_free(t, oldest);
    }
    *oldest = (struct td_destination){.owner = s, .addr = addr, .port = port, .tag = UINT32_MAX};
    return oldest;
}

/* True if a group's datagrams are ours: the program has named our interface by its address and wants no copy for this machine,
 * because TCPDirect makes none. */
static bool group_is_ours(struct td_stack *t, int fd, uint32_t *src)
{
    struct in_addr interface = {0};
    socklen_t len = sizeof(interface);

    if (getsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &interface, &len) < 0 || !td_owns(t, interface.s_addr))
        return false;
    if (!*src)
        *src = interface.s_addr;
    return t->loopback || !option(fd, IP_MULTICAST_LOOP, 1);
}

static bool route(struct td_sock *s, struct td_destination *d, uint32_t *src)
{
    struct td_stack *t = td_stack_of(s);

    if (td_is_multicast(d->addr)) {
        if (group_is_ours(t, s->udp.fd, src))
            return true;
        td_count(t, TD_COUNT_TX_SIDE_MULTICAST);
        return false;
    }
    if (td_reaches(t, d->addr, src))
        return true;
    td_count(t, TD_COUNT_TX_SIDE_ROUTE);
    return false;
}

static int make_zfut(struct td_sock *s, struct td_destination *d, uint32_t src, int ttl)
{
    struct td_stack *t = td_stack_of(s);
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr.s_addr = src, .sin_port = s->udp.local_port};
    struct sockaddr_in remote = {.sin_family = AF_INET, .sin_addr.s_addr = d->addr, .sin_port = d->port};
    int rc;

    if (t->attr_ttl != ttl && t->zf.zf_attr_set_int(t->attr, "udp_ttl", ttl) == 0)
        t->attr_ttl = ttl;
    rc = t->zf.zfut_alloc(&d->ut, t->zs, (const struct sockaddr *)&local, sizeof(local), (const struct sockaddr *)&remote,
                          sizeof(remote), 0, t->attr);
    if (rc < 0) {
        d->ut = NULL;
        return rc;
    }
    rc = td_watch(t, t->zf.zfut_to_waitable(d->ut), EPOLLOUT, TD_TAG_DESTINATION, d, &d->tag);
    if (rc < 0) {
        t->zf.zfut_free(d->ut);
        d->ut = NULL;
        return rc;
    }
    d->mss = (uint32_t)t->zf.zfut_get_mss(d->ut);
    d->ttl = (uint8_t)ttl;
    return 0;
}

/* Creates the zfut, or leaves the destination to the kernel for a while. */
static void resolve(struct td_sock *s, struct td_destination *d)
{
    struct td_stack *t = td_stack_of(s);
    uint32_t src = td_is_multicast(s->udp.local_addr) ? 0 : s->udp.local_addr;
    int ttl = td_is_multicast(d->addr) ? option(s->udp.fd, IP_MULTICAST_TTL, 1) : option(s->udp.fd, IP_TTL, 64);
    bool ours = route(s, d, &src);

    d->until = t->now + LOOK_AGAIN;
    if (d->ut && ours && d->ttl == ttl)
        return;
    if (d->ut) {
        td_unwatch(t, d->tag);
        t->zf.zfut_free(d->ut);
        d->ut = NULL;
    }
    if (!ours || ttl < 1)
        return;
    switch (make_zfut(s, d, src, ttl)) {
    case 0:
        return;
    case -EHOSTUNREACH:
        td_count(t, TD_COUNT_TX_SIDE_UNRESOLVED);
        break;
    default:
        td_count(t, TD_COUNT_TX_SIDE_FULL);
    }
    d->until = t->now + KERNEL_FOR;
}

/* ---- sending ---- */

static ssize_t blocked(struct td_sock *s, struct td_destination *d)
{
    struct td_stack *t = td_stack_of(s);

    t->base.stats.tx_would_block++;
    s->udp.blocked = d;
    td_clear(s, SF_WRITABLE);
    td_retry(s, true);
    return -EAGAIN;
}

static ssize_t by_kernel(struct td_sock *s, const void *data, size_t len, const struct sockaddr *addr, socklen_t addr_len)
{
    struct td_udp *u = &s->udp;
    ssize_t rc = u->side->stack->ops->send_to(u->side, data, len, addr, addr_len);

    if (rc == -EAGAIN) {
        u->blocked_by_side = true;
        td_udp_interest(s);
        td_clear(s, SF_WRITABLE);
    }
    return rc;
}

static ssize_t direct(struct td_sock *s, struct td_destination *d, const void *data, size_t len)
{
    struct td_stack *t = td_stack_of(s);
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    int rc;

    if (SF_LIKELY(len <= d->mss))
        rc = t->zf.zfut_send_single(d->ut, data, len); /* this call does not check the length */
    else
        rc = t->zf.zfut_send(d->ut, &iov, 1, 0);
    if (SF_LIKELY(rc >= 0)) {
        t->base.stats.tx_messages++;
        t->base.stats.tx_bytes += len;
        return (ssize_t)len;
    }
    return rc == -EAGAIN || rc == -ENOBUFS || rc == -ENOMEM ? blocked(s, d) : rc;
}

ssize_t td_send_to(struct sf_sock *sock, const void *data, size_t len, const struct sockaddr *addr, socklen_t addr_len)
{
    struct td_sock *s = td_sock_of(sock);
    struct td_stack *t = td_stack_of(s);
    struct td_destination *d = s->udp.latest;
    uint32_t to = s->udp.remote_addr;
    uint16_t port = s->udp.remote_port;

    if (addr) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)addr;

        if (SF_UNLIKELY(addr_len < sizeof(*in) || in->sin_family != AF_INET))
            return by_kernel(s, data, len, addr, addr_len); /* for the right errno */
        to = in->sin_addr.s_addr;
        port = in->sin_port;
    }
    if (SF_UNLIKELY(!to || !port || len > DATAGRAM_MAX || t->dead))
        return by_kernel(s, data, len, addr, addr_len);
    if (SF_UNLIKELY(!d || d->addr != to || d->port != port))
        d = s->udp.latest = find_or_take(s, to, port);
    d->used = ++t->uses;
    if (SF_UNLIKELY(t->now >= d->until))
        resolve(s, d);
    if (SF_UNLIKELY(!d->ut))
        return by_kernel(s, data, len, addr, addr_len);
    return direct(s, d, data, len);
}
