/* TCP between the two hosts of tcpip_hosts.h. */
#ifndef SF_TEST_TCP_HOSTS_H
#define SF_TEST_TCP_HOSTS_H

#include "tcpip_hosts.h"

#include <stdbool.h>

static inline struct sf_stack *make_stack_with(struct sf_driver *driver, const struct sf_tcp_limits *limits)
{
    struct sf_tcpip_config config = {.driver = driver, .now = read_clock, .tcp = *limits};
    char message[256];
    int error = 0;
    struct sf_stack *stack = sf_stack_tcpip_create(&config, &error, message);

    CHECK(stack);
    return stack;
}

static inline void begin_with(const struct sf_tcp_limits *a_limits, const struct sf_tcp_limits *b_limits)
{
    struct sf_event events[16];

    a_driver = open_side(A_ADDR);
    a = make_stack_with(a_driver, a_limits);
    b = make_stack_with(open_side(B_ADDR), b_limits);
    CHECK(poll_late(a, events) == 0);
    CHECK(poll_late(b, events) == 0);
}

static inline int tcp_socket(const char *addr, int port)
{
    struct sockaddr_in name = address(addr ? addr : "0.0.0.0", port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

    CHECK(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (addr || port)
        CHECK(bind(fd, (struct sockaddr *)&name, sizeof(name)) == 0);
    return fd;
}

/* Opens a listener with slot 1, interested in connections. The descriptor is closed, because the stack keeps the port. */
static inline struct sf_sock *listen_on(struct sf_stack *stack, const char *addr, int backlog, struct sockaddr_in *name)
{
    struct sf_sock *listener = NULL;
    int fd = tcp_socket(addr, 0);

    *name = name_of(fd);
    CHECK(stack->ops->listen(stack, fd, backlog, 1, 101, &listener) == 0);
    CHECK(stack->ops->interest(listener, SF_READABLE) == 0);
    close(fd);
    return listener;
}

static inline struct sf_sock *connect_from(struct sf_stack *stack, struct sockaddr_in to, uint32_t slot)
{
    struct sf_sock *sock = NULL;
    int fd = tcp_socket(NULL, 0);

    CHECK(stack->ops->connect(stack, fd, (struct sockaddr *)&to, sizeof(to), slot, slot + 100, &sock) == 0);
    close(fd);
    return sock;
}

/* Polls each stack `polls` times, in turns. */
static inline void exchange(int polls)
{
    struct sf_event events[16];

    for (int i = 0; i < polls; i++) {
        poll_now(a, events);
        poll_now(b, events);
    }
}

/* Advances the clock by `time` in steps of a ms, and polls both stacks in each step. */
static inline void pass(sf_ns time)
{
    sf_ns until = clock_now + time;

    while (clock_now < until) {
        clock_now += SF_MS < until - clock_now ? SF_MS : until - clock_now;
        exchange(1);
    }
}

/* Accepts the next connection of a listener. Its slot and generation are `slot` and `slot` + 100. */
static inline struct sf_sock *accept_from(struct sf_sock *listener, uint32_t slot)
{
    struct sf_sock *sock = NULL;

    CHECK(listener->stack->ops->accept_stream(listener, &sock) == 0);
    CHECK(sock->slot == UINT32_MAX);
    sock->slot = slot;
    sock->generation = slot + 100;
    return sock;
}

struct pair {
    struct sf_sock *listener, *client, *server;
    struct sockaddr_in name;
};

/* Connects a to a listener of b. */
static inline struct pair connect_pair(void)
{
    struct pair p;

    p.listener = listen_on(b, B_ADDR, 16, &p.name);
    p.client = connect_from(a, p.name, 2);
    exchange(3);
    CHECK(a->ops->connect_result(p.client) == 0);
    p.server = accept_from(p.listener, 3);
    return p;
}

static inline void release_pair(struct pair *p)
{
    a->ops->release(p->client);
    b->ops->release(p->server);
    b->ops->release(p->listener);
}

static inline ssize_t put(struct sf_sock *sock, const void *data, size_t len)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};

    return sock->stack->ops->sendv(sock, &iov, 1);
}

static inline ssize_t take(struct sf_sock *sock, void *buf, size_t len)
{
    return sock->stack->ops->recv_into(sock, buf, len);
}

static inline void expect_bytes(struct sf_sock *sock, const char *text)
{
    char got[4096];
    size_t len = strlen(text);

    CHECK(take(sock, got, sizeof(got)) == (ssize_t)len);
    CHECK(!memcmp(got, text, len));
}

static inline const char *state_of(struct sf_sock *sock)
{
    struct sf_stream_info info;

    CHECK(sock->stack->ops->stream_info(sock, &info) == 0);
    return info.state;
}

static inline bool is_in(struct sf_sock *sock, const char *state)
{
    return !strcmp(state_of(sock), state);
}

static inline struct sf_stream_info info_of(struct sf_sock *sock)
{
    struct sf_stream_info info;

    CHECK(sock->stack->ops->stream_info(sock, &info) == 0);
    return info;
}

/* Polls the socket's stack once. Returns the events of the socket. */
static inline uint32_t events_of(struct sf_sock *sock)
{
    struct sf_event events[16];
    int n = poll_now(sock->stack, events);

    for (int i = 0; i < n; i++)
        if (events[i].slot == sock->slot && events[i].generation == sock->generation)
            return events[i].what;
    return 0;
}

#endif
