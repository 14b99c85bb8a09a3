#include "pieces.h"

size_t sf_pieces_len(const struct iovec *pieces, int n, size_t most)
{
    size_t len = 0;

    for (int i = 0; i < n; i++) {
        if (pieces[i].iov_len > most - len)
            return SIZE_MAX;
        len += pieces[i].iov_len;
    }
    return len;
}

size_t sf_pieces_room(const struct iovec *pieces, int n)
{
    size_t room = 0;

    for (int i = 0; i < n; i++)
        room = pieces[i].iov_len > SIZE_MAX - room ? SIZE_MAX : room + pieces[i].iov_len;
    return room;
}

uint64_t sf_pieces_gather(uint8_t *to, size_t len, const struct iovec *payload, int n, bool sum)
{
    uint8_t *at = to;

    for (int i = 0; i < n; i++) {
        if (payload[i].iov_len)
            memcpy(at, payload[i].iov_base, payload[i].iov_len);
        at += payload[i].iov_len;
    }
    return sum ? sf_sum_bytes(0, to, len) : 0; /* of the whole, so it does not matter where odd pieces end */
}

/* A position in an array of pieces. */
struct cursor {
    const struct iovec *piece;
    int left; /* pieces, including this one */
    size_t offset;
};

/* Moves to the next byte, and returns the number of contiguous bytes there; 0: at the end. */
static size_t cursor_span(struct cursor *c)
{
    while (c->left > 0 && c->offset == c->piece->iov_len) {
        c->piece++;
        c->left--;
        c->offset = 0;
    }
    return c->left > 0 ? c->piece->iov_len - c->offset : 0;
}

static uint64_t scatter(struct cursor *to, struct cursor *from, bool sum)
{
    size_t source, space, done = 0;
    uint64_t payload_sum = 0;

    while ((source = cursor_span(from)) > 0 && (space = cursor_span(to)) > 0) {
        const uint8_t *at = (const uint8_t *)from->piece->iov_base + from->offset;
        size_t len = source < space ? source : space;

        memcpy((uint8_t *)to->piece->iov_base + to->offset, at, len);
        if (sum)
            payload_sum = sf_sum_piece(payload_sum, done, at, len);
        to->offset += len;
        from->offset += len;
        done += len;
    }
    return payload_sum;
}

uint64_t sf_pieces_scatter(const struct iovec *to, int to_n, size_t offset, const struct iovec *payload, int n,
                           bool sum)
{
    struct cursor into = {.piece = to, .left = to_n, .offset = offset};
    struct cursor from = {.piece = payload, .left = n};

    return scatter(&into, &from, sum);
}
