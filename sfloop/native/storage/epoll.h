/* Adding a descriptor to an epoll set: the only code that calls epoll_ctl(). */
#ifndef SF_STORAGE_EPOLL_H
#define SF_STORAGE_EPOLL_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

/* Watches a descriptor that is not in the set yet. `tag` comes back with its events, in data.u64. */
static inline int sf_epoll_add(int set, int fd, uint32_t bits, uint64_t tag)
{
    struct epoll_event ev = {.events = bits, .data.u64 = tag};

    return epoll_ctl(set, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

/* Watches a descriptor that is in the set for other bits. -ENOENT: it is not. */
static inline int sf_epoll_change(int set, int fd, uint32_t bits, uint64_t tag)
{
    struct epoll_event ev = {.events = bits, .data.u64 = tag};

    return epoll_ctl(set, EPOLL_CTL_MOD, fd, &ev) < 0 ? -errno : 0;
}

/* Watches a descriptor for other bits. The program may have closed it and its number may be another's by now, so the set need not
 * hold what it is believed to hold: adding and changing each fall back to the other. */
static inline int sf_epoll_set(int set, int fd, uint32_t bits, uint64_t tag, bool added)
{
    int rc = added ? sf_epoll_change(set, fd, bits, tag) : sf_epoll_add(set, fd, bits, tag);

    if (rc == -(added ? ENOENT : EEXIST))
        rc = added ? sf_epoll_add(set, fd, bits, tag) : sf_epoll_change(set, fd, bits, tag);
    return rc;
}

/* Fails only for a descriptor that has left the set already. */
static inline void sf_epoll_remove(int set, int fd)
{
    epoll_ctl(set, EPOLL_CTL_DEL, fd, NULL);
}

#endif
