/* UDP of the TCPDirect stack, through the stack seam: one socket has a zfur and zfuts, and the kernel socket beside them. */
#define _GNU_SOURCE
#include "tcpdirect_ends.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>

static struct sf_sock *adopt(int fd)
{
    struct sf_sock *sock = NULL;
    uint32_t slot = next_slot++;

    CHECK(stack->ops->adopt(stack, fd, SF_KIND_DATAGRAM, slot, slot + 1000, &sock) == 0);
    CHECK(stack->ops->interest(sock, SF_READABLE) == 0);
    return sock;
}

static ssize_t send_to(struct sf_sock *sock, const void *data, size_t len, struct sockaddr_in to)
{
    return stack->ops->send_to(sock, data, len, (struct sockaddr *)&to, sizeof(to));
}

/* Waits for datagrams. Returns their number, which is at least 1. */
static int receive(struct sf_sock *sock, struct sf_datagram *out)
{
    int n;

    while ((n = stack->ops->recv_batch(sock, out, 64)) == -EAGAIN)
        expect(sock, SF_READABLE);
    return n;
}

static void test_echo(void)
{
    int a_fd = kernel_socket(SOCK_DGRAM, "127.0.0.1", 0), b_fd = kernel_socket(SOCK_DGRAM, "127.0.0.1", 0);
    struct sf_sock *a = adopt(a_fd), *b = adopt(b_fd);
    struct sf_datagram got[64];
    struct sockaddr_in from;

    CHECK(send_to(a, "ping", 4, name_of(b_fd)) == 4);
    CHECK(receive(b, got) == 1 && got[0].len == 4 && !memcmp(got[0].data, "ping", 4));
    memcpy(&from, got[0].addr, sizeof(from));
    CHECK(from.sin_port == name_of(a_fd).sin_port && from.sin_addr.s_addr == inet_addr("127.0.0.1"));
    CHECK(send_to(b, "pong", 4, from) == 4);
    CHECK(receive(a, got) == 1 && got[0].len == 4 && !memcmp(got[0].data, "pong", 4));
    CHECK(send_to(a, "", 0, name_of(b_fd)) == 0);
    CHECK(receive(b, got) == 1 && got[0].len == 0);
    stack->ops->release(a);
    stack->ops->release(b);
    close(a_fd);
    close(b_fd);
}

static void test_batches(void)
{
    int a_fd = kernel_socket(SOCK_DGRAM, "127.0.0.1", 0), b_fd = kernel_socket(SOCK_DGRAM, "127.0.0.1", 0);
    struct sf_sock *a = adopt(a_fd), *b = adopt(b_fd);
    struct sf_datagram got[64];
    uint32_t next = 0;

    for (uint32_t i = 0; i < 40; i++)
        CHECK(send_to(a, &i, sizeof(i), name_of(b_fd)) == sizeof(i));
    while (next < 40) {
        int n = receive(b, got);

        CHECK(n > 0);
        for (int i = 0; i < n; i++, next++)
            CHECK(got[i].len == 4 && !memcmp(got[i].data, &next, 4));
    }
    stack->ops->release(a);
    stack->ops->release(b);
    close(a_fd);
    close(b_fd);
}

static void test_connected(void)
{
    int a_fd = kernel_socket(SOCK_DGRAM, "127.0.0.1", 0), b_fd = kernel_socket(SOCK_DGRAM, "127.0.0.1", 0);
    int c_fd = kernel_socket(SOCK_DGRAM, "127.0.0.1", 0);
    struct sockaddr_in to = name_of(b_fd);
    struct sf_sock *a, *b = adopt(b_fd), *c = adopt(c_fd);
    struct sf_datagram got[64];

    CHECK(connect(a_fd, (struct sockaddr *)&to, sizeof(to)) == 0);
    a = adopt(a_fd);
    CHECK(stack->ops->send_to(a, "x", 1, NULL, 0) == 1);
    CHECK(receive(b, got) == 1);
    CHECK(send_to(c, "stranger", 8, name_of(a_fd)) == 8);
    CHECK(send_to(b, "y", 1, name_of(a_fd)) == 1);
    CHECK(receive(a, got) == 1 && got[0].len == 1); /* only the peer's datagram */
    stack->ops->release(a);
    stack->ops->release(b);
    stack->ops->release(c);
    close(a_fd);
    close(b_fd);
    close(c_fd);
}

