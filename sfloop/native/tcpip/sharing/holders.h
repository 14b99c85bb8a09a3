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
 * A round has four phases. It reads the list of processes. It inspects all processes that were not inspected since the latest socket
 * was opened. It inspects some of the others in turn. At last it inspects processes that hold a socket. The loop does not wait for a
 * round: each call does one slice of about 20 us of CPU time, and the next slice is due at `look_at`.
 */
#ifndef SF_TCPIP_SHARING_HOLDERS_H
#define SF_TCPIP_SHARING_HOLDERS_H

#include "inspection.h"

struct sf_binding;
struct sf_tcpip;

struct sf_process {
    int pid; /* first, because the list is searched by it: storage/sorted_list.h */
    uint32_t generation; /* of the sockets, when the process was inspected; 0: never */
    bool holds;
};

struct sf_processes {
    struct sf_process *list; /* in ascending order of pids */
    uint32_t n, capacity;
};

enum sf_holders_phase { SF_HOLDERS_REST, SF_HOLDERS_LIST, SF_HOLDERS_NEW, SF_HOLDERS_TURN, SF_HOLDERS_HOLDING };

struct sf_holders {
    struct sf_processes processes;
    struct sf_processes listed; /* the new list, as far as it was read */
    uint32_t old;               /* the next entry of `processes` to compare with the new list */
    int64_t list_at;            /* position in /proc */
    uint32_t *inodes; /* of the sockets, sorted */
    uint32_t n_inodes, inodes_capacity;
    uint32_t generation; /* counts the sockets that were opened */
    uint8_t phase;       /* enum sf_holders_phase */
    bool found;     /* a binding may have a holder */
    bool lost;      /* a known holder has closed its socket or died: inspect all others that hold one */
    bool replacing; /* these inspections are under way */
    uint32_t looked;      /* every process was inspected in this generation of the sockets or a later one */
    uint32_t looking;     /* this round inspects every process in this generation or a later one */
    uint32_t index, left; /* the next entry of `processes`; entries that this phase may still visit */
    uint32_t slices;      /* that this phase may still use */
    int turn_pid, holding_pid; /* TURN, HOLDING: the next round begins with the first process from this pid on */
    struct sf_inspection inspection;
    sf_ns begun; /* start of the round */
    sf_ns look_at; /* SF_NEVER: no socket is open that another process may hold */
    unsigned long stack_start; /* start of this process's stack; the same in a child that runs no other program */
};

/* Call these for a new binding and for one that closes. False: no memory. */
bool sf_holders_opened(struct sf_tcpip *, struct sf_binding *);
void sf_holders_closed(struct sf_tcpip *, const struct sf_binding *);
/* Does one slice of the search for processes that hold the bindings' sockets, and sets the bindings' `holder`. `starting`: the next
 * round begins sooner. True: a holder was found or lost, or the search for another one is over; call sf_bindings_claim(). */
bool sf_holders_look(struct sf_tcpip *, bool starting);
/* True: a holder was lost, and the search for another one is not over. */
bool sf_holders_are_doubtful(const struct sf_holders *);
/* True: some processes were not inspected since the latest socket was opened. */
bool sf_holders_are_unknown(const struct sf_holders *);
void sf_holders_free(struct sf_holders *);

#endif
