/* The tests of stacks ask the seam for a counter by its name, and the sockets for their addresses. */
#ifndef SF_TEST_STACK_SEAM_H
#define SF_TEST_STACK_SEAM_H

#include "sf/stack.h"

#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

enum { COUNTERS_MAX = 256 };

static inline uint64_t counter_of(struct sf_stack *stack, const char *name)
{
    struct sf_counter counters[COUNTERS_MAX];
    int n = stack->ops->counters(stack, counters, COUNTERS_MAX);

    for (int i = 0; i < n; i++)
        if (!strcmp(counters[i].name, name))
            return counters[i].value;
    CHECK(!"there is no counter of this name");
    return 0;
}

static inline struct sockaddr_in address(const char *addr, int port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = inet_addr(addr)};
}

static inline struct sockaddr_in name_of(int fd)
{
    struct sockaddr_in name;
    socklen_t len = sizeof(name);

    CHECK(getsockname(fd, (struct sockaddr *)&name, &len) == 0);
    return name;
}

#endif
