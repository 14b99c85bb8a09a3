/*
 * Events of descriptors that the program closed without telling the epoll set's owner, while duplicates of them live on. Epoll
 * continues to report them, and only a new set ends this.
 */
#ifndef SF_STORAGE_STALE_EVENTS_H
#define SF_STORAGE_STALE_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#define SF_STALE_LIMIT 16 /* a few are events that were taken before their socket was closed */

/* Counts a stale event. True: make a new set. An owner that counts them in a row sets *count to 0 at any other event. */
static inline bool sf_stale_event(uint32_t *count)
{
    if (++*count < SF_STALE_LIMIT)
        return false;
    *count = 0;
    return true;
}

#endif
