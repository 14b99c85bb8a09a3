/* Questions to a program's kernel socket before a stack serves it: its protocol, its device, its name and its port. */
#ifndef SF_STORAGE_KERNEL_SOCKET_H
#define SF_STORAGE_KERNEL_SOCKET_H

#include "mapped_address.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

/* -1: the socket does not have the option. */
static inline int sf_kernel_socket_number(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);

    return getsockopt(fd, level, name, &value, &len) < 0 ? -1 : value;
}

/* True: the descriptor is an IPv4 socket of this protocol (IPPROTO_TCP, IPPROTO_UDP). */
static inline bool sf_kernel_socket_is(int fd, int protocol)
{
    return sf_kernel_socket_number(fd, SOL_SOCKET, SO_DOMAIN) == AF_INET &&
           sf_kernel_socket_number(fd, SOL_SOCKET, SO_PROTOCOL) == protocol;
}

/* True: the descriptor is an IPv6 socket of this protocol that serves IPv4 too. Its IPv4 addresses are mapped. A bound socket cannot
 * change this. */
static inline bool sf_kernel_socket_is_mapped(int fd, int protocol)
{
    return sf_kernel_socket_number(fd, SOL_SOCKET, SO_DOMAIN) == AF_INET6 &&
           sf_kernel_socket_number(fd, SOL_SOCKET, SO_PROTOCOL) == protocol &&
           sf_kernel_socket_number(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0;
}

/* True: the socket is bound to a device (SO_BINDTODEVICE), which is stored in `name`. */
static inline bool sf_kernel_socket_device(int fd, char name[IF_NAMESIZE])
{
    socklen_t len = IF_NAMESIZE;

    name[0] = 0;
    return getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len) == 0 && len && name[0];
}

/* A name of either family. */
union sf_socket_name {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* Stores the socket's local name, or its peer's, of IPv4 sockets and of IPv6 sockets that serve IPv4 too. -EOPNOTSUPP: IPv4 lacks the
 * address. */
static inline int sf_kernel_socket_ask_name(int fd, bool peer, union sf_socket_name *name, struct sockaddr_in *v4)
{
    socklen_t len = sizeof(*name);

    memset(name, 0, sizeof(*name));
    memset(v4, 0, sizeof(*v4));
    if ((peer ? getpeername(fd, &name->any, &len) : getsockname(fd, &name->any, &len)) < 0)
        return -errno;
    if (name->any.sa_family == AF_INET6)
        return sf_unmap_name(&name->v6, v4) ? 0 : -EOPNOTSUPP;
    *v4 = name->v4;
    return name->any.sa_family == AF_INET ? 0 : -EOPNOTSUPP;
}

static inline int sf_kernel_socket_name(int fd, struct sockaddr_in *v4)
{
    union sf_socket_name name;

    return sf_kernel_socket_ask_name(fd, false, &name, v4);
}

static inline int sf_kernel_socket_peer(int fd, struct sockaddr_in *v4)
{
    union sf_socket_name name;

    return sf_kernel_socket_ask_name(fd, true, &name, v4);
}

/* Stores the socket's local name with a port. Binds a socket without a port now, as its first send would, because the port must be ours
 * before a frame is sent. */
static inline int sf_kernel_socket_reserve(int fd, struct sockaddr_in *v4)
{
    union sf_socket_name name;
    int rc = sf_kernel_socket_ask_name(fd, false, &name, v4);

    if (rc < 0 || v4->sin_port)
        return rc;
    if (bind(fd, &name.any, name.any.sa_family == AF_INET6 ? sizeof(name.v6) : sizeof(name.v4)) < 0)
        return -errno;
    return sf_kernel_socket_name(fd, v4);
}

#endif
