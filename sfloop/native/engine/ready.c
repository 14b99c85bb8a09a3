#include "sf/engine.h"

#include <stdlib.h>

int sf_ready_queue_grow(struct sf_ready_queue *q)
{
    size_t capacity = q->capacity ? q->capacity * 2 : 1024;
    void **ring = malloc(capacity * sizeof(*ring));

    if (!ring)
        return -1;
    for (size_t i = 0; i < q->count; i++)
        ring[i] = q->ring[(q->head + i) & (q->capacity - 1)];
    free(q->ring);
    q->ring = ring;
    q->head = 0;
    q->capacity = capacity;
    return 0;
}
