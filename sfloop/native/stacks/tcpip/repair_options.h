/* The socket options of repair mode, and the reasons of refusals, for repair.c and repair_write.c. */
#ifndef SF_STACKS_TCPIP_REPAIR_OPTIONS_H
#define SF_STACKS_TCPIP_REPAIR_OPTIONS_H

#include "repair.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

enum { ESTABLISHED = 1, FIN_WAIT1 = 4, FIN_WAIT2 = 5, CLOSE_WAIT = 8 }; /* include/net/tcp_states.h */
enum { NO_QUEUE, RECEIVED, SENT };                                      /* enum of linux/tcp.h */

static inline int get(int fd, int name, void *value, socklen_t len)
{
    return getsockopt(fd, IPPROTO_TCP, name, value, &len) < 0 ? -errno : 0;
}

static inline int set(int fd, int name, const void *value, socklen_t len)
{
    return setsockopt(fd, IPPROTO_TCP, name, value, len) < 0 ? -errno : 0;
}

static inline int set_int(int fd, int name, int value)
{
    return set(fd, name, &value, sizeof(value));
}

static inline int refused(const char **why, const char *reason)
{
    *why = reason;
    return reason ? -EBUSY : 0;
}

static inline int failed(const char **why, int error)
{
    *why = error == -EPERM ? "the capability CAP_NET_ADMIN is missing" : "the kernel does not carry out TCP_REPAIR";
    return error;
}

#endif
