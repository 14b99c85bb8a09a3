/* Limits of TCP: half-open connections (then cookies), the accept queue, connections, TIME-WAIT, memory, and answers to
 * unacceptable segments. Established connections are not harmed at any limit. */
#define _GNU_SOURCE
#include "tcp_hosts.h"

#include "wire/tcp.h"

#include <sys/resource.h>

static const struct sf_tcp_limits defaults;

/* ---- segments that the test itself sends from a's end of the wire ---- */

static void inject(struct sockaddr_in from, struct sockaddr_in to, struct sf_tcp_segment segment)
{
    struct sf_tcp_template template;
    struct sf_ip_peer peer = {
        .src_addr = from.sin_addr.s_addr,
        .dst_addr = to.sin_addr.s_addr,
        .src_port = from.sin_port,
        .dst_port = to.sin_port,
        .ttl = 64,
    };
    struct sf_frame piece;
    uint32_t len;

    CHECK(sf_tcp_template_init(&template, &peer) == 0);
    len = (uint32_t)(template.len + SF_TCP_HEADER + sf_tcp_options_len(&segment));
    CHECK(a_driver->fast.tx_reserve(a_driver, len, &piece, 1) == 1);
    CHECK(sf_tcp_emit(&template, piece.data, piece.len, &segment, NULL, 0, 0) == len);
    a_driver->fast.tx_commit(a_driver, &piece, 1);
    a_driver->fast.tx_flush(a_driver);
}

/* Sends n SYNs from addresses that do not answer, and polls b in between. */
static void flood(struct sockaddr_in to, int n)
{
    struct sf_event events[16];

    for (int i = 0; i < n; i++) {
        struct sockaddr_in from = address("10.1.0.0", 1024 + i % 60000);

        from.sin_addr.s_addr += htonl((uint32_t)(i / 60000 + 1));
        inject(from, to, (struct sf_tcp_segment){.seq = (uint32_t)i * 77777, .flags = SF_TCP_SYN, .has = SF_TCP_HAS_MSS, .mss = 1460, .window = 65535});
        if (i % 32 == 31)
            poll_now(b, events);
    }
    poll_now(b, events);
}

static void test_syn_flood(void)
{
    static const struct sf_tcp_limits few = {.max_half_open = 100};
    struct pair p;
    struct sf_sock *later, *server;

    begin_with(&defaults, &few);
    p = connect_pair();
    exchange(3);
    flood(p.name, 2000);
    CHECK(counter_of(b, "tcp_cookies_sent") == 1900);
    CHECK(put(p.client, "unharmed", 8) == 8);
    exchange(1);
    expect_bytes(p.server, "unharmed");
    later = connect_from(a, p.name, 4); /* by a cookie, which holds the negotiated options */
    exchange(2);
    CHECK(a->ops->connect_result(later) == 0 && counter_of(b, "tcp_cookies_good") == 0);
    CHECK(put(later, "by a cookie", 11) == 11);
    exchange(3);
    CHECK(counter_of(b, "tcp_cookies_good") == 1 && counter_of(b, "tcp_cookies_bad") == 0);
    server = accept_from(p.listener, 5);
    expect_bytes(server, "by a cookie");
    CHECK(info_of(server).mss == info_of(later).mss || info_of(server).mss >= 1200);
    CHECK(put(server, "answer", 6) == 6);
    exchange(3);
    expect_bytes(later, "answer");
    pass(70 * SF_SEC); /* the half-open connections time out, because no ACK arrives */
    CHECK(counter_of(b, "tcp_half_open_timed_out") == 100);
    CHECK(b->ops->poll_at(b, clock_now) == SF_NEVER);
    a->ops->release(later);
    b->ops->release(server);
    release_pair(&p);
    end();
}

/* An ACK with a guessed cookie opens no connection. */
static void test_guessed_cookies(void)
{
    static const struct sf_tcp_limits few = {.max_half_open = 1};
    struct sf_event events[16];
    struct pair p;
    struct sf_sock *sock;

    begin_with(&defaults, &few);
    p = connect_pair();
    flood(p.name, 2);
    for (int i = 0; i < 1000; i++) {
        inject(address("10.2.0.1", 1024 + i), p.name,
               (struct sf_tcp_segment){.seq = 1, .ack = (uint32_t)i * 4294967u, .flags = SF_TCP_ACK, .window = 100});
        if (i % 32 == 31)
            poll_now(b, events);
    }
    poll_now(b, events);
    CHECK(counter_of(b, "tcp_cookies_bad") == 1000 && counter_of(b, "tcp_cookies_good") == 0);
    CHECK(b->ops->accept_stream(p.listener, &sock) == -EAGAIN);
    release_pair(&p);
    end();
}

