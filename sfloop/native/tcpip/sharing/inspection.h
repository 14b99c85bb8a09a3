/*
 * The inspection of one process that may hold sockets of ours. It finds which sockets the process holds, and whether the process
 * only keeps them (see holders.h). One step takes about 20 us: it reads a few descriptors or one file of /proc.
 */
#ifndef SF_TCPIP_SHARING_INSPECTION_H
#define SF_TCPIP_SHARING_INSPECTION_H

#include "processes.h"

enum { SF_INSPECTION_DESCRIPTORS = 256 }; /* read of one process; further ones are ignored */

enum sf_inspection_stage {
    SF_INSPECTION_NONE,
    SF_INSPECTION_SOCKETS,    /* find the sockets of ours that it holds */
    SF_INSPECTION_FACTS,      /* read its /proc/PID/stat */
    SF_INSPECTION_ANCESTOR,   /* find whether it is an ancestor of this process */
    SF_INSPECTION_SETS,       /* if it is: find the sockets that its epoll sets wait for */
    SF_INSPECTION_DESCENDANT, /* find whether it was forked from this process */
    SF_INSPECTION_DONE,
};

struct sf_inodes {
    uint32_t n;
    uint32_t inode[SF_INSPECTION_DESCRIPTORS];
};

struct sf_inspection {
    int pid;
    uint8_t stage; /* enum sf_inspection_stage */
    bool ours;     /* forked from this process, or from a process of this program that is gone */
    bool ancestor;
    bool orphan; /* its parent is gone, or runs another program */
    uint32_t generation; /* of the sockets, when the inspection began */
    uint32_t n_descriptors;
    int64_t at;      /* position in the list of descriptors */
    int relative;    /* the next process to read, on the way from child to parent */
    int generations; /* read on that way */
    struct sf_process_facts facts;
    struct sf_inodes held, awaited;
};

/* The sockets to find. */
struct sf_sought {
    const uint32_t *inodes; /* in ascending order */
    uint32_t n;
    unsigned long stack_start; /* of this process */
};

void sf_inspection_begin(struct sf_inspection *, int pid, uint32_t generation);
/* Does one step. False: it was the last one. */
bool sf_inspection_step(struct sf_inspection *, const struct sf_sought *);
/* Call this after the last step. True: the process holds the socket, and seems to use it itself. */
bool sf_inspection_counts(const struct sf_inspection *, uint32_t inode, sf_ns opened);

#endif
