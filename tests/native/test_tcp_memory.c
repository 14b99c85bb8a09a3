/* The memory limit of all TCP buffers together: by how much it is exceeded, which connections continue beyond it, and that all of
 * them continue when memory is freed. */
#define _GNU_SOURCE
#include "tcp_hosts.h"

#include "stacks/tcpip/socket.h"
#include "wire/tcp.h"

#include <stdlib.h>

#define LIMIT (256 * 1024u)
#define LEAST 4096u /* bytes that each connection has to send, and to receive, whatever the limit */
#define FIRST 5000u /* the initial sequence number of each connection */

static const struct sf_tcp_limits defaults = {.mss = 1460, .first_sequence = FIRST};
static const struct sf_tcp_limits tight = {.memory = LIMIT, .mss = 1460, .first_sequence = FIRST};

static uint64_t memory_of(struct sf_stack *stack)
{
    return ((struct tcpip_stack *)stack)->tcpip.tcp.memory;
}

/* ---- data that the receiver can check: each byte depends on the stream and the offset ---- */

static uint8_t byte_at(uint32_t stream, size_t at)
{
    return (uint8_t)(stream * 31 + at * 7 + at / 251);
}

static void send_some(struct sf_sock *sock, uint32_t stream, size_t *sent, size_t total)
{
    uint8_t data[32768];
    size_t len = total - *sent < sizeof(data) ? total - *sent : sizeof(data);
    ssize_t n;

    for (size_t i = 0; i < len; i++)
        data[i] = byte_at(stream, *sent + i);
    n = len ? put(sock, data, len) : 0;
    CHECK(n >= 0 || n == -EAGAIN);
    *sent += n > 0 ? (size_t)n : 0;
}

static void read_some(struct sf_sock *sock, uint32_t stream, size_t *got)
{
    uint8_t data[32768];
    ssize_t n = take(sock, data, sizeof(data));

    CHECK(n > 0 || n == -EAGAIN);
    for (ssize_t i = 0; i < n; i++)
        CHECK(data[i] == byte_at(stream, *got + (size_t)i));
    *got += n > 0 ? (size_t)n : 0;
}

/* ---- many connections ---- */

enum { MANY = 12 };

struct many {
    struct sf_sock *listener, *client[MANY], *server[MANY];
    size_t sent[MANY], got[MANY];
};

static void connect_many(struct many *m)
{
    struct sockaddr_in name;

    memset(m, 0, sizeof(*m));
    m->listener = listen_on(b, B_ADDR, MANY, &name);
    for (uint32_t i = 0; i < MANY; i++) {
        m->client[i] = connect_from(a, name, 100 + i);
        exchange(3);
        m->server[i] = accept_from(m->listener, 200 + i);
    }
}

static void release_many(struct many *m)
{
    for (int i = 0; i < MANY; i++) {
        a->ops->abort(m->client[i]);
        b->ops->abort(m->server[i]);
    }
    b->ops->release(m->listener);
}

/* Unread connections fill the memory. When they are read, all of them continue. So do those whose window was zero when a read
 * freed no memory. */
static void test_windows_open_again(void)
{
    const size_t total = 300 * 1000;
    struct many m;
    sf_ns begin;
    size_t left = MANY;

    begin_with(&defaults, &tight);
    connect_many(&m);
    for (int i = 0; i < 3000; i++) {
        for (uint32_t k = 0; k < MANY; k++)
            send_some(m.client[k], k, &m.sent[k], total);
        pass(SF_MS);
        CHECK(memory_of(b) <= LIMIT + MANY * 2 * LEAST);
    }
    CHECK(memory_of(b) > LIMIT / 2 && counter_of(b, "tcp_memory_full") > 0);
    for (begin = clock_now; left && clock_now < begin + 5 * SF_SEC;) {
        left = 0;
        for (uint32_t k = 0; k < MANY; k++) {
            send_some(m.client[k], k, &m.sent[k], total);
            read_some(m.server[k], k, &m.got[k]);
            left += m.got[k] < total;
        }
        pass(SF_MS);
        CHECK(memory_of(b) <= LIMIT + MANY * 2 * LEAST);
    }
    CHECK(!left);
    release_many(&m);
    exchange(3);
    CHECK(memory_of(a) == 0 && memory_of(b) == 0);
    end();
}

/* Four unread connections hold the memory. Another connection continues, slowly. When the four are closed, its window grows
 * without a read. */
