/* Events in the life of a tcpip stack: refused sockets, closing, sleep, fork, a peer that leaves and returns, malformed frames.
 * */
#define _GNU_SOURCE
#include "tcpip_hosts.h"

#include <poll.h>
#include <sys/wait.h>

static void test_what_is_refused(void)
{
    struct sf_sock *sock;
    int fds[] = {
        udp_socket("127.0.0.1", 0),
        socket(AF_INET6, SOCK_DGRAM, 0),
        socket(AF_UNIX, SOCK_DGRAM, 0),
        socket(AF_INET, SOCK_STREAM, 0),
    };

    setsockopt(fds[1], IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int));
    begin(0);
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        CHECK(a->ops->adopt(a, fds[i], SF_KIND_DATAGRAM, 1, 1, &sock) == -EOPNOTSUPP);
        close(fds[i]);
    }
    fds[0] = udp_socket(A_ADDR, 0);
    CHECK(a->ops->adopt(a, fds[0], SF_KIND_STREAM, 1, 1, &sock) == -EOPNOTSUPP);
    CHECK(a->ops->adopt(a, fds[0], SF_KIND_LISTENER, 1, 1, &sock) == -EOPNOTSUPP);
    CHECK(a->ops->adopt(a, fds[0], SF_KIND_WATCH, 1, 1, &sock) == -EOPNOTSUPP);
    close(fds[0]);
    fds[0] = socket(AF_INET, SOCK_DGRAM, 0);
    sock = adopt(a, fds[0], 1);
    CHECK(name_of(fds[0]).sin_port != 0); /* adopt() has bound the socket, as the first send would */
    a->ops->release(sock);
    close(fds[0]);
    end();
}

static void test_close_under_traffic(void)
{
    struct sf_event events[16];
    struct sf_datagram out[64];
    struct sf_sock *sa;
    int fd_a = udp_socket(A_ADDR, 0), fd_b = udp_socket(B_ADDR, 0);

    begin(0);
    sa = adopt(a, fd_a, 1);
    for (int round = 0; round < 50; round++) {
        struct sf_sock *sb = adopt(b, fd_b, 2), *second = NULL;

        receive(sb, out);
        for (int i = 0; i < 8; i++)
            CHECK(send_to(sa, &i, sizeof(i), name_of(fd_b)) == sizeof(i));
        CHECK(poll_now(b, events) == 1);
        if (round % 3 == 0)
            CHECK(b->ops->recv_batch(sb, out, 3) == 3);
        if (round % 3 == 1)
            CHECK(poll_now(b, events) == 1); /* copies the frames into the backlog */
        b->ops->release(sb);
        if (round % 2) { /* close the descriptor and use its number again */
            close(fd_b);
            fd_b = udp_socket(B_ADDR, 0);
            second = adopt(b, fd_b, 3);
            receive(second, out);
        }
        CHECK(poll_late(b, events) == 0);
        if (second)
            b->ops->release(second);
    }
    a->ops->release(sa);
    close(fd_a);
    close(fd_b);
    end();
}

/* The program closes a side socket's descriptor while a duplicate of it lives on, and the stack's socket is released. Now each
 * poll of the kernel finds a stale event. After 16 of them the stack makes a new epoll set of side sockets. The other sockets
 * must receive by the new set, awake and asleep. */
