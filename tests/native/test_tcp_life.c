/* The life of TCP connections between two stacks on a wire: how they are opened, used, closed, reset and timed out. */
#define _GNU_SOURCE
#include "tcp_hosts.h"

#include <poll.h>
#include <sys/wait.h>

static const struct sf_tcp_limits defaults;

static void test_echo(void)
{
    struct sf_sock *listener, *client, *server;
    struct sockaddr_in name, other;
    socklen_t len = sizeof(other);

    begin_with(&defaults, &defaults);
    listener = listen_on(b, B_ADDR, 16, &name);
    CHECK(events_of(listener) == 0);
    client = connect_from(a, name, 2);
    CHECK(a->ops->interest(client, SF_WRITABLE) == 0);
    CHECK(a->ops->connect_result(client) == -EINPROGRESS && is_in(client, "SYN-SENT"));
    CHECK(put(client, "early", 5) == -EAGAIN);
    CHECK(events_of(client) == 0);
    CHECK(events_of(listener) == 0); /* b answers the SYN */
    CHECK(events_of(client) == SF_WRITABLE && a->ops->connect_result(client) == 0);
    CHECK(is_in(client, "ESTABLISHED"));
    CHECK(a->ops->interest(client, SF_READABLE) == 0);
    CHECK(put(client, "hello", 5) == 5); /* the data carries the handshake's last ACK */
    CHECK(info_of(client).segments_sent == 2);
    CHECK(events_of(listener) == SF_READABLE);
    server = accept_from(listener, 3);
    CHECK(b->ops->accept_stream(listener, &client) == -EAGAIN);
    CHECK(b->ops->interest(server, SF_READABLE) == 0);
    expect_bytes(server, "hello");
    CHECK(put(server, "world", 5) == 5);
    CHECK(info_of(server).segments_sent == 1); /* the data carries the ACK, too */
    CHECK(events_of(client) == SF_READABLE);
    expect_bytes(client, "world");
    CHECK(a->ops->name_of(client, true, (struct sockaddr *)&other, &len) == 0);
    CHECK(other.sin_port == name.sin_port && other.sin_addr.s_addr == name.sin_addr.s_addr);
    a->ops->release(client);
    exchange(3);
    CHECK(take(server, &other, 1) == 0 && is_in(server, "CLOSE-WAIT"));
    b->ops->release(server);
    exchange(3);
    b->ops->release(listener);
    end();
}

/* The client closes, then the server. The client stays in TIME-WAIT for the configured time. */
static void test_orderly_close(void)
{
    static const struct sf_tcp_limits short_wait = {.time_wait = 20 * SF_MS};
    struct pair p;
    char byte;

    begin_with(&short_wait, &defaults);
    p = connect_pair();
    CHECK(put(p.client, "last", 4) == 4);
    CHECK(a->ops->shutdown_tx(p.client) == 0 && is_in(p.client, "FIN-WAIT-1"));
    CHECK(put(p.client, "more", 4) == -EPIPE);
    exchange(3);
    expect_bytes(p.server, "last");
    CHECK(take(p.server, &byte, 1) == 0);
    CHECK(take(p.client, &byte, 1) == -EAGAIN);
    CHECK(is_in(p.client, "FIN-WAIT-2") && is_in(p.server, "CLOSE-WAIT"));
    CHECK(put(p.server, "answer", 6) == 6); /* half closed: the server may still send */
    exchange(3);
    expect_bytes(p.client, "answer");
    b->ops->release(p.server);
    CHECK(b->ops->lingering(b) == 1);
    exchange(3);
    CHECK(b->ops->lingering(b) == 0);
    CHECK(is_in(p.client, "TIME-WAIT") && take(p.client, &byte, 1) == 0);
    CHECK(a->ops->poll_at(a, clock_now) <= clock_now + 20 * SF_MS);
    a->ops->release(p.client);
    pass(30 * SF_MS);
    CHECK(a->ops->poll_at(a, clock_now) == SF_NEVER);
    b->ops->release(p.listener);
    end();
}

