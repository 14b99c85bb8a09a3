/* Payload in pieces, put into frames and summed on the way. */
#ifndef SF_WIRE_PIECES_H
#define SF_WIRE_PIECES_H

#include "checksum.h"

#include <stdbool.h>

#include <sys/uio.h>

/* The bytes of an array of pieces; SIZE_MAX if that is more than `most`. */
size_t sf_pieces_len(const struct iovec *pieces, int n, size_t most);
/* The same, of pieces that bytes are written into, where more than there can be is as much as there can be. */
size_t sf_pieces_room(const struct iovec *pieces, int n);

/* Copies the pieces, len bytes, one behind the other. Returns their sum, or 0 if it is not wanted. */
uint64_t sf_pieces_gather(uint8_t *to, size_t len, const struct iovec *payload, int n, bool sum);
/* The same into pieces, behind the first `offset` bytes of them. There is room enough. */
uint64_t sf_pieces_scatter(const struct iovec *to, int to_n, size_t offset, const struct iovec *payload, int n,
                           bool sum);

static inline uint64_t sf_copy8_and_sum(uint8_t *to, const uint8_t *from, uint64_t sum)
{
    uint64_t word = sf_load64(from);

    memcpy(to, &word, sizeof word);
    return sf_sum_add(sum, word);
}

/* sf_sum_bytes() that leaves a copy behind: the stores cost little beside the additions. */
static inline uint64_t sf_copy_and_sum(uint8_t *restrict to, const uint8_t *restrict from, size_t len)
{
    uint64_t a = 0, b = 0, c = 0, d = 0;

    for (; len >= 32; to += 32, from += 32, len -= 32) {
        a = sf_copy8_and_sum(to, from, a);
        b = sf_copy8_and_sum(to + 8, from + 8, b);
        c = sf_copy8_and_sum(to + 16, from + 16, c);
        d = sf_copy8_and_sum(to + 24, from + 24, d);
    }
    a = sf_sum_add(sf_sum_add(a, b), sf_sum_add(c, d));
    for (; len >= 8; to += 8, from += 8, len -= 8)
        a = sf_copy8_and_sum(to, from, a);
    for (size_t i = 0; i < len; i++)
        to[i] = from[i];
    return sf_sum_tail(a, from, len);
}

#endif