static void test_stale_side_events(void)
{
    struct sf_event events[16];
    struct sf_datagram out[64];
    int gone_fd = udp_socket(A_ADDR, 0), stays_fd = udp_socket(A_ADDR, 0), plain = udp_socket("127.0.0.1", 0), duplicate;
    struct sockaddr_in gone_name = name_of(gone_fd);
    struct pollfd p = {.events = POLLIN};
    struct sf_sock *gone, *stays;

    begin(0);
    gone = adopt(a, gone_fd, 1);
    stays = adopt(a, stays_fd, 2);
    CHECK(receive(stays, out) == -EAGAIN);
    duplicate = dup(gone_fd);
    close(gone_fd);
    a->ops->release(gone);
    CHECK(sendto(plain, "x", 1, 0, (struct sockaddr *)&gone_name, sizeof(gone_name)) == 1);
    for (int i = 0; i < 40; i++)
        CHECK(poll_late(a, events) == 0);
    CHECK(counter_of(a, "side_stale") == 16);
    connect_to(plain, name_of(stays_fd));
    CHECK(send(plain, "fresh", 5, 0) == 5);
    CHECK(poll_late(a, events) == 1 && events[0].slot == 2);
    CHECK(receive(stays, out) == 1 && out[0].len == 5 && !memcmp(out[0].data, "fresh", 5));
    CHECK(receive(stays, out) == -EAGAIN);
    while (a->ops->arm(a, &p.fd) == -EAGAIN)
        poll_late(a, events);
    CHECK(poll(&p, 1, 0) == 0);
    CHECK(send(plain, "asleep", 6, 0) == 6);
    CHECK(poll(&p, 1, 1000) == 1);
    a->ops->disarm(a);
    CHECK(poll_late(a, events) == 1 && receive(stays, out) == 1);
    a->ops->release(stays);
    close(duplicate);
    close(stays_fd);
    close(plain);
    end();
}

static void test_sleep(void)
{
    struct sf_event events[16];
    struct sf_datagram out[64];
    struct sf_sock *sa, *sb;
    int fd_a = udp_socket(A_ADDR, 0), fd_b = udp_socket(B_ADDR, 0), plain = udp_socket("127.0.0.1", 0), fd = -1;
    struct sockaddr_in to = name_of(fd_b);
    struct pollfd p = {.events = POLLIN};

    begin_pair(&sa, fd_a, &sb, fd_b);
    CHECK(b->ops->arm(b, &fd) == -EAGAIN && fd >= 0); /* a new socket is polled first */
    receive(sb, out);
    while (b->ops->arm(b, &p.fd) == -EAGAIN)
        poll_late(b, events);
    CHECK(p.fd == fd && poll(&p, 1, 0) == 0);
    CHECK(send_to(sa, "wake", 4, to) == 4);
    CHECK(poll(&p, 1, 1000) == 1);
    b->ops->disarm(b);
    CHECK(poll_now(b, events) == 1 && receive(sb, out) == 1);
    while (b->ops->arm(b, &fd) == -EAGAIN)
        poll_late(b, events);
    CHECK(poll(&p, 1, 0) == 0);
    CHECK(sendto(plain, "wake", 4, 0, (struct sockaddr *)&to, sizeof(to)) == 4);
    CHECK(poll(&p, 1, 1000) == 1);
    b->ops->disarm(b);
    CHECK(poll_now(b, events) == 1);
    CHECK(b->ops->arm(b, &fd) == -EAGAIN);
    CHECK(receive(sb, out) == 1);
    CHECK(b->ops->interest(sb, 0) == 0);
    CHECK(sendto(plain, "wait", 4, 0, (struct sockaddr *)&to, sizeof(to)) == 4);
    while (b->ops->arm(b, &fd) == -EAGAIN)
        poll_late(b, events);
    CHECK(poll(&p, 1, 0) == 0); /* the socket has no interest now */
    b->ops->disarm(b);
    CHECK(b->ops->interest(sb, SF_READABLE) == 0);
    CHECK(!memcmp(expect(sb).data, "wait", 4));
    a->ops->release(sa);
    b->ops->release(sb);
    close(fd_a);
    close(fd_b);
    close(plain);
    end();
}

static void test_fork(void)
{
    struct sf_datagram got;
    struct sf_event events[16];
    struct sf_sock *sa, *sb;
    int fd_a = udp_socket(A_ADDR, 0), fd_b = udp_socket(B_ADDR, 0), plain = udp_socket("127.0.0.1", 0), status = 1;
    pid_t child;

    begin_pair(&sa, fd_a, &sb, fd_b);
    CHECK(send_to(sa, "mine", 4, name_of(fd_b)) == 4);
    CHECK(poll_late(b, events) == 1); /* unread when the process forks */
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(b->ops->rebuild(b) == 0);
        expect_nothing(sb);
        CHECK(send_to(sb, "by the kernel", 13, name_of(plain)) == 13);
        CHECK(send_to(sb, "self", 4, name_of(fd_b)) == 4);
        CHECK(!memcmp(expect(sb).data, "self", 4));
        b->ops->release(sb);
        b->ops->destroy(b);
        CHECK(a->ops->rebuild(a) == 0);
        a->ops->destroy(a);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    got = expect(sb);
    CHECK(got.len == 4 && !memcmp(got.data, "mine", 4));
    CHECK(send_to(sa, "more", 4, name_of(fd_b)) == 4);
    CHECK(!memcmp(expect(sb).data, "more", 4));
    a->ops->release(sa);
    b->ops->release(sb);
    close(fd_a);
    close(fd_b);
    close(plain);
    end();
}

