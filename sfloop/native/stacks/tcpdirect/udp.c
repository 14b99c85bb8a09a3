/*
 * Receiving UDP. A zfur receives datagrams that the NIC brings for the socket's address. The kernel socket beside it receives the
 * rest: fragments, which no filter matches and the kernel reassembles, this machine's own datagrams, and ICMP errors.
 */
#define _GNU_SOURCE
#include "stack.h"

#include "storage/kernel_socket.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <string.h>

/* ---- opening ---- */

static bool bound_elsewhere(const struct td_stack *t, int fd)
{
    char name[IF_NAMESIZE];

    return sf_kernel_socket_device(fd, name) && strcmp(name, t->interface) != 0;
}

static int read_names(struct td_udp *u)
{
    struct sockaddr_in local, remote = {0};
    socklen_t len = sizeof(remote);
    int rc = sf_kernel_socket_reserve(u->fd, &local);

    if (rc < 0)
        return rc;
    u->local_addr = local.sin_addr.s_addr;
    u->local_port = local.sin_port;
    if (getpeername(u->fd, (struct sockaddr *)&remote, &len) == 0 && remote.sin_family == AF_INET) {
        u->remote_addr = remote.sin_addr.s_addr;
        u->remote_port = remote.sin_port;
    }
    return 0;
}

static int bind_at(struct td_stack *t, struct td_udp *u, uint32_t addr)
{
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr.s_addr = addr, .sin_port = u->local_port};
    struct sockaddr_in remote = {.sin_family = AF_INET, .sin_addr.s_addr = u->remote_addr, .sin_port = u->remote_port};
    bool connected = u->remote_addr && u->remote_port;
    int before = 0, rc, hint;
    socklen_t len = sizeof(before);

    getsockopt(u->fd, SOL_SOCKET, SO_REUSEADDR, &before, &len);
    setsockopt(u->fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    hint = td_backing_hint();
    rc = t->zf.zfur_addr_bind(u->ur, (struct sockaddr *)&local, sizeof(local),
                              connected ? (struct sockaddr *)&remote : NULL, connected ? sizeof(remote) : 0, 0);
    setsockopt(u->fd, SOL_SOCKET, SO_REUSEADDR, &before, sizeof(before));
    if (rc == 0)
        td_backing_mute(td_backing_find(hint, u->fd, SOCK_DGRAM, &local), &local);
    return rc;
}

static int bind_everywhere(struct td_stack *t, struct td_udp *u)
{
    int rc = 0;

    if (td_is_multicast(u->local_addr))
        return 0; /* bound when a group is joined */
    if (u->local_addr)
        return bind_at(t, u, u->local_addr);
    for (int i = 0; i < t->n_addrs && rc == 0; i++)
        rc = bind_at(t, u, t->addrs[i]);
    return rc;
}

static int open_side(struct td_stack *t, struct td_sock *s)
{
    struct td_udp *u = &s->udp;
    uint32_t i = 0;
    int rc;

    while (i < TD_DESTINATIONS && t->sides[i])
        i++;
    if (i == TD_DESTINATIONS)
        return -ENOBUFS;
    rc = t->side->ops->adopt(t->side, u->fd, SF_KIND_DATAGRAM, i, t->side_generation[i], &u->side);
    if (rc < 0)
        return rc;
    t->sides[i] = s;
    t->n_sides++;
    u->side_index = i;
    u->side_ready = true; /* for datagrams between bind() and the filter */
    t->due = 0;
    return 0;
}

static int open_zocket(struct td_stack *t, struct td_sock *s)
{
    struct td_udp *u = &s->udp;
    int rc = t->zf.zfur_alloc(&u->ur, t->zs, t->attr);

    if (rc < 0) {
        u->ur = NULL;
        td_count(t, TD_COUNT_ZOCKETS_FULL);
        return rc;
    }
    rc = td_watch(t, t->zf.zfur_to_waitable(u->ur), EPOLLIN, TD_TAG_SOCK, s, &s->tag);
    if (rc == 0)
        rc = bind_everywhere(t, u);
    return rc;
}

