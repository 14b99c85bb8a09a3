#include "ipv4.h"

/* Kinds of options (RFC 791, 3.1; RFC 2113). */
enum {
    OPTION_END = 0,
    OPTION_NOP = 1,
    OPTION_RECORD_ROUTE = 7,
    OPTION_TIMESTAMP = 68,
    OPTION_LOOSE_ROUTE = 131,
    OPTION_CIPSO = 134,
    OPTION_STRICT_ROUTE = 137,
    OPTION_ROUTER_ALERT = 148,
};

/* Flags of a timestamp option: the low half of its fourth byte. */
enum { STAMPS_ONLY = 0, STAMPS_AND_ADDRESSES = 1, STAMPS_OF_THESE = 3 };

/* Tells whether the next entry fits. The third byte is its position, counted from 1. A position beyond the length means that
 * the list is full. */
static bool has_room_for(const uint8_t *option, uint8_t len, uint8_t entry)
{
    return option[2] > len || option[2] + entry - 1 <= len;
}

static bool timestamps_are_right(const uint8_t *option, uint8_t len)
{
    uint8_t kind, overflow;

    if (len < 4 || option[2] < 5)
        return false;
    kind = option[3] & 15;
    overflow = option[3] >> 4;
    if (option[2] > len) /* full: counts up to 15 hosts that found no room */
        return kind == STAMPS_OF_THESE || overflow < 15;
    return has_room_for(option, len, kind == STAMPS_AND_ADDRESSES || kind == STAMPS_OF_THESE ? 8 : 4);
}

/* `seen` has a bit for either list, because a packet has each at most once. */
static bool option_is_right(const uint8_t *option, uint8_t len, unsigned *seen)
{
    unsigned bit = option[0] == OPTION_RECORD_ROUTE ? 1 : option[0] == OPTION_TIMESTAMP ? 2 : 0;

    if (*seen & bit)
        return false;
    *seen |= bit;
    switch (option[0]) {
    case OPTION_RECORD_ROUTE:
        return len >= 3 && option[2] >= 4 && has_room_for(option, len, 4);
    case OPTION_TIMESTAMP:
        return timestamps_are_right(option, len);
    case OPTION_ROUTER_ALERT:
        return len >= 4;
    case OPTION_LOOSE_ROUTE:
    case OPTION_STRICT_ROUTE:
    case OPTION_CIPSO:
        return false;
    default:
        return true;
    }
}

bool sf_ipv4_options_are_right(const uint8_t *options, size_t len)
{
    unsigned seen = 0;

    while (len && *options != OPTION_END) {
        uint8_t step = 1;

        if (*options != OPTION_NOP) {
            if (len < 2 || options[1] < 2 || options[1] > len)
                return false;
            step = options[1];
            if (!option_is_right(options, step, &seen))
                return false;
        }
        options += step;
        len -= step;
    }
    return true;
}

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
