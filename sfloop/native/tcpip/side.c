/*
 * The kernel sockets beside ours (side sockets). While the loop is hot, one epoll_wait() polls all of them every 20 us. During a
 * sleep they wake the loop. A side socket is watched for reading only while the program reads, because datagrams of a paused
 * socket would keep the loop awake.
 */
#define _GNU_SOURCE
#include "tcpip.h"

#include "storage/kernel_socket.h"
#include "storage/stale_events.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 64
#define EVENTS 64
#define STRIDE (65536 + 3 * SF_CACHE_LINE)

/* A timestamp, an interface index and a fragment size, each with its header. On an IPv6 socket the program may have asked for the
 * interface (IPV6_RECVPKTINFO), which the kernel writes before ours. */
#define CONTROL 192

#ifndef IP_RECVFRAGSIZE
#define IP_RECVFRAGSIZE 25
#endif

struct sf_side_scratch {
    struct mmsghdr header[BATCH];
    struct iovec iov[BATCH];
    union sf_socket_name addr[BATCH];
    _Alignas(struct cmsghdr) char control[BATCH][CONTROL];
    char bytes[BATCH][STRIDE]; /* 4 MiB of address space; only the part that datagrams fill takes memory */
};

int sf_sides_open(struct sf_sides *sides)
{
    sides->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return sides->epoll_fd < 0 ? -errno : 0;
}

void sf_sides_close(struct sf_sides *sides)
{
    if (sides->epoll_fd >= 0)
        close(sides->epoll_fd);
    sides->epoll_fd = -1;
    free(sides->scratch);
    sides->scratch = NULL;
}

/* ---- readiness ---- */

int sf_side_watch(struct sf_udp_socket *s)
{
    const struct sf_tcpip *t = s->tcpip;
    uint32_t bits = (s->interest & SF_UDP_READABLE ? (uint32_t)EPOLLIN : 0) |
                    (s->interest & SF_UDP_WRITABLE && s->blocked_by_side ? (uint32_t)EPOLLOUT : 0);
    int rc = 0;

    if (bits == s->side_watched)
        return 0;
    if (!bits)
        sf_epoll_remove(t->sides.epoll_fd, s->fd);
    else
        rc = sf_epoll_set(t->sides.epoll_fd, s->fd, bits, (uint64_t)t->generations[s->id] << 32 | s->id, s->side_watched != 0);
    if (rc == 0)
        s->side_watched = bits;
    return rc;
}

/* Creates a new epoll set with the same sockets. */
static int rebuild(struct sf_tcpip *t)
{
    int fd = epoll_create1(EPOLL_CLOEXEC), rc;

    if (fd < 0)
        return -errno;
    rc = sf_tcpip_watch(t, fd, SF_WAKE_SIDES);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    close(t->sides.epoll_fd); /* also removes it from the outer set */
    t->sides.epoll_fd = fd;
    for (uint32_t i = 0; i < t->n_sockets; i++) {
        if (!t->sockets[i])
            continue;
        t->sockets[i]->side_watched = 0;
        sf_side_watch(t->sockets[i]); /* fails for a closed descriptor, which stays out */
    }
    return 0;
}

/* Handles an event without a socket. Its descriptor was closed while a duplicate of it is open, so only a new epoll set ends
 * its events. */
static void stale(struct sf_tcpip *t)
{
    sf_count(t, SF_COUNT_SIDE_STALE);
    if (sf_stale_event(&t->sides.stale))
        rebuild(t);
}

void sf_sides_poll(struct sf_tcpip *t)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(t->sides.epoll_fd, events, EVENTS, 0);

    for (int i = 0; i < n; i++) {
        uint32_t id = (uint32_t)events[i].data.u64;
        struct sf_udp_socket *s = id < t->n_sockets ? t->sockets[id] : NULL;

        if (SF_UNLIKELY(!s || t->generations[id] != (uint32_t)(events[i].data.u64 >> 32))) {
            stale(t);
            continue;
        }
        if (events[i].events & EPOLLERR)
            sf_side_errors(s);
        if (events[i].events & EPOLLOUT)
            s->blocked = s->blocked_by_side = false;
        if (events[i].events & EPOLLIN)
            s->side_ready = true;
        sf_udp_update(s);
        if (events[i].events & EPOLLOUT)
            sf_side_watch(s);
    }
}