/* Both close at once: the FINs cross, and both ends go to TIME-WAIT. */
static void test_simultaneous_close(void)
{
    struct pair p;

    begin_with(&defaults, &defaults);
    p = connect_pair();
    exchange(3);
    CHECK(a->ops->shutdown_tx(p.client) == 0 && b->ops->shutdown_tx(p.server) == 0);
    exchange(3);
    CHECK(is_in(p.client, "TIME-WAIT") && is_in(p.server, "TIME-WAIT"));
    release_pair(&p);
    end();
}

/* Simultaneous open: each connects from the port to which the other connects. */
static void test_simultaneous_open(void)
{
    struct sf_sock *sa = NULL, *sb = NULL;
    int fd_a, fd_b;
    struct sockaddr_in name_a, name_b;

    begin_with(&defaults, &defaults);
    fd_a = tcp_socket(A_ADDR, 0);
    fd_b = tcp_socket(B_ADDR, 0);
    name_a = name_of(fd_a);
    name_b = name_of(fd_b);
    CHECK(a->ops->connect(a, fd_a, (struct sockaddr *)&name_b, sizeof(name_b), 2, 102, &sa) == 0);
    CHECK(b->ops->connect(b, fd_b, (struct sockaddr *)&name_a, sizeof(name_a), 3, 103, &sb) == 0);
    exchange(4);
    CHECK(a->ops->connect_result(sa) == 0 && b->ops->connect_result(sb) == 0);
    CHECK(put(sa, "from a", 6) == 6 && put(sb, "from b", 6) == 6);
    exchange(3);
    expect_bytes(sb, "from a");
    expect_bytes(sa, "from b");
    a->ops->release(sa);
    b->ops->release(sb);
    exchange(3);
    close(fd_a);
    close(fd_b);
    end();
}

static void test_refused(void)
{
    struct sf_sock *sock;
    struct sockaddr_in to;
    int fd;

    begin_with(&defaults, &defaults);
    fd = tcp_socket(B_ADDR, 0);
    to = name_of(fd);
    sock = connect_from(a, to, 2);
    CHECK(a->ops->interest(sock, SF_WRITABLE) == 0);
    exchange(3);
    CHECK(events_of(sock) == SF_WRITABLE && a->ops->connect_result(sock) == -ECONNREFUSED);
    CHECK(counter_of(b, "tcp_rx_no_socket") == 1 && counter_of(b, "tcp_resets_sent") == 1);
    a->ops->release(sock);
    close(fd);
    end();
}

/* The stack refuses connections that only the kernel can serve: to its own address, to loopback and groups, to port 0, of another
 * family or protocol, and from a socket that is bound to another interface's address. */
static void test_not_ours(void)
{
    struct sockaddr_in others[] = {address("127.0.0.1", 80), address(A_ADDR, 80), address("224.0.0.1", 80), address(B_ADDR, 0)};
    struct sockaddr_un {
        sa_family_t family;
        char path[30];
    } unix_name = {AF_UNIX, "x"};
    struct sf_sock *sock = NULL;
    int tcp = tcp_socket(NULL, 0), udp = udp_socket(A_ADDR, 0), elsewhere = tcp_socket("127.0.0.1", 0);
    struct sockaddr_in good = address(B_ADDR, 80);
    int wake;

    begin_with(&defaults, &defaults);
    for (int i = 0; i < 4; i++)
        CHECK(a->ops->connect(a, tcp, (struct sockaddr *)&others[i], sizeof(others[i]), 2, 102, &sock) == -EOPNOTSUPP);
    CHECK(a->ops->connect(a, tcp, (struct sockaddr *)&unix_name, sizeof(unix_name), 2, 102, &sock) == -EOPNOTSUPP);
    CHECK(a->ops->connect(a, udp, (struct sockaddr *)&good, sizeof(good), 2, 102, &sock) == -EOPNOTSUPP);
    CHECK(a->ops->connect(a, elsewhere, (struct sockaddr *)&good, sizeof(good), 2, 102, &sock) == -EOPNOTSUPP);
    CHECK(a->ops->listen(a, elsewhere, 5, 2, 102, &sock) == -EOPNOTSUPP);
    CHECK(a->ops->listen(a, udp, 5, 2, 102, &sock) == -EOPNOTSUPP);
    b->ops->destroy(b);
    CHECK(a->ops->arm(a, &wake) == -EAGAIN);
    a->ops->disarm(a);
    poll_late(a, (struct sf_event[16]){0});
    CHECK(a->ops->connect(a, tcp, (struct sockaddr *)&good, sizeof(good), 2, 102, &sock) == -EOPNOTSUPP); /* no peer there */
    a->ops->destroy(a);
    close(tcp);
    close(udp);
    close(elsewhere);
}

