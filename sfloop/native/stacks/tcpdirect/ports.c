/*
 * Ports. The library reserves each port by a kernel socket of its own, its backing socket, which it binds without SO_REUSEADDR
 * (TCP) or with it (UDP). Ours, which the program sees, is bound to the same port. Both are possible in this way:
 *
 *  - TCP: ours leaves the port, the library takes it, and ours returns, each with SO_REUSEADDR. A kernel socket cannot leave a
 *    port to which it was bound explicitly, so a new socket replaces it under the same descriptor.
 *  - UDP: ours has SO_REUSEADDR while the library binds. The kernel gives a datagram to one of two sockets with the same
 *    address. It must not be the library's, which is never read, so that one is connected to itself.
 */
#define _GNU_SOURCE
#include "stack.h"

#include "storage/kernel_socket.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Options that the new socket takes from the one it replaces, because the kernel's connections inherit them. */
static const struct {
    int level, name;
} kept_options[] = {
    {SOL_SOCKET, SO_KEEPALIVE}, {SOL_SOCKET, SO_REUSEADDR}, {SOL_SOCKET, SO_PRIORITY}, {IPPROTO_IP, IP_TOS},
    {IPPROTO_IP, IP_TTL},
};

int td_is_ipv4(int fd, int type)
{
    int domain = 0, is = 0;
    socklen_t len = sizeof(domain);

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
        return 0;
    len = sizeof(is);
    return domain == AF_INET && getsockopt(fd, SOL_SOCKET, SO_TYPE, &is, &len) == 0 && is == type;
}

static void copy_options(int from, int to)
{
    for (size_t i = 0; i < sizeof(kept_options) / sizeof(kept_options[0]); i++) {
        int value;
        socklen_t len = sizeof(value);

        if (getsockopt(from, kept_options[i].level, kept_options[i].name, &value, &len) < 0)
            continue;
        setsockopt(to, kept_options[i].level, kept_options[i].name, &value, len);
    }
}

int td_port_leave(int fd)
{
    int flags = fcntl(fd, F_GETFD), rc = 0;
    int fresh = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fresh < 0)
        return -errno;
    copy_options(fd, fresh);
    if (dup3(fresh, fd, flags & FD_CLOEXEC ? O_CLOEXEC : 0) < 0)
        rc = -errno;
    close(fresh);
    return rc;
}

int td_port_return(int fd, const struct sockaddr_in *at, int backlog)
{
    int before = 0, rc = 0;
    socklen_t len = sizeof(before);

    getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &before, &len);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) < 0 ||
        bind(fd, (const struct sockaddr *)at, sizeof(*at)) < 0 || (backlog >= 0 && listen(fd, backlog) < 0))
        rc = -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &before, sizeof(before));
    return rc;
}

/* True: the port is shared with SO_REUSEPORT, which the library cannot do. */
bool td_port_is_shared(int fd)
{
    int value = 0;
    socklen_t len = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &value, &len) == 0 && value;
}

/* ---- the library's socket ---- */

static bool is_backing(int fd, int type, const struct sockaddr_in *at)
{
    struct sockaddr_in name;

    return td_is_ipv4(fd, type) && sf_kernel_socket_name(fd, &name) == 0 && name.sin_port == at->sin_port &&
           name.sin_addr.s_addr == at->sin_addr.s_addr;
}

/* The number of the next descriptor, unless another thread opens one first. */
int td_backing_hint(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    if (fd >= 0)
        close(fd);
    return fd;
}

/* Finds the socket of that type and name other than `except`, usually at the hint. -1: there is none. */
int td_backing_find(int hint, int except, int type, const struct sockaddr_in *at)
{
    struct dirent *entry;
    int found = -1;
    DIR *dir;

    if (hint >= 0 && hint != except && is_backing(hint, type, at))
        return hint;
    dir = opendir("/proc/self/fd");
    if (!dir)
        return -1;
    while (found < 0 && (entry = readdir(dir))) {
        int fd = atoi(entry->d_name);

        if (entry->d_name[0] != '.' && fd != except && is_backing(fd, type, at))
            found = fd;
    }
    closedir(dir);
    return found;
}

void td_backing_share(int backing)
{
    if (backing >= 0)
        setsockopt(backing, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
}

void td_backing_mute(int backing, const struct sockaddr_in *at)
{
    if (backing >= 0)
        (void)!connect(backing, (const struct sockaddr *)at, sizeof(*at));
}