/* Datagrams that come by the kernel to the same port reach the program, and not the library's backing socket. */
static void test_kernel_beside(void)
{
    int fd = kernel_socket(SOCK_DGRAM, "127.0.0.1", 0), peer = kernel_socket(SOCK_DGRAM, "127.0.0.1", 0);
    struct sf_sock *sock = adopt(fd);
    struct sockaddr_in to = name_of(fd), back;
    struct sf_datagram got[64];

    turn_for(SF_MS);
    for (int i = 0; i < 3; i++) {
        CHECK(sendto(peer, "kernel", 6, 0, (struct sockaddr *)&to, sizeof(to)) == 6);
        CHECK(receive(sock, got) == 1 && got[0].len == 6);
    }
    memcpy(&back, got[0].addr, sizeof(back));
    CHECK(back.sin_port == name_of(peer).sin_port);
    CHECK(counter_of(stack, "rx_by_kernel") == 3);
    stack->ops->release(sock);
    close(fd);
    close(peer);
}

/* More destinations than zfuts: the oldest zfuts are evicted, and each datagram arrives. */
static void test_many_destinations(void)
{
    enum { N = 50 };
    int fds[N], fd[2] = {kernel_socket(SOCK_DGRAM, "127.0.0.1", 0), kernel_socket(SOCK_DGRAM, "127.0.0.1", 0)};
    struct sf_sock *sender[2] = {adopt(fd[0]), adopt(fd[1])}, *sock[N];
    struct sf_datagram got[64];

    for (int i = 0; i < N; i++) {
        fds[i] = kernel_socket(SOCK_DGRAM, "127.0.0.1", 0);
        sock[i] = adopt(fds[i]);
    }
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++) {
            CHECK(send_to(sender[0], "a", 1, name_of(fds[i])) == 1);
            CHECK(receive(sock[i], got) == 1);
            CHECK(send_to(sender[1], "b", 1, name_of(fds[i])) == 1);
            CHECK(receive(sock[i], got) == 1 && *(const char *)got[0].data == 'b');
        }
    }
    CHECK(counter_of(stack, "tx_destinations_evicted") > 0);
    for (int i = 0; i < N; i++) {
        stack->ops->release(sock[i]);
        close(fds[i]);
    }
    for (int i = 0; i < 2; i++) {
        stack->ops->release(sender[i]);
        close(fd[i]);
    }
}

static void test_elsewhere_goes_by_the_kernel(void)
{
    int fd = kernel_socket(SOCK_DGRAM, "127.0.0.1", 0);
    struct sf_sock *sock = adopt(fd);
    uint64_t before = counter_of(stack, "tx_by_kernel_route");

    send_to(sock, "x", 1, address("192.0.2.1", 9));
    CHECK(counter_of(stack, "tx_by_kernel_route") == before + 1);
    stack->ops->release(sock);
    close(fd);
}

static void test_full_table_is_the_kernels(void)
{
    enum { N = 70 };
    int fd[N], refused = 0;
    struct sf_sock *sock[N];

    for (int i = 0; i < N; i++) {
        fd[i] = kernel_socket(SOCK_DGRAM, "127.0.0.1", 0);
        sock[i] = NULL;
        refused += stack->ops->adopt(stack, fd[i], SF_KIND_DATAGRAM, 1, 1, &sock[i]) == -ENOBUFS;
    }
    CHECK(refused == N - 64);
    for (int i = 0; i < N; i++) {
        if (sock[i])
            stack->ops->release(sock[i]);
        close(fd[i]);
    }
}

/* In a forked child the kernel sockets still end a sleep, by an epoll set of the child's own. */
static void test_fork(void)
{
    int fd = kernel_socket(SOCK_DGRAM, "127.0.0.1", 0), peer = kernel_socket(SOCK_DGRAM, "127.0.0.1", 0), before = -1, status;
    struct sf_sock *sock = adopt(fd);
    struct sockaddr_in to = name_of(fd);
    pid_t child;

    stack->ops->arm(stack, &before);
    stack->ops->disarm(stack);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct pollfd p = {.events = POLLIN};
        struct sf_datagram got[64];

        CHECK(stack->ops->rebuild(stack) == 0);
        CHECK(stack->ops->recv_batch(sock, got, 64) == -EAGAIN);
        for (int i = 0; i < 50 && stack->ops->arm(stack, &p.fd) == -EAGAIN; i++)
            turn_for(SF_MS);
        CHECK(fcntl(before, F_GETFD) < 0 || p.fd == before); /* the parent's set is closed */
        CHECK(poll(&p, 1, 0) == 0);
        CHECK(sendto(peer, "wake", 4, 0, (struct sockaddr *)&to, sizeof(to)) == 4);
        CHECK(poll(&p, 1, 1000) == 1);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    stack->ops->release(sock);
    close(fd);
    close(peer);
}

int main(int argc, char **argv)
{
    zf_library_open(argc > 1 ? argv[1] : "libonload_zf.so");
    stack = make_tcpdirect(false);
    test_echo();
    test_batches();
    test_connected();
    test_kernel_beside();
    test_many_destinations();
    test_elsewhere_goes_by_the_kernel();
    test_full_table_is_the_kernels();
    test_fork();
    stack->ops->destroy(stack);
    return 0;
}
