/* UDP between two hosts on a wire: sizes, demultiplexing, the backlog, events, and the choice between the wire and the kernel. */
#define _GNU_SOURCE
#include "tcpip_hosts.h"

static void fill(uint8_t *bytes, size_t len)
{
    uint64_t seed = 0x5eed + len;

    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)next_random(&seed);
}

static void test_echo_of_all_sizes(void)
{
    static const size_t sizes[] = {0,    1,    2,    3,    4,    5,    6,    7,    8,    9,     17,    18,    63,   64,
                                   65,   255,  1471, 1472, 1473, 4000, 8971, 8972, 8973, 20000, 65000, 65507};
    static uint8_t bytes[65536];
    int fd_a, fd_b;
    struct sf_sock *sa, *sb;

    begin(0);
    fd_a = udp_socket(A_ADDR, 0);
    fd_b = udp_socket(B_ADDR, 0);
    sa = adopt(a, fd_a, 1);
    sb = adopt(b, fd_b, 2);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct sf_datagram got;

        fill(bytes, sizes[i]);
        CHECK(send_to(sa, bytes, sizes[i], name_of(fd_b)) == (ssize_t)sizes[i]);
        got = expect(sb);
        CHECK(got.len == sizes[i] && !memcmp(got.data, bytes, sizes[i]) && !(got.flags & MSG_TRUNC));
        CHECK(got.addr_len == sizeof(struct sockaddr_in));
        CHECK(((const struct sockaddr_in *)got.addr)->sin_port == name_of(fd_a).sin_port);
        CHECK(((const struct sockaddr_in *)got.addr)->sin_addr.s_addr == inet_addr(A_ADDR));
        CHECK(b->ops->send_to(sb, got.data, got.len, got.addr, got.addr_len) == (ssize_t)sizes[i]);
        got = expect(sa);
        CHECK(got.len == sizes[i] && !memcmp(got.data, bytes, sizes[i]));
    }
    CHECK(counter_of(a, "tx_side_size") > 0 && counter_of(a, "rx_side") == counter_of(b, "tx_side_size"));
    CHECK(counter_of(a, "tx_side_unresolved") == 0 && counter_of(a, "tx_side_route") == 0);
    CHECK(send_to(sa, bytes, 65508, name_of(fd_b)) == -EMSGSIZE);
    end_pair(sa, fd_a, sb, fd_b);
}

/* The most specific socket receives a datagram: a connected one, else one bound to the address, else one bound to the port. */
static void test_demultiplexing(void)
{
    int fd[3], fd_a, other;
    struct sf_sock *connected, *bound, *any, *sa, *so;
    struct sockaddr_in to;

    begin(0);
    fd_a = udp_socket(A_ADDR, 0);
    other = udp_socket(A_ADDR, 0);
    fd[0] = udp_socket("0.0.0.0", 0);
    to = name_of(fd[0]);
    to.sin_addr.s_addr = inet_addr(B_ADDR);
    fd[1] = udp_socket(B_ADDR, ntohs(to.sin_port));
    fd[2] = udp_socket(B_ADDR, ntohs(to.sin_port));
    connect_to(fd[2], name_of(fd_a));
    sa = adopt(a, fd_a, 1);
    so = adopt(a, other, 2);
    any = adopt(b, fd[0], 3);
    CHECK(send_to(sa, "any", 3, to) == 3);
    CHECK(!memcmp(expect(any).data, "any", 3));
    bound = adopt(b, fd[1], 4);
    CHECK(send_to(sa, "bound", 5, to) == 5);
    CHECK(!memcmp(expect(bound).data, "bound", 5));
    connected = adopt(b, fd[2], 5);
    CHECK(send_to(sa, "connected", 9, to) == 9);
    CHECK(!memcmp(expect(connected).data, "connected", 9));
    CHECK(send_to(so, "other", 5, to) == 5);
    CHECK(!memcmp(expect(bound).data, "other", 5));
    expect_nothing(any);
    CHECK(b->ops->send_to(connected, "back", 4, NULL, 0) == 4);
    CHECK(!memcmp(expect(sa).data, "back", 4));
    b->ops->release(connected);
    CHECK(send_to(sa, "again", 5, to) == 5);
    CHECK(!memcmp(expect(bound).data, "again", 5));
    b->ops->release(bound);
    b->ops->release(any);
    CHECK(send_to(sa, "none", 4, to) == 4);
    clock_now += SF_MS;
    b->ops->poll(b, clock_now, &(struct sf_event){0}, 1);
    CHECK(counter_of(b, "rx_no_socket") == 1);
    a->ops->release(sa);
    a->ops->release(so);
    for (int i = 0; i < 3; i++)
        close(fd[i]);
    close(fd_a);
    close(other);
    end();
}

