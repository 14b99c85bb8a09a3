#define _GNU_SOURCE
#include "tcpip/tcpip.h"
#include "processes.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define STARTING_TIME SF_MS
#define NEW_TIME (500 * SF_US)
#define HOLDING_TIME (100 * SF_US)
#define TURN_TIME (100 * SF_US)
#define STARTING_TURN_TIME (300 * SF_US)
#define START_ERROR (20 * SF_MS) /* a process's start is known to 10 ms */

enum { MOST_HELD = 256 }; /* as many descriptors of a process are looked at */

/* One process, and the sockets of ours that it holds. */
struct inspection {
    const struct sf_holders *holders;
    uint32_t held[MOST_HELD];
    int n_held;
};

void sf_holders_free(struct sf_holders *holders)
{
    free(holders->processes);
    free(holders->inodes);
    *holders = (struct sf_holders){0};
}

/* Time of this thread alone: on a busy machine a look would otherwise end before it has begun. */
static sf_ns spent(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * SF_SEC + now.tv_nsec;
}

/* ---- the sockets ---- */

/* A connected socket is its owner's alone, as long as the program does not say otherwise. */
static bool may_be_shared(const struct sf_tcpip *t, const struct sf_binding *b)
{
    return t->interface.index && b->inode && !b->key.remote_addr;
}

static int compare_inodes(const void *a, const void *b)
{
    uint32_t one = *(const uint32_t *)a, other = *(const uint32_t *)b;

    return (one > other) - (one < other);
}

/* False: there is no memory. */
static bool list_inodes(struct sf_tcpip *t)
{
    struct sf_holders *holders = &t->filters.holders;
    uint32_t n = 0;

    for (const struct sf_binding *b = t->filters.bindings; b; b = b->next)
        n += may_be_shared(t, b);
    if (n > holders->inodes_capacity) {
        uint32_t *bigger = realloc(holders->inodes, n * sizeof(*bigger));

        if (!bigger)
            return false;
        holders->inodes = bigger;
        holders->inodes_capacity = n;
    }
    holders->n_inodes = 0;
    for (const struct sf_binding *b = t->filters.bindings; b; b = b->next)
        if (may_be_shared(t, b))
            holders->inodes[holders->n_inodes++] = b->inode;
    if (n)
        qsort(holders->inodes, n, sizeof(*holders->inodes), compare_inodes);
    holders->outdated = false;
    return true;
}

void sf_holders_opened(struct sf_tcpip *t, struct sf_binding *b)
{
    struct sf_holders *holders = &t->filters.holders;
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    b->opened = now.tv_sec * SF_SEC + now.tv_nsec;
    if (!may_be_shared(t, b))
        return;
    holders->outdated = true;
    for (uint32_t i = 0; i < holders->n; i++)
        holders->processes[i].known = false;
}

void sf_holders_closed(struct sf_tcpip *t, const struct sf_binding *b)
{
    if (may_be_shared(t, b))
        t->filters.holders.outdated = true;
}

/* ---- the processes ---- */

struct listing {
    struct sf_holders *holders;
    struct sf_process *made;
    uint32_t n, capacity, old;
};

static bool list_process(void *context, int pid)
{
    struct listing *l = context;
    const struct sf_holders *holders = l->holders;

    if (pid == getpid())
        return true;
    if (l->n == l->capacity) {
        uint32_t capacity = l->capacity ? l->capacity * 2 : 256;
        struct sf_process *bigger = realloc(l->made, capacity * sizeof(*bigger));

        if (!bigger)
            return false;
        l->made = bigger;
        l->capacity = capacity;
    }
    while (l->old < holders->n && holders->processes[l->old].pid < pid)
        l->old++;
    if (l->old < holders->n && holders->processes[l->old].pid == pid)
        l->made[l->n++] = holders->processes[l->old];
    else
        l->made[l->n++] = (struct sf_process){.pid = pid};
    return true;
}

static void list_processes(struct sf_holders *holders)
{
    struct listing l = {.holders = holders};

    sf_processes_list(list_process, &l);
    free(holders->processes);
    holders->processes = l.made;
    holders->n = l.n;
    holders->capacity = l.capacity;
}

static bool is_listed(const struct sf_holders *holders, int pid)
{
    for (uint32_t i = 0; i < holders->n; i++)
        if (holders->processes[i].pid == pid)
            return true;
    return false;
}

