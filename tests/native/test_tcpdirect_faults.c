/*
 * Errors of TCPDirect's library, which the simulator injects one errno at a time. The stack handles or reports each of them, and
 * leaves nothing behind. And the library's limit of 64 zockets, those in TIME-WAIT included.
 */
#define _GNU_SOURCE
#include "tcpdirect_ends.h"

#define TIME_WAIT_OVER (250 * SF_MS) /* tcp_timewait_ms is 200 */

static void fault(const char *function, int error, int times)
{
    char text[96];

    snprintf(text, sizeof(text), "%s:%d:%d", function, error, times);
    ((void (*)(const char *))zf_function("sim_faults_set"))(text);
}

static void no_fault(void)
{
    ((void (*)(const char *))zf_function("sim_faults_set"))("");
}

static int connect_with(const char *function, int error, int times, struct sockaddr_in to, struct sf_sock **out)
{
    int rc;

    fault(function, error, times);
    rc = begin_connect(to, out);
    no_fault();
    return rc;
}

static void test_connect_errors(void)
{
    int fd = kernel_socket(SOCK_STREAM, "127.0.0.1", 0);
    struct sf_sock *listener = listen_on(fd), *sock = NULL;
    struct sockaddr_in to = name_of(fd);

    CHECK(connect_with("zft_alloc", ENOMEM, 1, to, &sock) == -ENOMEM);
    CHECK(connect_with("zft_addr_bind", EADDRINUSE, 1, to, &sock) == -EADDRINUSE);
    CHECK(connect_with("zft_addr_bind", EADDRNOTAVAIL, 1, to, &sock) == -EADDRNOTAVAIL);
    CHECK(connect_with("zft_connect", EBUSY, 1, to, &sock) == -EBUSY);
    CHECK(connect_with("zft_connect", ENOMEM, 1, to, &sock) == -ENOMEM);
    CHECK(connect_with("zf_muxer_add", ENOMEM, 1, to, &sock) == -ENOMEM);
    stack->ops->release(connect_to(to)); /* the failed attempts have left nothing behind */
    stack->ops->release(listener);
    close(fd);
    turn_for(2 * SF_MS);
}

/* An unresolved neighbour: the first attempt to connect makes the library ask for it, and a later attempt succeeds. */
static void test_unresolved_neighbour(void)
{
    int fd = kernel_socket(SOCK_STREAM, "127.0.0.1", 0);
    struct sf_sock *listener = listen_on(fd), *sock = NULL;
    struct sockaddr_in to = name_of(fd);

    fault("zft_connect", EHOSTUNREACH, 3);
    CHECK(begin_connect(to, &sock) == 0);
    CHECK(stack->ops->connect_result(sock) == -EINPROGRESS);
    expect(sock, SF_WRITABLE);
    CHECK(stack->ops->connect_result(sock) == 0);
    CHECK(counter_of(stack, "connect_retried") == 3);
    stack->ops->release(sock);

    fault("zft_connect", EHOSTUNREACH, 1000000);
    CHECK(begin_connect(to, &sock) == 0);
    stack->ops->release(sock); /* the program gives up */
    CHECK(begin_connect(to, &sock) == 0);
    expect(sock, SF_WRITABLE);
    CHECK(stack->ops->connect_result(sock) == -EHOSTUNREACH);
    no_fault();
    stack->ops->release(sock);
    stack->ops->release(listener);
    close(fd);
}

static void test_refused(void)
{
    struct sf_sock *sock = NULL;
    int fd = kernel_socket(SOCK_STREAM, "127.0.0.1", 0); /* nobody listens */

    CHECK(begin_connect(name_of(fd), &sock) == 0);
    expect(sock, SF_WRITABLE);
    CHECK(stack->ops->connect_result(sock) == -ECONNREFUSED);
    stack->ops->release(sock);
    close(fd);
}

/* No packet buffers are left, though the send queue has room. The library will report no edge, so the stack waits by the clock.
 * */
static void test_send_without_buffers(void)
{
    struct pair p = connected();

    CHECK(stack->ops->interest(p.client, SF_WRITABLE) == 0);
    fault("zft_send_single", ENOMEM, 1);
    CHECK(send_text(p.client, "x") == -EAGAIN);
    CHECK(poll_at(p.client, clock_now) == 0);
    expect(p.client, SF_WRITABLE);
    CHECK(counter_of(stack, "send_retried") >= 1);
    CHECK(send_text(p.client, "x") == 1);
    fault("zft_send_single", EAGAIN, 1);
    CHECK(send_text(p.client, "y") == -EAGAIN);
    expect(p.client, SF_WRITABLE);
    CHECK(send_text(p.client, "y") == 1);
    expect_text(p.server, "xy");
    no_fault();
    drop(&p);
}

static void test_shutdown_without_buffers(void)
{
    struct pair p = connected();

    fault("zft_shutdown_tx", ENOMEM, 3);
    CHECK(stack->ops->shutdown_tx(p.client) == 0); /* the stack tries again by the clock */
    CHECK(send_text(p.client, "x") == -EPIPE);
    CHECK(expect_end(p.server) == 0);
    no_fault();
    drop(&p);
}

static void listen_with(const char *function, int error, int rc)
{
    int fd = kernel_socket(SOCK_STREAM, "127.0.0.1", 0);
    struct sf_sock *sock = NULL;
    struct sockaddr_in before = name_of(fd);

    CHECK(listen(fd, 5) == 0);
    fault(function, error, 1);
    CHECK(stack->ops->listen(stack, fd, 5, 1, 1, &sock) == rc);
    no_fault();
    CHECK(name_of(fd).sin_port == before.sin_port); /* the kernel socket is unchanged */
    close(fd);
}

