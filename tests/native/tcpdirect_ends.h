/* Connections and sockets with both ends in one TCPDirect stack, and functions that poll the stack until a condition holds. */
#ifndef SF_TEST_TCPDIRECT_ENDS_H
#define SF_TEST_TCPDIRECT_ENDS_H

#include "zf_library.h"

#define EVENTS 64

static struct sf_stack *stack;
static struct sf_event events[EVENTS];
static uint32_t next_slot = 10;

/* The stack's clock goes on by at most CLOCK_STEP a poll. So no timeout of the stack expires between two lines of a test that did
 * not get the CPU for long. */
#define CLOCK_STEP (20 * SF_US)
static sf_ns clock_now, clock_read;

static inline sf_ns clock_next(void)
{
    sf_ns now = sf_now(), passed = now - clock_read;

    if (!clock_now)
        clock_now = now;
    else
        clock_now += passed < CLOCK_STEP ? passed : CLOCK_STEP;
    clock_read = now;
    return clock_now;
}

static inline int kernel_socket(int type, const char *addr, int port)
{
    struct sockaddr_in name = address(addr, port);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

    CHECK(fd >= 0);
    if (type == SOCK_STREAM)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    CHECK(bind(fd, (struct sockaddr *)&name, sizeof(name)) == 0);
    return fd;
}

/* Polls the stack at that time. Returns the events of the socket; 0: none. */
static inline uint32_t poll_at(struct sf_sock *sock, sf_ns now)
{
    int n = stack->ops->poll(stack, now, events, EVENTS);
    uint32_t what = 0;

    for (int i = 0; i < n; i++)
        if (events[i].slot == sock->slot && events[i].generation == sock->generation)
            what |= events[i].what;
    return what;
}

static inline uint32_t poll_for(struct sf_sock *sock)
{
    return poll_at(sock, clock_next());
}

static inline bool happens(struct sf_sock *sock, uint32_t what, sf_ns within)
{
    sf_ns until = clock_next() + within;

    while (clock_now < until)
        if (poll_for(sock) & what)
            return true;
    return false;
}

static inline void expect(struct sf_sock *sock, uint32_t what)
{
    CHECK(happens(sock, what, 10 * SF_SEC));
}

static inline void turn_for(sf_ns span)
{
    for (sf_ns until = clock_next() + span; clock_now < until;)
        stack->ops->poll(stack, clock_next(), events, EVENTS);
}

static inline struct sf_sock *listen_on(int fd)
{
    struct sf_sock *sock = NULL;
    uint32_t slot = next_slot++;

    CHECK(listen(fd, 10) == 0);
    CHECK(stack->ops->listen(stack, fd, 10, slot, slot + 1000, &sock) == 0);
    CHECK(stack->ops->interest(sock, SF_READABLE) == 0);
    return sock;
}

static inline int begin_connect(struct sockaddr_in to, struct sf_sock **out)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc;
    uint32_t slot = next_slot++;

    CHECK(fd >= 0);
    rc = stack->ops->connect(stack, fd, (struct sockaddr *)&to, sizeof(to), slot, slot + 1000, out);
    close(fd);
    if (rc == 0)
        CHECK(stack->ops->interest(*out, SF_WRITABLE) == 0);
    return rc;
}

static inline struct sf_sock *connect_to(struct sockaddr_in to)
{
    struct sf_sock *sock = NULL;

    CHECK(begin_connect(to, &sock) == 0);
    expect(sock, SF_WRITABLE);
    CHECK(stack->ops->connect_result(sock) == 0);
    CHECK(stack->ops->interest(sock, SF_READABLE) == 0);
    return sock;
}

static inline struct sf_sock *accept_one(struct sf_sock *listener)
{
    struct sf_sock *sock = NULL;

    while (stack->ops->accept_stream(listener, &sock) == -EAGAIN)
        expect(listener, SF_READABLE);
    CHECK(sock && sock->slot == UINT32_MAX);
    sock->slot = next_slot++;
    sock->generation = sock->slot + 1000;
    CHECK(stack->ops->interest(sock, SF_READABLE) == 0);
    return sock;
}

struct pair {
    int fd;
    struct sf_sock *listener, *client, *server;
};

static inline struct pair connected(void)
{
    struct pair p = {.fd = kernel_socket(SOCK_STREAM, "127.0.0.1", 0)};

    p.listener = listen_on(p.fd);
    p.client = connect_to(name_of(p.fd));
    p.server = accept_one(p.listener);
    return p;
}

static inline void drop(struct pair *p)
{
    if (p->client)
        stack->ops->release(p->client);
    if (p->server)
        stack->ops->release(p->server);
    stack->ops->release(p->listener);
    close(p->fd);
    turn_for(2 * SF_MS);
}

static inline ssize_t send_text(struct sf_sock *sock, const char *text)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};

    return stack->ops->sendv(sock, &iov, 1);
}

static inline void expect_text(struct sf_sock *sock, const char *text)
{
    size_t want = strlen(text), have = 0;
    char got[4096];

    while (have < want) {
        ssize_t n = stack->ops->recv_into(sock, got + have, sizeof(got) - have);

        if (n == -EAGAIN) {
            expect(sock, SF_READABLE);
            continue;
        }
        CHECK(n > 0);
        have += (size_t)n;
    }
    CHECK(have == want && !memcmp(got, text, want));
}

/* Waits for the end of the stream. Returns the result of the read that found it: 0 or a negative errno. */
static inline ssize_t expect_end(struct sf_sock *sock)
{
    const void *data;
    ssize_t n;

    while ((n = stack->ops->recv_borrow(sock, &data)) == -EAGAIN)
        expect(sock, SF_READABLE);
    CHECK(n <= 0);
    return n;
}

#endif
