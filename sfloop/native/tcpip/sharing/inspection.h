/*
 * One look at a process that may hold sockets of ours: which of them it holds, and whether it only keeps them (holders.h says when).
 * The look goes in steps, each of some 20 us: a few descriptors, or one file of /proc.
 */
#ifndef SF_TCPIP_SHARING_INSPECTION_H
#define SF_TCPIP_SHARING_INSPECTION_H

#include "processes.h"

enum { SF_INSPECTION_DESCRIPTORS = 256 }; /* as many of a process are looked at */

enum sf_inspection_stage {
    SF_INSPECTION_NONE,
    SF_INSPECTION_SOCKETS,    /* which sockets of ours it has */
    SF_INSPECTION_FACTS,      /* who it is */
    SF_INSPECTION_ANCESTOR,   /* whether this process descends from it */
    SF_INSPECTION_SETS,       /* an ancestor: which sockets its epoll sets wait for */
    SF_INSPECTION_DESCENDANT, /* whether it descends from this process */
    SF_INSPECTION_DONE,
};

struct sf_inodes {
    uint32_t n;
    uint32_t inode[SF_INSPECTION_DESCRIPTORS];
};

struct sf_inspection {
    int pid;
    uint8_t stage; /* enum sf_inspection_stage */
    bool ours;     /* forked from this process, which it may have outlived */
    bool ancestor;
    bool orphan; /* the parent is gone, or another program */
    uint32_t generation; /* of the sockets, when the look began */
    uint32_t n_descriptors;
    int64_t at;      /* in the list of descriptors */
    int relative;    /* the process that is read next, on the way up from child to parent */
    int generations; /* on that way */
    struct sf_process_facts facts;
    struct sf_inodes held, awaited;
};

/* The sockets that are looked for: inodes in ascending order. */
struct sf_sought {
    const uint32_t *inodes;
    uint32_t n;
    unsigned long stack_start; /* of this process */
};

void sf_inspection_begin(struct sf_inspection *, int pid, uint32_t generation);
/* One step. False: it was the last one. */
bool sf_inspection_step(struct sf_inspection *, const struct sf_sought *);
/* For a finished look: whether the process holds the socket, and not only keeps it for somebody else, as far as can be told. */
bool sf_inspection_counts(const struct sf_inspection *, uint32_t inode, sf_ns opened);
int sf_compare_inodes(const void *, const void *);

#endif
