/*
 * The echo servers without epoll: they call recv or recvfrom until it succeeds, and answer. One connection at a time.
 * Nothing on Linux's sockets can take fewer system calls, or make a shorter way from the socket to the answer.
 */
#include "common.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_SIZE = 256 * 1024 };

static unsigned char buffer[BUFFER_SIZE];

static int open_socket(const struct sfb_options *o, int type)
{
    struct sockaddr_in address = sfb_address(o);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address))
        sfb_die_errno("bind");
    if (type == SOCK_STREAM && listen(fd, 16))
        sfb_die_errno("listen");
    sfb_announce(fd);
    return fd;
}

/* Sends all of the answer; false when the connection is gone. */
static bool answer(int fd, const unsigned char *data, size_t size)
{
    while (size) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno != EAGAIN)
            return false;
        data += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

int sfb_spin_tcp(const struct sfb_options *o)
{
    int listener = open_socket(o, SOCK_STREAM), fd, on = 1;

    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        ssize_t n;

        if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on))
            sfb_die_errno("TCP_NODELAY");
        do
            n = recv(fd, buffer, BUFFER_SIZE, MSG_DONTWAIT);
        while (n > 0 ? answer(fd, buffer, (size_t)n) : n < 0 && errno == EAGAIN);
        close(fd);
    }
    sfb_die_errno("accept");
}

int sfb_spin_udp(const struct sfb_options *o)
{
    int fd = open_socket(o, SOCK_DGRAM);

    for (;;) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        ssize_t n = recvfrom(fd, buffer, BUFFER_SIZE, MSG_DONTWAIT, (struct sockaddr *)&peer, &length);

        if (n >= 0)
            (void)sendto(fd, buffer, (size_t)n, MSG_DONTWAIT, (struct sockaddr *)&peer, length);
    }
}
