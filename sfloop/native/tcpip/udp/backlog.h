/*
 * Datagrams that were copied because nobody read them while their frame could be kept: a queue in a few large chunks,
 * bounded in bytes, which are counted about as Linux counts a socket's receive buffer: a datagram takes more than its payload. What
 * was taken stays where it is until sf_backlog_retire().
 */
#ifndef SF_TCPIP_UDP_BACKLOG_H
#define SF_TCPIP_UDP_BACKLOG_H

#include "sf/base.h"

#include <netinet/in.h>
#include <stdbool.h>

struct sf_backlog_entry {
    struct sockaddr_in from;
    sf_ns timestamp;
    uint32_t len;
    uint32_t size; /* with this header and padding */
    uint8_t data[];
};

struct sf_backlog_chunk {
    struct sf_backlog_chunk *next;
    uint32_t capacity, written, read;
    _Alignas(8) uint8_t bytes[];
};

struct sf_backlog {
    struct sf_backlog_chunk *head, *tail; /* what can be taken */
    struct sf_backlog_chunk *taken;       /* lent to the reader */
    struct sf_backlog_chunk *spare;
    size_t bytes, limit;
    uint32_t count;
};

/* Room for a datagram of len bytes, which the caller fills; NULL: it exceeds the limit, or there is no memory. */
struct sf_backlog_entry *sf_backlog_push(struct sf_backlog *, uint32_t len);
/* The oldest; NULL: none. */
struct sf_backlog_entry *sf_backlog_take(struct sf_backlog *);
void sf_backlog_retire(struct sf_backlog *);
void sf_backlog_free(struct sf_backlog *);

#endif