static void test_backlog(void)
{
    struct sf_sock *listener, *clients[4], *server;
    struct sockaddr_in name;
    int connected = 0;

    begin_with(&defaults, &defaults);
    listener = listen_on(b, B_ADDR, 2, &name);
    for (uint32_t i = 0; i < 4; i++) {
        clients[i] = connect_from(a, name, 10 + i);
        exchange(3);
        connected += a->ops->connect_result(clients[i]) == 0;
    }
    CHECK(connected == 2 && counter_of(b, "tcp_accept_full") >= 2);
    for (uint32_t i = 0; i < 2; i++) {
        struct sockaddr_in mine, theirs; /* equal, because connections are accepted in the order of their arrival */
        socklen_t len = sizeof(mine);

        server = accept_from(listener, 20 + i);
        CHECK(a->ops->name_of(clients[i], false, (struct sockaddr *)&mine, &len) == 0);
        CHECK(b->ops->name_of(server, true, (struct sockaddr *)&theirs, &len) == 0);
        CHECK(mine.sin_port == theirs.sin_port);
        b->ops->release(server);
    }
    pass(4 * SF_SEC); /* the SYNs are retransmitted */
    for (uint32_t i = 0; i < 4; i++)
        CHECK(a->ops->connect_result(clients[i]) == 0);
    for (uint32_t i = 0; i < 4; i++)
        a->ops->release(clients[i]);
    exchange(2);
    b->ops->release(listener);
    end();
}

static void test_connections(void)
{
    static const struct sf_tcp_limits three = {.max_connections = 3};
    struct sf_sock *listener, *clients[3], *sock;
    struct sockaddr_in name;
    int fd = tcp_socket(NULL, 0);

    begin_with(&three, &three);
    listener = listen_on(b, B_ADDR, 16, &name);
    for (uint32_t i = 0; i < 3; i++)
        clients[i] = connect_from(a, name, 10 + i);
    CHECK(a->ops->connect(a, fd, (struct sockaddr *)&name, sizeof(name), 20, 120, &sock) == -ENOBUFS);
    CHECK(counter_of(a, "tcp_connections_full") == 1);
    exchange(3);
    a->ops->release(clients[0]);
    CHECK(a->ops->connect(a, fd, (struct sockaddr *)&name, sizeof(name), 20, 120, &sock) == -ENOBUFS); /* a closed one counts */
    a->ops->abort(clients[1]);
    exchange(2);
    CHECK(a->ops->connect(a, fd, (struct sockaddr *)&name, sizeof(name), 20, 120, &sock) == 0);
    a->ops->release(sock);
    a->ops->release(clients[2]);
    b->ops->release(listener);
    close(fd);
    end();
}

static int open_descriptors(void)
{
    int n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += dup2(fd, fd) == fd;
    return n;
}

/* After many connections, one after the other, TIME-WAIT records and the descriptors that they hold are bounded. */
static void test_time_wait(void)
{
    static const struct sf_tcp_limits few = {.max_time_wait = 20};
    struct pair p;
    int before;

    begin_with(&few, &few);
    p = connect_pair();
    before = open_descriptors();
    for (int i = 0; i < 100; i++) {
        struct sf_sock *client = connect_from(a, p.name, 10), *server;

        exchange(3);
        server = accept_from(p.listener, 11);
        a->ops->release(client);
        exchange(3);
        b->ops->release(server);
        exchange(3);
    }
    CHECK(counter_of(a, "tcp_time_wait_evicted") == 80);
    CHECK(open_descriptors() <= before + 20);
    pass(61 * SF_SEC);
    CHECK(open_descriptors() == before);
    release_pair(&p);
    end();
}

/* A four-tuple is used again while its last connection is in TIME-WAIT: a SYN with a later timestamp is accepted (RFC 6191). */
static void test_reuse(void)
{
    struct sf_sock *client = NULL, *server;
    struct pair p;
    int fd = tcp_socket(A_ADDR, 0);

    begin_with(&defaults, &defaults);
    p = connect_pair();
    for (int i = 0; i < 6; i++) {
        CHECK(a->ops->connect(a, fd, (struct sockaddr *)&p.name, sizeof(p.name), 10, 110, &client) == 0);
        exchange(3);
        CHECK(a->ops->connect_result(client) == 0);
        server = accept_from(p.listener, 11);
        CHECK(put(client, "again", 5) == 5);
        exchange(3);
        expect_bytes(server, "again");
        if (i % 2) { /* TIME-WAIT is at b in odd rounds, at a in even ones */
            b->ops->release(server);
            exchange(3);
            a->ops->release(client);
        } else {
            a->ops->release(client);
            exchange(3);
            b->ops->release(server);
        }
        exchange(3);
        pass(5 * SF_MS); /* the timestamp clock goes on */
    }
    CHECK(counter_of(a, "tcp_time_wait_reused") == 3 && counter_of(b, "tcp_time_wait_reused") == 2);
    release_pair(&p);
    close(fd);
    end();
}

