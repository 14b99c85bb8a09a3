/* Sending datagrams: by the driver from a destination's template, or by the side socket. */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"
#include "storage/mapped_address.h"

#include <errno.h>

#define TEMPLATE_LIFE SF_SEC /* then asks for the path again, which renews routes and confirms stale neighbours */
#define OPTIONS_LIFE SF_SEC
#define PIECES 8

static struct sf_udp_destination *slot_for(struct sf_udp_socket *s, uint32_t addr, uint16_t port)
{
    uint32_t hash = (addr ^ (uint32_t)port << 16 ^ port) * 0x9e3779b1u;

    return &s->destinations[hash >> 28];
}

static bool build(struct sf_udp_socket *s, struct sf_udp_destination *d, uint32_t addr, uint16_t port,
                  const struct sf_hop *hop, uint32_t src)
{
    struct sf_ip_peer peer = {
        .src_addr = src,
        .dst_addr = addr,
        .src_port = s->local_port,
        .dst_port = port,
        .ttl = sf_is_multicast(addr) ? s->options.multicast_ttl : s->options.ttl,
        .tos = s->options.tos,
        .dont_fragment = s->options.dont_fragment,
    };

    if (hop->mtu < SF_IPV4_MTU_MIN || sf_interface_is_broadcast(&s->tcpip->interface, src))
        return false;
    memcpy(peer.src_mac, s->tcpip->interface.mac, sizeof(peer.src_mac));
    memcpy(peer.dst_mac, hop->mac, sizeof(peer.dst_mac));
    if (sf_udp_template_init(&d->template, &peer) < 0)
        return false;
    d->addr = addr;
    d->port = port;
    d->generation = s->tcpip->paths.generation;
    d->payload_max = hop->mtu - SF_IPV4_HEADER - SF_UDP_HEADER;
    d->until = s->tcpip->now + TEMPLATE_LIFE;
    return true;
}

/*
 * True if a group's datagrams are ours: the program has selected our interface by its address and wants no copy for this machine.
 * An interface selected by index does not count, because Linux does not return the index. On a point-to-point link, selecting our
 * address is enough: the kernel does not see the peer, and there is no copy.
 */
static bool group_is_ours(const struct sf_udp_socket *s)
{
    const struct sf_tcpip *t = s->tcpip;

    if (!sf_interface_owns(&t->interface, s->options.multicast_addr))
        return false;
    return sf_tcpip_is_point_to_point(t) || !s->options.multicast_loop;
}

/* NULL: the side socket has to send; the reason is counted. */
static struct sf_udp_destination *resolve(struct sf_udp_socket *s, struct sf_udp_destination *d, uint32_t addr,
                                          uint16_t port)
{
    static const enum sf_counter_id reason[] = {
        [SF_WAY_UNRESOLVED] = SF_COUNT_TX_SIDE_UNRESOLVED,
        [SF_WAY_KERNEL] = SF_COUNT_TX_SIDE_ROUTE,
        [SF_WAY_NONE] = SF_COUNT_TX_SIDE_ROUTE,
        [SF_WAY_DOWN] = SF_COUNT_TX_SIDE_DOWN,
    };
    struct sf_tcpip *t = s->tcpip;
    uint32_t src = sf_is_multicast(s->local_addr) ? 0 : s->local_addr;
    struct sf_hop hop = {.src = src};
    enum sf_way way;

    if (sf_is_multicast(addr)) {
        if (!group_is_ours(s)) {
            sf_count(t, SF_COUNT_TX_SIDE_MULTICAST);
            return NULL;
        }
        src = src ? src : s->options.multicast_addr;
    }
    way = sf_path_find(t, addr, src, &hop);
    if (way == SF_WAY_DIRECT && !build(s, d, addr, port, &hop, src ? src : hop.src))
        way = SF_WAY_KERNEL;
    if (way == SF_WAY_DIRECT)
        return d;
    sf_count(t, reason[way]);
    return NULL;
}