static void test_closing_relieves(void)
{
    const size_t total = 400 * 1000;
    struct many m;
    uint32_t before;

    begin_with(&defaults, &tight);
    connect_many(&m);
    for (int i = 0; i < 500; i++) {
        for (uint32_t k = 0; k < 4; k++)
            send_some(m.client[k], k, &m.sent[k], total);
        pass(SF_MS);
    }
    for (int i = 0; i < 500; i++) {
        send_some(m.client[5], 5, &m.sent[5], total);
        pass(SF_MS);
    }
    before = info_of(m.server[5]).unread;
    CHECK(before >= LEAST / 2 && before < 64 * 1024);
    for (uint32_t k = 0; k < 4; k++) {
        b->ops->abort(m.server[k]);
        m.server[k] = NULL;
    }
    for (int i = 0; i < 500; i++) {
        send_some(m.client[5], 5, &m.sent[5], total);
        pass(SF_MS);
    }
    CHECK(info_of(m.server[5]).unread > before + 16 * 1024);
    for (int i = 0; i < 2000 && m.got[5] < total; i++) {
        send_some(m.client[5], 5, &m.sent[5], total);
        read_some(m.server[5], 5, &m.got[5]);
        pass(SF_MS);
    }
    CHECK(m.got[5] == total);
    for (uint32_t k = 0; k < MANY; k++) {
        a->ops->abort(m.client[k]);
        if (m.server[k])
            b->ops->abort(m.server[k]);
    }
    b->ops->release(m.listener);
    end();
}

/* Beyond the limit a connection may still buffer 4 KiB to send. When they are full, it is not reported as writable until another
 * connection frees memory. */
static void test_sends(void)
{
    static uint8_t data[1 << 20];
    struct many m;
    ssize_t n;

    begin_with(&tight, &defaults);
    connect_many(&m);
    CHECK(put(m.client[0], data, sizeof(data)) > (ssize_t)LEAST); /* b is not polled, so nothing is acknowledged */
    CHECK(memory_of(a) <= LIMIT && memory_of(a) > LIMIT / 2);
    for (int k = 1; k < MANY; k++)
        CHECK(put(m.client[k], data, LIMIT) >= (ssize_t)LEAST);
    CHECK(memory_of(a) <= LIMIT + MANY * LEAST);
    n = put(m.client[MANY - 1], data, 1);
    CHECK(n == -EAGAIN);
    CHECK(a->ops->interest(m.client[MANY - 1], SF_WRITABLE) == 0);
    for (int i = 0; i < 100; i++) {
        clock_now += SF_MS;
        CHECK(events_of(m.client[MANY - 1]) == 0);
    }
    a->ops->abort(m.client[0]);
    m.client[0] = connect_from(a, address(B_ADDR, 1), 300);
    CHECK(events_of(m.client[MANY - 1]) == SF_WRITABLE);
    CHECK(put(m.client[MANY - 1], data, 32768) == 32768);
    release_many(&m);
    end();
}

/* Memory that an acknowledgment of one connection frees makes another connection writable. */
static void test_acknowledgements_relieve(void)
{
    static uint8_t data[1 << 20];
    struct many m;
    uint32_t what = 0;

    begin_with(&tight, &defaults);
    connect_many(&m);
    CHECK(put(m.client[0], data, sizeof(data)) > 64 * 1024);
    for (int k = 1; k < 4; k++)
        put(m.client[k], data, sizeof(data));
    CHECK(put(m.client[4], data, 65536) == (ssize_t)LEAST);
    CHECK(a->ops->interest(m.client[4], SF_WRITABLE) == 0);
    for (int i = 0; i < 300; i++) {
        for (int k = 0; k < 4; k++)
            take(m.server[k], data, sizeof(data));
        b->ops->poll(b, clock_now, (struct sf_event[16]){{0}}, 16);
        what |= events_of(m.client[4]);
        clock_now += SF_MS;
    }
    CHECK(what == SF_WRITABLE);
    CHECK(put(m.client[4], data, 65536) == 65536);
    release_many(&m);
    end();
}

/* ---- a peer that takes all memory ---- */

