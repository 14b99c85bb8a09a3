/* Socket options of connections and listeners: the accepted values, the values read back, and their effects. */
#define _GNU_SOURCE
#include "tcp_hosts.h"

#include <linux/tcp.h>

static const struct sf_tcp_limits defaults;

static int set(struct sf_sock *sock, int level, int name, int value)
{
    return sock->stack->ops->set_option(sock, level, name, &value, sizeof(value));
}

static int get(struct sf_sock *sock, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);

    CHECK(sock->stack->ops->get_option(sock, level, name, &value, &len) == 0 && len == sizeof(value));
    return value;
}

static void test_values(void)
{
    static const struct {
        int level, name, good, read, bad; /* bad is INT32_MIN: no value is refused */
    } rows[] = {
        {IPPROTO_TCP, TCP_NODELAY, 0, 0, INT32_MIN},
        {IPPROTO_TCP, TCP_NODELAY, 1, 1, INT32_MIN},
        {IPPROTO_TCP, TCP_CORK, 0, 0, INT32_MIN},
        {IPPROTO_TCP, TCP_QUICKACK, 1, 1, INT32_MIN},
        {IPPROTO_TCP, TCP_KEEPIDLE, 77, 77, 0},
        {IPPROTO_TCP, TCP_KEEPINTVL, 7, 7, 40000},
        {IPPROTO_TCP, TCP_KEEPCNT, 5, 5, 128},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, 30000, 30000, -1},
        {SOL_SOCKET, SO_KEEPALIVE, 1, 1, INT32_MIN},
        {SOL_SOCKET, SO_SNDBUF, 100000, 200000, INT32_MIN}, /* doubled, as in Linux (socket(7)) */
        {SOL_SOCKET, SO_RCVBUF, 100000, 200000, INT32_MIN},
        {IPPROTO_IP, IP_TOS, 0x10, 0x10, 256},
        {IPPROTO_IP, IP_TTL, 9, 9, 0},
    };
    struct pair p;

    begin_with(&defaults, &defaults);
    p = connect_pair();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sf_sock *socks[] = {p.client, p.listener};

        for (int j = 0; j < 2; j++) {
            CHECK(set(socks[j], rows[i].level, rows[i].name, rows[i].good) == 0);
            CHECK(get(socks[j], rows[i].level, rows[i].name) == rows[i].read);
            if (rows[i].bad != INT32_MIN)
                CHECK(set(socks[j], rows[i].level, rows[i].name, rows[i].bad) == -EINVAL);
            CHECK(socks[j]->stack->ops->set_option(socks[j], rows[i].level, rows[i].name, "", 0) == -EINVAL);
        }
    }
    CHECK(set(p.client, SOL_SOCKET, SO_BROADCAST, 1) == -ENOPROTOOPT && set(p.client, 4242, 1, 1) == -ENOPROTOOPT);
    CHECK(get(p.client, SOL_SOCKET, SO_TYPE) == SOCK_STREAM && get(p.client, SOL_SOCKET, SO_ERROR) == 0);
    CHECK(get(p.client, SOL_SOCKET, SO_ACCEPTCONN) == 0 && get(p.listener, SOL_SOCKET, SO_ACCEPTCONN) == 1);
    release_pair(&p);
    end();
}

/* Options that the program has set on the kernel socket hold from the start. The others have our defaults. */
static void test_inherited(void)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 3}, got = {0};
    struct sf_sock *listener = NULL, *client = NULL, *server;
    struct sockaddr_in name;
    socklen_t len = sizeof(got);
    int fd, on = 1, size = 30000, listeners_most = 1000, clients_most = 900;

    begin_with(&defaults, &defaults);
    fd = tcp_socket(B_ADDR, 0);
    name = name_of(fd);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &listeners_most, sizeof(listeners_most));
    CHECK(b->ops->listen(b, fd, 5, 1, 101, &listener) == 0);
    close(fd);
    fd = tcp_socket(NULL, 0);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &clients_most, sizeof(clients_most));
    CHECK(a->ops->connect(a, fd, (struct sockaddr *)&name, sizeof(name), 2, 102, &client) == 0);
    close(fd);
    exchange(4);
    server = accept_from(listener, 3);
    CHECK(get(server, SOL_SOCKET, SO_KEEPALIVE) == 1 && get(server, SOL_SOCKET, SO_RCVBUF) == 60000);
    CHECK(!strcmp(info_of(server).congestion, "newreno") && !strcmp(info_of(client).congestion, "cubic"));
    CHECK(info_of(client).snd_wnd <= 60000);
    CHECK(info_of(client).mss <= 900 && info_of(server).mss <= 900); /* by the MSS option of the client's SYN */
    CHECK(get(client, SOL_SOCKET, SO_KEEPALIVE) == 0 && get(client, IPPROTO_TCP, TCP_NODELAY) == 1);
    CHECK(a->ops->get_option(client, SOL_SOCKET, SO_LINGER, &got, &len) == 0 && got.l_onoff == 1 && got.l_linger == 3);
    a->ops->release(client);
    exchange(3);
    b->ops->release(server);
    exchange(3);
    b->ops->release(listener);
    end();
}

/* Small writes leave at once. With Nagle's algorithm, at most one small segment is in flight. With TCP_CORK, only full segments
 * leave, for up to 200 ms. */
