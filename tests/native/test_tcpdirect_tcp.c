/* Streams of the TCPDirect stack, through the stack seam. Both ends are in one stack. */
#define _GNU_SOURCE
#include "tcpdirect_ends.h"

#include <netinet/tcp.h>
#include <pthread.h>

static void test_echo_and_names(void)
{
    struct pair p = connected();
    struct sockaddr_in a, b;
    socklen_t len = sizeof(a);

    CHECK(send_text(p.client, "hello") == 5);
    expect_text(p.server, "hello");
    CHECK(send_text(p.server, "good day") == 8);
    expect_text(p.client, "good day");
    CHECK(stack->ops->name_of(p.client, false, (struct sockaddr *)&a, &len) == 0);
    len = sizeof(b);
    CHECK(stack->ops->name_of(p.server, true, (struct sockaddr *)&b, &len) == 0);
    CHECK(a.sin_port == b.sin_port && a.sin_addr.s_addr == b.sin_addr.s_addr);
    len = sizeof(b);
    CHECK(stack->ops->name_of(p.server, false, (struct sockaddr *)&b, &len) == 0);
    CHECK(b.sin_port == name_of(p.fd).sin_port);
    drop(&p);
}

static void test_levels(void)
{
    struct pair p = connected();
    const void *data;

    CHECK(send_text(p.client, "abcdef") == 6);
    expect(p.server, SF_READABLE);
    CHECK(poll_for(p.server) == SF_READABLE); /* again, as long as data is unread */
    CHECK(stack->ops->recv_borrow(p.server, &data) == 6 && !memcmp(data, "abcdef", 6));
    stack->ops->recv_done(p.server, 4);
    CHECK(poll_for(p.server) == SF_READABLE); /* the library reports no edge for the rest */
    CHECK(stack->ops->interest(p.server, 0) == 0);
    CHECK(poll_for(p.server) == 0);
    CHECK(stack->ops->interest(p.server, SF_READABLE) == 0);
    CHECK(poll_for(p.server) == SF_READABLE);
    CHECK(stack->ops->recv_borrow(p.server, &data) == 2 && !memcmp(data, "ef", 2));
    stack->ops->recv_done(p.server, 2);
    CHECK(poll_for(p.server) == 0);
    CHECK(stack->ops->recv_borrow(p.server, &data) == -EAGAIN);
    drop(&p);
}

static void test_half_close(void)
{
    struct pair p = connected();

    CHECK(send_text(p.client, "request") == 7);
    CHECK(stack->ops->shutdown_tx(p.client) == 0);
    CHECK(send_text(p.client, "more") == -EPIPE);
    expect_text(p.server, "request");
    CHECK(expect_end(p.server) == 0);
    CHECK(poll_for(p.server) & SF_READABLE); /* the end of the stream is reported again */
    CHECK(expect_end(p.server) == 0);
    CHECK(send_text(p.server, "answer") == 6);
    expect_text(p.client, "answer");
    CHECK(stack->ops->shutdown_tx(p.server) == 0);
    CHECK(expect_end(p.client) == 0);
    drop(&p);
}

static void test_close_delivers(void)
{
    struct pair p = connected();

    CHECK(send_text(p.client, "last words") == 10);
    stack->ops->release(p.client);
    p.client = NULL;
    expect_text(p.server, "last words");
    CHECK(expect_end(p.server) == 0);
    drop(&p);
}

static void test_abort_resets(void)
{
    struct pair p = connected();

    stack->ops->abort(p.client);
    p.client = NULL;
    CHECK(expect_end(p.server) == -ECONNRESET);
    CHECK(send_text(p.server, "x") < 0);
    drop(&p);
}

static void test_unread_data_resets(void)
{
    struct pair p = connected();

    CHECK(send_text(p.server, "nobody reads this") == 17);
    expect(p.client, SF_READABLE);
    stack->ops->release(p.client);
    p.client = NULL;
    CHECK(expect_end(p.server) == -ECONNRESET);
    drop(&p);
}

