/*
 * Other processes that hold a socket which this stack serves: it was inherited, or passed on. They receive by the kernel, so the
 * kernel has to keep the frames. /proc/PID/fd tells, as far as this process may look.
 *
 * Two kinds of process only keep the socket, and do not count, or every server with forked helpers would lose the driver:
 * - an ancestor of ours (a master that restarts its workers, systemd), unless an epoll set of its own waits for the socket;
 * - a child that was forked from us after the socket was served, and runs no other program. Its copy of the loop waits for
 *   the socket in any case, so its epoll sets tell nothing.
 *
 * A look takes a bounded time, and the next look goes on from there: first processes that were not looked at since a socket was
 * opened, then those that hold one, then all others in turn.
 */
#ifndef SF_TCPIP_SHARING_HOLDERS_H
#define SF_TCPIP_SHARING_HOLDERS_H

#include "sf/base.h"

#include <stdbool.h>

struct sf_binding;
struct sf_tcpip;

struct sf_process {
    int pid;
    bool known; /* looked at since the latest socket was opened */
    bool holds;
};

struct sf_holders {
    struct sf_process *processes; /* by pid */
    uint32_t n, capacity;
    uint32_t *inodes; /* of the sockets, in order */
    uint32_t n_inodes, inodes_capacity;
    bool outdated; /* a socket was opened or closed */
    bool unfinished; /* the latest look has left processes that were not looked at since */
    bool lost;     /* the holder that was known has let go of its socket: look at all others that hold one */
    int next;      /* the pid to go on with, of those in turn */
    unsigned long stack_start; /* where this process's stack starts: a child that runs no other program has it there, too */
};

/* The binding is new, or goes. */
void sf_holders_opened(struct sf_tcpip *, struct sf_binding *);
void sf_holders_closed(struct sf_tcpip *, const struct sf_binding *);
/* Looks, for some 100 us, who holds the bindings' sockets, and sets their `holder`. `starting`: for longer. */
void sf_holders_look(struct sf_tcpip *, bool starting);
void sf_holders_free(struct sf_holders *);

#endif
