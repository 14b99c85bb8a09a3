/* Sleeping in the kernel's epoll, to the nanosecond if possible, also under a preloaded Onload. */
#ifndef SF_STACKS_KERNEL_SLEEP_H
#define SF_STACKS_KERNEL_SLEEP_H

#include "sf/base.h"

#include <stdbool.h>
#include <sys/epoll.h>
#include <time.h>

struct kernel_sleep {
    bool no_pwait2; /* whole milliseconds only */
    /* Onload's functions if this process runs under it, else NULL. */
    int (*pwait2)(int epfd, struct epoll_event *events, int max, const struct timespec *timeout, const void *sigmask);
    int (*set_spin)(int type, int spin);
};

/* Detects whether this process runs under Onload. */
void kernel_sleep_init(struct kernel_sleep *sleep);

/* Like epoll_wait(), with a timeout in ns (SF_NEVER: none). Never spins, even if Onload is set to spin, because the loop has spun
 * already. */
int kernel_sleep(struct kernel_sleep *sleep, int epoll_fd, struct epoll_event *events, int max, sf_ns timeout);

#endif