/* The window closes while the server does not read. All data that sendv() accepted arrives when it reads. */
static void test_back_pressure(void)
{
    static char block[60000], got[60000];
    struct pair p = connected();
    struct iovec iov = {.iov_base = block, .iov_len = sizeof(block)};
    size_t sent = 0, received = 0;
    int blocked = 0;
    ssize_t n;

    CHECK(stack->ops->interest(p.server, 0) == 0);
    CHECK(stack->ops->interest(p.client, SF_WRITABLE) == 0);
    while (blocked < 2000) {
        for (size_t i = 0; i < sizeof(block); i++)
            block[i] = (char)((sent + i) * 31 >> 3);
        n = stack->ops->sendv(p.client, &iov, 1);
        CHECK(n > 0 || n == -EAGAIN);
        sent += n > 0 ? (size_t)n : 0;
        blocked += n < 0;
        poll_for(p.client);
    }
    CHECK(sent < 1000000);
    while (received < sent) {
        n = stack->ops->recv_into(p.server, got, sizeof(got));
        for (ssize_t i = 0; i < n; i++)
            CHECK(got[i] == (char)((received + (size_t)i) * 31 >> 3));
        CHECK(n > 0 || n == -EAGAIN);
        received += n > 0 ? (size_t)n : 0;
        poll_for(p.server);
    }
    expect(p.client, SF_WRITABLE);
    drop(&p);
}

static void test_order_of_accept(void)
{
    int fd = kernel_socket(SOCK_STREAM, "127.0.0.1", 0);
    struct sf_sock *listener = listen_on(fd), *client[5], *server[5];
    char text[2] = "0";

    for (int i = 0; i < 5; i++)
        client[i] = connect_to(name_of(fd));
    turn_for(5 * SF_MS);
    for (int i = 0; i < 5; i++) {
        text[0] = (char)('0' + i);
        CHECK(send_text(client[i], text) == 1);
    }
    for (int i = 0; i < 5; i++) {
        server[i] = accept_one(listener);
        text[0] = (char)('0' + i);
        expect_text(server[i], text);
    }
    for (int i = 0; i < 5; i++) {
        stack->ops->release(client[i]);
        stack->ops->release(server[i]);
    }
    stack->ops->release(listener);
    close(fd);
    turn_for(2 * SF_MS);
}

static void test_release_of_a_listener_resets_what_waits(void)
{
    int fd = kernel_socket(SOCK_STREAM, "127.0.0.1", 0);
    struct sf_sock *listener = listen_on(fd), *client = connect_to(name_of(fd));

    expect(listener, SF_READABLE);
    stack->ops->release(listener);
    close(fd);
    CHECK(expect_end(client) <= 0);
    stack->ops->release(client);
    turn_for(2 * SF_MS);
}

static void *connect_by_kernel(void *argument)
{
    struct sockaddr_in *to = argument;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(connect(fd, (struct sockaddr *)to, sizeof(*to)) == 0);
    close(fd);
    return NULL;
}

/* The kernel socket still listens at the same port, for connections that do not come by the NIC. */
static void test_kernel_listens_too(void)
{
    int fd = kernel_socket(SOCK_STREAM, "127.0.0.1", 0), conn;
    struct sockaddr_in name = name_of(fd);
    struct sf_sock *listener = listen_on(fd);
    pthread_t thread;

    CHECK(name_of(fd).sin_port == name.sin_port);
    CHECK(pthread_create(&thread, NULL, connect_by_kernel, &name) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    conn = accept(fd, NULL, NULL);
    CHECK(conn >= 0);
    close(conn);
    stack->ops->release(listener);
    close(fd);
}

static void test_what_is_the_kernels(void)
{
    struct sockaddr_in to = address("192.0.2.1", 9);
    struct sf_sock *sock = NULL;
    int fd = kernel_socket(SOCK_STREAM, "127.0.0.1", 0);

    CHECK(begin_connect(to, &sock) == -EOPNOTSUPP);
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int));
    CHECK(stack->ops->listen(stack, fd, 1, 1, 1, &sock) == -EOPNOTSUPP);
    CHECK(stack->ops->adopt(stack, fd, SF_KIND_STREAM, 1, 1, &sock) == -EOPNOTSUPP);
    close(fd);
}