static ssize_t transmit(struct sf_udp_socket *s, struct sf_udp_destination *d, const void *data, size_t len)
{
    struct sf_tcpip *t = s->tcpip;
    struct iovec payload = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct sf_frame pieces[PIECES];
    struct iovec room[PIECES];
    size_t written;
    int n = t->driver->fast.tx_reserve(t->driver, (uint32_t)sf_udp_frame_len(&d->template, len), pieces, PIECES);

    if (SF_LIKELY(n == 1)) {
        written = sf_udp_emit(&d->template, pieces->data, pieces->len, &payload, 1, s->ip_id++, SF_UDP_SUM_FULL);
    } else {
        if (n <= 0)
            return n ? n : -EAGAIN;
        for (int i = 0; i < n; i++)
            room[i] = (struct iovec){.iov_base = pieces[i].data, .iov_len = pieces[i].len};
        written = sf_udp_emit_pieces(&d->template, room, n, &payload, 1, s->ip_id++, SF_UDP_SUM_FULL);
    }
    if (SF_UNLIKELY(!written)) {
        t->driver->fast.tx_cancel(t->driver, pieces, n);
        return -EMSGSIZE;
    }
    t->driver->fast.tx_commit(t->driver, pieces, n);
    if (SF_UNLIKELY(t->corked))
        t->unflushed = true;
    else
        t->driver->fast.tx_flush(t->driver);
    return (ssize_t)len;
}

/* Returns 0 if the driver cannot send it. */
static ssize_t send_direct(struct sf_udp_socket *s, uint32_t addr, uint16_t port, const void *data, size_t len)
{
    struct sf_tcpip *t = s->tcpip;
    struct sf_udp_destination *d;
    ssize_t sent;

    if (SF_UNLIKELY(t->now >= s->options_until)) {
        sf_udp_refresh(s);
        s->options_until = t->now + OPTIONS_LIFE;
    }
    d = slot_for(s, addr, port);
    if (SF_UNLIKELY(d->addr != addr || d->port != port || d->generation != t->paths.generation || t->now >= d->until))
        d = resolve(s, d, addr, port);
    if (!d)
        return 0;
    if (SF_UNLIKELY(len > d->payload_max)) {
        sf_count(t, SF_COUNT_TX_SIDE_SIZE);
        return 0;
    }
    sent = transmit(s, d, data, len);
    if (SF_LIKELY(sent >= 0))
        return 1;
    if (sent == -EAGAIN) {
        sf_count(t, SF_COUNT_TX_FULL);
        s->blocked = true;
        return sent;
    }
    sf_count(t, SF_COUNT_TX_SIDE_SIZE);
    return 0;
}

/* Sends to an IPv6 address, or to a bad one. */
static ssize_t send_elsewhere(struct sf_udp_socket *s, const void *data, size_t len, const struct sockaddr *addr, socklen_t addr_len)
{
    if (s->mapped && addr->sa_family == AF_INET6)
        sf_count(s->tcpip, SF_COUNT_TX_SIDE_IPV6);
    return sf_side_send(s, data, len, addr, addr_len);
}

ssize_t sf_udp_send(struct sf_udp_socket *s, const void *data, size_t len, const struct sockaddr *addr, socklen_t addr_len)
{
    uint32_t to = s->remote_addr;
    uint16_t port = s->remote_port;
    ssize_t rc;

    if (addr) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)addr;
        struct sockaddr_in unmapped;

        if (SF_UNLIKELY(addr_len < sizeof(*in) || in->sin_family != AF_INET)) {
            /* The kernel socket returns the right errno for a bad address. */
            if (!s->mapped || !sf_unmap_peer(addr, addr_len, &unmapped))
                return send_elsewhere(s, data, len, addr, addr_len);
            in = &unmapped;
        }
        to = in->sin_addr.s_addr;
        port = in->sin_port;
    }
    if (SF_UNLIKELY(s->error)) { /* an earlier datagram's error, which the next call of any kind reports */
        rc = s->error;
        s->error = 0;
        sf_udp_update(s);
        return rc;
    }
    if (SF_UNLIKELY(!s->tcpip->usable)) {
        sf_count(s->tcpip, SF_COUNT_TX_SIDE_DOWN);
    } else if (SF_LIKELY(to && port)) {
        rc = send_direct(s, to, port, data, len);
        if (SF_LIKELY(rc))
            return rc < 0 ? rc : (ssize_t)len;
    }
    return sf_side_send(s, data, len, addr, addr_len);
}
