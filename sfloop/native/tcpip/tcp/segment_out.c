/* Sending a segment of a connection: its way to the peer, its frame, and the ACK that every segment carries. */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>

#define TEMPLATE_LIFE SF_SEC /* Look the path up again after this time, so that routes are renewed and stale neighbours confirmed. */
#define PIECES 8

/* ---- the way ---- */

static bool build(struct sf_tcp_way *way, const struct sf_tcp_conn *c, const struct sf_hop *hop)
{
    const struct sf_flow_key *key = &c->flow.key;
    struct sf_ip_peer peer = {
        .src_addr = key->local_addr,
        .dst_addr = key->remote_addr,
        .src_port = key->local_port,
        .dst_port = key->remote_port,
        .ttl = c->options.ttl,
        .tos = c->options.tos,
    };

    if (hop->mtu < SF_IPV4_MTU_MIN)
        return false;
    memcpy(peer.src_mac, c->tcpip->interface.mac, sizeof(peer.src_mac));
    memcpy(peer.dst_mac, hop->mac, sizeof(peer.dst_mac));
    return sf_tcp_template_init(&way->template, &peer) == 0;
}

static inline bool is_current(const struct sf_tcp_way *way, const struct sf_tcpip *t)
{
    return way->generation == t->paths.generation && t->now < way->until;
}

static void take_hop(struct sf_tcp_conn *c, const struct sf_hop *hop)
{
    const struct sf_tcpip *t = c->tcpip;
    struct sf_tcp_way *way = &c->way;
    uint16_t mtu = hop->mtu < UINT16_MAX ? (uint16_t)hop->mtu : UINT16_MAX; /* the largest packet of IPv4 */

    way->generation = t->paths.generation;
    way->until = t->now + TEMPLATE_LIFE;
    if (mtu == way->mtu)
        return;
    way->mtu = mtu;
    sf_tcp_update_mss(c);
}

/* The kernel sends by the route it has. Segments keep their size while the kernel has no route, and while only the neighbour is
 * missing. */
static bool take_detour(struct sf_tcp_conn *c, enum sf_way way)
{
    const struct sf_tcpip *t = c->tcpip;
    const struct sf_flow_key *key = &c->flow.key;
    struct sf_hop hop = {.src = key->local_addr, .mtu = c->way.mtu};

    if (c->way.detour && is_current(&c->way, t))
        return true;
    if (way != SF_WAY_UNRESOLVED || !hop.mtu)
        hop.mtu = sf_tcp_detour_mtu(t, key->remote_addr, key->local_addr);
    if (!hop.mtu)
        hop.mtu = c->way.mtu ? c->way.mtu : t->interface.mtu;
    if (!build(&c->way, c, &hop))
        return false;
    take_hop(c, &hop);
    return true;
}

__attribute__((noinline)) static bool renew_way(struct sf_tcp_conn *c)
{
    struct sf_tcpip *t = c->tcpip;
    const struct sf_flow_key *key = &c->flow.key;
    struct sf_hop hop = {.src = key->local_addr};
    enum sf_way way = sf_path_find(t, key->remote_addr, key->local_addr, &hop);
    bool had_way = c->way.direct;

    c->way.direct = way == SF_WAY_DIRECT && build(&c->way, c, &hop);
    if (c->way.direct && !had_way)
        sf_tcp_way_is_back(c);
    c->way.detour = sf_tcp_may_detour(t, way) && take_detour(c, way);
    if (way == SF_WAY_UNRESOLVED && !c->way.detour)
        sf_path_provoke(t, key->remote_addr, key->local_addr);
    if (c->way.direct)
        take_hop(c, &hop);
    return c->way.direct;
}

bool sf_tcp_find_way(struct sf_tcp_conn *c)
{
    if (SF_LIKELY(c->way.direct && is_current(&c->way, c->tcpip)))
        return true;
    return renew_way(c);
}

/* ---- the frame ---- */