static void forget_the_dead(struct sf_tcpip *t)
{
    for (struct sf_binding *b = t->filters.bindings; b; b = b->next) {
        if (!b->holder || is_listed(&t->filters.holders, b->holder))
            continue;
        b->holder = 0;
        t->filters.holders.lost = true;
    }
}

/* ---- one process ---- */

static bool note_socket(void *context, uint32_t inode)
{
    struct inspection *in = context;

    if (bsearch(&inode, in->holders->inodes, in->holders->n_inodes, sizeof(inode), compare_inodes))
        in->held[in->n_held++] = inode;
    return in->n_held < MOST_HELD;
}

static bool has(const struct inspection *in, uint32_t inode)
{
    for (int i = 0; i < in->n_held; i++)
        if (in->held[i] == inode)
            return true;
    return false;
}

/* The process keeps the socket for somebody else, as far as can be told. */
static bool is_spared(const struct sf_holders *holders, int pid, const struct sf_process_facts *facts, const struct sf_binding *b)
{
    bool same_program = facts->stack_start && facts->stack_start == holders->stack_start;

    if (sf_process_is_ancestor(pid))
        return !sf_process_waits_for(pid, b->inode);
    return same_program && facts->started + START_ERROR > b->opened && sf_process_is_ours(facts, holders->stack_start);
}

static void inspect(struct sf_tcpip *t, struct sf_process *process)
{
    struct sf_holders *holders = &t->filters.holders;
    struct inspection in = {.holders = holders};
    struct sf_process_facts facts = {0};
    bool held_before = process->holds;

    process->known = true;
    sf_process_sockets(process->pid, note_socket, &in);
    process->holds = in.n_held > 0;
    if (!process->holds && !held_before)
        return;
    if (process->holds && !sf_process_read(process->pid, &facts))
        in.n_held = 0;
    for (struct sf_binding *b = t->filters.bindings; b; b = b->next) {
        bool counts = may_be_shared(t, b) && has(&in, b->inode) && !is_spared(holders, process->pid, &facts, b);

        if (counts && !b->holder) {
            b->holder = process->pid;
        } else if (!counts && b->holder == process->pid) {
            b->holder = 0;
            holders->lost = true;
        }
    }
}

/* ---- looking ---- */

static void inspect_new(struct sf_tcpip *t, sf_ns end)
{
    struct sf_holders *holders = &t->filters.holders;
    bool late = false;

    for (uint32_t i = holders->n; i-- > 0 && !late;) { /* the youngest first, as a rule */
        if (holders->processes[i].known)
            continue;
        late = holders->unfinished = spent() >= end;
        if (!late)
            inspect(t, &holders->processes[i]);
    }
}

/* All of them, however long it takes, if a holder was lost: the kernel keeps the frames if there is another one. */
static void inspect_holding(struct sf_tcpip *t, sf_ns end)
{
    struct sf_holders *holders = &t->filters.holders;
    bool all;

    do {
        all = holders->lost;
        holders->lost = false;
        for (uint32_t i = 0; i < holders->n && (all || spent() < end); i++)
            if (holders->processes[i].holds)
                inspect(t, &holders->processes[i]);
    } while (holders->lost && !all);
}

/* From where the look before has stopped. */
static void inspect_in_turn(struct sf_tcpip *t, sf_ns end)
{
    struct sf_holders *holders = &t->filters.holders;
    uint32_t first = 0;

    while (first < holders->n && holders->processes[first].pid < holders->next)
        first++;
    for (uint32_t i = 0; i < holders->n && spent() < end; i++) {
        struct sf_process *process = &holders->processes[(first + i) % holders->n];

        if (process->known)
            inspect(t, process);
        holders->next = process->pid + 1;
    }
}

void sf_holders_look(struct sf_tcpip *t, bool starting)
{
    struct sf_holders *holders = &t->filters.holders;
    struct sf_process_facts own;

    if (t->caps.flags & SF_DRIVER_SHARES)
        return; /* the kernel has a copy of each frame */
    if (holders->outdated && !list_inodes(t))
        return;
    holders->unfinished = false;
    if (!holders->n_inodes)
        return;
    if (!holders->stack_start && sf_process_read(getpid(), &own))
        holders->stack_start = own.stack_start;
    list_processes(holders);
    forget_the_dead(t);
    inspect_new(t, spent() + (starting ? STARTING_TIME : NEW_TIME));
    inspect_in_turn(t, spent() + (starting ? STARTING_TURN_TIME : TURN_TIME));
    inspect_holding(t, spent() + HOLDING_TIME);
}
