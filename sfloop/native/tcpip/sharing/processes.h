/* Facts about other processes, from /proc. A call takes 10 to 20 us of CPU time. Only a large epoll set takes longer. */
#ifndef SF_TCPIP_SHARING_PROCESSES_H
#define SF_TCPIP_SHARING_PROCESSES_H

#include "sf/base.h"

#include <stdbool.h>

struct sf_process_facts {
    int parent;
    sf_ns started; /* CLOCK_BOOTTIME */
    unsigned long stack_start; /* 0: unknown */
};

/* False: the process is gone. */
bool sf_process_read(int pid, struct sf_process_facts *);
/*
 * The lists are read a few entries at a time. A call makes one getdents(2) and keeps nothing open. It stores the position of the next
 * call in `at`; start with 0. It returns the number of entries read. 0: the end, or the list cannot be read.
 */
typedef void (*sf_process_visit)(void *context, int pid);
/* Visits about 20 processes a call, in ascending order of pids. The result also counts the entries of /proc that are not processes. */
int sf_processes_list(int64_t *at, sf_process_visit visit, void *context);
/* `number` is the descriptor. `target` is its link: "socket:[1234]", "anon_inode:[eventpoll]". "": it was closed meanwhile. */
typedef void (*sf_process_visit_descriptor)(void *context, const char *number, const char *target);
/* Visits up to 3 descriptors of the process a call. */
int sf_process_descriptors(int pid, int64_t *at, sf_process_visit_descriptor visit, void *context);
/* Visits the inodes that one of the process's epoll sets waits for. `number` is the set's descriptor. */
typedef void (*sf_process_visit_inode)(void *context, uint32_t inode);
void sf_process_read_set(int pid, const char *number, sf_process_visit_inode visit, void *context);

#endif
