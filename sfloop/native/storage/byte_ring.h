/*
 * Bytes of a stream by sequence number, in a ring: the byte with the number s is at s & (size - 1). The ring does not know where its
 * contents begin; its owner does. The numbers are 32 bits and wrap.
 */
#ifndef SF_STORAGE_BYTE_RING_H
#define SF_STORAGE_BYTE_RING_H

#include "sf/base.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

struct sf_byte_ring {
    uint8_t *bytes;
    uint32_t size; /* A power of two, or 0 while there is no memory. */
    uint32_t end;  /* The sequence number after the last byte that was appended. */
};

/* Copies bytes to the place of `seq`. The caller has checked that the ring has room for them. */
static inline void sf_byte_ring_put(struct sf_byte_ring *ring, uint32_t seq, const uint8_t *data, uint32_t len)
{
    uint32_t at = seq & (ring->size - 1), first = ring->size - at;

    if (SF_LIKELY(len <= first)) {
        memcpy(ring->bytes + at, data, len);
        return;
    }
    memcpy(ring->bytes + at, data, first);
    memcpy(ring->bytes, data + first, len - first);
}

/* Copies bytes to the end, and moves the end. */
static inline void sf_byte_ring_append(struct sf_byte_ring *ring, const uint8_t *data, uint32_t len)
{
    if (!len)
        return;
    sf_byte_ring_put(ring, ring->end, data, len);
    ring->end += len;
}

/* Stores the memory of [seq, seq + len) in `out`: one piece, or two if the range passes the ring's last byte. Returns the number of
 * pieces. `len` must not be 0. */
static inline int sf_byte_ring_pieces(const struct sf_byte_ring *ring, uint32_t seq, uint32_t len, struct iovec out[2])
{
    uint32_t at = seq & (ring->size - 1), first = ring->size - at;

    out[0] = (struct iovec){.iov_base = ring->bytes + at, .iov_len = len < first ? len : first};
    if (SF_LIKELY(len <= first))
        return 1;
    out[1] = (struct iovec){.iov_base = ring->bytes, .iov_len = len - first};
    return 2;
}

/* Copies [seq, seq + len) of one ring to the same numbers of another. */
static inline void sf_byte_ring_copy(struct sf_byte_ring *to, const struct sf_byte_ring *from, uint32_t seq, uint32_t len)
{
    struct iovec pieces[2];
    int n = len ? sf_byte_ring_pieces(from, seq, len, pieces) : 0;

    for (int i = 0; i < n; i++) {
        sf_byte_ring_put(to, seq, pieces[i].iov_base, (uint32_t)pieces[i].iov_len);
        seq += (uint32_t)pieces[i].iov_len;
    }
}

/* A new ring of `size` bytes, a power of two, with the end of the old one and no contents. False: there is no memory. */
static inline bool sf_byte_ring_like(struct sf_byte_ring *ring, const struct sf_byte_ring *old, uint32_t size)
{
    *ring = (struct sf_byte_ring){.bytes = malloc(size), .size = size, .end = old->end};
    return ring->bytes != NULL;
}

/* Frees the memory, and keeps the end. Returns the number of bytes that were freed. */
static inline uint32_t sf_byte_ring_free(struct sf_byte_ring *ring)
{
    uint32_t size = ring->size;

    free(ring->bytes);
    ring->bytes = NULL;
    ring->size = 0;
    return size;
}

#endif
