/*
 * Ethernet II frames with up to two VLAN tags (IEEE 802.3, 802.1Q). With two tags (802.1ad) the outer one has a type of its own,
 * but frames with 802.1Q's type twice exist too.
 */
#ifndef SF_WIRE_ETH_H
#define SF_WIRE_ETH_H

#include "bytes.h"
#include "refusal.h"

#include <stdbool.h>

enum {
    SF_ETH_ADDR = 6,
    SF_ETH_HEADER = 14,
    SF_ETH_TAG = 4,
    SF_ETH_TAGS_MAX = 2,
    SF_ETH_HEADER_MAX = SF_ETH_HEADER + SF_ETH_TAGS_MAX * SF_ETH_TAG,
};

enum {
    SF_ETH_TYPE_IPV4 = 0x0800,
    SF_ETH_TYPE_VLAN = 0x8100,         /* 802.1Q's tag: the inner or only one */
    SF_ETH_TYPE_SERVICE_VLAN = 0x88a8, /* 802.1ad's tag: the outer one */
};

/* In host byte order. The low 12 bits of tci are the VLAN's number. Number 0: no VLAN, only a priority. */
struct sf_eth_tag {
    uint16_t type;
    uint16_t tci;
};

struct sf_eth {
    const uint8_t *dst, *src; /* SF_ETH_ADDR bytes each; after parsing, in the frame */
    uint16_t type;            /* type after the tags, in host byte order; below 0x600 it is 802.3's length */
    uint8_t tags;
    uint8_t len; /* of the header with its tags */
    struct sf_eth_tag tag[SF_ETH_TAGS_MAX]; /* outermost first */
};

static inline uint16_t sf_eth_tag_vlan(struct sf_eth_tag tag)
{
    return tag.tci & 0x0fff;
}

/* Continues sf_eth_parse() for a frame with tags. */
enum sf_refusal sf_eth_parse_tags(const uint8_t *frame, size_t len, struct sf_eth *out);

static inline enum sf_refusal sf_eth_parse(const uint8_t *frame, size_t len, struct sf_eth *out)
{
    if (SF_UNLIKELY(len < SF_ETH_HEADER))
        return SF_REFUSED_ETH_SHORT;
    out->dst = frame;
    out->src = frame + SF_ETH_ADDR;
    out->type = sf_load16_be(frame + 2 * SF_ETH_ADDR);
    out->tags = 0;
    out->len = SF_ETH_HEADER;
    if (SF_UNLIKELY(out->type == SF_ETH_TYPE_VLAN || out->type == SF_ETH_TYPE_SERVICE_VLAN))
        return sf_eth_parse_tags(frame, len, out);
    return SF_ACCEPTED;
}

/* Writes the header and returns its length; ignores header->len. 0: more than two tags, or no room. */
size_t sf_eth_emit(uint8_t *buffer, size_t room, const struct sf_eth *header);

/* The Ethernet address of an IPv4 group (RFC 1112, 6.4): has the group's low 23 bits. `group` is in network byte order. */
void sf_eth_multicast(uint32_t group, uint8_t addr[SF_ETH_ADDR]);

#endif
