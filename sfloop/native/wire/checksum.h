/*
 * The Internet checksum (RFC 1071): the ones' complement of the ones' complement sum of 16-bit words.
 *
 * Sums are kept in 64 bits and in host byte order. The width does not matter (RFC 1071, 2(C)). In the other byte order the sum is
 * the same with its bytes swapped (2(B)), so words loaded without a swap are stored without one.
 */
#ifndef SF_WIRE_CHECKSUM_H
#define SF_WIRE_CHECKSUM_H

#include "bytes.h"

#include <stdbool.h>

/* Ones' complement addition: adds the carry at the low end. */
static inline uint64_t sf_sum_add(uint64_t sum, uint64_t word)
{
    sum += word;
    return sum + (sum < word);
}

/* Adds fewer than 8 bytes, as if zeros followed. Words start at even offsets, so a last odd byte is the first of its word. */
static inline uint64_t sf_sum_tail(uint64_t sum, const uint8_t *at, size_t len)
{
    if (len & 4) {
        sum = sf_sum_add(sum, sf_load32(at));
        at += 4;
    }
    if (len & 2) {
        sum = sf_sum_add(sum, sf_load16(at));
        at += 2;
    }
    if (len & 1) {
        uint8_t word[2] = {*at, 0};

        sum = sf_sum_add(sum, sf_load16(word));
    }
    return sum;
}

/* Adds `len` bytes that begin at an even offset of the summed data. Uses four sums in parallel, because each addition to one
 * waits for the carry of the last. */
static inline uint64_t sf_sum_bytes(uint64_t sum, const void *data, size_t len)
{
    const uint8_t *at = data;

    if (len >= 32) {
        uint64_t b = 0, c = 0, d = 0;

        for (; len >= 32; at += 32, len -= 32) {
            sum = sf_sum_add(sum, sf_load64(at));
            b = sf_sum_add(b, sf_load64(at + 8));
            c = sf_sum_add(c, sf_load64(at + 16));
            d = sf_sum_add(d, sf_load64(at + 24));
        }
        sum = sf_sum_add(sf_sum_add(sum, b), sf_sum_add(c, d));
    }
    for (; len >= 8; at += 8, len -= 8)
        sum = sf_sum_add(sum, sf_load64(at));
    return sf_sum_tail(sum, at, len);
}

/* Folds the sum to 16 bits, ready to be compared or stored. The result is 0 only if everything added was zero. Adding a number
 * to itself with its halves exchanged leaves the sum of both halves in the upper half, including the carry from below. */
static inline uint16_t sf_sum_fold(uint64_t sum)
{
    uint32_t half = (uint32_t)((sum + (sum << 32 | sum >> 32)) >> 32);

    return (uint16_t)((half + (half << 16 | half >> 16)) >> 16);
}

/* Adds bytes that begin at any offset of the summed data. At an odd offset, each byte is the other half of its word. */
uint64_t sf_sum_piece(uint64_t sum, size_t offset, const void *data, size_t len);

/* Returns the value to store in a checksum field, which must be zero in the data. */
uint16_t sf_checksum(const void *data, size_t len);

/* Sums the pseudo-header of UDP and TCP (RFC 768, RFC 9293 3.1) without its length. Addresses are in network byte order. */
static inline uint64_t sf_sum_pseudo(uint32_t src, uint32_t dst, uint8_t protocol)
{
    return (uint64_t)src + dst + sf_be16(protocol);
}

/*
 * Tells whether the field holds only the sum of the pseudo-header. A sender on this machine may leave the checksum to hardware
 * that does not exist. Linux then stores the sum of the pseudo-header with its length, not complemented. A full checksum of wrong
 * bytes looks like that once in 65,536.
 */
static inline bool sf_sum_is_partial(uint16_t field, uint64_t pseudo_sum)
{
    return field == sf_sum_fold(pseudo_sum);
}

#endif
