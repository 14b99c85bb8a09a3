/* Receiving frames: checks a burst of the driver and gives each packet to its protocol. */
#define _GNU_SOURCE
#include "tcpip.h"

#define AHEAD 2      /* frames prefetched ahead */
#define FETCHED 256u /* bytes of each; the CPU's prefetcher fetches the rest */

static void refuse(struct sf_tcpip *t, enum sf_refusal reason)
{
    t->counters.refused[reason]++;
}

static inline bool same_mac(const uint8_t *a, const uint8_t *b)
{
    return sf_load32(a) == sf_load32(b) && sf_load16(a + 4) == sf_load16(b + 4);
}

/* Tells whether a tag names a VLAN. A tag of VLAN 0 carries only a priority, and Linux accepts its frame as untagged. */
static bool has_vlan(const struct sf_eth *eth)
{
    for (int i = 0; i < eth->tags; i++)
        if (sf_eth_tag_vlan(eth->tag[i]))
            return true;
    return false;
}

/* As in Linux: a group or broadcast frame may carry UDP to an address of ours, but not TCP (tcp_v4_rcv). A frame for this
 * station may carry UDP to a group. A point-to-point link has a single peer, so its MAC addresses are not checked. */
static bool is_for_us(struct sf_tcpip *t, const struct sf_eth *eth, const struct sf_ipv4 *ip)
{
    bool group_frame = eth->dst[0] & 1, tcp = ip->protocol == SF_IPV4_TCP;

    if (SF_UNLIKELY(eth->tags && has_vlan(eth))) {
        sf_count(t, SF_COUNT_RX_OTHER_VLAN);
        return false;
    }
    if (SF_UNLIKELY(!group_frame && !same_mac(eth->dst, t->interface.mac) && !sf_tcpip_is_point_to_point(t))) {
        sf_count(t, SF_COUNT_RX_OTHER_MAC);
        return false;
    }
    if (SF_LIKELY(sf_interface_owns(&t->interface, ip->dst))) {
        if (SF_LIKELY(!group_frame || !tcp || sf_tcpip_is_point_to_point(t)))
            return true;
    } else if (!tcp && (sf_is_multicast(ip->dst) || sf_interface_is_broadcast(&t->interface, ip->dst))) {
        return true;
    }
    sf_count(t, SF_COUNT_RX_OTHER_ADDR);
    return false;
}

static void frame_input(struct sf_tcpip *t, const uint8_t *data, size_t len, const struct sf_frame *frame, bool keep)
{
    struct sf_eth eth;
    struct sf_ipv4 ip;
    enum sf_refusal reason;

    if (SF_UNLIKELY(frame->flags & SF_FRAME_OWN)) {
        sf_count(t, SF_COUNT_RX_OWN);
        return;
    }
    reason = sf_eth_parse(data, len, &eth);
    if (SF_UNLIKELY(reason)) {
        refuse(t, reason);
        return;
    }
    if (SF_UNLIKELY(eth.type != SF_ETH_TYPE_IPV4)) {
        refuse(t, SF_REFUSED_ETH_TYPE);
        return;
    }
    reason = sf_ipv4_parse(data + eth.len, len - eth.len, frame->flags, &ip);
    if (SF_UNLIKELY(reason)) {
        refuse(t, reason);
        return;
    }
    if (SF_UNLIKELY(!sf_source_is_good(t, &ip))) {
        refuse(t, SF_REFUSED_IP_SOURCE);
        return;
    }
    if (SF_UNLIKELY(!is_for_us(t, &eth, &ip)))
        return;
    if (SF_LIKELY(ip.protocol == SF_IPV4_UDP))
        sf_udp_input(t, &ip, frame->flags, frame->timestamp, keep);
    else if (SF_LIKELY(ip.protocol == SF_IPV4_TCP))
        sf_tcp_input(t, &ip, frame->flags, keep);
    else if (ip.protocol == SF_IPV4_ICMP && sf_tcpip_is_point_to_point(t)) /* elsewhere the kernel receives ICMP */
        sf_tcp_icmp_input(t, &ip);
    else
        refuse(t, SF_REFUSED_IP_PROTOCOL);
}

/* Joins a frame of several pieces. Returns the number of its pieces. */
static int pieces_input(struct sf_tcpip *t, const struct sf_frame *frame, int n)
{
    size_t len = 0;
    bool fits = true;
    int i;

    for (i = 0; i < n; i++) {
        if (frame[i].len > sizeof(t->joined) - len)
            fits = false;
        if (fits) {
            memcpy(t->joined + len, frame[i].data, frame[i].len);
            len += frame[i].len;
        }
        if (!(frame[i].flags & SF_FRAME_MORE))
            break;
    }
    if (fits && i < n)
        frame_input(t, t->joined, len, frame, false);
    else
        sf_count(t, SF_COUNT_RX_PIECES);
    return i < n ? i + 1 : n;
}

/* Prefetches a frame. Another core or DMA wrote it, so fetching its lines takes as long as processing a datagram. */
static inline void fetch_frame(const struct sf_frame *frame)
{
    for (uint32_t at = 0; at < FETCHED && at < frame->len; at += SF_CACHE_LINE)
        __builtin_prefetch(frame->data + at);
}

void sf_input(struct sf_tcpip *t, int n)
{
    int fetched = sf_tcpip_is_point_to_point(t) ? n : 0; /* shm prefetches its frames itself */

    t->n_frames = n;
    for (int i = 0; i < n;) {
        const struct sf_frame *frame = &t->frames[i];

        for (; fetched < n && fetched <= i + AHEAD; fetched++)
            fetch_frame(&t->frames[fetched]);
        if (SF_UNLIKELY(frame->flags & SF_FRAME_MORE)) {
            i += pieces_input(t, frame, n - i);
            continue;
        }
        frame_input(t, frame->data, frame->len, frame, true);
        i++;
    }
    sf_tcpip_flush(t); /* TCP's answers */
}
