/* The peer of the tests of wire formats. */
#ifndef SF_TEST_WIRE_PEER_H
#define SF_TEST_WIRE_PEER_H

#include "wire/ip_peer.h"

/* 10.0.0.1:4000 to 10.0.0.2:5000, on machines of either byte order. */
static inline struct sf_ip_peer peer_of(uint8_t tags)
{
    static const uint8_t src[4] = {10, 0, 0, 1}, dst[4] = {10, 0, 0, 2};
    struct sf_ip_peer peer = {
        .src_mac = {2, 0, 0, 0, 0, 1},
        .dst_mac = {2, 0, 0, 0, 0, 2},
        .src_addr = sf_load32(src),
        .dst_addr = sf_load32(dst),
        .src_port = sf_be16(4000),
        .dst_port = sf_be16(5000),
        .ttl = 17,
        .tos = 0xb8,
        .dont_fragment = true,
        .tags = tags,
        .tag = {{SF_ETH_TYPE_SERVICE_VLAN, 0x2064}, {SF_ETH_TYPE_VLAN, 0x0007}},
    };

    if (tags == 1)
        peer.tag[0] = peer.tag[1];
    return peer;
}

#endif