static void test_bound_source_port(void)
{
    struct pair p = {.fd = kernel_socket(SOCK_STREAM, "127.0.0.1", 0)};
    int fd = kernel_socket(SOCK_STREAM, "127.0.0.1", 0);
    struct sockaddr_in to = name_of(p.fd), from = name_of(fd), seen;
    socklen_t len = sizeof(seen);

    p.listener = listen_on(p.fd);
    CHECK(stack->ops->connect(stack, fd, (struct sockaddr *)&to, sizeof(to), 5, 5, &p.client) == 0);
    close(fd);
    CHECK(stack->ops->interest(p.client, SF_WRITABLE) == 0);
    expect(p.client, SF_WRITABLE);
    CHECK(stack->ops->connect_result(p.client) == 0);
    p.server = accept_one(p.listener);
    CHECK(stack->ops->name_of(p.server, true, (struct sockaddr *)&seen, &len) == 0);
    CHECK(seen.sin_port == from.sin_port);
    drop(&p);
}

static void test_options(void)
{
    struct pair p = connected();
    int value = 1;
    socklen_t len = sizeof(value);
    struct sf_stream_info info;

    CHECK(stack->ops->set_option(p.client, IPPROTO_TCP, TCP_NODELAY, &value, len) == 0);
    CHECK(stack->ops->set_option(p.client, SOL_SOCKET, SO_KEEPALIVE, &value, len) == -ENOPROTOOPT);
    CHECK(stack->ops->get_option(p.client, SOL_SOCKET, SO_ERROR, &value, &len) == 0 && value == 0);
    CHECK(stack->ops->get_option(p.client, SOL_SOCKET, SO_SNDBUF, &value, &len) == 0 && value >= 64 * 536);
    CHECK(stack->ops->stream_info(p.client, &info) == 0 && !strcmp(info.state, "ESTABLISHED") && info.mss >= 536);
    drop(&p);
}

static void test_linger_zero_resets(void)
{
    struct pair p = connected();
    struct linger linger = {.l_onoff = 1};

    CHECK(stack->ops->set_option(p.client, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0);
    stack->ops->release(p.client);
    p.client = NULL;
    CHECK(expect_end(p.server) == -ECONNRESET);
    drop(&p);
}

/* Sockets are released while the library holds events for them. An event's tag may belong to another socket by then. */
static void test_release_with_events_under_way(void)
{
    for (int i = 0; i < 20; i++) {
        struct pair p = connected();

        CHECK(send_text(p.client, "data") == 4);
        CHECK(send_text(p.server, "data") == 4);
        if (i & 1)
            turn_for(SF_MS / 10);
        stack->ops->abort(p.client);
        stack->ops->abort(p.server);
        p.client = p.server = NULL;
        drop(&p);
    }
}

int main(int argc, char **argv)
{
    zf_library_open(argc > 1 ? argv[1] : "libonload_zf.so");
    stack = make_tcpdirect(false);
    test_echo_and_names();
    test_levels();
    test_half_close();
    test_close_delivers();
    test_abort_resets();
    test_unread_data_resets();
    test_back_pressure();
    test_order_of_accept();
    test_release_of_a_listener_resets_what_waits();
    test_kernel_listens_too();
    test_what_is_the_kernels();
    test_bound_source_port();
    test_options();
    test_linger_zero_resets();
    test_release_with_events_under_way();
    stack->ops->destroy(stack);
    return 0;
}
