/*
 * TCP between two of our hosts over a simulated network. Whatever the network does, each byte arrives once and in order, and each
 * connection ends. A failure prints its seed. usage: test_tcp_network [first-seed [how-many]]
 */
#define _GNU_SOURCE
#include "simulated_network.h"

#include <math.h>
#include <time.h>

static uint64_t current_seed, all_bytes, all_retransmits, all_refused;

static void say_seed(void)
{
    if (current_seed)
        fprintf(stderr, "seed %llu\n", (unsigned long long)current_seed);
}

/* ---- any network ---- */

static double one_of(uint64_t *seed, const double *values, int n)
{
    return values[next_random(seed) % (uint64_t)n];
}

static void draw_network(uint64_t *seed)
{
    static const double rates[] = {0, 0, 0, 0.001, 0.01, 0.05, 0.15};

    wire.seed = next_random(seed) | 1;
    wire.delay = (sf_ns)(next_random(seed) % 20000) * SF_US / 10;
    wire.jitter = next_random(seed) % 2 ? 0 : wire.delay * 2;
    wire.reorder = one_of(seed, rates, 7) * 3;
    wire.lose = one_of(seed, rates, 7);
    wire.duplicate = one_of(seed, rates, 6);
    wire.corrupt = one_of(seed, rates, 6);
    wire.per_byte = next_random(seed) % 3 ? 0 : 100 + (sf_ns)(next_random(seed) % 100000);
    wire.queue = (sf_ns)(1 + next_random(seed) % 50) * SF_MS;
}

static void calm_network(void)
{
    wire.delay = wire.jitter = wire.per_byte = 0;
    wire.lose = wire.duplicate = wire.corrupt = wire.reorder = 0;
}

static void set_buffers(struct sf_sock *sock, uint64_t *seed)
{
    int size = 2048 << next_random(seed) % 8;

    if (next_random(seed) % 3 == 0)
        CHECK(sock->stack->ops->set_option(sock, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) == 0);
    size = 2048 << next_random(seed) % 8;
    if (next_random(seed) % 3 == 0)
        CHECK(sock->stack->ops->set_option(sock, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == 0);
}

static void draw_work(struct stream *s, uint64_t *seed)
{
    uint64_t most = next_random(seed) % 3 ? 3000 : 200000;

    s->client.to_send = s->server.to_receive = next_random(seed) % most;
    s->server.to_send = s->client.to_receive = next_random(seed) % most;
    s->client.most_at_once = next_random(seed) % 2 ? 0 : 1 + (uint32_t)(next_random(seed) % 2000);
    s->server.most_at_once = next_random(seed) % 2 ? 0 : 1 + (uint32_t)(next_random(seed) % 2000);
}

static void run_stream(struct stream *s, uint64_t *seed)
{
    sf_ns until = clock_now + 3000 * SF_SEC;
    uint32_t steps = 0;

    while (!side_is_done(&s->client) || !side_is_done(&s->server)) {
        side_run(&s->client);
        side_run(&s->server);
        if (next_random(seed) % 512 == 0)
            s->server.paused_until = clock_now + (sf_ns)(next_random(seed) % 2000) * SF_MS;
        CHECK(clock_now < until && ++steps < 3000000);
        network_step(until);
    }
    CHECK(s->client.error == 0 && s->server.error == 0);
    CHECK(s->client.received == s->client.to_receive && s->server.received == s->server.to_receive);
}

static void run(uint64_t number, struct sf_sock *listener, struct sockaddr_in name)
{
    uint64_t seed = number * 0x9e3779b97f4a7c15u | 1;
    struct stream s;

    current_seed = number;
    for (int i = 0; i < 4; i++)
        next_random(&seed);
    draw_network(&seed);
    stream_connect(&s, name, 2);
    set_buffers(s.client.sock, &seed);
    if (stream_connected(&s, 400 * SF_SEC) == 0) {
        draw_work(&s, &seed);
        stream_accepted(&s, listener, 3);
        set_buffers(s.server.sock, &seed);
        run_stream(&s, &seed);
        all_bytes += s.client.received + s.server.received;
        all_retransmits += info_of(s.client.sock).retransmits + info_of(s.server.sock).retransmits;
    } else {
        CHECK(wire.lose > 0.1);
        all_refused++;
    }
    stream_release(&s);
    calm_network();
    for (sf_ns until = clock_now + 200 * SF_SEC; clock_now < until;)
        network_step(until);
}

static void check_nothing_is_left(void)
{
    CHECK(a->ops->lingering(a) == 0 && b->ops->lingering(b) == 0);
    CHECK(wire.end[0].reserved == 0 && wire.end[1].reserved == 0);
}

static void test_any_network(uint64_t first, uint64_t n, uint32_t mtu, uint32_t first_sequence)
{
    struct sf_tcp_limits limits = {.min_rto = 200 * SF_MS, .first_sequence = first_sequence};
    struct sf_sock *listener;
    struct sockaddr_in name;

    network_begin(mtu, &limits, &limits);
    listener = listen_on(b, B_ADDR, 16, &name);
    for (uint64_t seed = first; seed < first + n; seed++)
        run(seed, listener, name);
    check_nothing_is_left();
    printf("MTU %u, seeds from %llu: %llu bytes, %llu retransmits, %llu connections failed\n", mtu,
           (unsigned long long)first, (unsigned long long)all_bytes, (unsigned long long)all_retransmits,
           (unsigned long long)all_refused);
    CHECK(all_bytes > n * 10000 && all_retransmits > n && all_refused < n / 20 + 2);
    all_bytes = all_retransmits = all_refused = 0;
    current_seed = 0;
    b->ops->release(listener);
    network_end();
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1, n = argc > 2 ? strtoull(argv[2], NULL, 0) : 2000;

    atexit(say_seed);
    clock_now = sf_now();
    test_any_network(first, n, 1500, 0);
    test_any_network(first + n, n, 576, 0xffffffff - 20000); /* the sequence numbers wrap */
    test_any_network(first + 2 * n, n, 9000, 0x7ffffff0);
    return 0;
}
