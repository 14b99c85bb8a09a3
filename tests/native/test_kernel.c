/* The kernel stack, through the stack seam, as the engine uses it. */
#define _GNU_SOURCE
#include "sf/stack.h"

#include "check.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

static struct sf_stack *stack;

static void pair(int type, int fd[2])
{
    CHECK(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) == 0);
}

static struct sf_sock *adopt(int fd, enum sf_sock_kind kind, uint32_t slot, uint32_t generation)
{
    struct sf_sock *sock;

    CHECK(stack->ops->adopt(stack, fd, kind, slot, generation, &sock) == 0);
    return sock;
}

static int poll_once(struct sf_event *out)
{
    return stack->ops->poll(stack, sf_now(), out, 16);
}

static void test_events_follow_the_interest(void)
{
    struct sf_event ev[16];
    struct sf_sock *sock;
    int fd[2];

    pair(SOCK_STREAM, fd);
    sock = adopt(fd[0], SF_KIND_STREAM, 5, 77);
    CHECK(poll_once(ev) == 0);
    CHECK(stack->ops->interest(sock, SF_READABLE | SF_WRITABLE) == 0);
    CHECK(poll_once(ev) == 1 && ev[0].slot == 5 && ev[0].generation == 77 && ev[0].what == SF_WRITABLE);
    CHECK(write(fd[1], "x", 1) == 1);
    CHECK(poll_once(ev) == 1 && ev[0].what == (SF_READABLE | SF_WRITABLE));
    CHECK(stack->ops->interest(sock, SF_READABLE) == 0);
    CHECK(poll_once(ev) == 1 && ev[0].what == SF_READABLE);
    CHECK(poll_once(ev) == 1); /* a level: the byte is still unread */
    CHECK(stack->ops->interest(sock, 0) == 0);
    close(fd[1]);
    CHECK(poll_once(ev) == 0); /* not even the hang-up of a paused connection */
    CHECK(stack->ops->interest(sock, SF_READABLE) == 0);
    CHECK(poll_once(ev) == 1 && ev[0].what & SF_READABLE);
    stack->ops->release(sock);
    CHECK(poll_once(ev) == 0);
    close(fd[0]);
}

static void test_stream_bytes(void)
{
    struct iovec iov[2] = {{"hello ", 6}, {"world", 5}};
    struct sf_sock *a, *b;
    const void *data;
    char buf[16];
    int fd[2];

    pair(SOCK_STREAM, fd);
    a = adopt(fd[0], SF_KIND_STREAM, 1, 1);
    b = adopt(fd[1], SF_KIND_STREAM, 2, 1);
    CHECK(stack->ops->recv_borrow(b, &data) == -EAGAIN);
    CHECK(stack->ops->sendv(a, iov, 2) == 11);
    CHECK(stack->ops->recv_borrow(b, &data) == 11 && memcmp(data, "hello world", 11) == 0);
    stack->ops->recv_done(b, 11);
    CHECK(stack->ops->sendv(a, iov, 1) == 6);
    CHECK(stack->ops->recv_into(b, buf, sizeof(buf)) == 6 && memcmp(buf, "hello ", 6) == 0);
    CHECK(stack->ops->shutdown_tx(a) == 0);
    CHECK(stack->ops->recv_borrow(b, &data) == 0);
    CHECK(stack->ops->sendv(a, iov, 1) == -EPIPE); /* and no SIGPIPE */
    stack->ops->release(a);
    stack->ops->release(b);
    close(fd[0]);
    close(fd[1]);
}

static int number(const struct sf_datagram *datagram)
{
    char text[16] = "";

    CHECK(datagram->len < sizeof(text));
    memcpy(text, datagram->data, datagram->len);
    return atoi(text);
}

static void test_datagram_batches(void)
{
    enum { N = 100 };
    struct sf_datagram batch[64];
    struct sf_sock *rx;
    int fd[2], seen = 0, n;
    char text[16];

    pair(SOCK_DGRAM, fd);
    rx = adopt(fd[0], SF_KIND_DATAGRAM, 1, 1);
    CHECK(stack->ops->recv_batch(rx, batch, 64) == -EAGAIN);
    for (int sent = 0; sent < N;) {
        if (send(fd[1], text, (size_t)snprintf(text, sizeof(text), "%d", sent), 0) > 0) {
            sent++;
            continue;
        }
        CHECK(errno == EAGAIN); /* the queue of an AF_UNIX socket is short */
        n = stack->ops->recv_batch(rx, batch, 64);
        CHECK(n > 1);
        for (int i = 0; i < n; i++, seen++)
            CHECK(number(&batch[i]) == seen);
    }
    while ((n = stack->ops->recv_batch(rx, batch, 64)) > 0)
        seen += n;
    CHECK(n == -EAGAIN && seen == N);
    CHECK(send(fd[1], "", 0, 0) == 0);
    CHECK(stack->ops->recv_batch(rx, batch, 64) == 1 && batch[0].len == 0);
    stack->ops->release(rx);
    close(fd[0]);
    close(fd[1]);
}

/* A watched descriptor is closed while a duplicate of it lives on. It can no longer be removed from the epoll set, so rebuild()
 * makes a new set. */
