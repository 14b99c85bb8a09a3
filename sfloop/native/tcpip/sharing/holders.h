/*
 * Other processes that hold a socket which this stack serves, because they inherited it or received it. They receive through the
 * kernel, so the kernel has to keep the frames. /proc/PID/fd shows them, as far as this process is permitted to read it.
 *
 * Two kinds of process only keep the socket. They do not count, because otherwise every server with forked helpers would lose the
 * driver:
 *  - an ancestor of ours (a master that restarts its workers, systemd), unless one of its own epoll sets waits for the socket;
 *  - a child that was forked from us after the socket was served, and runs no other program. Its epoll sets tell nothing,
 *    because its copy of the loop waits for the socket in any case.
 *
 * A round looks at the list of processes, then at those that were not looked at since a socket was opened, then at some others in
 * turn, and last at those that hold a socket. The loop does not wait for a round: each look is one slice of some 20 us of CPU time,
 * and the next slice, at `look_at`, goes on from there.
 */
#ifndef SF_TCPIP_SHARING_HOLDERS_H
#define SF_TCPIP_SHARING_HOLDERS_H

#include "inspection.h"

struct sf_binding;
struct sf_tcpip;

struct sf_process {
    int pid;
    uint32_t generation; /* of the sockets, when it was looked at; 0: never */
    bool holds;
};

struct sf_processes {
    struct sf_process *list; /* by pid */
    uint32_t n, capacity;
};

enum sf_holders_phase { SF_HOLDERS_REST, SF_HOLDERS_LIST, SF_HOLDERS_NEW, SF_HOLDERS_TURN, SF_HOLDERS_HOLDING };

struct sf_holders {
    struct sf_processes processes;
    struct sf_processes listed; /* the next list, as far as it was read */
    uint32_t old;               /* where the list before goes on */
    int64_t list_at;
    uint32_t *inodes; /* of the sockets, sorted */
    uint32_t n_inodes, inodes_capacity;
    uint32_t generation; /* counts the sockets that were opened */
    uint8_t phase;       /* enum sf_holders_phase */
    bool found;     /* a binding may have a holder */
    bool lost;      /* the holder that was known has let go of its socket: look at all others that hold one */
    bool replacing; /* that look is under way */
    uint32_t looked, looking; /* the generation since which every process was looked at, or is looked at in this round */
    uint32_t index, left; /* in the list of processes: the next one, and how many this phase may still look at */
    uint32_t slices;      /* this phase may still use them */
    int turn_pid, holding_pid; /* TURN, HOLDING: where the next round goes on */
    struct sf_inspection inspection;
    sf_ns begun; /* the round */
    sf_ns look_at; /* SF_NEVER: no socket is there that another process may hold */
    unsigned long stack_start; /* where this process's stack starts: a child that runs no other program has it there, too */
};

/* The binding is new, or goes. False: there is no memory. */
bool sf_holders_opened(struct sf_tcpip *, struct sf_binding *);
void sf_holders_closed(struct sf_tcpip *, const struct sf_binding *);
/* One slice of the look who holds the bindings' sockets. Sets their `holder`. `starting`: the next round begins sooner. True: a
 * holder was found, or none is left. */
bool sf_holders_look(struct sf_tcpip *, bool starting);
/* A holder was lost, and another one may be found yet. */
bool sf_holders_are_doubtful(const struct sf_holders *);
/* Not every process was looked at since the latest socket was opened. */
bool sf_holders_are_unknown(const struct sf_holders *);
void sf_holders_free(struct sf_holders *);

#endif