/* A paused socket holds no frames. Its backlog keeps all datagrams in order, up to its limit. Drops beyond the limit are counted.
 * */
static void test_backlog_of_a_paused_socket(void)
{
    struct sf_event events[16];
    struct sf_datagram out[64];
    struct sf_sock *sa, *sb;
    int fd_a, fd_b, sent = 0, n;
    uint32_t next = 0;

    begin(128 * 1024);
    fd_a = udp_socket(A_ADDR, 0);
    fd_b = udp_socket(B_ADDR, 0);
    sa = adopt(a, fd_a, 1);
    sb = adopt(b, fd_b, 2);
    CHECK(b->ops->interest(sb, 0) == 0);
    for (; sent < 200; sent++) {
        CHECK(send_to(sa, &sent, sizeof(sent), name_of(fd_b)) == sizeof(sent));
        CHECK(poll_now(b, events) == 0);
    }
    CHECK(poll_now(b, events) == 0);
    CHECK(counter_of(b, "rx_backlog_copies") == 200 && counter_of(b, "rx_backlog_full") == 0);
    CHECK(b->ops->interest(sb, SF_READABLE) == 0);
    /* Datagrams in frames come after those in the backlog. */
    for (; sent < 210; sent++)
        CHECK(send_to(sa, &sent, sizeof(sent), name_of(fd_b)) == sizeof(sent));
    while (next < 210) {
        CHECK(poll_now(b, events) == 1 && events[0].what == SF_READABLE);
        n = receive(sb, out);
        CHECK(n > 0);
        for (int i = 0; i < n; i++, next++)
            CHECK(!memcmp(out[i].data, &next, sizeof(next)));
    }
    CHECK(poll_now(b, events) == 0);
    CHECK(b->ops->interest(sb, 0) == 0);
    for (sent = 0; sent < 2000; sent++) {
        CHECK(send_to(sa, &sent, sizeof(sent), name_of(fd_b)) == sizeof(sent));
        CHECK(poll_now(b, events) == 0);
    }
    CHECK(poll_now(b, events) == 0);
    CHECK(counter_of(b, "rx_backlog_full") > 0);
    n = (int)(counter_of(b, "rx_backlog_full") + counter_of(b, "rx_backlog_copies") - 200);
    CHECK(n == 2000 || n == 2010); /* the last ten from above may have been copied, too */
    a->ops->release(sa);
    b->ops->release(sb); /* with a full backlog */
    close(fd_a);
    close(fd_b);
    end();
}

/* Sends n datagrams to a socket that does not read. Returns how many of them its backlog keeps. */
static uint64_t kept(struct sf_sock *from, struct sockaddr_in to, struct sf_sock *sock, int n)
{
    static const uint8_t data[100];
    uint64_t before = counter_of(b, "rx_backlog_copies");
    struct sf_datagram out[64];
    struct sf_event events[16];

    clock_now += 2 * SF_MS;
    for (int i = 0; i < n; i++) {
        CHECK(send_to(from, data, sizeof(data), to) == sizeof(data));
        poll_now(b, events);
    }
    poll_now(b, events);
    while (receive(sock, out) > 0)
        ;
    return counter_of(b, "rx_backlog_copies") - before;
}

static void set_rcvbuf(int fd, int bytes)
{
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) == 0);
}

