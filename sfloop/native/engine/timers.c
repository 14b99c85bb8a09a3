/*
 * Four children a node: half the depth of a binary heap, and the children of one node share a cache line and a half.
 * Cancelled timers stay until they are due or until the loop core sweeps them out, as in asyncio.
 */
#include "sf/engine.h"

#include <stdlib.h>

#define ARITY 4

static inline bool earlier(const struct sf_timer *a, const struct sf_timer *b)
{
    return a->when < b->when || (a->when == b->when && a->sequence < b->sequence);
}

static void sift_up(struct sf_timer *heap, size_t i)
{
    struct sf_timer moving = heap[i];

    while (i > 0) {
        size_t parent = (i - 1) / ARITY;

        if (!earlier(&moving, &heap[parent]))
            break;
        heap[i] = heap[parent];
        i = parent;
    }
    heap[i] = moving;
}

static void sift_down(struct sf_timer *heap, size_t count, size_t i)
{
    struct sf_timer moving = heap[i];

    for (;;) {
        size_t child = i * ARITY + 1, end = child + ARITY, least = child;

        if (child >= count)
            break;
        if (end > count)
            end = count;
        while (++child < end)
            if (earlier(&heap[child], &heap[least]))
                least = child;
        if (!earlier(&heap[least], &moving))
            break;
        heap[i] = heap[least];
        i = least;
    }
    heap[i] = moving;
}

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
    t->heap[t->count] = (struct sf_timer){when, t->sequence++, handle};
    sift_up(t->heap, t->count++);
    return 0;
}

void *sf_timers_pop(struct sf_timers *t)
{
    void *handle = t->heap[0].handle;

    t->heap[0] = t->heap[--t->count];
    if (t->count)
        sift_down(t->heap, t->count, 0);
    return handle;
}

void sf_timers_rebuild(struct sf_timers *t)
{
    if (t->count < 2)
        return;
    for (size_t i = (t->count - 2) / ARITY + 1; i-- > 0;)
        sift_down(t->heap, t->count, i);
}