/* At the limit of all buffers together, sends find no room and windows close. Both recover when the data is read. */
static void test_memory(void)
{
    static const struct sf_tcp_limits tight = {.memory = 64 * 1024};
    struct pair p;
    static uint8_t data[1 << 20], got[1 << 20];
    size_t written = 0, read = 0;

    begin_with(&tight, &tight);
    p = connect_pair();
    memset(data, 'm', sizeof(data));
    for (int i = 0; i < 100; i++) {
        ssize_t n = put(p.client, data, sizeof(data));

        CHECK(n > 0 || n == -EAGAIN);
        written += n > 0 ? (size_t)n : 0;
        exchange(1);
    }
    CHECK(counter_of(a, "tcp_memory_full") > 0);
    CHECK(written < 1 << 20 && info_of(p.server).unread < 512 * 1024);
    for (int i = 0; i < 1000 && read < written; i++) {
        ssize_t n = take(p.server, got, sizeof(got));

        read += n > 0 ? (size_t)n : 0;
        pass(2 * SF_MS);
    }
    CHECK(read == written);
    release_pair(&p);
    end();
}

/* Answers to unacceptable segments are limited in rate. Only a reset with the exact sequence number is accepted. */
static void test_blind_attacks(void)
{
    struct sf_event events[16];
    struct sockaddr_in client;
    socklen_t len = sizeof(client);
    struct pair p;
    uint64_t seed = 0x5eed;
    uint64_t before;

    begin_with(&defaults, &defaults);
    p = connect_pair();
    exchange(3);
    CHECK(a->ops->name_of(p.client, false, (struct sockaddr *)&client, &len) == 0);
    before = info_of(p.server).segments_sent;
    for (int i = 0; i < 5000; i++) {
        static const uint8_t flags[] = {SF_TCP_RST, SF_TCP_RST | SF_TCP_ACK, SF_TCP_SYN, SF_TCP_ACK, SF_TCP_SYN | SF_TCP_ACK,
                                        SF_TCP_FIN | SF_TCP_ACK};

        inject(client, p.name,
               (struct sf_tcp_segment){.seq = (uint32_t)next_random(&seed), .ack = (uint32_t)next_random(&seed), .flags = flags[i % 6],
                                       .has = i % 2 ? SF_TCP_HAS_TIMESTAMPS : 0, .ts_val = (uint32_t)next_random(&seed)});
        if (i % 32 == 31)
            poll_now(b, events);
    }
    poll_now(b, events);
    CHECK(info_of(p.server).segments_sent - before <= 3 && counter_of(b, "tcp_challenge_limited") > 0);
    exchange(3);
    CHECK(put(p.client, "alive", 5) == 5);
    exchange(3);
    expect_bytes(p.server, "alive");
    CHECK(put(p.server, "too", 3) == 3);
    exchange(3);
    expect_bytes(p.client, "too");
    release_pair(&p);
    end();
}

/* Hundreds of idle connections have no timers, and still work. */
static void test_many_idle(void)
{
    enum { MANY = 300 };
    struct sf_sock *clients[MANY], *servers[MANY], *listener;
    struct sockaddr_in name;

    begin_with(&defaults, &defaults);
    listener = listen_on(b, B_ADDR, MANY, &name);
    for (uint32_t i = 0; i < MANY; i++) {
        clients[i] = connect_from(a, name, 1000 + i);
        exchange(3);
        servers[i] = accept_from(listener, 2000 + i);
        CHECK(b->ops->interest(servers[i], SF_READABLE) == 0);
        CHECK(put(clients[i], "hello", 5) == 5);
        exchange(1);
        expect_bytes(servers[i], "hello");
    }
    pass(5 * SF_SEC);
    CHECK(a->ops->poll_at(a, clock_now) == SF_NEVER && b->ops->poll_at(b, clock_now) == SF_NEVER);
    for (uint32_t i = 0; i < MANY; i += 7) {
        CHECK(put(clients[i], "you", 3) == 3);
        CHECK(events_of(servers[i]) == SF_READABLE);
        expect_bytes(servers[i], "you");
    }
    for (uint32_t i = 0; i < MANY; i++) {
        a->ops->release(clients[i]);
        exchange(3);
        b->ops->release(servers[i]);
        exchange(1);
    }
    exchange(3);
    b->ops->release(listener);
    end();
}

int main(void)
{
    clock_now = sf_now();
    test_syn_flood();
    test_guessed_cookies();
    test_backlog();
    test_connections();
    test_time_wait();
    test_reuse();
    test_memory();
    test_blind_attacks();
    test_many_idle();
    return 0;
}