static void test_listen_errors(void)
{
    listen_with("zftl_listen", ENOBUFS, -ENOBUFS);
    listen_with("zftl_listen", EADDRINUSE, -EADDRINUSE);
    listen_with("zftl_listen", ENOMEM, -ENOMEM);
    listen_with("zf_muxer_add", ENOMEM, -ENOMEM);
}

static int adopt_with(const char *function, int error)
{
    int fd = kernel_socket(SOCK_DGRAM, "127.0.0.1", 0), rc;
    struct sf_sock *sock = NULL;

    fault(function, error, 1);
    rc = stack->ops->adopt(stack, fd, SF_KIND_DATAGRAM, 1, 1, &sock);
    no_fault();
    close(fd);
    return rc;
}

static void test_udp_errors(void)
{
    int fd = kernel_socket(SOCK_DGRAM, "127.0.0.1", 0);
    struct sockaddr_in to = name_of(fd);
    struct sf_sock *sock = NULL;

    CHECK(adopt_with("zfur_alloc", ENOBUFS) == -ENOBUFS);
    CHECK(adopt_with("zfur_addr_bind", EBUSY) == -EBUSY);
    CHECK(adopt_with("zf_muxer_add", ENOMEM) == -ENOMEM);
    CHECK(stack->ops->adopt(stack, fd, SF_KIND_DATAGRAM, 7, 7, &sock) == 0);
    CHECK(stack->ops->interest(sock, SF_READABLE | SF_WRITABLE) == 0);
    fault("zfut_alloc", EHOSTUNREACH, 1); /* the kernel sends it, which resolves the neighbour */
    CHECK(stack->ops->send_to(sock, "a", 1, (struct sockaddr *)&to, sizeof(to)) == 1);
    CHECK(counter_of(stack, "tx_by_kernel_unresolved") == 1);
    turn_for(30 * SF_MS);
    CHECK(stack->ops->send_to(sock, "b", 1, (struct sockaddr *)&to, sizeof(to)) == 1);
    fault("zfut_send_single", EAGAIN, 1);
    CHECK(stack->ops->send_to(sock, "c", 1, (struct sockaddr *)&to, sizeof(to)) == -EAGAIN);
    expect(sock, SF_WRITABLE);
    fault("zfut_send_single", ENOBUFS, 1);
    CHECK(stack->ops->send_to(sock, "c", 1, (struct sockaddr *)&to, sizeof(to)) == -EAGAIN);
    expect(sock, SF_WRITABLE);
    no_fault();
    CHECK(stack->ops->send_to(sock, "c", 1, (struct sockaddr *)&to, sizeof(to)) == 1);
    stack->ops->release(sock);
    close(fd);
}

static void test_full_table(void)
{
    enum { N = 40 };
    int fd = kernel_socket(SOCK_STREAM, "127.0.0.1", 0), n = 0, rc;
    struct sf_sock *listener = listen_on(fd), *client[N], *server[N], *sock = NULL;

    turn_for(TIME_WAIT_OVER); /* earlier tests have left zockets in TIME-WAIT */
    while ((rc = begin_connect(name_of(fd), &sock)) == 0) {
        CHECK(n < N);
        expect(sock, SF_WRITABLE);
        client[n] = sock;
        server[n++] = accept_one(listener);
    }
    CHECK(rc == -ENOBUFS && n == 32);
    CHECK(counter_of(stack, "zockets_full") >= 1);
    for (int i = 0; i < n; i++)
        stack->ops->release(client[i]); /* the clients close first, so TIME-WAIT is at them */
    turn_for(5 * SF_MS);
    for (int i = 0; i < n; i++)
        stack->ops->release(server[i]);
    turn_for(5 * SF_MS);
    CHECK(begin_connect(name_of(fd), &sock) == 0);
    stack->ops->abort(sock);
    stack->ops->release(listener);
    close(fd);
    turn_for(TIME_WAIT_OVER);
}

/* The library keeps the port until the last connection at it has ended. */
static void test_port_lingers(void)
{
    struct pair p = connected();
    struct sockaddr_in name = name_of(p.fd);
    struct sf_sock *again = NULL;
    int fd;

    stack->ops->release(p.listener);
    close(p.fd);
    fd = kernel_socket(SOCK_STREAM, "127.0.0.1", ntohs(name.sin_port)); /* the kernel permits it by SO_REUSEADDR */
    CHECK(listen(fd, 5) == 0);
    CHECK(stack->ops->listen(stack, fd, 5, 1, 1, &again) == -EADDRINUSE);
    stack->ops->abort(p.client);
    stack->ops->abort(p.server);
    turn_for(SF_MS);
    CHECK(stack->ops->listen(stack, fd, 5, 1, 1, &again) == 0);
    stack->ops->release(again);
    close(fd);
}

static void test_overflow_to_the_kernel(void)
{
    int fd = kernel_socket(SOCK_STREAM, "127.0.0.1", 0);
    struct sf_sock *sock = NULL;

    CHECK(connect_with("zft_alloc", ENOBUFS, 1, name_of(fd), &sock) == -EOPNOTSUPP);
    CHECK(counter_of(stack, "to_kernel_full") == 1);
    close(fd);
    listen_with("zftl_listen", ENOBUFS, -EOPNOTSUPP);
}

int main(int argc, char **argv)
{
    zf_library_open(argc > 1 ? argv[1] : "libonload_zf.so");
    stack = make_tcpdirect(false);
    test_connect_errors();
    test_unresolved_neighbour();
    test_refused();
    test_send_without_buffers();
    test_shutdown_without_buffers();
    test_listen_errors();
    test_udp_errors();
    test_full_table();
    test_port_lingers();
    stack->ops->destroy(stack);
    stack = make_tcpdirect(true);
    test_overflow_to_the_kernel();
    stack->ops->destroy(stack);
    return 0;
}