static void inject(int peer, struct sockaddr_in to, struct sf_tcp_segment segment, const void *data, size_t len)
{
    struct sf_tcp_template template;
    struct sf_ip_peer addresses = {
        .src_addr = inet_addr("10.3.0.1"),
        .dst_addr = to.sin_addr.s_addr,
        .src_port = htons((uint16_t)(2000 + peer)),
        .dst_port = to.sin_port,
        .ttl = 64,
    };
    struct iovec payload = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct sf_event events[16];
    struct sf_frame piece;
    uint32_t size;

    CHECK(sf_tcp_template_init(&template, &addresses) == 0);
    size = (uint32_t)(template.len + SF_TCP_HEADER + sf_tcp_options_len(&segment) + len);
    CHECK(a_driver->fast.tx_reserve(a_driver, size, &piece, 1) == 1);
    CHECK(sf_tcp_emit(&template, piece.data, piece.len, &segment, &payload, len ? 1 : 0, 0) == size);
    a_driver->fast.tx_commit(a_driver, &piece, 1);
    a_driver->fast.tx_flush(a_driver);
    poll_now(b, events);
}

enum { HOSTAGES = 12 };

/* Sends the whole first window except its first byte, on each of HOSTAGES connections. */
static void take_hostages(struct sockaddr_in to)
{
    static const uint8_t nothing[1000];

    for (int i = 0; i < HOSTAGES; i++) {
        inject(i, to, (struct sf_tcp_segment){.seq = 100, .flags = SF_TCP_SYN, .has = SF_TCP_HAS_MSS, .mss = 1460, .window = 500}, NULL, 0);
        inject(i, to, (struct sf_tcp_segment){.seq = 101, .ack = FIRST + 1, .flags = SF_TCP_ACK, .window = 500}, NULL, 0);
    }
    for (uint32_t at = 0; at < 60; at++)
        for (int i = 0; i < HOSTAGES; i++)
            inject(i, to, (struct sf_tcp_segment){.seq = 102 + at * 1000, .ack = FIRST + 1, .flags = SF_TCP_ACK, .window = 500}, nothing, 1000);
}

static void test_hostages(void)
{
    const size_t total = 500 * 1000;
    size_t sent = 0, got = 0;
    struct sf_sock *hostage = NULL;
    struct sockaddr_in to;
    uint8_t data[4096];
    struct pair p;

    begin_with(&defaults, &tight);
    p = connect_pair();
    to = p.name;
    take_hostages(to);
    CHECK(memory_of(b) > LIMIT - 65536 && memory_of(b) <= LIMIT);
    for (int i = 0; i < 2000 && got < total; i++) {
        send_some(p.client, 1, &sent, total);
        pass(SF_MS);
        if (i % 4 == 0)
            read_some(p.server, 1, &got);
    }
    CHECK(got == total && counter_of(b, "tcp_rx_pruned") > 0);
    CHECK(memory_of(b) <= LIMIT + (HOSTAGES + 1) * 2 * LEAST);
    for (uint32_t i = 0; i < HOSTAGES; i++) { /* data in order is delivered, whether the rest was dropped or not */
        ssize_t n;

        hostage = accept_from(p.listener, 400 + i);
        inject((int)i, to, (struct sf_tcp_segment){.seq = 101, .ack = FIRST + 1, .flags = SF_TCP_ACK, .window = 500}, "!", 1);
        n = take(hostage, data, sizeof(data));
        CHECK(n >= 1 && data[0] == '!');
        b->ops->abort(hostage);
    }
    release_pair(&p);
    end();
}

/* Data that the program does not read is not kept beyond the limit. The peer retransmits it when there is room. */
static void test_unread_burst(void)
{
    const size_t total = 120 * 1000;
    struct many m;
    uint64_t full;

    begin_with(&defaults, &tight);
    connect_many(&m);
    for (int i = 0; i < 1000; i++) {
        for (uint32_t k = 0; k < 4; k++)
            send_some(m.client[k], k, &m.sent[k], 10 * total);
        pass(SF_MS);
    }
    full = memory_of(b);
    for (uint32_t k = 4; k < MANY; k++)
        for (int i = 0; i < 8; i++)
            send_some(m.client[k], k, &m.sent[k], total);
    for (int i = 0; i < 300; i++) {
        pass(SF_MS);
        CHECK(memory_of(b) <= LIMIT + MANY * 2 * LEAST);
    }
    CHECK(full > LIMIT / 2 && counter_of(b, "tcp_rx_refused") > 0);
    for (int i = 0; i < 10000 && m.got[4] < total; i++) {
        send_some(m.client[4], 4, &m.sent[4], total);
        read_some(m.server[4], 4, &m.got[4]); /* the others stay unread */
        pass(SF_MS);
    }
    CHECK(m.got[4] == total);
    release_many(&m);
    end();
}

int main(void)
{
    clock_now = sf_now();
    test_windows_open_again();
    test_closing_relieves();
    test_sends();
    test_acknowledgements_relieve();
    test_hostages();
    test_unread_burst();
    return 0;
}
