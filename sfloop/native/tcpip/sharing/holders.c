#define _GNU_SOURCE
#include "tcpip/tcpip.h"
#include "slices.h"
#include "storage/sorted_list.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    TURN_SLICES = 16, /* of a round */
    HOLDING_SLICES = 16,
    MOST_SCANNED = 4096, /* entries of `processes` that one slice reads, about 1 ns each */
};

void sf_holders_free(struct sf_holders *holders)
{
    free(holders->processes.list);
    free(holders->listed.list);
    free(holders->inodes);
    *holders = (struct sf_holders){.look_at = SF_NEVER};
}

/* ---- the sockets ---- */

/* A connected socket counts as not shared, even if other processes hold it. */
static bool may_be_shared(const struct sf_tcpip *t, const struct sf_binding *b)
{
    return t->interface.index && b->inode && !b->key.remote_addr;
}

/* Returns the inode's index, or the index at which to insert it. */
static uint32_t find_inode(const struct sf_holders *holders, uint32_t inode)
{
    return sf_sorted_place(holders->inodes, holders->n_inodes, sizeof(*holders->inodes), inode);
}

static bool add_inode(struct sf_holders *holders, uint32_t inode)
{
    uint32_t at = find_inode(holders, inode);

    if (holders->n_inodes == holders->inodes_capacity) {
        uint32_t capacity = holders->inodes_capacity ? holders->inodes_capacity * 2 : 16;
        uint32_t *bigger = realloc(holders->inodes, capacity * sizeof(*bigger));

        if (!bigger)
            return false;
        holders->inodes = bigger;
        holders->inodes_capacity = capacity;
    }
    memmove(holders->inodes + at + 1, holders->inodes + at, (holders->n_inodes - at) * sizeof(*holders->inodes));
    holders->inodes[at] = inode;
    holders->n_inodes++;
    return true;
}

bool sf_holders_opened(struct sf_tcpip *t, struct sf_binding *b)
{
    struct sf_holders *holders = &t->filters.holders;
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    b->opened = now.tv_sec * SF_SEC + now.tv_nsec;
    if (!may_be_shared(t, b))
        return true;
    if (!add_inode(holders, b->inode))
        return false;
    if (!++holders->generation)
        holders->generation = 1;
    if (holders->phase == SF_HOLDERS_REST)
        holders->look_at = t->now;
    return true;
}

void sf_holders_closed(struct sf_tcpip *t, const struct sf_binding *b)
{
    struct sf_holders *holders = &t->filters.holders;
    uint32_t at = find_inode(holders, b->inode);

    if (!may_be_shared(t, b) || at == holders->n_inodes || holders->inodes[at] != b->inode)
        return;
    holders->n_inodes--;
    memmove(holders->inodes + at, holders->inodes + at + 1, (holders->n_inodes - at) * sizeof(*holders->inodes));
}

bool sf_holders_are_unknown(const struct sf_holders *holders)
{
    return holders->n_inodes && holders->looked != holders->generation;
}

bool sf_holders_are_doubtful(const struct sf_holders *holders)
{
    return holders->lost || holders->replacing;
}

/* ---- the list of processes ---- */

static uint32_t first_from(const struct sf_processes *processes, int pid)
{
    return sf_sorted_place(processes->list, processes->n, sizeof(*processes->list), (uint32_t)pid);
}

static void list_process(void *context, int pid)
{
    struct sf_holders *holders = context;
    const struct sf_processes *before = &holders->processes;
    struct sf_processes *now = &holders->listed;

    if (pid == getpid())
        return;
    if (now->n == now->capacity) {
        uint32_t capacity = now->capacity ? now->capacity * 2 : 256;
        struct sf_process *bigger = realloc(now->list, capacity * sizeof(*bigger));

        if (!bigger)
            return; /* the next round lists the process */
        now->list = bigger;
        now->capacity = capacity;
    }
    while (holders->old < before->n && before->list[holders->old].pid < pid)
        holders->old++;
    if (holders->old < before->n && before->list[holders->old].pid == pid)
        now->list[now->n++] = before->list[holders->old];
    else
        now->list[now->n++] = (struct sf_process){.pid = pid};
}

static void forget_the_dead(struct sf_tcpip *t)
{
    struct sf_holders *holders = &t->filters.holders;
    const struct sf_processes *processes = &holders->processes;

    if (!holders->found)
        return;
    holders->found = false;
    for (struct sf_binding *b = t->filters.bindings; b; b = b->next) {
        uint32_t at = b->holder ? first_from(processes, b->holder) : 0;

        if (!b->holder)
            continue;
        if (at < processes->n && processes->list[at].pid == b->holder) {
            holders->found = true;
            continue;
        }
        b->holder = 0;
        holders->lost = true;
    }
}

/* ---- one process ---- */

static struct sf_sought sought(const struct sf_holders *holders)
{
    return (struct sf_sought){.inodes = holders->inodes, .n = holders->n_inodes, .stack_start = holders->stack_start};
}

static bool take_result(struct sf_tcpip *t)
{
    struct sf_holders *holders = &t->filters.holders;
    const struct sf_inspection *in = &holders->inspection;
    uint32_t at = first_from(&holders->processes, in->pid);
    struct sf_process *process = &holders->processes.list[at];
    bool held_before, changed = false;

    if (at == holders->processes.n || process->pid != in->pid)
        return false;
    held_before = process->holds;
    process->generation = in->generation;
    process->holds = in->held.n > 0;
    if (!process->holds && !held_before)
        return false;
    for (struct sf_binding *b = t->filters.bindings; b; b = b->next) {
        bool counts = may_be_shared(t, b) && sf_inspection_counts(in, b->inode, b->opened);

        if (counts && !b->holder) {
            b->holder = process->pid;
            holders->found = changed = true;
        } else if (!counts && b->holder == process->pid) {
            b->holder = 0;
            holders->lost = changed = true;
        }
    }
    return changed;
}

