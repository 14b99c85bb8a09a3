/*
 * The backlog: datagrams copied because they were unread when their frame had to be returned. A queue in a few large chunks,
 * limited in bytes. A datagram counts for more than its payload, about as in Linux's receive buffer. Entries that were taken stay
 * valid until sf_backlog_retire().
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
    struct sf_backlog_chunk *head, *tail; /* entries that can be taken */
    struct sf_backlog_chunk *taken;       /* lent to the reader */
    struct sf_backlog_chunk *spare;
    size_t bytes, limit;
    uint32_t count;
};

/* Adds an entry for a datagram of `len` bytes, which the caller fills. NULL: the limit is reached, or there is no memory. */
struct sf_backlog_entry *sf_backlog_push(struct sf_backlog *, uint32_t len);
/* Takes the oldest entry; NULL: none. */
struct sf_backlog_entry *sf_backlog_take(struct sf_backlog *);
void sf_backlog_retire(struct sf_backlog *);
void sf_backlog_free(struct sf_backlog *);

#endif
