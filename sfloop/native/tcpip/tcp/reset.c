/* Resets that we send, and challenge ACKs, which answer a segment that may be forged (RFC 5961). */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>

#define CHALLENGE_INTERVAL (500 * SF_MS) /* As in Linux (tcp_invalid_ratelimit). */

/* dst_mac NULL: the kernel routes the packet, and the Ethernet header is not used. */
static void make_template(const struct sf_tcpip *t, const struct sf_tcp_bare *bare, const uint8_t *dst_mac,
                          struct sf_tcp_template *out)
{
    struct sf_ip_peer peer = {
        .src_addr = bare->key.local_addr,
        .dst_addr = bare->key.remote_addr,
        .src_port = bare->key.local_port,
        .dst_port = bare->key.remote_port,
        .ttl = bare->ttl ? bare->ttl : t->ttl,
        .tos = bare->tos,
    };

    if (dst_mac) {
        memcpy(peer.src_mac, t->interface.mac, sizeof(peer.src_mac));
        memcpy(peer.dst_mac, dst_mac, sizeof(peer.dst_mac));
    }
    sf_tcp_template_init(out, &peer); /* It cannot fail, because there are no VLAN tags. */
}

int sf_tcp_send_detour(struct sf_tcpip *t, const struct sf_tcp_bare *bare)
{
    struct sf_tcp_template template;

    make_template(t, bare, NULL, &template);
    return sf_tcp_detour_emit(t, &template, &bare->segment, NULL, 0, 0);
}

int sf_tcp_send_bare(struct sf_tcpip *t, const struct sf_tcp_bare *bare)
{
    struct sf_hop hop = {.src = bare->key.local_addr};
    struct sf_tcp_template template;
    enum sf_way way;

    if (SF_UNLIKELY(!t->caps.peer_addr) && sf_tcpip_is_point_to_point(t))
        sf_tcpip_refresh_caps(t); /* A peer may have just joined the wire, and its first segment must be answered too. */
    way = t->driver ? sf_path_find(t, bare->key.remote_addr, bare->key.local_addr, &hop) : SF_WAY_DOWN;

    if (way == SF_WAY_DIRECT) {
        make_template(t, bare, hop.mac, &template);
        return sf_tcp_emit_frame(t, &template, &bare->segment, NULL, 0, 0);
    }
    /* A SYN-ACK waits for the neighbour, and is then sent by the driver (half_open.c). */
    if (sf_tcp_may_detour(t, way) && !(way == SF_WAY_UNRESOLVED && bare->segment.flags & SF_TCP_SYN))
        return sf_tcp_send_detour(t, bare);
    if (way == SF_WAY_UNRESOLVED)
        sf_path_provoke(t, bare->key.remote_addr, bare->key.local_addr);
    sf_count(t, SF_COUNT_TCP_TX_NO_WAY);
    return -EHOSTUNREACH;
}

/* ---- the answer to a segment without a connection ---- */

void sf_tcp_reset_for(struct sf_tcpip *t, const struct sf_flow_key *key, const struct sf_tcp_segment *s)
{
    struct sf_tcp_bare bare = {.key = *key, .segment.flags = SF_TCP_RST};

    if (s->flags & SF_TCP_RST)
        return;
    if (s->flags & SF_TCP_ACK) {
        bare.segment.seq = s->ack;
    } else {
        bare.segment.flags |= SF_TCP_ACK;
        bare.segment.ack = s->seq + sf_tcp_segment_len(s);
    }
    sf_count(t, SF_COUNT_TCP_RESETS_SENT);
    sf_tcp_send_bare(t, &bare);
}

/* ---- a connection's reset and challenges ---- */

void sf_tcp_send_reset(struct sf_tcp_conn *c)
{
    struct sf_tcp_bare bare = {
        .key = c->flow.key,
        .segment = {.seq = c->loss.nxt, .ack = c->rcv.nxt, .flags = SF_TCP_RST | SF_TCP_ACK},
        .ttl = c->options.ttl,
        .tos = c->options.tos,
    };

    if (c->state <= SF_TCP_SYN_SENT || c->state == SF_TCP_TIME_WAIT)
        return;
    if (c->state == SF_TCP_SYN_RECEIVED)
        bare.segment.seq = c->agreed.iss + 1;
    sf_tcp_stamp(c->tcpip, &c->agreed, &bare.segment);
    sf_count(c->tcpip, SF_COUNT_TCP_RESETS_SENT);
    sf_tcp_send_bare(c->tcpip, &bare);
}

/* Each connection has a limit of its own, as in Linux. An attacker could use up a common limit with one half-open connection, and learn
 * about other connections from the answers that are left (CVE-2016-5696). */
bool sf_tcp_may_answer(struct sf_tcpip *t, sf_ns *last)
{
    if (*last && t->now - *last < CHALLENGE_INTERVAL) {
        sf_count(t, SF_COUNT_TCP_CHALLENGE_LIMITED);
        return false;
    }
    *last = t->now;
    return true;
}

bool sf_tcp_may_challenge(struct sf_tcpip *t, sf_ns *last)
{
    if (!sf_tcp_may_answer(t, last))
        return false;
    sf_count(t, SF_COUNT_TCP_CHALLENGES);
    return true;
}

void sf_tcp_challenge(struct sf_tcp_conn *c)
{
    if (sf_tcp_may_challenge(c->tcpip, &c->probe.challenged))
        sf_tcp_ack_now(c);
}
