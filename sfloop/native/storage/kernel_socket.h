/* Questions to a program's kernel socket before a stack serves it: its protocol, its device, its name and its port. */
#ifndef SF_STORAGE_KERNEL_SOCKET_H
#define SF_STORAGE_KERNEL_SOCKET_H

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

/* True: the descriptor is an IPv4 socket of this protocol (IPPROTO_TCP, IPPROTO_UDP). */
static inline bool sf_kernel_socket_is(int fd, int protocol)
{
    int domain = 0, found = 0;
    socklen_t len = sizeof(domain);

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
        return false;
    len = sizeof(found);
    if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &found, &len) < 0)
        return false;
    return domain == AF_INET && found == protocol;
}

/* True: the socket is bound to a device (SO_BINDTODEVICE), which is stored in `name`. */
static inline bool sf_kernel_socket_device(int fd, char name[IF_NAMESIZE])
{
    socklen_t len = IF_NAMESIZE;

    name[0] = 0;
    return getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len) == 0 && len && name[0];
}

/* Stores the socket's local name. -EOPNOTSUPP: it is not an IPv4 address. */
static inline int sf_kernel_socket_name(int fd, struct sockaddr_in *name)
{
    socklen_t len = sizeof(*name);

    memset(name, 0, sizeof(*name));
    if (getsockname(fd, (struct sockaddr *)name, &len) < 0)
        return -errno;
    return name->sin_family == AF_INET ? 0 : -EOPNOTSUPP;
}

/* Stores the socket's local name with a port. Binds a socket without a port now, as its first send would, because the port must be ours
 * before a frame is sent. */
static inline int sf_kernel_socket_reserve(int fd, struct sockaddr_in *name)
{
    int rc = sf_kernel_socket_name(fd, name);

    if (rc < 0 || name->sin_port)
        return rc;
    if (bind(fd, (struct sockaddr *)name, sizeof(*name)) < 0)
        return -errno;
    return sf_kernel_socket_name(fd, name);
}

#endif
