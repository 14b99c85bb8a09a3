/* The peer that segments or datagrams are sent to, and the part of their templates that UDP and TCP have in common. */
#ifndef SF_WIRE_IP_PEER_H
#define SF_WIRE_IP_PEER_H

#include "eth.h"
#include "ipv4.h"

/* Addresses and ports are in network byte order. */
struct sf_ip_peer {
    uint8_t src_mac[SF_ETH_ADDR], dst_mac[SF_ETH_ADDR];
    uint32_t src_addr, dst_addr;
    uint16_t src_port, dst_port;
    uint8_t ttl, tos;
    bool dont_fragment; /* UDP; TCP always sets it: RFC 1191 */
    uint8_t tags;
    struct sf_eth_tag tag[SF_ETH_TAGS_MAX];
};

/*
 * Writes the headers up to the ports, with zeros for the IP header's length, identification and checksum. Returns the length
 * before the ports, or 0 if `room` is too short or there are more tags than SF_ETH_TAGS_MAX. *ip_sum: of the IP header.
 */
size_t sf_ip_peer_emit(uint8_t *headers, size_t room, const struct sf_ip_peer *peer, uint8_t protocol, bool dont_fragment,
                       uint32_t *ip_sum);

#endif