static int emit(struct sf_tcpip *t, const struct sf_tcp_template *template, const struct sf_tcp_segment *segment,
                const struct iovec *payload, int n, uint32_t len)
{
    struct sf_frame pieces[PIECES];
    struct iovec room[PIECES];
    uint32_t size = (uint32_t)(template->len + SF_TCP_HEADER + sf_tcp_options_len(segment)) + len;
    size_t written;
    int got = t->driver->fast.tx_reserve(t->driver, size, pieces, PIECES);

    if (SF_LIKELY(got == 1)) {
        written = sf_tcp_emit(template, pieces->data, pieces->len, segment, payload, n, t->tcp.ip_id++);
    } else {
        if (got <= 0)
            return got ? got : -EAGAIN;
        for (int i = 0; i < got; i++)
            room[i] = (struct iovec){.iov_base = pieces[i].data, .iov_len = pieces[i].len};
        written = sf_tcp_emit_pieces(template, room, got, segment, payload, n, t->tcp.ip_id++);
    }
    if (SF_UNLIKELY(!written)) {
        t->driver->fast.tx_cancel(t->driver, pieces, got);
        return -EMSGSIZE;
    }
    t->driver->fast.tx_commit(t->driver, pieces, got);
    t->unflushed = true;
    return 0;
}

int sf_tcp_emit_frame(struct sf_tcpip *t, const struct sf_tcp_template *template, const struct sf_tcp_segment *segment,
                      const struct iovec *payload, int n, uint32_t len)
{
    int rc = emit(t, template, segment, payload, n, len);

    if (SF_LIKELY(rc == 0))
        return 0;
    if (rc == -EAGAIN) {
        sf_count(t, SF_COUNT_TX_FULL);
        return rc;
    }
    sf_count(t, SF_COUNT_TCP_TX_LOST); /* The segment counts as lost on its way, and is sent again later. */
    return 0;
}

/* ---- the segment ---- */

/* Every segment acknowledges all that we have received. */
static void acknowledged(struct sf_tcp_conn *c)
{
    c->rcv.acked = c->rcv.nxt;
    c->owed &= (uint8_t)~SF_TCP_OWED_ACK;
    c->timers.ack_at = SF_NEVER;
    if (c->rcv.quick)
        c->rcv.quick--;
}

typedef int emit_function(struct sf_tcpip *, const struct sf_tcp_template *, const struct sf_tcp_segment *,
                          const struct iovec *payload, int n, uint32_t len);

/* `emit_segment` is a constant in each caller, so the compiler makes a direct call of it. */
__attribute__((always_inline)) static inline int transmit(struct sf_tcp_conn *c, uint32_t seq, uint32_t len, uint8_t flags,
                                                          emit_function *emit_segment)
{
    struct sf_tcpip *t = c->tcpip;
    struct sf_tcp_segment segment;
    struct iovec payload[2];
    int n = len ? sf_byte_ring_pieces(&c->snd.ring, seq, len, payload) : 0, rc;

    segment.seq = seq;
    segment.ack = c->rcv.nxt;
    segment.flags = flags | SF_TCP_ACK;
    segment.has = 0;
    segment.n_sack = 0;
    sf_tcp_stamp(t, &c->agreed, &segment);
    if (SF_UNLIKELY(c->rcv.ooo || c->rcv.duplicate.left != c->rcv.duplicate.right) && !len)
        sf_tcp_sack_blocks(&c->rcv, &c->agreed, &segment);
    segment.window = sf_tcp_advertise(c);
    rc = emit_segment(t, &c->way.template, &segment, payload, n, len);
    if (SF_UNLIKELY(rc < 0))
        return rc;
    c->snd.n_segments++;
    acknowledged(c);
    return 0;
}

__attribute__((noinline)) static int transmit_detour(struct sf_tcp_conn *c, uint32_t seq, uint32_t len, uint8_t flags)
{
    int rc;

    if (!c->tcpip->driver || !c->way.detour) {
        sf_count(c->tcpip, SF_COUNT_TCP_TX_NO_WAY);
        return 0;
    }
    rc = transmit(c, seq, len, flags, sf_tcp_detour_emit);
    if (rc != -EMSGSIZE)
        return rc;
    c->way.until = 0; /* Look the MTU up again. The lost data is sent again in smaller pieces. */
    return 0;
}

int sf_tcp_transmit(struct sf_tcp_conn *c, uint32_t seq, uint32_t len, uint8_t flags)
{
    if (SF_UNLIKELY(!c->tcpip->driver || !sf_tcp_find_way(c)))
        return transmit_detour(c, seq, len, flags);
    return transmit(c, seq, len, flags, sf_tcp_emit_frame);
}

void sf_tcp_ack_now(struct sf_tcp_conn *c)
{
    if (sf_tcp_transmit(c, c->loss.nxt, 0, 0) < 0)
        sf_tcp_owe(c, SF_TCP_OWED_ACK);
}
