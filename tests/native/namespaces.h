/* Network namespaces of a test's own. They end with it. */
#ifndef SF_TEST_NAMESPACES_H
#define SF_TEST_NAMESPACES_H

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SKIPPED 77 /* the exit status of a skipped test in Meson and Automake */

#define DO(command) CHECK(system(command) == 0)

static inline void enter(int ns)
{
    CHECK(setns(ns, CLONE_NEWNET) == 0);
}

/* Enters a new namespace. The test is skipped if it may not make one. */
static inline int new_namespace(void)
{
    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
        printf("skipped: cannot create a network namespace: %s\n", strerror(errno));
        exit(SKIPPED);
    }
    return open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

/* Makes two namespaces and enters the first, which has v0; its peer v1 is in the second. The test is skipped without veth. */
static inline void new_veth_pair(int *here, int *there)
{
    char command[128];

    *there = new_namespace();
    *here = new_namespace();
    snprintf(command, sizeof(command), "ip link add v0 type veth peer name v1 netns /proc/%d/fd/%d 2>/dev/null", (int)getpid(),
             *there);
    if (*there < 0 || *here < 0 || fcntl(*there, F_SETFD, 0) < 0 || system(command) != 0) {
        printf("skipped: cannot create a veth pair\n");
        exit(SKIPPED);
    }
}

#endif