/* The backlog is as large as SO_RCVBUF of the kernel's socket allows, even if the program changes the option later. */
static void test_backlog_follows_rcvbuf(void)
{
    struct sf_sock *sa, *sb;
    int fd_a, fd_b;
    uint64_t usual, large, larger;

    begin(0);
    fd_a = udp_socket(A_ADDR, 0);
    fd_b = udp_socket(B_ADDR, 0);
    sa = adopt(a, fd_a, 1);
    sb = adopt(b, fd_b, 2);
    CHECK(b->ops->interest(sb, 0) == 0);
    usual = kept(sa, name_of(fd_b), sb, 3000);
    CHECK(usual == 3000);
    set_rcvbuf(fd_b, 64 * 1024);
    large = kept(sa, name_of(fd_b), sb, 3000);
    CHECK(large > 150 && large < 250); /* Linux keeps 170, at 768 bytes each */
    set_rcvbuf(fd_b, 96 * 1024);
    larger = kept(sa, name_of(fd_b), sb, 3000);
    CHECK(larger > large * 14 / 10 && larger < large * 16 / 10);
    CHECK(counter_of(b, "rx_backlog_full") == 6000 - large - larger);
    set_rcvbuf(fd_b, 1);
    CHECK(kept(sa, name_of(fd_b), sb, 3000) > 64); /* a burst at least */
    end_pair(sa, fd_a, sb, fd_b);
}

static void test_events_are_levels(void)
{
    struct sf_event events[16];
    struct sf_datagram out[64];
    struct sf_sock *sa, *sb;
    int fd_a = udp_socket(A_ADDR, 0), fd_b = udp_socket(B_ADDR, 0);

    begin_pair(&sa, fd_a, &sb, fd_b);
    receive(sb, out);
    CHECK(poll_late(b, events) == 0);
    CHECK(send_to(sa, "1", 1, name_of(fd_b)) == 1);
    CHECK(send_to(sa, "2", 1, name_of(fd_b)) == 1);
    for (int i = 0; i < 3; i++)
        CHECK(poll_now(b, events) == 1 && events[0].what == SF_READABLE && events[0].slot == 2 &&
              events[0].generation == 102);
    CHECK(b->ops->recv_batch(sb, out, 1) == 1 && !memcmp(out[0].data, "1", 1));
    CHECK(poll_now(b, events) == 1);
    CHECK(b->ops->interest(sb, SF_WRITABLE) == 0);
    CHECK(poll_now(b, events) == 1 && events[0].what == SF_WRITABLE);
    CHECK(b->ops->interest(sb, SF_WRITABLE | SF_READABLE) == 0);
    CHECK(poll_now(b, events) == 1 && events[0].what == (SF_READABLE | SF_WRITABLE));
    CHECK(b->ops->recv_batch(sb, out, 64) == 1 && !memcmp(out[0].data, "2", 1));
    CHECK(b->ops->interest(sb, SF_READABLE) == 0);
    CHECK(poll_now(b, events) == 0);
    CHECK(receive(sb, out) == -EAGAIN);
    end_pair(sa, fd_a, sb, fd_b);
}

/* Even if the array has room for one event only, each socket is reported in turn. */
static void test_every_socket_has_its_turn(void)
{
    struct sf_event event;
    struct sf_sock *socks[5];
    int fds[5];
    uint32_t seen = 0;

    begin(0);
    for (uint32_t i = 0; i < 5; i++) {
        fds[i] = udp_socket(B_ADDR, 0);
        socks[i] = adopt(b, fds[i], i);
        b->ops->interest(socks[i], SF_WRITABLE);
    }
    for (int i = 0; i < 5; i++) {
        CHECK(b->ops->poll(b, ++clock_now, &event, 1) == 1);
        seen |= 1u << event.slot;
    }
    CHECK(seen == 0x1f);
    for (int i = 0; i < 5; i++) {
        b->ops->release(socks[i]);
        close(fds[i]);
    }
    end();
}

static void test_full_wire(void)
{
    struct sf_event events[16];
    struct sf_datagram out[64];
    struct sf_sock *sa, *sb;
    int fd_a = udp_socket(A_ADDR, 0), fd_b = udp_socket(B_ADDR, 0), sent = 0, got = 0, n;

    begin_pair(&sa, fd_a, &sb, fd_b);
    receive(sa, out);
    while (send_to(sa, "x", 1, name_of(fd_b)) == 1)
        CHECK(++sent < 10000);
    CHECK(send_to(sa, "x", 1, name_of(fd_b)) == -EAGAIN);
    CHECK(a->stats.tx_would_block == 2);
    CHECK(a->ops->interest(sa, SF_READABLE | SF_WRITABLE) == 0);
    CHECK(poll_now(a, events) == 0);
    CHECK(a->ops->poll_at(a, clock_now) < clock_now + SF_MS);
    while (got < sent) {
        poll_late(b, events);
        n = receive(sb, out);
        CHECK(n > 0);
        got += n;
    }
    poll_now(b, events); /* gives the last frames back */
    CHECK(poll_now(a, events) == 1 && events[0].what == SF_WRITABLE);
    CHECK(a->ops->poll_at(a, clock_now) == SF_NEVER);
    CHECK(send_to(sa, "x", 1, name_of(fd_b)) == 1);
    end_pair(sa, fd_a, sb, fd_b);
}

