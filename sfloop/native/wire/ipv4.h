/*
 * IPv4 headers (RFC 791). The stack acts on no option (RFC 1122, 3.2.1.8). As in Linux, well-formed options are skipped, and
 * malformed ones refuse the packet.
 */
#ifndef SF_WIRE_IPV4_H
#define SF_WIRE_IPV4_H

#include "checksum.h"
#include "refusal.h"

#include <stdbool.h>

/* The state of the checksums of received bytes. The values are those of sf_frame_flags in sf/driver.h, so a frame's flags can
 * be passed on. Other bits are ignored. */
enum sf_wire_flags {
    SF_WIRE_CHECKSUM_GOOD = 1,    /* the NIC has verified them, so they are not checked */
    SF_WIRE_CHECKSUM_PARTIAL = 2, /* UDP's may be the pseudo-header's sum, for hardware to complete; IP's is complete */
    SF_WIRE_CHECKSUM_UNSURE = 16, /* the same; said of every frame, because the driver cannot tell */
};

enum {
    SF_IPV4_HEADER = 20,
    SF_IPV4_MTU_MIN = 68, /* RFC 791, 3.2: the MTU that every network supports */
    SF_IPV4_TTL = 64,     /* RFC 1700's recommendation for sent packets */
};

enum {
    SF_IPV4_ICMP = 1,
    SF_IPV4_TCP = 6,
    SF_IPV4_UDP = 17,
};

struct sf_ipv4 {
    uint32_t src, dst; /* network byte order */
    const uint8_t *payload;
    uint16_t payload_len; /* from the total length, so without Ethernet padding */
    uint16_t id;          /* host byte order */
    uint8_t header_len;
    uint8_t tos;
    uint8_t ttl;
    uint8_t protocol;
    bool dont_fragment;
};

/* The sum of a header. `len` is at least 20 and a multiple of four. The folded sum is 0xffff if the header's checksum is
 * right. */
static inline uint64_t sf_ipv4_header_sum(const uint8_t *header, size_t len)
{
    uint64_t sum = sf_sum_add(sf_sum_add(sf_load64(header), sf_load64(header + 8)), sf_load32(header + 16));

    return SF_LIKELY(len == SF_IPV4_HEADER) ? sum : sf_sum_bytes(sum, header + SF_IPV4_HEADER, len - SF_IPV4_HEADER);
}

/* Applies RFC 1122, 3.2.1.3, as Linux does: silently discards packets from an address that no other host can have. Reserved
 * addresses (240/4) pass. A host that does not know its address yet sends from 0.0.0.0 to 255.255.255.255 or 224.0.0.0/24.
 * Linux also accepts packets to 255.255.255.255 from 127/8. */
static inline bool sf_ipv4_source_is_possible(uint32_t src, uint32_t dst)
{
    uint8_t first = ((const uint8_t *)&src)[0];

    if (SF_UNLIKELY(!src))
        return dst == UINT32_MAX || (dst & sf_be32(0xffffff00)) == sf_be32(0xe0000000);
    if (SF_UNLIKELY(first == 127))
        return dst == UINT32_MAX;
    return first < 224 || (first >= 240 && src != UINT32_MAX);
}

/* True if Linux accepts a packet with these options: the `len` bytes after the first 20 of the header. Refuses source routes
 * and CIPSO labels, because Linux accepts them only if configured to. */
bool sf_ipv4_options_are_right(const uint8_t *options, size_t len);

/* `len` counts the bytes from the header on. Bytes beyond the total length are padding. A packet that is refused as a fragment
 * is well formed, and *out describes this fragment. Does not check the source address. */
static inline enum sf_refusal sf_ipv4_parse(const uint8_t *packet, size_t len, uint32_t flags, struct sf_ipv4 *out)
{
    uint32_t header_len, total;
    uint16_t fragment;

    if (SF_UNLIKELY(len < SF_IPV4_HEADER))
        return SF_REFUSED_IP_SHORT;
    if (SF_UNLIKELY(packet[0] >> 4 != 4))
        return SF_REFUSED_IP_VERSION;
    header_len = (packet[0] & 0x0fu) * 4;
    total = sf_load16_be(packet + 2);
    if (SF_UNLIKELY(header_len < SF_IPV4_HEADER || header_len > total))
        return SF_REFUSED_IP_HEADER;
    if (SF_UNLIKELY(total > len))
        return header_len > len ? SF_REFUSED_IP_SHORT : SF_REFUSED_IP_LENGTH;
    if (!(flags & SF_WIRE_CHECKSUM_GOOD) && SF_UNLIKELY(sf_sum_fold(sf_ipv4_header_sum(packet, header_len)) != 0xffff))
        return SF_REFUSED_IP_CHECKSUM;
    if (SF_UNLIKELY(header_len > SF_IPV4_HEADER) &&
        !sf_ipv4_options_are_right(packet + SF_IPV4_HEADER, header_len - SF_IPV4_HEADER))
        return SF_REFUSED_IP_OPTIONS;
    out->src = sf_load32(packet + 12);
    out->dst = sf_load32(packet + 16);
    out->payload = packet + header_len;
    out->payload_len = (uint16_t)(total - header_len);
    out->id = sf_load16_be(packet + 4);
    out->header_len = (uint8_t)header_len;
    out->tos = packet[1];
    out->ttl = packet[8];
    out->protocol = packet[9];
    fragment = sf_load16_be(packet + 6);
    out->dont_fragment = fragment >> 14 & 1;
    return SF_UNLIKELY(fragment & 0x3fff) ? SF_REFUSED_IP_FRAGMENT : SF_ACCEPTED;
}

/* Writes a header without options for `payload_len` bytes, which the caller writes. Ignores `payload` and `header_len`.
 * Returns SF_IPV4_HEADER, or 0 if there is no room or the packet exceeds 65535 bytes. */
size_t sf_ipv4_emit(uint8_t *buffer, size_t room, const struct sf_ipv4 *header);

#endif