/* A close with unread data sends a reset. So do an abort, and a close with an SO_LINGER time of 0. */
static void test_resets(void)
{
    struct linger none = {.l_onoff = 1};
    struct pair p;
    char bytes[8];

    for (int how = 0; how < 3; how++) {
        begin_with(&defaults, &defaults);
        p = connect_pair();
        CHECK(put(p.server, "before", 6) == 6);
        CHECK(put(p.client, "unread", 6) == 6);
        exchange(3);
        if (how == 0)
            b->ops->release(p.server);
        if (how == 1)
            b->ops->abort(p.server);
        if (how == 2) {
            CHECK(take(p.server, bytes, 8) == 6);
            CHECK(b->ops->set_option(p.server, SOL_SOCKET, SO_LINGER, &none, sizeof(none)) == 0);
            b->ops->release(p.server);
        }
        exchange(3);
        CHECK(a->ops->interest(p.client, SF_READABLE | SF_WRITABLE) == 0);
        CHECK(events_of(p.client) == (SF_READABLE | SF_WRITABLE));
        expect_bytes(p.client, "before"); /* data that arrived before the reset is not lost */
        CHECK(take(p.client, bytes, 8) == -ECONNRESET);
        CHECK(take(p.client, bytes, 8) == 0 && put(p.client, "x", 1) == -EPIPE);
        CHECK(counter_of(b, "tcp_aborted") == 1 && counter_of(a, "tcp_resets_received") == 1);
        a->ops->release(p.client);
        b->ops->release(p.listener);
        end();
    }
}

/* Data that arrives after the program has closed is answered by a reset, because nobody will read it. */
static void test_data_after_close(void)
{
    struct pair p;
    char byte;

    begin_with(&defaults, &defaults);
    p = connect_pair();
    exchange(3);
    b->ops->release(p.server);
    exchange(3);
    CHECK(put(p.client, "late", 4) == 4);
    exchange(3);
    CHECK(take(p.client, &byte, 1) == 0 || is_in(p.client, "CLOSED"));
    CHECK(put(p.client, "late", 4) == -ECONNRESET || put(p.client, "late", 4) == -EPIPE);
    CHECK(counter_of(b, "tcp_data_after_close") == 1);
    a->ops->release(p.client);
    b->ops->release(p.listener);
    end();
}

/* FIN-WAIT-2 of an orphan ends after `orphan_timeout`, because the peer may never close. */
static void test_orphan(void)
{
    static const struct sf_tcp_limits brief = {.orphan_timeout = 50 * SF_MS};
    struct pair p;

    begin_with(&brief, &defaults);
    p = connect_pair();
    exchange(3);
    a->ops->release(p.client);
    CHECK(a->ops->lingering(a) == 1);
    exchange(3);
    CHECK(a->ops->lingering(a) == 0);
    CHECK(a->ops->poll_at(a, clock_now) != SF_NEVER);
    pass(60 * SF_MS);
    CHECK(a->ops->poll_at(a, clock_now) == SF_NEVER);
    CHECK(counter_of(a, "tcp_orphans_ended") == 1);
    b->ops->release(p.server);
    b->ops->release(p.listener);
    end();
}

/* A peer with a zero window cannot keep an orphan alive for ever, though it answers each probe. */
static void test_shut_window(void)
{
    static const struct sf_tcp_limits small = {.receive_buffer = 20000};
    static uint8_t data[100000];
    struct pair p;

    begin_with(&defaults, &small);
    p = connect_pair();
    CHECK(put(p.client, data, sizeof(data)) == sizeof(data));
    a->ops->release(p.client);
    pass(60 * SF_SEC);
    CHECK(a->ops->lingering(a) == 1);
    pass(60 * SF_SEC);
    CHECK(a->ops->lingering(a) == 0 && counter_of(a, "tcp_timed_out") == 1);
    CHECK(a->ops->poll_at(a, clock_now) == SF_NEVER);
    b->ops->release(p.server);
    b->ops->release(p.listener);
    end();
}

