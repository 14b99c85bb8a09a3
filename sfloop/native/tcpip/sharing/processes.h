/* Other processes, by /proc. */
#ifndef SF_TCPIP_SHARING_PROCESSES_H
#define SF_TCPIP_SHARING_PROCESSES_H

#include "sf/base.h"

#include <stdbool.h>

struct sf_process_facts {
    int parent;
    sf_ns started; /* CLOCK_BOOTTIME */
    unsigned long stack_start; /* 0: not to be known */
};

/* False: the process is gone. */
bool sf_process_read(int pid, struct sf_process_facts *);
/* Whether this process descends from it. */
bool sf_process_is_ancestor(int pid);
/* Whether it descends from this process, or lives on without the parent that forked it. */
bool sf_process_is_ours(const struct sf_process_facts *, unsigned long stack_start);

/* Return false to stop. */
typedef bool (*sf_process_visit)(void *context, int pid);
/* Each process, in the order of their numbers. */
void sf_processes_list(sf_process_visit visit, void *context);
typedef bool (*sf_process_visit_socket)(void *context, uint32_t inode);
/* The sockets among the process's first 256 descriptors. */
void sf_process_sockets(int pid, sf_process_visit_socket visit, void *context);
/* Whether an epoll set of the process waits for the socket. */
bool sf_process_waits_for(int pid, uint32_t inode);

#endif