static void test_nagle_and_cork(void)
{
    struct pair p;
    uint64_t sent;

    begin_with(&defaults, &defaults);
    p = connect_pair();
    exchange(3);
    CHECK(put(p.client, "a", 1) == 1 && put(p.client, "b", 1) == 1 && put(p.client, "c", 1) == 1);
    exchange(3);
    expect_bytes(p.server, "abc");
    CHECK(set(p.client, IPPROTO_TCP, TCP_NODELAY, 0) == 0);
    sent = info_of(p.client).segments_sent;
    CHECK(put(p.client, "d", 1) == 1 && put(p.client, "e", 1) == 1 && put(p.client, "f", 1) == 1);
    CHECK(info_of(p.client).segments_sent == sent + 1 && info_of(p.client).unsent == 2);
    pass(3 * SF_MS);
    CHECK(info_of(p.client).segments_sent == sent + 2);
    expect_bytes(p.server, "def");
    CHECK(set(p.client, IPPROTO_TCP, TCP_CORK, 1) == 0);
    CHECK(put(p.client, "g", 1) == 1);
    pass(100 * SF_MS);
    CHECK(info_of(p.client).segments_sent == sent + 2 && info_of(p.client).unsent == 1);
    pass(150 * SF_MS);
    CHECK(info_of(p.client).unsent == 0);
    CHECK(put(p.client, "h", 1) == 1 && info_of(p.client).unsent == 1);
    CHECK(set(p.client, IPPROTO_TCP, TCP_CORK, 0) == 0 && info_of(p.client).unsent == 0);
    exchange(3);
    expect_bytes(p.server, "gh");
    release_pair(&p);
    end();
}

static void test_info(void)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);
    struct sf_stream_info ours;
    char name[16] = "";
    socklen_t name_len = sizeof(name);
    struct pair p;
    char bytes[2000] = "";

    begin_with(&defaults, &defaults);
    p = connect_pair();
    CHECK(put(p.client, bytes, sizeof(bytes)) == sizeof(bytes));
    pass(3 * SF_MS);
    CHECK(take(p.server, bytes, sizeof(bytes)) == sizeof(bytes));
    CHECK(b->ops->get_option(p.server, IPPROTO_TCP, TCP_INFO, &info, &len) == 0);
    CHECK(info.tcpi_state == 1 && info.tcpi_options == 7 && info.tcpi_bytes_received == sizeof(bytes));
    CHECK(info.tcpi_snd_mss == info_of(p.server).mss && info.tcpi_rcv_space > 60000);
    ours = info_of(p.client);
    CHECK(ours.bytes_sent == sizeof(bytes) && ours.rtt > 0 && ours.rto >= ours.rtt && ours.cwnd > 10 * 500 && ours.in_flight == 0);
    CHECK(b->ops->stream_info(p.listener, &ours) < 0);
    CHECK(a->ops->set_option(p.client, IPPROTO_TCP, TCP_CONGESTION, "newreno", 7) == 0);
    CHECK(a->ops->get_option(p.client, IPPROTO_TCP, TCP_CONGESTION, name, &name_len) == 0 && !strcmp(name, "newreno"));
    CHECK(a->ops->set_option(p.client, IPPROTO_TCP, TCP_CONGESTION, "bbr", 3) == -ENOENT);
    CHECK(set(p.client, IPPROTO_TCP, TCP_MAXSEG, 1000) == 0 && info_of(p.client).mss <= 1000);
    CHECK(put(p.client, bytes, 2000) == 2000);
    exchange(3);
    CHECK(take(p.server, bytes, sizeof(bytes)) == 2000);
    release_pair(&p);
    end();
}

/* Two listeners share a port by SO_REUSEPORT. */
static void test_reuse_port(void)
{
    struct sf_sock *listeners[2], *clients[40], *server;
    struct sockaddr_in name;
    int accepted[2] = {0}, on = 1, fd;

    begin_with(&defaults, &defaults);
    for (int i = 0; i < 2; i++) {
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0);
        name = i ? name : address(B_ADDR, 0);
        CHECK(bind(fd, (struct sockaddr *)&name, sizeof(name)) == 0);
        name = name_of(fd);
        CHECK(b->ops->listen(b, fd, 50, 1, 101, &listeners[i]) == 0);
        close(fd);
    }
    for (uint32_t i = 0; i < 40; i++)
        clients[i] = connect_from(a, name, 10 + i);
    exchange(3);
    for (int i = 0; i < 2; i++)
        for (; b->ops->accept_stream(listeners[i], &server) == 0; accepted[i]++)
            b->ops->release(server);
    CHECK(accepted[0] + accepted[1] == 40 && accepted[0] > 4 && accepted[1] > 4);
    b->ops->release(listeners[0]);
    for (uint32_t i = 0; i < 40; i++)
        a->ops->release(clients[i]);
    exchange(3);
    for (uint32_t i = 0; i < 4; i++)
        clients[i] = connect_from(a, name, 10 + i);
    exchange(3);
    for (uint32_t i = 0; i < 4; i++) {
        CHECK(b->ops->accept_stream(listeners[1], &server) == 0);
        a->ops->release(clients[i]);
    }
    b->ops->release(listeners[1]);
    end();
}

int main(void)
{
    clock_now = sf_now();
    test_values();
    test_inherited();
    test_nagle_and_cork();
    test_info();
    test_reuse_port();
    return 0;
}
