#include "icmp.h"

#include <errno.h>

/* Least number of bytes after the quoted IP header (RFC 792): UDP's header, or TCP's ports and sequence number. */
enum { QUOTED_MIN = 8 };

bool sf_icmp_is_error(uint8_t type)
{
    return type == SF_ICMP_UNREACHABLE || type == SF_ICMP_TIME_EXCEEDED || type == SF_ICMP_PARAMETER_PROBLEM;
}

/* Parses a quote. sf_ipv4_parse() cannot, because a quote is shorter than the packet's total length, and routers change the
 * TTL and more without updating the checksum. */
static enum sf_refusal parse_quote(const uint8_t *packet, size_t len, struct sf_icmp_quote *out)
{
    const uint8_t *transport;
    size_t header_len;

    if (len < SF_IPV4_HEADER || packet[0] >> 4 != 4)
        return SF_REFUSED_ICMP_QUOTE;
    header_len = (packet[0] & 0x0fu) * 4;
    if (header_len < SF_IPV4_HEADER || len < header_len + QUOTED_MIN)
        return SF_REFUSED_ICMP_QUOTE;
    if (packet[9] != SF_IPV4_UDP && packet[9] != SF_IPV4_TCP)
        return SF_REFUSED_ICMP_QUOTE;
    if (sf_load16_be(packet + 6) & 0x1fff) /* a later fragment, which has no ports */
        return SF_REFUSED_ICMP_QUOTE;
    transport = packet + header_len;
    out->src = sf_load32(packet + 12);
    out->dst = sf_load32(packet + 16);
    out->src_port = sf_load16(transport);
    out->dst_port = sf_load16(transport + 2);
    out->total_len = sf_load16_be(packet + 2);
    out->protocol = packet[9];
    if (out->protocol == SF_IPV4_TCP)
        out->tcp_sequence = (uint32_t)sf_load16_be(transport + 4) << 16 | sf_load16_be(transport + 6);
    return SF_ACCEPTED;
}

enum sf_refusal sf_icmp_parse(const struct sf_ipv4 *ip, struct sf_icmp *out)
{
    const uint8_t *message = ip->payload;

    if (ip->protocol != SF_IPV4_ICMP)
        return SF_REFUSED_IP_PROTOCOL;
    if (ip->payload_len < SF_ICMP_HEADER)
        return SF_REFUSED_ICMP_SHORT;
    if (sf_checksum(message, ip->payload_len) != 0)
        return SF_REFUSED_ICMP_CHECKSUM;
    *out = (struct sf_icmp){.type = message[0], .code = message[1]};
    if (sf_icmp_is_error(out->type)) {
        if (out->type == SF_ICMP_UNREACHABLE && out->code == SF_ICMP_FRAGMENTATION_NEEDED)
            out->mtu = sf_load16_be(message + 6);
        return parse_quote(message + SF_ICMP_HEADER, ip->payload_len - (size_t)SF_ICMP_HEADER, &out->quote);
    }
    if (out->type != SF_ICMP_ECHO && out->type != SF_ICMP_ECHO_REPLY)
        return SF_REFUSED_ICMP_TYPE;
    out->id = sf_load16_be(message + 4);
    out->sequence = sf_load16_be(message + 6);
    out->data = message + SF_ICMP_HEADER;
    out->data_len = (uint16_t)(ip->payload_len - SF_ICMP_HEADER);
    return SF_ACCEPTED;
}

int sf_icmp_errno(uint8_t type, uint8_t code)
{
    static const int unreachable[] = {
        ENETUNREACH,  EHOSTUNREACH, ENOPROTOOPT,  ECONNREFUSED, EMSGSIZE,     EOPNOTSUPP,   ENETUNREACH,  EHOSTDOWN,
        ENONET,       ENETUNREACH,  EHOSTUNREACH, ENETUNREACH,  EHOSTUNREACH, EHOSTUNREACH, EHOSTUNREACH, EHOSTUNREACH,
    };

    if (type == SF_ICMP_UNREACHABLE)
        return code < sizeof unreachable / sizeof *unreachable ? unreachable[code] : EHOSTUNREACH;
    if (type == SF_ICMP_TIME_EXCEEDED)
        return EHOSTUNREACH;
    return type == SF_ICMP_PARAMETER_PROBLEM ? EPROTO : 0;
}

static size_t finish(uint8_t *buffer, size_t len)
{
    sf_store16(buffer + 2, sf_checksum(buffer, len));
    return len;
}

size_t sf_icmp_emit_echo(uint8_t *buffer, size_t room, const struct sf_icmp *message)
{
    if (message->type != SF_ICMP_ECHO && message->type != SF_ICMP_ECHO_REPLY)
        return 0;
    if (room < SF_ICMP_HEADER + (size_t)message->data_len)
        return 0;
    buffer[0] = message->type;
    buffer[1] = message->code;
    sf_store16(buffer + 2, 0);
    sf_store16_be(buffer + 4, message->id);
    sf_store16_be(buffer + 6, message->sequence);
    if (message->data_len)
        memcpy(buffer + SF_ICMP_HEADER, message->data, message->data_len);
    return finish(buffer, SF_ICMP_HEADER + (size_t)message->data_len);
}

size_t sf_icmp_emit_error(uint8_t *buffer, size_t room, const struct sf_icmp *message, const uint8_t *packet,
                          size_t len)
{
    size_t quoted = SF_ICMP_ERROR_MAX - SF_IPV4_HEADER - SF_ICMP_HEADER;

    if (!sf_icmp_is_error(message->type) || len < SF_IPV4_HEADER || room < SF_ICMP_HEADER)
        return 0;
    if (quoted > room - SF_ICMP_HEADER)
        quoted = room - SF_ICMP_HEADER;
    if (quoted > len)
        quoted = len;
    if (quoted < (packet[0] & 0x0fu) * 4 + QUOTED_MIN)
        return 0;
    memset(buffer, 0, SF_ICMP_HEADER);
    buffer[0] = message->type;
    buffer[1] = message->code;
    if (message->type == SF_ICMP_UNREACHABLE && message->code == SF_ICMP_FRAGMENTATION_NEEDED)
        sf_store16_be(buffer + 6, message->mtu);
    memcpy(buffer + SF_ICMP_HEADER, packet, quoted);
    return finish(buffer, SF_ICMP_HEADER + quoted);
}
