/*
 * A TCP echo server with epoll, recv and send and nothing else. No event loop with these system calls can be faster.
 * With --spin, epoll_wait never sleeps.
 *
 * The loop over the events is written out here and in serve_tls.c. A shared loop would call each server's functions through
 * pointers, and these servers set the time that event loops are compared with.
 */
#include "common.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_SIZE = 256 * 1024, MAX_EVENTS = 256 };

/* A connection, with the bytes that could not be sent yet. While there are such bytes, the server does not read from it. */
struct connection {
    int fd;
    unsigned char *pending;
    size_t size, sent;
};

static unsigned char buffer[BUFFER_SIZE];

static void drop(struct connection *c)
{
    close(c->fd);
    free(c->pending);
    free(c);
}

static void take_connections(int epoll, int listener)
{
    int fd, on = 1;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);

        if (!c)
            sfb_die_errno("calloc");
        c->fd = fd;
        if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on))
            sfb_die_errno("TCP_NODELAY");
        sfb_epoll_add(epoll, fd, EPOLLIN, c);
    }
    if (errno != EAGAIN && errno != ECONNABORTED)
        sfb_die_errno("accept");
}

/* Sends the answer, and keeps the bytes that the socket does not take. False: the connection is gone. */
static bool answer(int epoll, struct connection *c, const unsigned char *data, size_t size)
{
    ssize_t n = send(c->fd, data, size, MSG_NOSIGNAL);

    if (n < 0 && errno != EAGAIN)
        return false;
    n = n < 0 ? 0 : n;
    if ((size_t)n == size)
        return true;
    c->size = size - (size_t)n;
    c->sent = 0;
    if (!(c->pending = malloc(c->size)))
        sfb_die_errno("malloc");
    memcpy(c->pending, data + n, c->size);
    sfb_epoll_change(epoll, c->fd, EPOLLOUT, c);
    return true;
}

static bool resume(int epoll, struct connection *c)
{
    ssize_t n = send(c->fd, c->pending + c->sent, c->size - c->sent, MSG_NOSIGNAL);

    if (n < 0)
        return errno == EAGAIN;
    c->sent += (size_t)n;
    if (c->sent < c->size)
        return true;
    free(c->pending);
    c->pending = NULL;
    sfb_epoll_change(epoll, c->fd, EPOLLIN, c);
    return true;
}

static bool serve(int epoll, struct connection *c)
{
    ssize_t n;

    if (c->pending)
        return resume(epoll, c);
    n = recv(c->fd, buffer, BUFFER_SIZE, 0);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    return answer(epoll, c, buffer, (size_t)n);
}

int sfb_serve_tcp(const struct sfb_options *o)
{
    struct epoll_event events[MAX_EVENTS];
    int listener = sfb_listen_tcp(o), epoll = sfb_epoll_new();

    sfb_raise_file_limit();
    sfb_epoll_add(epoll, listener, EPOLLIN, NULL);
    sfb_announce(listener);
    for (;;) {
        int n = epoll_wait(epoll, events, MAX_EVENTS, o->spin ? 0 : -1);

        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;

            if (!c)
                take_connections(epoll, listener);
            else if (!serve(epoll, c))
                drop(c);
        }
    }
}