static bool is_ours(struct td_stack *t, const struct td_udp *u)
{
    uint32_t src = td_is_multicast(u->local_addr) ? 0 : u->local_addr;

    if (u->local_addr && !td_is_multicast(u->local_addr) && !td_owns(t, u->local_addr))
        return false;
    return !u->remote_addr || td_is_multicast(u->remote_addr) || td_reaches(t, u->remote_addr, &src);
}

int td_udp_open(struct td_stack *t, int fd, uint32_t slot, uint32_t generation, struct sf_sock **out)
{
    struct td_sock *s;
    int rc;

    if (!td_is_ipv4(fd, SOCK_DGRAM) || bound_elsewhere(t, fd) || td_port_is_shared(fd))
        return -EOPNOTSUPP;
    s = td_sock_new(t, SF_KIND_DATAGRAM, slot, generation);
    if (!s)
        return -ENOMEM;
    s->udp.fd = fd;
    s->udp.msg = (struct zfur_msg *)(void *)s->udp.msg_space;
    rc = read_names(&s->udp);
    if (rc == 0)
        rc = is_ours(t, &s->udp) ? open_side(t, s) : -EOPNOTSUPP;
    if (rc == 0)
        rc = open_zocket(t, s);
    if (rc < 0) {
        td_udp_release(s);
        return rc;
    }
    s->udp.multicast = !s->udp.local_addr || td_is_multicast(s->udp.local_addr);
    td_groups_refresh(s);
    td_raise(s, SF_READABLE | SF_WRITABLE);
    *out = &s->base;
    return 0;
}

static void done(struct td_stack *t, struct td_udp *u)
{
    if (u->lent && !t->dead)
        t->zf.zfur_zc_recv_done(u->ur, u->msg);
    u->lent = false;
}

void td_udp_release(struct td_sock *s)
{
    struct td_stack *t = td_stack_of(s);
    struct td_udp *u = &s->udp;

    done(t, u);
    td_destinations_forget(t, s);
    td_unwatch(t, s->tag);
    if (u->ur && !t->dead)
        t->zf.zfur_free(u->ur);
    if (u->side) {
        u->side->stack->ops->release(u->side);
        t->sides[u->side_index] = NULL;
        t->side_generation[u->side_index]++;
        t->n_sides--;
    }
    td_sock_free(s);
}

/* Watches the kernel socket for reading only while the program reads, because datagrams of a paused socket would keep the loop
 * awake. */
int td_udp_interest(struct td_sock *s)
{
    struct td_udp *u = &s->udp;

    return u->side->stack->ops->interest(u->side, (s->interest & SF_READABLE ? SF_READABLE : 0) |
                                                      (u->blocked_by_side ? SF_WRITABLE : 0));
}

/* ---- receiving ---- */

static sf_ns timestamp_of(struct td_stack *t, struct td_udp *u)
{
    struct timespec ts;
    unsigned flags;

    if (!t->timestamps || !u->timestamps || t->zf.zfur_pkt_get_timestamp(u->ur, u->msg, &ts, 0, &flags) < 0)
        return 0;
    return (sf_ns)ts.tv_sec * SF_SEC + ts.tv_nsec;
}

static void read_sender(struct td_stack *t, struct td_udp *u, struct sockaddr_in *from)
{
    const struct iphdr *ip;
    const struct udphdr *udp;

    *from = (struct sockaddr_in){.sin_family = AF_INET};
    if (t->zf.zfur_pkt_get_header(u->ur, u->msg, &ip, &udp, 0) < 0)
        return;
    from->sin_addr.s_addr = ip->saddr;
    from->sin_port = udp->source;
}

/*
 * The library returns one datagram at a time. The last of a batch stays in place until the next call. Earlier ones are copied,
 * because asking for the next one returns the one before.
 */
