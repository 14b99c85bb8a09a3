/* Copying a payload in pieces into frames, and summing it on the way. */
#ifndef SF_WIRE_PIECES_H
#define SF_WIRE_PIECES_H

#include "checksum.h"

#include <stdbool.h>

#include <sys/uio.h>

/* The bytes of an array of pieces; SIZE_MAX if they exceed `most`. */
size_t sf_pieces_len(const struct iovec *pieces, int n, size_t most);
/* Total room in the destination pieces; saturates at SIZE_MAX. */
size_t sf_pieces_room(const struct iovec *pieces, int n);

/* Copies the pieces, `len` bytes in all, one after the other. Returns their sum, or 0 if `sum` is false. */
uint64_t sf_pieces_gather(uint8_t *to, size_t len, const struct iovec *payload, int n, bool sum);
/* Does the same into pieces, after their first `offset` bytes. The caller has checked that there is room. */
uint64_t sf_pieces_scatter(const struct iovec *to, int to_n, size_t offset, const struct iovec *payload, int n,
                           bool sum);

static inline uint64_t sf_copy8_and_sum(uint8_t *to, const uint8_t *from, uint64_t sum)
{
    uint64_t word = sf_load64(from);

    memcpy(to, &word, sizeof word);
    return sf_sum_add(sum, word);
}

/* Like sf_sum_bytes(), but also copies, because the stores cost little beside the additions. */
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
