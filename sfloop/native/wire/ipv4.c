#include "ipv4.h"

size_t sf_ipv4_emit(uint8_t *buffer, size_t room, const struct sf_ipv4 *header)
{
    uint32_t total = SF_IPV4_HEADER + (uint32_t)header->payload_len;

    if (room < SF_IPV4_HEADER || total > UINT16_MAX)
        return 0;
    buffer[0] = 4 << 4 | SF_IPV4_HEADER / 4;
    buffer[1] = header->tos;
    sf_store16_be(buffer + 2, (uint16_t)total);
    sf_store16_be(buffer + 4, header->id);
    sf_store16_be(buffer + 6, header->dont_fragment ? 0x4000 : 0);
    buffer[8] = header->ttl;
    buffer[9] = header->protocol;
    sf_store16(buffer + 10, 0);
    sf_store32(buffer + 12, header->src);
    sf_store32(buffer + 16, header->dst);
    sf_store16(buffer + 10, sf_checksum(buffer, SF_IPV4_HEADER));
    return SF_IPV4_HEADER;
}
