#include "ip_peer.h"

#include "checksum.h"

#include <string.h>

size_t sf_ip_peer_emit(uint8_t *headers, size_t room, const struct sf_ip_peer *peer, uint8_t protocol, bool dont_fragment,
                       uint32_t *ip_sum)
{
    struct sf_eth eth = {.dst = peer->dst_mac, .src = peer->src_mac, .type = SF_ETH_TYPE_IPV4, .tags = peer->tags};
    struct sf_ipv4 ip = {
        .src = peer->src_addr,
        .dst = peer->dst_addr,
        .tos = peer->tos,
        .ttl = peer->ttl,
        .protocol = protocol,
        .dont_fragment = dont_fragment,
    };
    uint8_t *at = headers;

    memcpy(eth.tag, peer->tag, sizeof eth.tag);
    at += sf_eth_emit(at, room, &eth);
    if (at == headers || room - (size_t)(at - headers) < SF_IPV4_HEADER + 4)
        return 0;
    sf_ipv4_emit(at, SF_IPV4_HEADER, &ip);
    sf_store16(at + 2, 0);
    sf_store16(at + 10, 0);
    *ip_sum = sf_sum_fold(sf_ipv4_header_sum(at, SF_IPV4_HEADER));
    at += SF_IPV4_HEADER;
    sf_store16(at, peer->src_port);
    sf_store16(at + 2, peer->dst_port);
    return (size_t)(at - headers);
}
