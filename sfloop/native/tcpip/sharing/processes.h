/* Other processes, by /proc. Each call takes some 10 to 20 us of CPU time; only a large epoll set takes longer. */
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
 * Lists, a few entries at a time: a call makes one getdents(2), and keeps nothing open. `at` is where the next call goes on; the
 * first call gets 0. The number of entries that were visited, or 0 at the end and if the list cannot be read.
 */
typedef void (*sf_process_visit)(void *context, int pid);
/* Processes, in the order of their numbers. Entries of /proc that are not processes count, but are not visited. About 20 a call. */
int sf_processes_list(int64_t *at, sf_process_visit visit, void *context);
/* A descriptor's number, and the link that says what it is: "socket:[1234]", "anon_inode:[eventpoll]"; "": closed by now. */
typedef void (*sf_process_visit_descriptor)(void *context, const char *number, const char *target);
/* Descriptors of the process: up to 3 a call. */
int sf_process_descriptors(int pid, int64_t *at, sf_process_visit_descriptor visit, void *context);
/* The inodes that the process's epoll set waits for. */
typedef void (*sf_process_visit_inode)(void *context, uint32_t inode);
void sf_process_read_set(int pid, const char *number, sf_process_visit_inode visit, void *context);

#endif
