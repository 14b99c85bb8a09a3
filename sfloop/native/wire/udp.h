/*
 * UDP (RFC 768), with the two functions that run for every datagram: one call parses a received frame, and one completes a frame
 * to send from a template built once for its peer.
 */
#ifndef SF_WIRE_UDP_H
#define SF_WIRE_UDP_H

#include "ip_peer.h"

#include <sys/uio.h>

enum {
    SF_UDP_HEADER = 8,
    SF_UDP_PAYLOAD_MAX = 65535 - SF_IPV4_HEADER - SF_UDP_HEADER,
    SF_UDP_HEADERS = SF_ETH_HEADER + SF_IPV4_HEADER + SF_UDP_HEADER, /* of a frame without tags and options */
    SF_UDP_HEADERS_MAX = SF_ETH_HEADER_MAX + SF_IPV4_HEADER + SF_UDP_HEADER, /* of a sent frame */
};

/* Addresses and ports are in network byte order. The pointers are into the parsed bytes. */
struct sf_udp {
    uint16_t src_port, dst_port; /* source port 0: the sender expects no reply */
    uint16_t payload_len;
    const uint8_t *payload;
};

struct sf_udp_datagram {
    const uint8_t *payload;
    uint16_t payload_len;
    uint16_t src_port, dst_port; /* network byte order, like the addresses */
    uint8_t ttl, tos;
    uint32_t src_addr, dst_addr;
    struct sf_eth eth; /* addresses in the frame, tags */
};

/*
 * Verifies the checksum of a UDP header and what follows it, len bytes by its length field. A field of 0 is "none"
 * (RFC 768). SF_WIRE_CHECKSUM_PARTIAL and SF_WIRE_CHECKSUM_UNSURE accept the pseudo-header's own sum, too. That sum is tried
 * first, because it is known by then: where it is right, nobody reads the payload.
 */
static inline bool sf_udp_checksum_is_right(const uint8_t *udp, uint16_t len, const struct sf_ipv4 *ip, uint32_t flags)
{
    uint16_t field = sf_load16(udp + 6);
    uint64_t sum;

    if (flags & SF_WIRE_CHECKSUM_GOOD || field == 0)
        return true;
    sum = sf_sum_pseudo(ip->src, ip->dst, SF_IPV4_UDP) + sf_be16(len);
    if (flags & (SF_WIRE_CHECKSUM_PARTIAL | SF_WIRE_CHECKSUM_UNSURE) && sf_sum_is_partial(field, sum))
        return true;
    return SF_LIKELY(sf_sum_fold(sf_sum_bytes(sum, udp, len)) == 0xffff);
}

/* Parses the payload of an IPv4 packet. UDP's length may be less than the IP payload's, because bytes after the datagram do
 * not belong to it. */
static inline enum sf_refusal sf_udp_parse(const struct sf_ipv4 *ip, uint32_t flags, struct sf_udp *out)
{
    const uint8_t *udp = ip->payload;
    uint16_t len;

    if (SF_UNLIKELY(ip->protocol != SF_IPV4_UDP))
        return SF_REFUSED_IP_PROTOCOL;
    if (SF_UNLIKELY(ip->payload_len < SF_UDP_HEADER))
        return SF_REFUSED_UDP_SHORT;
    len = sf_load16_be(udp + 4);
    if (SF_UNLIKELY(len < SF_UDP_HEADER || len > ip->payload_len))
        return SF_REFUSED_UDP_LENGTH;
    if (SF_UNLIKELY(!sf_udp_checksum_is_right(udp, len, ip, flags)))
        return SF_REFUSED_UDP_CHECKSUM;
    out->src_port = sf_load16(udp);
    out->dst_port = sf_load16(udp + 2);
    out->payload = udp + SF_UDP_HEADER;
    out->payload_len = (uint16_t)(len - SF_UDP_HEADER);
    return SF_ACCEPTED;
}

/*
 * Parses a whole received frame in one piece. `flags`: enum sf_wire_flags, or a frame's flags. The caller checks that the
 * addresses are ours, including the Ethernet address, because a promiscuous interface brings other frames. After a refusal *out
 * is undefined.
 */
enum sf_refusal sf_udp_parse_frame(const uint8_t *frame, size_t len, uint32_t flags, struct sf_udp_datagram *out);

/* ---- sending ---- */

/* The headers with zeros for lengths, identification and checksums, and the sums of the constant parts. Fits one cache line. */
struct sf_udp_template {
    uint32_t ip_sum;     /* of the IP header */
    uint32_t pseudo_sum; /* of the pseudo-header without its length */
    uint32_t ports_sum;
    uint8_t len; /* of the headers: 42, plus 4 for each tag */
    uint8_t headers[SF_UDP_HEADERS_MAX];
};

enum sf_udp_sum {
    SF_UDP_SUM_FULL,
    SF_UDP_SUM_PARTIAL, /* the pseudo-header's, for a NIC that completes it or a receiver that is told */
    SF_UDP_SUM_NONE,    /* field 0, which RFC 768 permits */
};

/* Returns 0, or -EINVAL for more than two tags. */
int sf_udp_template_init(struct sf_udp_template *template, const struct sf_ip_peer *peer);

/* The length to reserve for a frame with `len` bytes of payload. Ethernet's least length is ignored, because NICs pad. */
static inline size_t sf_udp_frame_len(const struct sf_udp_template *template, size_t len)
{
    return template->len + len;
}

/*
 * Writes the frame: headers, payload (n pieces in order) and checksums. Returns its length, which is sf_udp_frame_len(), or 0
 * without writing if there is not enough room or the payload exceeds SF_UDP_PAYLOAD_MAX. `id` is the IP identification in host
 * byte order (without meaning if dont_fragment is set: RFC 6864).
 */
size_t sf_udp_emit(const struct sf_udp_template *template, uint8_t *frame, size_t room, const struct iovec *payload,
                   int n, uint16_t id, enum sf_udp_sum sum);

/* Does the same into a frame of several pieces. The first must have room for all headers. */
size_t sf_udp_emit_pieces(const struct sf_udp_template *template, const struct iovec *frame, int frame_pieces,
                          const struct iovec *payload, int n, uint16_t id, enum sf_udp_sum sum);

/*
 * Writes only the headers, template->len bytes, for a payload that the caller puts after them. `payload_sum` is its ones'
 * complement sum (sf_sum_bytes(), sf_sum_piece()), used with SF_UDP_SUM_FULL. `payload_len` is at most SF_UDP_PAYLOAD_MAX.
 */
void sf_udp_emit_headers(const struct sf_udp_template *template, uint8_t *frame, uint16_t payload_len,
                         uint64_t payload_sum, uint16_t id, enum sf_udp_sum sum);

#endif