/* The side socket carries the datagrams that the wire does not, in both directions, and reports their ICMP errors. */
static void test_side_socket(void)
{
    struct sf_datagram out[64], got;
    struct sockaddr_in from;
    socklen_t len = sizeof(from);
    struct sf_sock *sa, *sc;
    char bytes[16];
    int plain = udp_socket("127.0.0.1", 0), fd_a = udp_socket(A_ADDR, 0), fd_c, gone;

    begin(0);
    sa = adopt(a, fd_a, 1);
    CHECK(send_to(sa, "out", 3, name_of(plain)) == 3);
    CHECK(recvfrom(plain, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &len) == 3);
    CHECK(from.sin_port == name_of(fd_a).sin_port && from.sin_addr.s_addr == inet_addr(A_ADDR));
    CHECK(sendto(plain, "in", 2, 0, (struct sockaddr *)&from, len) == 2);
    got = expect(sa);
    CHECK(got.len == 2 && !memcmp(got.data, "in", 2));
    CHECK(((const struct sockaddr_in *)got.addr)->sin_port == name_of(plain).sin_port);
    CHECK(counter_of(a, "tx_side_route") == 1 && counter_of(a, "rx_side") == 1);

    /* No socket is at the destination. A connected socket reports the ICMP error, an unconnected one does not. */
    gone = udp_socket("127.0.0.1", 0);
    from = name_of(gone);
    close(gone);
    CHECK(send_to(sa, "x", 1, from) == 1);
    CHECK(send_to(sa, "x", 1, name_of(plain)) == 1);
    expect_nothing(sa);
    fd_c = udp_socket(A_ADDR, 0);
    connect_to(fd_c, from);
    sc = adopt(a, fd_c, 3);
    CHECK(a->ops->send_to(sc, "x", 1, NULL, 0) == 1);
    for (int i = 0;; i++) {
        struct sf_event events[16];
        int n;

        CHECK(i < 100);
        poll_late(a, events);
        n = receive(sc, out);
        CHECK(n == -EAGAIN || n == -ECONNREFUSED);
        if (n == -ECONNREFUSED)
            break;
    }
    CHECK(counter_of(a, "icmp_errors") >= 2);
    expect_nothing(sc);
    CHECK(send_to(sa, "x", 1, (struct sockaddr_in){.sin_family = AF_INET}) < 0); /* port 0: the kernel's EINVAL */
    a->ops->release(sa);
    a->ops->release(sc);
    close(fd_a);
    close(fd_c);
    close(plain);
    end();
}

