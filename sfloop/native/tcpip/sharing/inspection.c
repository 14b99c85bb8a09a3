#define _GNU_SOURCE
#include "inspection.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_GENERATIONS 64
#define START_ERROR (20 * SF_MS) /* /proc has a process's start with a resolution of 10 ms */

static int compare_inodes(const void *a, const void *b)
{
    uint32_t one = *(const uint32_t *)a, other = *(const uint32_t *)b;

    return (one > other) - (one < other);
}

static bool has(const uint32_t *inodes, uint32_t n, uint32_t inode)
{
    return n && bsearch(&inode, inodes, n, sizeof(inode), compare_inodes);
}

/* Keeps the set in ascending order, with each inode once. */
static void add(struct sf_inodes *set, uint32_t inode)
{
    uint32_t i = set->n;

    if (set->n == SF_INSPECTION_DESCRIPTORS || has(set->inode, set->n, inode))
        return;
    for (; i && set->inode[i - 1] > inode; i--)
        set->inode[i] = set->inode[i - 1];
    set->inode[i] = inode;
    set->n++;
}

/* ---- the process's sockets ---- */

struct visit {
    struct sf_inspection *in;
    const struct sf_sought *sought;
};

static void note_socket(void *context, const char *number, const char *target)
{
    static const char name[] = "socket:[";
    struct visit *v = context;
    uint32_t inode;

    (void)number;
    if (strncmp(target, name, sizeof(name) - 1) != 0)
        return;
    inode = (uint32_t)strtoul(target + sizeof(name) - 1, NULL, 10);
    if (has(v->sought->inodes, v->sought->n, inode))
        add(&v->in->held, inode);
}

/* False: these were the last descriptors. */
static bool visit_descriptors(struct sf_inspection *in, const struct sf_sought *sought, sf_process_visit_descriptor visit)
{
    struct visit v = {in, sought};
    int n = sf_process_descriptors(in->pid, &in->at, visit, &v);

    in->n_descriptors += (uint32_t)n;
    return n && in->n_descriptors < SF_INSPECTION_DESCRIPTORS;
}

/* ---- ancestor or descendant of this process ---- */

static void go_up_from(struct sf_inspection *in, uint8_t stage, int relative)
{
    in->stage = stage;
    in->relative = relative;
    in->generations = 0;
}

/* Reads the next process on the way from child to parent. False: there is none. */
static bool go_up(struct sf_inspection *in, struct sf_process_facts *facts)
{
    if (in->relative <= 0 || ++in->generations > MOST_GENERATIONS || !sf_process_read(in->relative, facts))
        return false;
    in->relative = facts->parent;
    return true;
}

static void read_facts(struct sf_inspection *in)
{
    if (!sf_process_read(in->pid, &in->facts)) {
        in->held.n = 0;
        in->stage = SF_INSPECTION_DONE;
        return;
    }
    go_up_from(in, SF_INSPECTION_ANCESTOR, getppid());
}

static void find_ancestor(struct sf_inspection *in, const struct sf_sought *sought)
{
    struct sf_process_facts facts;

    if (in->relative == in->pid) {
        in->ancestor = true;
        in->stage = SF_INSPECTION_SETS;
        in->at = 0;
        in->n_descriptors = 0;
    } else if (!go_up(in, &facts)) {
        bool same_program = in->facts.stack_start && in->facts.stack_start == sought->stack_start;

        go_up_from(in, same_program ? SF_INSPECTION_DESCENDANT : SF_INSPECTION_DONE, in->facts.parent);
    }
}

static void find_descendant(struct sf_inspection *in, const struct sf_sought *sought)
{
    bool first = in->generations == 0;
    struct sf_process_facts facts;
    bool read;

    if (in->relative == getpid()) {
        in->ours = true;
        in->stage = SF_INSPECTION_DONE;
        return;
    }
    read = go_up(in, &facts);
    if (first)
        in->orphan = !read || facts.stack_start != sought->stack_start;
    if (read)
        return;
    in->ours = in->orphan;
    in->stage = SF_INSPECTION_DONE;
}

/* ---- the sockets that the process's epoll sets wait for ---- */

static void note_awaited(void *context, uint32_t inode)
{
    struct sf_inspection *in = context;

    if (has(in->held.inode, in->held.n, inode))
        add(&in->awaited, inode);
}

static void note_set(void *context, const char *number, const char *target)
{
    struct visit *v = context;

    if (strcmp(target, "anon_inode:[eventpoll]") == 0)
        sf_process_read_set(v->in->pid, number, note_awaited, v->in);
}

/* ---- the inspection ---- */

void sf_inspection_begin(struct sf_inspection *in, int pid, uint32_t generation)
{
    *in = (struct sf_inspection){.pid = pid, .stage = SF_INSPECTION_SOCKETS, .generation = generation};
}

bool sf_inspection_step(struct sf_inspection *in, const struct sf_sought *sought)
{
    switch ((enum sf_inspection_stage)in->stage) {
    case SF_INSPECTION_SOCKETS:
        if (!visit_descriptors(in, sought, note_socket))
            in->stage = in->held.n ? SF_INSPECTION_FACTS : SF_INSPECTION_DONE;
        break;
    case SF_INSPECTION_FACTS:
        read_facts(in);
        break;
    case SF_INSPECTION_ANCESTOR:
        find_ancestor(in, sought);
        break;
    case SF_INSPECTION_SETS:
        if (!visit_descriptors(in, sought, note_set))
            in->stage = SF_INSPECTION_DONE;
        break;
    case SF_INSPECTION_DESCENDANT:
        find_descendant(in, sought);
        break;
    case SF_INSPECTION_NONE:
    case SF_INSPECTION_DONE:
        return false;
    }
    return in->stage != SF_INSPECTION_DONE;
}

bool sf_inspection_counts(const struct sf_inspection *in, uint32_t inode, sf_ns opened)
{
    if (!has(in->held.inode, in->held.n, inode))
        return false;
    if (in->ancestor)
        return has(in->awaited.inode, in->awaited.n, inode);
    return !(in->ours && in->facts.started + START_ERROR > opened);
}
