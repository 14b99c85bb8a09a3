/*
 * The two moves of a heap, the earliest entry first. Each node has four children: half the depth of a binary heap, and the children
 * of one node share a cache line and a half.
 *
 * This file is a pattern: the engine's timers are entries by value, TCP's are pointers to members that know their place. It is included
 * once by each, without a guard, after these definitions:
 *
 *     SF_HEAP_ENTRY              the type of an entry
 *     SF_HEAP_EARLIER(a, b)      whether the entry *a goes before the entry *b
 *     SF_HEAP_PLACED(entry, i)   called after an entry moved to the index i; may be empty
 */

static inline void heap_place(SF_HEAP_ENTRY *heap, size_t i, SF_HEAP_ENTRY entry)
{
    heap[i] = entry;
    SF_HEAP_PLACED(entry, i);
}

/* Puts an entry where there is a gap at index i, or above it. */
static inline void heap_up(SF_HEAP_ENTRY *heap, size_t i, SF_HEAP_ENTRY entry)
{
    while (i) {
        size_t parent = (i - 1) / 4;

        if (!SF_HEAP_EARLIER(&entry, &heap[parent]))
            break;
        heap_place(heap, i, heap[parent]);
        i = parent;
    }
    heap_place(heap, i, entry);
}

/* Puts an entry where there is a gap at index i, or below it. */
static inline void heap_down(SF_HEAP_ENTRY *heap, size_t count, size_t i, SF_HEAP_ENTRY entry)
{
    for (;;) {
        size_t child = i * 4 + 1, end = child + 4, least = child;

        if (child >= count)
            break;
        if (end > count)
            end = count;
        while (++child < end)
            if (SF_HEAP_EARLIER(&heap[child], &heap[least]))
                least = child;
        if (!SF_HEAP_EARLIER(&heap[least], &entry))
            break;
        heap_place(heap, i, heap[least]);
        i = least;
    }
    heap_place(heap, i, entry);
}

#undef SF_HEAP_ENTRY
#undef SF_HEAP_EARLIER
#undef SF_HEAP_PLACED
