/*
 * The engine's timers: a heap (storage/heap.h) by time, and in order of creation at equal times. Cancelled timers stay until they
 * are due or until the loop core sweeps them out, as in asyncio.
 */
#include "sf/engine.h"

#include <stdlib.h>

static inline bool earlier(const struct sf_timer *a, const struct sf_timer *b)
{
    return a->when < b->when || (a->when == b->when && a->sequence < b->sequence);
}

#define SF_HEAP_ENTRY struct sf_timer
#define SF_HEAP_EARLIER(a, b) earlier(a, b)
#define SF_HEAP_PLACED(entry, i)
#include "storage/heap.h"

int sf_timers_push(struct sf_timers *t, sf_ns when, void *handle)
{
    if (SF_UNLIKELY(t->count == t->capacity)) {
        size_t capacity = t->capacity ? t->capacity * 2 : 256;
        struct sf_timer *heap = realloc(t->heap, capacity * sizeof(*heap));

        if (!heap)
            return -1;
        t->heap = heap;
        t->capacity = capacity;
    }
    heap_up(t->heap, t->count++, (struct sf_timer){when, t->sequence++, handle});
    return 0;
}

void *sf_timers_pop(struct sf_timers *t)
{
    void *handle = t->heap[0].handle;

    if (--t->count)
        heap_down(t->heap, t->count, 0, t->heap[t->count]);
    return handle;
}

void sf_timers_rebuild(struct sf_timers *t)
{
    if (t->count < 2)
        return;
    for (size_t i = (t->count - 2) / 4 + 1; i-- > 0;)
        heap_down(t->heap, t->count, i, t->heap[i]);
}
