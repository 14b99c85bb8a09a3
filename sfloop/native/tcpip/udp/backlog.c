#define _GNU_SOURCE
#include "backlog.h"

#include <stdlib.h>

#define CHUNK (64 * 1024u)
#define OVERHEAD 512u /* with our header and padding close to Linux's (SKB_TRUESIZE), never more */

static struct sf_backlog_chunk *chunk_for(struct sf_backlog *b, uint32_t size)
{
    struct sf_backlog_chunk *chunk = b->tail;
    uint32_t capacity = size > CHUNK ? size : CHUNK;

    if (chunk && chunk->capacity - chunk->written >= size)
        return chunk;
    chunk = b->spare;
    if (chunk && chunk->capacity >= size) {
        b->spare = NULL;
    } else {
        chunk = malloc(sizeof(*chunk) + capacity);
        if (!chunk)
            return NULL;
        chunk->capacity = capacity;
    }
    chunk->next = NULL;
    chunk->read = chunk->written = 0;
    if (b->tail)
        b->tail->next = chunk;
    else
        b->head = chunk;
    b->tail = chunk;
    return chunk;
}

struct sf_backlog_entry *sf_backlog_push(struct sf_backlog *b, uint32_t len)
{
    uint32_t size = (uint32_t)(sizeof(struct sf_backlog_entry) + len + 7) & ~7u;
    struct sf_backlog_entry *entry;
    struct sf_backlog_chunk *chunk;

    if (b->bytes + size + OVERHEAD > b->limit)
        return NULL;
    chunk = chunk_for(b, size);
    if (!chunk)
        return NULL;
    entry = (struct sf_backlog_entry *)(chunk->bytes + chunk->written);
    entry->len = len;
    entry->size = size;
    chunk->written += size;
    b->bytes += size + OVERHEAD;
    b->count++;
    return entry;
}

struct sf_backlog_entry *sf_backlog_take(struct sf_backlog *b)
{
    struct sf_backlog_chunk *chunk = b->head;
    struct sf_backlog_entry *entry;

    if (!chunk)
        return NULL;
    entry = (struct sf_backlog_entry *)(chunk->bytes + chunk->read);
    chunk->read += entry->size;
    b->bytes -= entry->size + OVERHEAD;
    b->count--;
    if (chunk->read == chunk->written) {
        b->head = chunk->next;
        if (!b->head)
            b->tail = NULL;
        chunk->next = b->taken;
        b->taken = chunk;
    }
    return entry;
}

void sf_backlog_retire(struct sf_backlog *b)
{
    while (b->taken) {
        struct sf_backlog_chunk *chunk = b->taken;

        b->taken = chunk->next;
        if (!b->spare && chunk->capacity == CHUNK)
            b->spare = chunk;
        else
            free(chunk);
    }
}

void sf_backlog_free(struct sf_backlog *b)
{
    while (sf_backlog_take(b))
        ;
    sf_backlog_retire(b);
    free(b->spare);
    b->spare = NULL;
}
