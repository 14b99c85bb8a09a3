/*
 * The Internet checksum (RFC 1071): the ones' complement of the ones' complement sum of 16-bit words.
 *
 * Sums here are kept in 64 bits and in the machine's byte order. Both are free choices: a ones' complement sum is the
 * same whatever the width it is carried in (RFC 1071, 2(C)), and in the other byte order it is the same sum with its
 * bytes swapped (2(B)), so that what was loaded without swapping is stored without swapping too.
 */
#ifndef SF_WIRE_CHECKSUM_H
#define SF_WIRE_CHECKSUM_H

#include "bytes.h"

#include <stdbool.h>

/* Ones' complement addition: the carry comes back in at the low end. */
static inline uint64_t sf_sum_add(uint64_t sum, uint64_t word)
{
    sum += word;
    return sum + (sum < word);
}

/* Fewer than 8 bytes, as if zeros followed. Sums are of words at even offsets, so a last odd byte is a word's first. */
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

/* Adds len bytes that begin at an even offset of what is summed. Four sums side by side, since each addition of one has
 * to wait for the carry of the last. */
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

/* The sum in 16 bits, ready to be compared or stored as it is. 0 only if everything that was added is zero. A number
 * added to itself with its halves exchanged has in its upper half the sum of both, and the carry out of it comes from
 * below. */
static inline uint16_t sf_sum_fold(uint64_t sum)
{
    uint32_t half = (uint32_t)((sum + (sum << 32 | sum >> 32)) >> 32);

    return (uint16_t)((half + (half << 16 | half >> 16)) >> 16);
}

/* Adds bytes that begin at any offset of what is summed: at an odd one, every byte is the other half of its word. */
uint64_t sf_sum_piece(uint64_t sum, size_t offset, const void *data, size_t len);

/* What belongs into a checksum field, stored as it is, the field itself having been summed as zero. */
uint16_t sf_checksum(const void *data, size_t len);

/* UDP's and TCP's pseudo-header (RFC 768, RFC 793 3.1) without its length. Addresses in network byte order. */
static inline uint64_t sf_sum_pseudo(uint32_t src, uint32_t dst, uint8_t protocol)
{
    return (uint64_t)src + dst + sf_be16(protocol);
}

/*
 * A sender on this machine may leave the sum to hardware that there is not. Linux then has the sum of the pseudo-header with
 * its length in the field, not complemented. A full sum of wrong bytes looks like that once in 65,536.
 */
static inline bool sf_sum_is_partial(uint16_t field, uint64_t pseudo_sum)
{
    return field == sf_sum_fold(pseudo_sum);
}

#endif
