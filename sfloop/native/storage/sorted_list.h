/* A search in an array that is sorted by a 32-bit number, in ascending order. */
#ifndef SF_STORAGE_SORTED_LIST_H
#define SF_STORAGE_SORTED_LIST_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Returns the index of the first entry whose number is not below `number`, or `n`. Every entry has `size` bytes and begins with
 * its number. */
static inline uint32_t sf_sorted_place(const void *list, uint32_t n, size_t size, uint32_t number)
{
    uint32_t low = 0, high = n;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2, found;

        memcpy(&found, (const char *)list + middle * size, sizeof(found));
        if (found < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

#endif
