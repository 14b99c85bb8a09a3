/*
 * Events of descriptors that were closed behind the owner of an epoll set, while duplicates of them live on: epoll goes on
 * reporting these, and only a new set gets rid of them.
 */
#ifndef SF_STORAGE_STALE_EVENTS_H
#define SF_STORAGE_STALE_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#define SF_STALE_LIMIT 16 /* a few are events that were taken before their socket was closed */

/* Counts one. True: the set has to be made anew. An owner that counts them in a row sets *count to 0 at any other event. */
static inline bool sf_stale_event(uint32_t *count)
{
    if (++*count < SF_STALE_LIMIT)
        return false;
    *count = 0;
    return true;
}

#endif
