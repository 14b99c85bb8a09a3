/*
 * ICMP (RFC 792): the errors that concern a flow, each with the addresses and ports of the packet that it is about, and
 * echo. A fragmentation-needed error has the next hop's MTU (RFC 1191, 4).
 */
#ifndef SF_WIRE_ICMP_H
#define SF_WIRE_ICMP_H

#include "ipv4.h"

enum {
    SF_ICMP_HEADER = 8,
    SF_ICMP_ERROR_MAX = 576, /* RFC 1812, 4.3.2.3: an error is a packet of at most so much, its IP header included */
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
    SF_ICMP_HOST_UNREACHABLE = 1,
    SF_ICMP_PROTOCOL_UNREACHABLE = 2,
    SF_ICMP_PORT_UNREACHABLE = 3,
    SF_ICMP_FRAGMENTATION_NEEDED = 4,
};

/* The packet that an error is about: ours, if its source is. Addresses and ports in network byte order. */
struct sf_icmp_quote {
    uint32_t src, dst;
    uint16_t src_port, dst_port;
    uint32_t tcp_sequence; /* host byte order; 0 for UDP. RFC 5927, 4.1, compares it with what is in flight. */
    uint16_t total_len;    /* of the whole packet */
    uint8_t protocol;      /* SF_IPV4_UDP or SF_IPV4_TCP */
};

struct sf_icmp {
    uint8_t type, code;
    uint16_t mtu; /* fragmentation needed: what is claimed, which may be nonsense; 0: by a router older than RFC 1191 */
    uint16_t id, sequence; /* echo, host byte order */
    uint16_t data_len;     /* echo */
    const uint8_t *data;
    struct sf_icmp_quote quote; /* errors */
};

/* The payload of an IPv4 packet. The checksum is always verified: no NIC is asked to do it. */
enum sf_refusal sf_icmp_parse(const struct sf_ipv4 *ip, struct sf_icmp *out);

/* True of the types that quote a packet. */
bool sf_icmp_is_error(uint8_t type);

/* The errno that Linux gives a socket for an error (net/ipv4/icmp.c, icmp_err_convert), positive; 0: none. */
int sf_icmp_errno(uint8_t type, uint8_t code);

/* Each writes a message and returns its length; 0: no room, or not a type of the kind. */
size_t sf_icmp_emit_echo(uint8_t *buffer, size_t room, const struct sf_icmp *message);
/* `packet`: the IP packet that the error is about, of which as much is quoted as there is room for and
 * SF_ICMP_ERROR_MAX allows, but no less than its header and 8 bytes (RFC 792). Of *message, type, code and mtu are
 * taken. */
size_t sf_icmp_emit_error(uint8_t *buffer, size_t room, const struct sf_icmp *message, const uint8_t *packet,
                          size_t len);

#endif
