#define _GNU_SOURCE
#include "partial_checksum.h"

#include <netinet/in.h>
#include <string.h>

#define TYPE_IPV4 0x0800
#define TYPE_TAG 0x8100
#define TYPE_SERVICE_TAG 0x88a8

static uint32_t read16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

/* Where the IPv4 header begins; 0: there is none within `len`. */
static uint32_t ipv4_at(const uint8_t *data, uint32_t len)
{
    uint32_t type, at = 14;

    if (len < 14 + 20)
        return 0;
    type = read16(data + 12);
    if (type == TYPE_TAG || type == TYPE_SERVICE_TAG) {
        at = 18;
        type = read16(data + 16);
    }
    return type == TYPE_IPV4 && len >= at + 20 ? at : 0;
}

bool sf_checksum_is_partial(const uint8_t *data, uint32_t len)
{
    uint32_t at = ipv4_at(data, len), header, total, checksum_at, sum;
    const uint8_t *ip = data + at;

    if (!at)
        return false;
    header = (ip[0] & 15u) * 4;
    total = read16(ip + 2);
    if (ip[9] == IPPROTO_UDP)
        checksum_at = at + header + 6;
    else if (ip[9] == IPPROTO_TCP)
        checksum_at = at + header + 16;
    else
        return false;
    if (header < 20 || total < header || len < checksum_at + 2)
        return false;
    sum = read16(ip + 12) + read16(ip + 14) + read16(ip + 16) + read16(ip + 18) + ip[9] + (total - header);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return sum == read16(data + checksum_at);
}