/* ---- the round ---- */

static void begin_phase(struct sf_holders *holders, enum sf_holders_phase phase, uint32_t index, uint32_t slices)
{
    holders->phase = (uint8_t)phase;
    holders->index = index;
    holders->left = holders->processes.n;
    holders->slices = slices;
}

static void begin_round(struct sf_tcpip *t)
{
    struct sf_holders *holders = &t->filters.holders;
    struct sf_process_facts own;

    holders->begun = t->now;
    holders->listed.n = holders->old = 0;
    holders->list_at = 0;
    holders->phase = SF_HOLDERS_LIST;
    if (!holders->stack_start && sf_process_read(getpid(), &own))
        holders->stack_start = own.stack_start;
}

static void read_list(struct sf_tcpip *t)
{
    struct sf_holders *holders = &t->filters.holders;
    struct sf_processes before = holders->processes;

    if (sf_processes_list(&holders->list_at, list_process, holders))
        return;
    holders->processes = holders->listed;
    holders->listed = before;
    forget_the_dead(t);
    holders->looking = holders->generation;
    begin_phase(holders, SF_HOLDERS_NEW, 0, UINT32_MAX);
}

/* Begins with the highest pids, because a process that got a new socket is more often young than old. */
static const struct sf_process *next_new(struct sf_holders *holders)
{
    for (int i = 0; i < MOST_SCANNED && holders->left; i++) {
        const struct sf_process *process = &holders->processes.list[--holders->left];

        if (process->generation != holders->looking)
            return process;
    }
    return NULL;
}

/* Goes on where the last round stopped. */
static const struct sf_process *next_in_turn(struct sf_holders *holders, bool holding, int *pid)
{
    for (int i = 0; i < MOST_SCANNED && holders->left && holders->slices; i++) {
        const struct sf_process *process = &holders->processes.list[holders->index % holders->processes.n];

        holders->index = (holders->index + 1) % holders->processes.n;
        holders->left--;
        *pid = process->pid + 1;
        if (process->holds == holding)
            return process;
    }
    return NULL;
}

static void begin_holding(struct sf_holders *holders)
{
    holders->replacing = holders->lost;
    holders->lost = false;
    begin_phase(holders, SF_HOLDERS_HOLDING, first_from(&holders->processes, holders->holding_pid),
                holders->replacing ? UINT32_MAX : HOLDING_SLICES);
}

/* True: the search for another holder is over. */
static bool end_phase(struct sf_holders *holders)
{
    bool replaced = holders->replacing;

    switch ((enum sf_holders_phase)holders->phase) {
    case SF_HOLDERS_NEW:
        holders->looked = holders->looking;
        begin_phase(holders, SF_HOLDERS_TURN, first_from(&holders->processes, holders->turn_pid), TURN_SLICES);
        return false;
    case SF_HOLDERS_TURN:
        begin_holding(holders);
        return false;
    case SF_HOLDERS_HOLDING:
        if (holders->lost) {
            begin_holding(holders);
            return false;
        }
        holders->replacing = false;
        holders->phase = SF_HOLDERS_REST;
        return replaced;
    case SF_HOLDERS_REST:
    case SF_HOLDERS_LIST:
        break;
    }
    return false;
}

static const struct sf_process *next_process(struct sf_holders *holders)
{
    switch ((enum sf_holders_phase)holders->phase) {
    case SF_HOLDERS_NEW:
        return next_new(holders);
    case SF_HOLDERS_TURN:
        return next_in_turn(holders, false, &holders->turn_pid);
    case SF_HOLDERS_HOLDING:
        return next_in_turn(holders, true, &holders->holding_pid);
    case SF_HOLDERS_REST:
    case SF_HOLDERS_LIST:
        break;
    }
    return NULL;
}

static bool inspect(struct sf_tcpip *t)
{
    struct sf_holders *holders = &t->filters.holders;
    struct sf_sought what = sought(holders);
    bool more = sf_inspection_step(&holders->inspection, &what);

    if (holders->slices)
        holders->slices--;
    if (more)
        return false;
    holders->inspection.stage = SF_INSPECTION_NONE;
    return take_result(t);
}

/* Returns the result of sf_holders_look(). */
static bool look_at_a_slice(struct sf_tcpip *t)
{
    struct sf_holders *holders = &t->filters.holders;
    const struct sf_process *process;

    if (holders->phase == SF_HOLDERS_REST) {
        begin_round(t);
        return false;
    }
    if (holders->phase == SF_HOLDERS_LIST) {
        read_list(t);
        return false;
    }
    if (holders->inspection.stage == SF_INSPECTION_NONE) {
        process = next_process(holders);
        if (!process && holders->left && holders->slices)
            return false;
        if (!process)
            return end_phase(holders);
        sf_inspection_begin(&holders->inspection, process->pid, holders->generation);
    }
    return inspect(t);
}

bool sf_holders_look(struct sf_tcpip *t, bool starting)
{
    struct sf_holders *holders = &t->filters.holders;
    bool changed = false;

    if (!holders->n_inodes) {
        holders->phase = SF_HOLDERS_REST;
        holders->inspection.stage = SF_INSPECTION_NONE;
        holders->look_at = SF_NEVER;
        return false;
    }
    if (t->caps.flags & SF_DRIVER_SHARES) /* the kernel has a copy of each frame */
        holders->begun = t->now;
    else
        changed = look_at_a_slice(t);
    holders->look_at = holders->phase == SF_HOLDERS_REST ? sf_next_round(t->now, holders->begun, starting)
                                                         : sf_next_slice(t->now, sf_holders_are_unknown(holders));
    return changed;
}
