/* The end of a connection as its peer sees it: with SO_LINGER, at the end of the stack, and by a reset after the FIN. */
#define _GNU_SOURCE
#include "tcp_hosts.h"

static const struct sf_tcp_limits defaults;

static size_t take_all(struct sf_sock *sock)
{
    static char bytes[65536];
    size_t total = 0;
    ssize_t n;

    while ((n = take(sock, bytes, sizeof(bytes))) > 0)
        total += (size_t)n;
    CHECK(n == -EAGAIN || n == 0);
    return total;
}

/* As on Linux, the time of SO_LINGER only bounds how long close() waits. Data that the peer has not taken by then is still
 * delivered. */
static void test_linger_time_loses_nothing(void)
{
    static const struct sf_tcp_limits small = {.receive_buffer = 20000};
    static uint8_t data[100000];
    struct linger second = {.l_onoff = 1, .l_linger = 1};
    struct pair p;
    size_t got = 0;
    char byte;

    begin_with(&defaults, &small);
    p = connect_pair();
    CHECK(a->ops->set_option(p.client, SOL_SOCKET, SO_LINGER, &second, sizeof(second)) == 0);
    CHECK(put(p.client, data, sizeof(data)) == sizeof(data));
    a->ops->release(p.client);
    pass(3 * SF_SEC);
    CHECK(a->ops->lingering(a) == 1 && counter_of(a, "tcp_resets_sent") == 0);
    for (int i = 0; i < 100 && got < sizeof(data); i++) {
        got += take_all(p.server);
        pass(100 * SF_MS);
    }
    CHECK(got == sizeof(data) && take(p.server, &byte, 1) == 0);
    CHECK(a->ops->lingering(a) == 0);
    b->ops->release(p.server);
    b->ops->release(p.listener);
    end();
}

/* The stack is destroyed after its connection has delivered all data. A peer that reads later finds the data and the end. */
static void test_stack_ends_after_delivery(void)
{
    struct pair p;
    char bytes[8];

    begin_with(&defaults, &defaults);
    p = connect_pair();
    CHECK(put(p.client, "late", 4) == 4);
    a->ops->release(p.client);
    exchange(3);
    CHECK(a->ops->lingering(a) == 0);
    a->ops->destroy(a);
    for (int i = 0; i < 10; i++)
        poll_late(b, (struct sf_event[16]){0});
    CHECK(counter_of(b, "tcp_resets_received") == 0);
    expect_bytes(p.server, "late");
    CHECK(take(p.server, bytes, sizeof(bytes)) == 0);
    b->ops->release(p.server);
    b->ops->release(p.listener);
    b->ops->destroy(b);
}

/* The stack is destroyed before its connection has delivered all data. A reset tells the peer that data is missing. */
static void test_stack_ends_before_delivery(void)
{
    static const struct sf_tcp_limits small = {.receive_buffer = 20000};
    static uint8_t data[100000];
    struct pair p;
    char byte;

    begin_with(&defaults, &small);
    p = connect_pair();
    CHECK(put(p.client, data, sizeof(data)) == sizeof(data));
    a->ops->release(p.client);
    exchange(3);
    a->ops->destroy(a);
    poll_late(b, (struct sf_event[16]){0});
    while (take(p.server, data, sizeof(data)) > 0)
        ;
    CHECK(is_in(p.server, "CLOSED") && take(p.server, &byte, 1) == 0);
    CHECK(counter_of(b, "tcp_resets_received") == 1);
    b->ops->release(p.server);
    b->ops->release(p.listener);
    b->ops->destroy(b);
}

/* After the peer's FIN, a reset takes nothing from the reader. Only writes fail, as on Linux. */
static void test_reset_after_the_fin(void)
{
    struct pair p;
    char bytes[8];

    begin_with(&defaults, &defaults);
    p = connect_pair();
    CHECK(put(p.client, "all", 3) == 3 && a->ops->shutdown_tx(p.client) == 0);
    exchange(3);
    CHECK(is_in(p.server, "CLOSE-WAIT"));
    a->ops->abort(p.client);
    exchange(3);
    CHECK(counter_of(b, "tcp_resets_received") == 1);
    expect_bytes(p.server, "all");
    CHECK(take(p.server, bytes, sizeof(bytes)) == 0);
    CHECK(put(p.server, "x", 1) == -EPIPE);
    CHECK(take(p.server, bytes, sizeof(bytes)) == 0);
    b->ops->release(p.server);
    b->ops->release(p.listener);
    end();
}

int main(void)
{
    test_linger_time_loses_nothing();
    test_stack_ends_after_delivery();
    test_stack_ends_before_delivery();
    test_reset_after_the_fin();
    return 0;
}
