/*
 * Long transfers by TCP between two of our hosts over a simulated network: the throughput under loss against the RFCs' formulas,
 * a bottleneck that many connections share, and peers that fall silent or reboot.
 */
#define _GNU_SOURCE
#include "simulated_network.h"

#include <math.h>

enum { FLOWS = 64 };

static const struct sf_tcp_limits cubic = {.min_rto = 200 * SF_MS};
static const struct sf_tcp_limits newreno = {.min_rto = 200 * SF_MS, .congestion = "newreno"};

static struct stream open_stream(struct sf_sock *listener, struct sockaddr_in name, uint32_t slot)
{
    struct stream s;

    stream_connect(&s, name, slot);
    CHECK(stream_connected(&s, 10 * SF_SEC) == 0);
    stream_accepted(&s, listener, slot + 1000);
    return s;
}

static void run_for(struct stream *s, int n, sf_ns time)
{
    sf_ns until = clock_now + time;

    for (;;) {
        for (int i = 0; i < n; i++) {
            side_run(&s[i].client);
            side_run(&s[i].server);
        }
        if (clock_now >= until)
            return;
        network_step(until);
    }
}

/* ---- throughput ---- */

/* Bytes per second that arrive in the second half of `time`. */
static double rate(const struct sf_tcp_limits *limits, uint32_t mtu, sf_ns delay, double lose, sf_ns per_byte, sf_ns time)
{
    struct sf_sock *listener;
    struct sockaddr_in name;
    struct stream s;
    uint64_t before;

    network_begin(mtu, limits, limits);
    wire.delay = delay;
    wire.seed = 4711;
    listener = listen_on(b, B_ADDR, 16, &name);
    s = open_stream(listener, name, 2);
    wire.lose = lose;
    wire.per_byte = per_byte;
    wire.queue = 2 * delay;
    s.client.to_send = s.server.to_receive = UINT64_MAX / 2;
    run_for(&s, 1, time / 2);
    before = s.server.received;
    run_for(&s, 1, time / 2);
    before = s.server.received - before;
    stream_release(&s);
    b->ops->release(listener);
    network_end();
    return (double)before * 2 / ((double)time / SF_SEC);
}

/* The throughput of a standard TCP in bytes per second (RFC 5348, 3.1), by the segment size s, the loss rate p, the RTT r and the
 * RTO. */
static double tcp_equation(double s, double p, double r, double rto)
{
    return s / (r * sqrt(2 * p / 3) + rto * 3 * sqrt(3 * p / 8) * p * (1 + 32 * p * p));
}

/* As long as timeouts are rare, the throughput is at least 0.7 of the square-root law: 1.22 / sqrt(p) segments in a round trip
 * (RFC 9438, 5.1). At a loss rate of 5 % it is at least three times the equation's. ACKs are lost as often as data. */
static void test_throughput_under_loss(void)
{
    static const double rates[] = {0.001, 0.01, 0.05};

    for (int i = 0; i < 3; i++) {
        sf_ns time = (i == 0 ? 2 : i == 1 ? 6 : 16) * SF_SEC;
        double law = 1.22 / sqrt(rates[i]) * 1448 / 1e-3;
        double with_cubic = rate(&cubic, 1500, SF_MS / 2, rates[i], 0, time);
        double with_newreno = rate(&newreno, 1500, SF_MS / 2, rates[i], 0, time);

        printf("loss %.3f: law %.2f, cubic %.2f, newreno %.2f MB/s\n", rates[i], law / 1e6, with_cubic / 1e6, with_newreno / 1e6);
        law = i < 2 ? 0.7 * law : 3 * tcp_equation(1448, rates[i], 1e-3, 0.2);
        CHECK(with_cubic > law && with_newreno > law && law > tcp_equation(1448, rates[i], 1e-3, 0.2));
    }
}

static void test_a_bottleneck_is_used(void)
{
    static const uint32_t mtus[] = {576, 1500, 9000};

    for (int i = 0; i < 3; i++) {
        double got = rate(&cubic, mtus[i], 5 * SF_MS, 0, 8000 * 8 / 8, SF_SEC); /* 8 ns for a byte: 125 MB/s */
        double most = 125e6 * (mtus[i] - 52) / (mtus[i] + 14);

        printf("MTU %u: %.1f of %.1f MB/s\n", mtus[i], got / 1e6, most / 1e6);
        CHECK(got > 0.9 * most && got <= 1.01 * most);
    }
}

/* ---- many connections ---- */

/* Jain's fairness index: 1 if all got the same, 1/n if one got everything. */
static double jain(const uint64_t *got, int n)
{
    double sum = 0, squares = 0;

    for (int i = 0; i < n; i++) {
        sum += (double)got[i];
        squares += (double)got[i] * (double)got[i];
    }
    return sum * sum / (n * squares);
}