static void test_multicast(void)
{
    struct sf_datagram got;
    struct sf_sock *sa, *first, *second, *stranger;
    struct sockaddr_in group = address("239.77.0.1", 0), unjoined = address("239.77.0.2", 0);
    struct ip_mreqn join = {.imr_multiaddr = group.sin_addr, .imr_address.s_addr = inet_addr(B_ADDR)};
    struct in_addr interface = {.s_addr = inet_addr(A_ADDR)};
    int fd_a = udp_socket(A_ADDR, 0), fd[3];

    begin(0);
    fd[0] = udp_socket("0.0.0.0", 0);
    group.sin_port = unjoined.sin_port = name_of(fd[0]).sin_port;
    fd[1] = udp_socket("239.77.0.1", ntohs(group.sin_port));
    fd[2] = udp_socket("0.0.0.0", ntohs(group.sin_port));
    CHECK(setsockopt(fd_a, IPPROTO_IP, IP_MULTICAST_IF, &interface, sizeof(interface)) == 0);
    CHECK(setsockopt(fd[0], IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof(join)) == 0);
    CHECK(setsockopt(fd[1], IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof(join)) == 0);
    sa = adopt(a, fd_a, 1);
    first = adopt(b, fd[0], 2);
    second = adopt(b, fd[1], 3);
    stranger = adopt(b, fd[2], 4);
    CHECK(send_to(sa, "all", 3, group) == 3);
    got = expect(first);
    CHECK(got.len == 3 && !memcmp(got.data, "all", 3));
    got = expect(second); /* one poll later, from the backlog */
    CHECK(got.len == 3 && !memcmp(got.data, "all", 3));
    expect_nothing(stranger);
    CHECK(send_to(sa, "none", 4, unjoined) == 4);
    expect_nothing(first);
    CHECK(counter_of(b, "rx_not_joined") == 3 && counter_of(a, "tx_side_multicast") == 0);
    CHECK(setsockopt(fd[0], IPPROTO_IP, IP_DROP_MEMBERSHIP, &join, sizeof(join)) == 0);
    first->stack->ops->options_changed(first);
    CHECK(send_to(sa, "less", 4, group) == 4);
    CHECK(!memcmp(expect(second).data, "less", 4));
    expect_nothing(first);
    a->ops->release(sa);
    b->ops->release(first);
    b->ops->release(second);
    b->ops->release(stranger);
    for (int i = 0; i < 3; i++)
        close(fd[i]);
    close(fd_a);
    end();
}

static void test_cork(void)
{
    struct sf_event events[16];
    struct sf_datagram out[64];
    struct sf_sock *sa, *sb;
    int fd_a = udp_socket(A_ADDR, 0), fd_b = udp_socket(B_ADDR, 0);

    begin_pair(&sa, fd_a, &sb, fd_b);
    receive(sb, out);
    a->ops->cork(a, true);
    CHECK(send_to(sa, "1", 1, name_of(fd_b)) == 1);
    CHECK(send_to(sa, "2", 1, name_of(fd_b)) == 1);
    a->ops->cork(a, false);
    CHECK(poll_now(b, events) == 1 && receive(sb, out) == 2);
    end_pair(sa, fd_a, sb, fd_b);
}

static int dual_socket(const char *addr, int port, int only)
{
    struct sockaddr_in6 name = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1;

    CHECK(fd >= 0 && inet_pton(AF_INET6, addr, &name.sin6_addr) == 1);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    CHECK(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)) == 0);
    CHECK(bind(fd, (struct sockaddr *)&name, sizeof(name)) == 0);
    return fd;
}

/* The address of a socket for an IPv6 socket of this machine: its own, or the IPv4 address `mapped` in its form. */
static struct sockaddr_in6 name6_of(int fd, const char *mapped)
{
    struct sockaddr_in6 name = {.sin6_family = AF_INET6, .sin6_port = name_of(fd).sin_port};

    CHECK(inet_pton(AF_INET6, mapped, &name.sin6_addr) == 1);
    return name;
}

static ssize_t send_to6(struct sf_sock *sock, const void *data, size_t len, struct sockaddr_in6 to)
{
    return sock->stack->ops->send_to(sock, data, len, (struct sockaddr *)&to, sizeof(to));
}

/* An IPv6 socket that serves IPv4 too: IPv4 by the wire, IPv6 by the kernel. */
static void test_dual_socket(void)
{
    struct sf_sock *sa, *sb;
    struct sf_datagram got;
    int fd_a, fd_b, local;

    begin(0);
    fd_a = udp_socket(A_ADDR, 0);
    fd_b = dual_socket("::", 0, 0);
    local = dual_socket("::1", 0, 1);
    sa = adopt(a, fd_a, 1);
    sb = adopt(b, fd_b, 2);
    CHECK(send_to6(sb, "to a", 4, name6_of(fd_a, "::ffff:" A_ADDR)) == 4);
    got = expect(sa);
    CHECK(got.len == 4 && ((const struct sockaddr_in *)got.addr)->sin_addr.s_addr == inet_addr(B_ADDR));
    CHECK(a->ops->send_to(sa, "back", 4, got.addr, got.addr_len) == 4);
    got = expect(sb);
    CHECK(!memcmp(got.data, "back", 4) && got.addr_len == sizeof(struct sockaddr_in));
    CHECK(((const struct sockaddr_in *)got.addr)->sin_addr.s_addr == inet_addr(A_ADDR));
    CHECK(counter_of(b, "rx_side") == 0 && counter_of(b, "tx_side_ipv6") == 0);

    CHECK(send_to6(sb, "six", 3, name6_of(local, "::1")) == 3);
    CHECK(recv(local, &(char[8]){0}, 8, 0) == 3 && counter_of(b, "tx_side_ipv6") == 1);
    CHECK(sendto(local, "back", 4, 0, (struct sockaddr *)&(struct sockaddr_in6[]){name6_of(fd_b, "::1")}[0],
                 sizeof(struct sockaddr_in6)) == 4);
    got = expect(sb);
    CHECK(got.addr_len == sizeof(struct sockaddr_in6) && ((const struct sockaddr_in6 *)got.addr)->sin6_family == AF_INET6);
    /* The kernel names the error of an address that is too short, or of another family. */
    CHECK(b->ops->send_to(sb, "x", 1, got.addr, sizeof(struct sockaddr_in6) - 5) == -EINVAL);
    CHECK(b->ops->send_to(sb, "x", 1, &(struct sockaddr){.sa_family = AF_UNIX}, sizeof(struct sockaddr)) < 0);
    close(local);
    end_pair(sa, fd_a, sb, fd_b);
}