/* ---- receiving ---- */

static struct sf_side_scratch *scratch_of(struct sf_tcpip *t)
{
    struct sf_side_scratch *scratch = t->sides.scratch;

    if (scratch)
        return scratch;
    scratch = malloc(sizeof(*scratch));
    if (!scratch)
        return NULL;
    memset(scratch, 0, offsetof(struct sf_side_scratch, bytes));
    for (int i = 0; i < BATCH; i++) {
        scratch->iov[i] = (struct iovec){.iov_base = scratch->bytes[i], .iov_len = STRIDE};
        scratch->header[i].msg_hdr = (struct msghdr){
            .msg_name = &scratch->addr[i],
            .msg_namelen = sizeof(scratch->addr[i]),
            .msg_iov = &scratch->iov[i],
            .msg_iovlen = 1,
        };
    }
    t->sides.scratch = scratch;
    return scratch;
}

/* Makes the kernel report for each datagram the interface, and whether it came in fragments. */
void sf_side_details_on(struct sf_udp_socket *s)
{
    if (!s->tcpip->interface.index)
        return;
    s->detailed = setsockopt(s->fd, IPPROTO_IP, IP_PKTINFO, &(int){1}, sizeof(int)) == 0;
    setsockopt(s->fd, IPPROTO_IP, IP_RECVFRAGSIZE, &(int){1}, sizeof(int));
}

/* Requests control data only if it is used, because it costs the kernel time. */
static void prepare(struct sf_udp_socket *s, struct sf_side_scratch *scratch, int max)
{
    bool wanted = s->timestamps || s->detailed;

    for (int i = 0; i < max; i++) {
        struct msghdr *header = &scratch->header[i].msg_hdr;

        header->msg_control = wanted ? scratch->control[i] : NULL;
        header->msg_controllen = wanted ? CONTROL : 0;
    }
}

struct arrival {
    int ifindex;
    uint32_t to;
    bool fragmented;
    sf_ns timestamp;
};

static struct arrival read_control(struct msghdr *header)
{
    struct arrival arrival = {0};

    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
        struct in_pktinfo info;
        struct timespec ts;

        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS && c->cmsg_len >= CMSG_LEN(sizeof(ts))) {
            memcpy(&ts, CMSG_DATA(c), sizeof(ts));
            arrival.timestamp = (sf_ns)ts.tv_sec * SF_SEC + ts.tv_nsec;
        } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO && c->cmsg_len >= CMSG_LEN(sizeof(info))) {
            memcpy(&info, CMSG_DATA(c), sizeof(info));
            arrival.ifindex = info.ipi_ifindex;
            arrival.to = info.ipi_addr.s_addr;
        } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVFRAGSIZE) {
            arrival.fragmented = true;
        }
    }
    return arrival;
}

/* True: the driver has brought this datagram too, because it shares its frames with the kernel. The driver does not bring
 * datagrams from another interface or from ourselves, or fragments. */
static bool is_repeated(struct sf_udp_socket *s, uint32_t len, const struct sockaddr_in *from, const struct arrival *arrival)
{
    const struct sf_tcpip *t = s->tcpip;
    bool to_group;

    if (from->sin_family != AF_INET || !t->driver || !arrival->ifindex || arrival->ifindex != t->interface.index || arrival->fragmented ||
        len + SF_IPV4_HEADER + SF_UDP_HEADER > t->interface.mtu || sf_interface_owns(&t->interface, from->sin_addr.s_addr))
        return false;
    to_group = sf_is_multicast(arrival->to) || sf_interface_is_broadcast(&t->interface, arrival->to);
    if (to_group && sf_udp_group_repeated(s, arrival->to, from->sin_addr.s_addr))
        return true;
    return t->caps.flags & SF_DRIVER_SHARES && s->sifting;
}