static void test_many_share_fairly(const struct sf_tcp_limits *limits, const char *name_of_it)
{
    static struct stream s[FLOWS];
    uint64_t got[FLOWS], all = 0;
    struct sf_sock *listener;
    struct sockaddr_in name;
    double index;

    network_begin(1500, limits, limits);
    wire.delay = 5 * SF_MS;
    listener = listen_on(b, B_ADDR, FLOWS, &name);
    for (int i = 0; i < FLOWS; i++) {
        s[i] = open_stream(listener, name, 2 + (uint32_t)i);
        s[i].client.to_send = s[i].server.to_receive = UINT64_MAX / 2;
    }
    wire.per_byte = 20000; /* 50 MB/s */
    wire.queue = 20 * SF_MS;
    run_for(s, FLOWS, SF_SEC);
    for (int i = 0; i < FLOWS; i++)
        got[i] = s[i].server.received;
    run_for(s, FLOWS, 2 * SF_SEC);
    for (int i = 0; i < FLOWS; i++) {
        got[i] = s[i].server.received - got[i];
        all += got[i];
    }
    index = jain(got, FLOWS);
    printf("%s, %d flows: Jain's index %.3f, %.1f of 50 MB/s\n", name_of_it, FLOWS, index, (double)all / 2e6);
    CHECK(index > 0.9 && all > 2 * 45000000ull);
    for (int i = 0; i < FLOWS; i++)
        stream_release(&s[i]);
    b->ops->release(listener);
    network_end();
}

/* ---- peers that vanish ---- */

static void test_a_peer_that_falls_silent(void)
{
    struct sf_tcp_limits limits = {.user_timeout = 30 * SF_SEC};
    struct sf_sock *listener;
    struct sockaddr_in name;
    struct stream s;
    sf_ns since;

    network_begin(1500, &limits, &limits);
    listener = listen_on(b, B_ADDR, 16, &name);
    s = open_stream(listener, name, 2);
    s.client.to_send = s.server.to_receive = 1000000;
    wire.cut = true;
    since = clock_now;
    while (!s.client.error)
        run_for(&s, 1, SF_SEC);
    CHECK(s.client.error == -ETIMEDOUT && clock_now - since >= 30 * SF_SEC && clock_now - since < 70 * SF_SEC);
    stream_release(&s);
    b->ops->release(listener);
    network_end();
}

static void test_a_peer_that_is_back_before_that(void)
{
    struct sf_tcp_limits limits = {.user_timeout = 30 * SF_SEC};
    struct sf_sock *listener;
    struct sockaddr_in name;
    struct stream s;

    network_begin(1500, &limits, &limits);
    listener = listen_on(b, B_ADDR, 16, &name);
    s = open_stream(listener, name, 2);
    s.client.to_send = s.server.to_receive = 1000000;
    s.server.to_send = s.client.to_receive = 1000000;
    wire.cut = true;
    run_for(&s, 1, 10 * SF_SEC);
    wire.cut = false;
    run_for(&s, 1, 20 * SF_SEC);
    CHECK(side_is_done(&s.client) && side_is_done(&s.server) && !s.client.error && !s.server.error);
    CHECK(s.server.received == 1000000 && s.client.received == 1000000);
    stream_release(&s);
    b->ops->release(listener);
    network_end();
}

/* The peer's host reboots and no longer knows the connection, so it answers our data by a reset. The program may connect again at
 * once, though the peer's new sequence numbers are unrelated to the old ones. */
static void test_a_peer_that_was_rebooted(void)
{
    struct sf_tcp_limits before = {.first_sequence = 0x80000000}, after = {.first_sequence = 17};
    struct sf_event events[16];
    struct sf_sock *listener;
    struct sockaddr_in name;
    struct stream s, again;
    int fd;

    network_begin(1500, &before, &before);
    listener = listen_on(b, B_ADDR, 16, &name);
    s = open_stream(listener, name, 2);
    s.client.to_send = s.server.to_receive = 100;
    s.client.shut = s.server.shut = true; /* the programs do not close */
    run_for(&s, 1, SF_SEC);
    CHECK(s.server.received == 100);
    wire.cut = true;
    b->ops->destroy(b);
    wire.cut = false;
    b = make_stack_with(&wire.end[1].driver, &after);
    poll_late(b, events);
    fd = tcp_socket(B_ADDR, ntohs(name.sin_port));
    CHECK(b->ops->listen(b, fd, 16, 1, 101, &listener) == 0);
    close(fd);
    s.server = (struct side){.sock = NULL};
    CHECK(put(s.client.sock, "still there?", 12) == 12);
    for (sf_ns until = clock_now + SF_SEC; clock_now < until && !s.client.error;) {
        network_step(until);
        side_read(&s.client);
    }
    CHECK(s.client.error == -ECONNRESET);
    a->ops->release(s.client.sock);
    again = open_stream(listener, name, 3);
    again.client.to_send = again.server.to_receive = 5000;
    run_for(&again, 1, SF_SEC);
    CHECK(again.server.received == 5000 && again.server.eof);
    stream_release(&again);
    b->ops->release(listener);
    network_end();
}

int main(void)
{
    clock_now = sf_now();
    test_throughput_under_loss();
    test_a_bottleneck_is_used();
    test_many_share_fairly(&cubic, "cubic");
    test_many_share_fairly(&newreno, "newreno");
    test_a_peer_that_falls_silent();
    test_a_peer_that_is_back_before_that();
    test_a_peer_that_was_rebooted();
    return 0;
}
