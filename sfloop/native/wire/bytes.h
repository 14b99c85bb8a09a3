/* Loads and stores at any alignment. Names with `be` convert between network byte order and the host's. */
#ifndef SF_WIRE_BYTES_H
#define SF_WIRE_BYTES_H

#include "sf/base.h"

#include <string.h>

static inline uint16_t sf_load16(const uint8_t *at)
{
    uint16_t value;

    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint32_t sf_load32(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint64_t sf_load64(const uint8_t *at)
{
    uint64_t value;

    memcpy(&value, at, sizeof value);
    return value;
}

static inline void sf_store16(uint8_t *at, uint16_t value)
{
    memcpy(at, &value, sizeof value);
}

static inline void sf_store32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof value);
}

/* Converts in both directions, because two swaps cancel out. */
static inline uint16_t sf_be16(uint16_t value)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return __builtin_bswap16(value);
#else
    return value;
#endif
}

static inline uint32_t sf_be32(uint32_t value)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return __builtin_bswap32(value);
#else
    return value;
#endif
}

static inline uint16_t sf_load16_be(const uint8_t *at)
{
    return sf_be16(sf_load16(at));
}

static inline void sf_store16_be(uint8_t *at, uint16_t value)
{
    sf_store16(at, sf_be16(value));
}

static inline uint32_t sf_load32_be(const uint8_t *at)
{
    return sf_be32(sf_load32(at));
}

static inline void sf_store32_be(uint8_t *at, uint32_t value)
{
    sf_store32(at, sf_be32(value));
}

#endif
