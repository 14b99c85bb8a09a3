/* Epoll sets. Only this code calls epoll_ctl(). Functions return 0 or a negative errno. */
#ifndef SF_STORAGE_EPOLL_H
#define SF_STORAGE_EPOLL_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

/* Adds a descriptor that is not in the set. Its events carry `tag` in data.u64. */
static inline int sf_epoll_add(int set, int fd, uint32_t bits, uint64_t tag)
{
    struct epoll_event ev = {.events = bits, .data.u64 = tag};

    return epoll_ctl(set, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

/* Changes the bits of a descriptor in the set. -ENOENT: it is not in the set. */
static inline int sf_epoll_change(int set, int fd, uint32_t bits, uint64_t tag)
{
    struct epoll_event ev = {.events = bits, .data.u64 = tag};

    return epoll_ctl(set, EPOLL_CTL_MOD, fd, &ev) < 0 ? -errno : 0;
}

/* Sets the bits of a descriptor. Adding and changing each fall back to the other, because the program may have closed the
 * descriptor and its number may belong to another file. */
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
