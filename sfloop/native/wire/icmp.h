/*
 * ICMP (RFC 792): echo, and the errors that concern a flow, with the addresses and ports of the packet that caused them. A
 * fragmentation-needed error has the next hop's MTU (RFC 1191, 4).
 */
#ifndef SF_WIRE_ICMP_H
#define SF_WIRE_ICMP_H

#include "ipv4.h"

enum {
    SF_ICMP_HEADER = 8,
    SF_ICMP_ERROR_MAX = 576, /* longest packet with an error, IP header included (RFC 1812, 4.3.2.3) */
};

enum sf_icmp_type {
    SF_ICMP_ECHO_REPLY = 0,
    SF_ICMP_UNREACHABLE = 3,
    SF_ICMP_ECHO = 8,
    SF_ICMP_TIME_EXCEEDED = 11,
    SF_ICMP_PARAMETER_PROBLEM = 12,
};

/* Codes of SF_ICMP_UNREACHABLE. */
enum sf_icmp_unreachable {
    SF_ICMP_NET_UNREACHABLE = 0,
    SF_ICMP_PORT_UNREACHABLE = 3,
    SF_ICMP_FRAGMENTATION_NEEDED = 4,
};

/* The packet that caused an error. It is ours if its source is. Addresses and ports are in network byte order. */
struct sf_icmp_quote {
    uint32_t src, dst;
    uint16_t src_port, dst_port;
    uint32_t tcp_sequence; /* host byte order; 0 for UDP. RFC 5927, 4.1 compares it with the data in flight. */
    uint16_t total_len;    /* of the whole packet */
    uint8_t protocol;      /* SF_IPV4_UDP or SF_IPV4_TCP */
};

struct sf_icmp {
    uint8_t type, code;
    uint16_t mtu; /* fragmentation needed: the claimed MTU, which may be wrong; 0: from a router older than RFC 1191 */
    uint16_t id, sequence; /* echo, host byte order */
    uint16_t data_len;     /* echo */
    const uint8_t *data;
    struct sf_icmp_quote quote; /* errors */
};

/* Parses the payload of an IPv4 packet. Always verifies the checksum, because NICs do not. */
enum sf_refusal sf_icmp_parse(const struct sf_ipv4 *ip, struct sf_icmp *out);

/* True for types that quote a packet. */
bool sf_icmp_is_error(uint8_t type);

/* The positive errno that Linux gives a socket for an error (icmp_err_convert in net/ipv4/icmp.c); 0: none. */
int sf_icmp_errno(uint8_t type, uint8_t code);

/* Both write a message and return its length. 0: no room, or a wrong type. */
size_t sf_icmp_emit_echo(uint8_t *buffer, size_t room, const struct sf_icmp *message);
/* `packet` is the IP packet that caused the error. The message quotes as much of it as the room and SF_ICMP_ERROR_MAX permit,
 * and at least its header and 8 bytes (RFC 792). Reads only type, code and mtu of *message. */
size_t sf_icmp_emit_error(uint8_t *buffer, size_t room, const struct sf_icmp *message, const uint8_t *packet,
                          size_t len);

#endif
