/* Two network namespaces of a test's own. Includes CHECK. */
#ifndef SF_TEST_NAMESPACES_H
#define SF_TEST_NAMESPACES_H

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

#endif