/* When a listener closes, the connections in its accept queue are reset. Accepted connections stay. */
static void test_listener_closes(void)
{
    struct pair p;
    struct sf_sock *waiting;
    char byte;

    begin_with(&defaults, &defaults);
    p = connect_pair();
    waiting = connect_from(a, p.name, 5);
    exchange(3);
    CHECK(a->ops->connect_result(waiting) == 0);
    b->ops->release(p.listener);
    exchange(3);
    CHECK(take(waiting, &byte, 1) == -ECONNRESET);
    CHECK(put(p.client, "still", 5) == 5);
    exchange(3);
    expect_bytes(p.server, "still");
    a->ops->release(waiting);
    waiting = connect_from(a, p.name, 5);
    exchange(3);
    CHECK(a->ops->connect_result(waiting) == -ECONNREFUSED);
    a->ops->release(waiting);
    a->ops->release(p.client);
    b->ops->release(p.server);
    end();
}

/* True if a kernel socket is bound to the port, so that bind() fails. */
static bool is_bound(struct sockaddr_in name)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool bound = bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0;

    close(fd);
    return bound;
}

/* A kernel socket keeps the port bound until the last connection at it has ended, TIME-WAIT included. */
static void test_port_is_kept(void)
{
    static const struct sf_tcp_limits brief = {.time_wait = 50 * SF_MS};
    struct pair p;
    struct sockaddr_in client;
    socklen_t len = sizeof(client);

    begin_with(&brief, &brief);
    p = connect_pair();
    CHECK(a->ops->name_of(p.client, false, (struct sockaddr *)&client, &len) == 0);
    CHECK(is_bound(p.name) && is_bound(client));
    b->ops->release(p.listener);
    CHECK(is_bound(p.name));
    a->ops->release(p.client);
    exchange(3);
    CHECK(is_bound(client)); /* the connection is in FIN-WAIT-2, later in TIME-WAIT */
    b->ops->release(p.server);
    exchange(3);
    CHECK(is_bound(client));
    pass(60 * SF_MS);
    CHECK(!is_bound(client) && !is_bound(p.name));
    end();
}

/* The peer vanishes without a FIN or a reset. The data is retransmitted until the user timeout ends the connection. */
static void test_peer_vanishes(void)
{
    static const struct sf_tcp_limits impatient = {.user_timeout = 2 * SF_SEC};
    struct sf_event events[16];
    struct pair p;
    int polls = 0;

    begin_with(&impatient, &defaults);
    p = connect_pair();
    CHECK(put(p.client, "anybody?", 8) == 8);
    CHECK(a->ops->interest(p.client, SF_READABLE) == 0);
    while (!poll_late(a, events)) /* b is no longer polled, so it answers nothing */
        CHECK(++polls < 3000);
    CHECK(events[0].slot == p.client->slot && take(p.client, events, 1) == -ETIMEDOUT);
    CHECK(polls > 900 && counter_of(a, "tcp_timed_out") == 1);
    CHECK(a->ops->poll_at(a, clock_now) == SF_NEVER);
    release_pair(&p);
    end();
}

static void test_connect_times_out(void)
{
    static const struct sf_tcp_limits brief = {.syn_retries = 2};
    struct sf_event events[16];
    struct sf_sock *sock;
    int fd, polls = 0;

    begin_with(&brief, &defaults);
    fd = tcp_socket(B_ADDR, 0);
    sock = connect_from(a, name_of(fd), 2);
    CHECK(a->ops->interest(sock, SF_WRITABLE) == 0);
    while (!poll_late(a, events))
        CHECK(++polls < 5000);
    CHECK(a->ops->connect_result(sock) == -ETIMEDOUT);
    CHECK(polls > 3400 && counter_of(a, "tcp_syn_retransmits") == 2); /* 1 + 2 + 4 s */
    a->ops->release(sock);
    close(fd);
    end();
}

