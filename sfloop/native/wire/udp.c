#include "pieces.h"
#include "udp.h"

#include <errno.h>

/* Recognizes untagged IPv4, which is nearly all traffic, with one comparison. Returns the header's length separately, so that
 * later code need not wait to read it back from *out. */
static inline enum sf_refusal parse_eth(const uint8_t *frame, size_t len, struct sf_eth *out, size_t *header_len)
{
    enum sf_refusal reason;

    if (SF_LIKELY(len >= SF_ETH_HEADER && sf_load16(frame + 2 * SF_ETH_ADDR) == sf_be16(SF_ETH_TYPE_IPV4))) {
        out->dst = frame;
        out->src = frame + SF_ETH_ADDR;
        out->type = SF_ETH_TYPE_IPV4;
        out->tags = 0;
        out->len = SF_ETH_HEADER;
        *header_len = SF_ETH_HEADER;
        return SF_ACCEPTED;
    }
    reason = sf_eth_parse(frame, len, out);
    if (reason)
        return reason;
    *header_len = out->len;
    return out->type == SF_ETH_TYPE_IPV4 ? SF_ACCEPTED : SF_REFUSED_ETH_TYPE;
}

enum sf_refusal sf_udp_parse_frame(const uint8_t *frame, size_t len, uint32_t flags, struct sf_udp_datagram *out)
{
    enum sf_refusal reason;
    struct sf_ipv4 ip;
    struct sf_udp udp;
    size_t header_len;

    reason = parse_eth(frame, len, &out->eth, &header_len);
    if (SF_UNLIKELY(reason))
        return reason;
    reason = sf_ipv4_parse(frame + header_len, len - header_len, flags, &ip);
    if (SF_UNLIKELY(reason))
        return reason;
    if (SF_UNLIKELY(!sf_ipv4_source_is_possible(ip.src, ip.dst)))
        return SF_REFUSED_IP_SOURCE;
    reason = sf_udp_parse(&ip, flags, &udp);
    if (SF_UNLIKELY(reason))
        return reason;
    out->payload = udp.payload;
    out->payload_len = udp.payload_len;
    out->src_port = udp.src_port;
    out->dst_port = udp.dst_port;
    out->ttl = ip.ttl;
    out->tos = ip.tos;
    out->src_addr = ip.src;
    out->dst_addr = ip.dst;
    return SF_ACCEPTED;
}

/* ---- sending ---- */

int sf_udp_template_init(struct sf_udp_template *template, const struct sf_ip_peer *peer)
{
    size_t len;

    memset(template, 0, sizeof *template);
    len = sf_ip_peer_emit(template->headers, sizeof template->headers, peer, SF_IPV4_UDP, peer->dont_fragment,
                          &template->ip_sum);
    if (!len)
        return -EINVAL;
    template->pseudo_sum = sf_sum_fold(sf_sum_pseudo(peer->src_addr, peer->dst_addr, SF_IPV4_UDP));
    template->ports_sum = (uint32_t)peer->src_port + peer->dst_port;
    template->len = (uint8_t)(len + SF_UDP_HEADER);
    return 0;
}

static uint16_t udp_checksum(const struct sf_udp_template *template, uint32_t udp_len, uint64_t payload_sum,
                             enum sf_udp_sum sum)
{
    /* The length is in the pseudo-header and in UDP's header. */
    uint32_t headers = template->pseudo_sum + template->ports_sum + 2 * udp_len;
    uint16_t checksum;

    if (sum == SF_UDP_SUM_NONE)
        return 0;
    if (sum == SF_UDP_SUM_PARTIAL)
        return sf_sum_fold(template->pseudo_sum + udp_len);
    checksum = (uint16_t)~sf_sum_fold(sf_sum_add(payload_sum, headers));
    return checksum ? checksum : 0xffff; /* because 0 means no checksum */
}

/* Copies 42 to 50 bytes in two overlapping copies of 32, instead of one whose length the compiler does not know. */
static inline void copy_headers(uint8_t *to, const uint8_t *from, size_t len)
{
    _Static_assert(SF_UDP_HEADERS >= 32 && SF_UDP_HEADERS_MAX <= 64, "two copies of 32 bytes reach");
    memcpy(to, from, 32);
    memcpy(to + len - 32, from + len - 32, 32);
}

static inline void write_headers(const struct sf_udp_template *template, uint8_t *frame, uint32_t payload_len,
                                 uint64_t payload_sum, uint16_t id, enum sf_udp_sum sum)
{
    uint8_t *udp = frame + template->len - SF_UDP_HEADER;
    uint8_t *ip = udp - SF_IPV4_HEADER;
    uint16_t udp_len = sf_be16((uint16_t)(SF_UDP_HEADER + payload_len));
    uint16_t total_len = sf_be16((uint16_t)(SF_IPV4_HEADER + SF_UDP_HEADER + payload_len));

    copy_headers(frame, template->headers, template->len);
    id = sf_be16(id);
    sf_store16(ip + 2, total_len);
    sf_store16(ip + 4, id);
    sf_store16(ip + 10, (uint16_t)~sf_sum_fold((uint64_t)template->ip_sum + total_len + id));
    sf_store16(udp + 4, udp_len);
    sf_store16(udp + 6, udp_checksum(template, udp_len, payload_sum, sum));
}

void sf_udp_emit_headers(const struct sf_udp_template *template, uint8_t *frame, uint16_t payload_len,
                         uint64_t payload_sum, uint16_t id, enum sf_udp_sum sum)
{
    write_headers(template, frame, payload_len, payload_sum, id, sum);
}

/* The bytes of an array of pieces; SIZE_MAX if they exceed SF_UDP_PAYLOAD_MAX. */
static size_t pieces_len(const struct iovec *pieces, int n)
{
    return sf_pieces_len(pieces, n, SF_UDP_PAYLOAD_MAX);
}

size_t sf_udp_emit(const struct sf_udp_template *template, uint8_t *frame, size_t room, const struct iovec *payload,
                   int n, uint16_t id, enum sf_udp_sum sum)
{
    size_t len = pieces_len(payload, n);
    uint64_t payload_sum;

    if (SF_UNLIKELY(len == SIZE_MAX || room < template->len + len))
        return 0;
    if (SF_LIKELY(n == 1 && sum == SF_UDP_SUM_FULL))
        payload_sum = sf_copy_and_sum(frame + template->len, payload->iov_base, len);
    else
        payload_sum = sf_pieces_gather(frame + template->len, len, payload, n, sum == SF_UDP_SUM_FULL);
    write_headers(template, frame, (uint32_t)len, payload_sum, id, sum);
    return template->len + len;
}

size_t sf_udp_emit_pieces(const struct sf_udp_template *template, const struct iovec *frame, int frame_pieces,
                          const struct iovec *payload, int n, uint16_t id, enum sf_udp_sum sum)
{
    size_t len = pieces_len(payload, n);
    uint64_t payload_sum;

    if (len == SIZE_MAX || frame_pieces < 1 || frame->iov_len < template->len ||
        sf_pieces_room(frame, frame_pieces) < template->len + len)
        return 0;
    payload_sum = sf_pieces_scatter(frame, frame_pieces, template->len, payload, n, sum == SF_UDP_SUM_FULL);
    write_headers(template, frame->iov_base, (uint32_t)len, payload_sum, id, sum);
    return template->len + len;
}