/* Handles an error on the socket. The error queue has it too, and tells whether the program must see it. If not, receives the
 * datagrams behind it. */
static int receive_again(struct sf_udp_socket *s, struct mmsghdr *header, int max)
{
    int n;

    sf_side_errors(s);
    if (s->error) {
        n = s->error;
        s->error = 0;
        return n;
    }
    n = recvmmsg(s->fd, header, (unsigned)max, MSG_DONTWAIT, NULL);
    return n < 0 ? -errno : n;
}

/* Replaces an IPv4-mapped address of an IPv6 socket by the IPv4 address, as the driver's datagrams have it. Returns the length. */
static uint32_t unmap(struct sf_udp_socket *s, union sf_socket_name *from)
{
    struct sockaddr_in v4;

    if (!s->mapped)
        return sizeof(from->v4);
    if (!sf_unmap_peer(&from->any, sizeof(from->v6), &v4))
        return sizeof(from->v6);
    from->v4 = v4;
    return sizeof(from->v4);
}

int sf_side_receive(struct sf_udp_socket *s, struct sf_datagram *out, int max)
{
    struct sf_side_scratch *scratch = scratch_of(s->tcpip);
    int n, kept = 0, shared = s->n_shared;

    if (!scratch)
        return -ENOMEM;
    if (max > BATCH)
        max = BATCH;
    prepare(s, scratch, max);
    do {
        n = recvmmsg(s->fd, scratch->header, (unsigned)max, MSG_DONTWAIT, NULL);
    } while (SF_UNLIKELY(n < 0 && errno == EINTR));
    if (n < 0)
        n = errno == EAGAIN ? -EAGAIN : receive_again(s, scratch->header, max);
    s->side_ready = n == max;
    for (int i = 0; i < n; i++) {
        struct msghdr *header = &scratch->header[i].msg_hdr;
        struct arrival arrival = header->msg_controllen ? read_control(header) : (struct arrival){0};
        uint32_t addr_len = unmap(s, &scratch->addr[i]);

        header->msg_namelen = sizeof(scratch->addr[i]);
        if (is_repeated(s, scratch->header[i].msg_len, &scratch->addr[i].v4, &arrival)) {
            sf_count(s->tcpip, SF_COUNT_RX_SIDE_REPEATED);
            continue;
        }
        out[kept++] = (struct sf_datagram){
            .data = scratch->bytes[i],
            .len = scratch->header[i].msg_len,
            .flags = header->msg_flags & MSG_TRUNC,
            .addr = &scratch->addr[i].any,
            .addr_len = addr_len,
            .timestamp = arrival.timestamp,
        };
        sf_count(s->tcpip, SF_COUNT_RX_SIDE);
    }
    s->side_ready |= s->n_shared != shared; /* once more, to see it empty with the group's filter set */
    if (n < max) { /* datagrams from before the filter are not repeated */
        s->sifting = true;
        sf_udp_groups_sift(s, shared);
    }
    if (n < 0)
        return n;
    return kept ? kept : -EAGAIN;
}

/* ---- sending ---- */

static ssize_t send_once(struct sf_udp_socket *s, const void *data, size_t len, const struct sockaddr *addr,
                         socklen_t addr_len)
{
    ssize_t sent;

    do {
        sent = sendto(s->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL, addr, addr_len);
    } while (SF_UNLIKELY(sent < 0 && errno == EINTR));
    return sent < 0 ? -errno : sent;
}

ssize_t sf_side_send(struct sf_udp_socket *s, const void *data, size_t len, const struct sockaddr *addr, socklen_t addr_len)
{
    ssize_t sent = send_once(s, data, len, addr, addr_len);

    if (SF_LIKELY(sent >= 0))
        return sent;
    if (sent == -EAGAIN) {
        s->blocked = s->blocked_by_side = true;
        sf_side_watch(s);
        return sent;
    }
    /* Asking for details makes the kernel report an earlier datagram's error here. */
    if (!sf_side_errors(s))
        return sent;
    if (s->error) {
        sent = s->error;
        s->error = 0;
        return sent;
    }
    return send_once(s, data, len, addr, addr_len);
}