static void test_keepalive(void)
{
    int on = 1, idle = 10, interval = 2, count = 3, polls = 0;
    struct sf_event events[16];
    struct pair p;

    begin_with(&defaults, &defaults);
    p = connect_pair();
    exchange(3);
    CHECK(a->ops->set_option(p.client, IPPROTO_TCP, 4 /* TCP_KEEPIDLE */, &idle, sizeof(idle)) == 0);
    CHECK(a->ops->set_option(p.client, IPPROTO_TCP, 5 /* TCP_KEEPINTVL */, &interval, sizeof(interval)) == 0);
    CHECK(a->ops->set_option(p.client, IPPROTO_TCP, 6 /* TCP_KEEPCNT */, &count, sizeof(count)) == 0);
    CHECK(a->ops->set_option(p.client, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) == 0);
    pass(35 * SF_SEC);
    CHECK(info_of(p.client).probes == 3 && is_in(p.client, "ESTABLISHED")); /* the peer has answered each probe */
    CHECK(a->ops->interest(p.client, SF_READABLE) == 0);
    while (!poll_late(a, events))
        CHECK(++polls < 20000);
    CHECK(take(p.client, events, 1) == -ETIMEDOUT && info_of(p.client).probes == 6);
    release_pair(&p);
    end();
}

/* A stack that sleeps says by poll_at() when it must be polled. An idle stack names no time. */
static void test_sleep(void)
{
    struct pair p;
    int fd;

    begin_with(&defaults, &defaults);
    p = connect_pair();
    exchange(3);
    CHECK(put(p.client, "x", 1) == 1);
    exchange(1);
    CHECK(take(p.server, &fd, 1) == 1);
    while (b->ops->arm(b, &fd) == -EAGAIN)
        exchange(1);
    CHECK(b->ops->poll_at(b, clock_now) > clock_now);
    b->ops->disarm(b);
    pass(5 * SF_SEC);
    while (b->ops->arm(b, &fd) == -EAGAIN)
        exchange(1);
    CHECK(b->ops->poll_at(b, clock_now) == SF_NEVER); /* no timer is left, because the buffers have been freed */
    b->ops->disarm(b);
    release_pair(&p);
    end();
}

static void test_fork(void)
{
    struct pair p;
    char byte;
    int status = 1;
    pid_t child;

    begin_with(&defaults, &defaults);
    p = connect_pair();
    CHECK(put(p.client, "mine", 4) == 4);
    poll_now(b, (struct sf_event[16]){0});
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(b->ops->rebuild(b) == 0);
        CHECK(take(p.server, &byte, 1) == -ENETDOWN && put(p.server, "x", 1) == -EPIPE);
        CHECK(b->ops->accept_stream(p.listener, &p.client) == -EAGAIN);
        b->ops->release(p.server);
        b->ops->release(p.listener);
        b->ops->destroy(b);
        CHECK(a->ops->rebuild(a) == 0);
        a->ops->destroy(a);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    expect_bytes(p.server, "mine");
    CHECK(put(p.server, "yours", 5) == 5);
    exchange(3);
    expect_bytes(p.client, "yours");
    release_pair(&p);
    end();
}

/* A stack that is destroyed resets its open connections, so that the peer learns of it. */
static void test_destroy(void)
{
    struct pair p;
    char byte;

    begin_with(&defaults, &defaults);
    p = connect_pair();
    connect_from(a, p.name, 7);
    exchange(1);
    CHECK(put(p.client, "x", 1) == 1);
    b->ops->destroy(b);
    poll_now(a, (struct sf_event[16]){0});
    CHECK(take(p.client, &byte, 1) == -ECONNRESET);
    a->ops->destroy(a);
}

int main(void)
{
    clock_now = sf_now();
    test_echo();
    test_orderly_close();
    test_simultaneous_close();
    test_simultaneous_open();
    test_refused();
    test_not_ours();
    test_resets();
    test_data_after_close();
    test_orphan();
    test_shut_window();
    test_listener_closes();
    test_port_is_kept();
    test_peer_vanishes();
    test_connect_times_out();
    test_keepalive();
    test_sleep();
    test_fork();
    test_destroy();
    return 0;
}