static int receive_direct(struct td_stack *t, struct td_sock *s, struct sf_datagram *out, int max)
{
    struct td_udp *u = &s->udp;
    struct zfur_msg *msg = u->msg;
    size_t copied = 0, len;
    int n = 0, left = 1;

    while (n < max && n < TD_PACKETS && left) {
        msg->iovcnt = 1;
        t->zf.zfur_zc_recv(u->ur, msg, 0);
        if (!msg->iovcnt)
            break;
        len = msg->iov[0].iov_len;
        left = msg->dgrams_left;
        if (left && len > sizeof(t->scratch) - copied)
            left = 0;
        u->lent = true;
        read_sender(t, u, &t->from[n]);
        out[n] = (struct sf_datagram){.data = msg->iov[0].iov_base, .len = (uint32_t)len, .addr_len = sizeof(t->from[n]),
                                      .addr = (const struct sockaddr *)&t->from[n], .timestamp = timestamp_of(t, u)};
        if (left && n + 1 < max && n + 1 < TD_PACKETS) {
            memcpy(t->scratch + copied, msg->iov[0].iov_base, len);
            out[n].data = t->scratch + copied;
            copied += len;
            done(t, u);
        }
        t->base.stats.rx_bytes += len;
        n++;
        if (u->lent)
            break;
    }
    if (!n || !msg->dgrams_left)
        td_clear(s, SF_READABLE); /* the next datagram makes an edge */
    return n;
}

int td_recv_batch(struct sf_sock *sock, struct sf_datagram *out, int max)
{
    struct td_sock *s = td_sock_of(sock);
    struct td_stack *t = td_stack_of(s);
    struct td_udp *u = &s->udp;
    int n = 0;

    done(t, u);
    if (SF_LIKELY(!t->dead))
        n = receive_direct(t, s, out, max);
    if (u->side_ready)
        td_raise(s, SF_READABLE);
    if (SF_LIKELY(n > 0)) {
        t->base.stats.rx_messages += (uint64_t)n;
        return n;
    }
    if (!u->side_ready)
        return -EAGAIN;
    n = u->side->stack->ops->recv_batch(u->side, out, max);
    if (n == -EAGAIN || (n > 0 && n < max))
        u->side_ready = false;
    if (!u->side_ready)
        td_clear(s, SF_READABLE);
    if (n <= 0)
        return n;
    t->counters[TD_COUNT_RX_SIDE] += (uint64_t)n;
    t->base.stats.rx_messages += (uint64_t)n;
    for (int i = 0; i < n; i++)
        t->base.stats.rx_bytes += out[i].len;
    return n;
}

int td_want_timestamps(struct sf_sock *sock, bool wanted)
{
    struct td_udp *u = &td_sock_of(sock)->udp;

    u->timestamps = wanted;
    return u->side->stack->ops->want_timestamps(u->side, wanted);
}

/* ---- the kernel sockets beside ---- */

void td_sides_poll(struct td_stack *t)
{
    struct sf_event events[TD_DESTINATIONS];
    int n = t->side->ops->poll(t->side, t->now, events, TD_DESTINATIONS);

    for (int i = 0; i < n; i++) {
        struct td_sock *s = events[i].slot < TD_DESTINATIONS ? t->sides[events[i].slot] : NULL;

        if (!s || t->side_generation[events[i].slot] != events[i].generation)
            continue;
        if (events[i].what & SF_READABLE) {
            s->udp.side_ready = true;
            td_raise(s, SF_READABLE);
        }
        if (events[i].what & SF_WRITABLE) {
            s->udp.blocked_by_side = false;
            td_udp_interest(s);
            td_raise(s, SF_WRITABLE);
        }
    }
}

void td_udp_tick(struct td_sock *s)
{
    struct td_stack *t = td_stack_of(s);

    if (s->udp.multicast && t->now >= s->udp.groups_due)
        td_groups_refresh(s);
    if (s->retry) {
        td_retry(s, false);
        s->udp.blocked = NULL;
        td_raise(s, SF_WRITABLE);
    }
}