static void test_ipv6_sockets_of_the_kernel(void)
{
    static const char *const addrs[] = {"::", "::1", "::1"};
    struct sf_sock *sock = NULL;
    struct sockaddr_in6 peer;
    int fd;

    begin(0);
    for (int i = 0; i < 3; i++) {
        fd = dual_socket(addrs[i], 0, i == 0 || i == 2);

        CHECK(a->ops->adopt(a, fd, SF_KIND_DATAGRAM, 1, 1, &sock) == -EOPNOTSUPP);
        close(fd);
    }
    fd = dual_socket("::", 0, 0);
    peer = name6_of(fd, "::1");
    CHECK(connect(fd, (struct sockaddr *)&peer, sizeof(peer)) == 0);
    CHECK(a->ops->adopt(a, fd, SF_KIND_DATAGRAM, 1, 1, &sock) == -EOPNOTSUPP);
    close(fd);
    end();
}

/* Among sockets of one address and port, the kernel prefers those of IPv4. */
static void test_dual_sockets_come_last(void)
{
    struct sf_sock *sa, *dual[3], *v4[2];
    int fd_a, fd[5], port;

    begin(0);
    fd_a = udp_socket(A_ADDR, 0);
    fd[0] = dual_socket("::", 0, 0);
    port = ntohs(name6_of(fd[0], "::").sin6_port);
    fd[1] = udp_socket("0.0.0.0", port);
    fd[2] = dual_socket("::", port, 0);
    fd[3] = udp_socket("0.0.0.0", port);
    fd[4] = dual_socket("::", port, 0);
    sa = adopt(a, fd_a, 1);
    for (int i = 0; i < 3; i++) {
        dual[i] = adopt(b, fd[2 * i], 2 + 2 * (uint32_t)i);
        if (i < 2)
            v4[i] = adopt(b, fd[2 * i + 1], 3 + 2 * (uint32_t)i);
    }
    for (int i = 1; i >= 0; i--) {
        CHECK(send_to(sa, "v4", 2, address(B_ADDR, port)) == 2);
        CHECK(!memcmp(expect(v4[i]).data, "v4", 2));
        b->ops->release(v4[i]);
    }
    for (int i = 2; i >= 0; i--) { /* the latest first, as among IPv4 sockets */
        CHECK(send_to(sa, "dual", 4, address(B_ADDR, port)) == 4);
        CHECK(!memcmp(expect(dual[i]).data, "dual", 4));
        b->ops->release(dual[i]);
    }
    a->ops->release(sa);
    close(fd_a);
    for (int i = 0; i < 5; i++)
        close(fd[i]);
    end();
}

int main(void)
{
    clock_now = sf_now();
    test_echo_of_all_sizes();
    test_demultiplexing();
    test_backlog_of_a_paused_socket();
    test_backlog_follows_rcvbuf();
    test_events_are_levels();
    test_every_socket_has_its_turn();
    test_full_wire();
    test_side_socket();
    test_multicast();
    test_cork();
    test_dual_socket();
    test_ipv6_sockets_of_the_kernel();
    test_dual_sockets_come_last();
    return 0;
}