/* When the peer leaves the wire, datagrams to it go by the kernel. When it returns, they go by the wire again. */
static void test_other_side_goes_and_comes(void)
{
    struct sf_event events[16];
    struct sf_datagram out[64];
    struct sf_sock *sa, *sb;
    int fd_a = udp_socket(A_ADDR, 0), fd_b = udp_socket(B_ADDR, 0), fd;

    begin(0);
    sa = adopt(a, fd_a, 1);
    receive(sa, out);
    b->ops->destroy(b);
    CHECK(a->ops->arm(a, &fd) == -EAGAIN); /* the peer has left, though no poll has noticed it */
    a->ops->disarm(a);
    poll_late(a, events);
    CHECK(send_to(sa, "kernel", 6, name_of(fd_b)) == 6);
    CHECK(counter_of(a, "tx_side_route") == 1);
    b = make_stack(open_side(B_ADDR), 0);
    poll_late(a, events);
    poll_late(b, events);
    sb = adopt(b, fd_b, 2);
    CHECK(!memcmp(expect(sb).data, "kernel", 6)); /* it waited in the side socket */
    CHECK(send_to(sa, "wire", 4, name_of(fd_b)) == 4);
    CHECK(!memcmp(expect(sb).data, "wire", 4));
    CHECK(counter_of(a, "tx_side_route") == 1);
    end_pair(sa, fd_a, sb, fd_b);
}

/* Random frames, and good frames with small changes: nothing breaks, and the next good datagram arrives. */
static void test_garbage(void)
{
    struct sf_event events[16];
    struct sf_datagram out[64];
    struct sf_sock *sa, *sb;
    struct sf_frame piece;
    uint8_t good[64];
    uint64_t seed = 0x6a7ba6e;
    int fd_a = udp_socket(A_ADDR, 0), fd_b = udp_socket(B_ADDR, 0);

    begin_pair(&sa, fd_a, &sb, fd_b);
    receive(sb, out);
    CHECK(send_to(sa, "0123456789abcdefghijkl", 22, name_of(fd_b)) == 22);
    CHECK(poll_now(b, events) == 1 && receive(sb, out) == 1);
    memcpy(good, (const uint8_t *)out[0].data - 42, sizeof(good));
    for (int i = 0; i < 20000; i++) {
        uint32_t len = 14 + (uint32_t)(next_random(&seed) % 50);

        CHECK(a_driver->fast.tx_reserve(a_driver, len, &piece, 1) == 1);
        memcpy(piece.data, good, len);
        if (i % 2)
            for (uint32_t j = 0; j < len; j++)
                piece.data[j] = (uint8_t)next_random(&seed);
        else
            for (int j = 0; j < 3; j++)
                piece.data[next_random(&seed) % len] ^= (uint8_t)next_random(&seed);
        if (i % 4 == 3) {
            memcpy(piece.data, good, 14);
            piece.data[14] = 0x45;
        }
        a_driver->fast.tx_commit(a_driver, &piece, 1);
        a_driver->fast.tx_flush(a_driver);
        poll_now(b, events);
        receive(sb, out);
    }
    CHECK(counter_of(b, "rx_refused_ip_checksum") > 0 && counter_of(b, "rx_refused_eth_type") > 0);
    CHECK(send_to(sa, "good", 4, name_of(fd_b)) == 4);
    CHECK(poll_now(b, events) == 1 && receive(sb, out) == 1 && !memcmp(out[0].data, "good", 4));
    end_pair(sa, fd_a, sb, fd_b);
}

int main(void)
{
    clock_now = sf_now();
    test_what_is_refused();
    test_close_under_traffic();
    test_stale_side_events();
    test_sleep();
    test_fork();
    test_other_side_goes_and_comes();
    test_garbage();
    return 0;
}