static void test_rebuild_drops_what_is_gone(void)
{
    struct sf_event ev[16];
    struct sf_sock *gone, *stays;
    int fd[2], other[2], duplicate;

    pair(SOCK_STREAM, fd);
    pair(SOCK_STREAM, other);
    gone = adopt(fd[0], SF_KIND_WATCH, 1, 1);
    stays = adopt(other[0], SF_KIND_WATCH, 2, 1);
    CHECK(stack->ops->interest(gone, SF_READABLE) == 0 && stack->ops->interest(stays, SF_READABLE) == 0);
    duplicate = dup(fd[0]);
    close(fd[0]);
    stack->ops->release(gone);
    CHECK(write(fd[1], "x", 1) == 1);
    CHECK(poll_once(ev) == 1 && ev[0].slot == 1); /* the stale event */
    CHECK(stack->ops->rebuild(stack) == 0);
    CHECK(poll_once(ev) == 0);
    CHECK(write(other[1], "x", 1) == 1);
    CHECK(poll_once(ev) == 1 && ev[0].slot == 2);
    stack->ops->release(stays);
    close(duplicate);
    close(fd[1]);
    close(other[0]);
    close(other[1]);
}

/* The program closes a watched descriptor, and another file gets its number. The old watch must not watch the new file. */
static void test_a_number_that_is_used_again(void)
{
    struct sf_event ev[16];
    struct sf_sock *old, *new;
    int fd[2], other[2];

    pair(SOCK_STREAM, fd);
    pair(SOCK_STREAM, other);
    old = adopt(fd[0], SF_KIND_WATCH, 1, 1);
    CHECK(stack->ops->interest(old, SF_READABLE) == 0);
    CHECK(stack->ops->interest(old, SF_READABLE) == 0); /* the same interest again: the file is still there */
    CHECK(dup2(other[0], fd[0]) == fd[0]);
    CHECK(write(other[1], "x", 1) == 1);
    CHECK(stack->ops->interest(old, SF_READABLE | SF_WRITABLE) == -ENOENT);
    CHECK(stack->ops->interest(old, SF_READABLE) == -ENOENT);
    CHECK(poll_once(ev) == 0);
    CHECK(stack->ops->rebuild(stack) == 0);
    CHECK(poll_once(ev) == 0);
    stack->ops->release(old);
    new = adopt(fd[0], SF_KIND_WATCH, 2, 1);
    CHECK(stack->ops->interest(new, SF_READABLE) == 0);
    CHECK(poll_once(ev) == 1 && ev[0].slot == 2 && ev[0].what == SF_READABLE);
    stack->ops->release(new);
    close(fd[0]);
    close(fd[1]);
    close(other[0]);
    close(other[1]);
}

static void test_a_message_into_pieces(void)
{
    char first[4] = "", second[4] = "";
    struct iovec iov[2] = {{first, 4}, {second, 4}};
    struct sockaddr_storage from;
    socklen_t len = sizeof(from);
    struct sf_sock *sock;
    int fd[2];

    pair(SOCK_DGRAM, fd);
    sock = adopt(fd[0], SF_KIND_WATCH, 1, 1);
    CHECK(stack->ops->recv_from(sock, iov, 2, (struct sockaddr *)&from, &len) == -EAGAIN);
    CHECK(send(fd[1], "12345", 5, 0) == 5 && send(fd[1], "abcdefghi", 9, 0) == 9);
    CHECK(stack->ops->recv_from(sock, iov, 2, (struct sockaddr *)&from, &len) == 5);
    CHECK(len == 0); /* a socketpair has no names */
    CHECK(memcmp(first, "1234", 4) == 0 && second[0] == '5');
    CHECK(stack->ops->recv_from(sock, iov, 2, NULL, NULL) == 8);
    CHECK(memcmp(first, "abcd", 4) == 0 && memcmp(second, "efgh", 4) == 0);
    stack->ops->release(sock);
    close(fd[0]);
    close(fd[1]);
}

static void test_wait_is_never_early(void)
{
    struct sf_event ev[16];

    for (sf_ns span = 1; span < 20 * SF_MS; span = span * 7 + 13) {
        sf_ns start = sf_now();

        CHECK(stack->ops->wait(stack, span, ev, 16) == 0);
        CHECK(sf_now() - start >= span);
    }
}

static void test_accept(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), client = socket(AF_INET, SOCK_STREAM, 0), accepted;
    socklen_t len = sizeof(addr);
    struct sf_event ev[16];
    struct sf_sock *listener;

    CHECK(bind(fd, (struct sockaddr *)&addr, len) == 0 && listen(fd, 5) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&addr, &len) == 0);
    listener = adopt(fd, SF_KIND_LISTENER, 9, 1);
    CHECK(stack->ops->interest(listener, SF_READABLE) == 0);
    CHECK(stack->ops->accept(listener, NULL, NULL) == -EAGAIN);
    CHECK(connect(client, (struct sockaddr *)&addr, len) == 0);
    CHECK(poll_once(ev) == 1 && ev[0].slot == 9 && ev[0].what == SF_READABLE);
    accepted = stack->ops->accept(listener, NULL, NULL);
    CHECK(accepted >= 0);
    stack->ops->release(listener);
    close(accepted);
    close(client);
    close(fd);
}

int main(void)
{
    int error = 0;

    stack = sf_stack_kernel_create(&error);
    CHECK(stack);
    test_events_follow_the_interest();
    test_stream_bytes();
    test_datagram_batches();
    test_rebuild_drops_what_is_gone();
    test_a_number_that_is_used_again();
    test_a_message_into_pieces();
    test_wait_is_never_early();
    test_accept();
    stack->ops->destroy(stack);
    return 0;
}
