/*
 * Loss recovery over random paths: all data arrives, whatever the path does, and anywhere in sequence space. And the throughput
 * against the RFCs' formulas. usage: test_tcp_loss_path [first-seed [how-many]]
 */
#include "tcp_loss_path.h"

#include <math.h>

static struct path path;

static void begin(uint64_t seed)
{
    sf_tcp_loss_free(&path.loss);
    memset(&path, 0, offsetof(struct path, packet));
    path.n_packets = 0;
    memset(&path.rcv_nxt, 0, sizeof path - offsetof(struct path, rcv_nxt));
    path.seed = seed * 0x9e3779b97f4a7c15u | 1;
    path.dsack = true;
    for (int i = 0; i < 4; i++)
        next_random(&path.seed);
}

static uint64_t current_seed;

static void say_seed(void)
{
    if (current_seed)
        fprintf(stderr, "seed %llu\n", (unsigned long long)current_seed);
}

/* ---- any path ---- */

static void draw(uint64_t seed)
{
    static const double rates[] = {0, 0, 0.001, 0.01, 0.05, 0.2};
    static const uint32_t places[] = {0, 0xffffffff - 20000, 0x7fffffff - 30000, 0xffffff00};

    begin(seed);
    path.delay = (sf_ns)(1 + next_random(&path.seed) % 50000) * SF_US;
    path.jitter = next_random(&path.seed) % 3 ? 0 : path.delay * (sf_ns)(next_random(&path.seed) % 3);
    path.lose = rates[next_random(&path.seed) % 6];
    path.lose_ack = rates[next_random(&path.seed) % 6];
    path.duplicate = rates[next_random(&path.seed) % 5];
    path.delay_ack = next_random(&path.seed) % 2 ? 40 * SF_MS : 0;
    path.sack = next_random(&path.seed) % 4;
    path.dsack = next_random(&path.seed) % 4;
    path.timestamps = next_random(&path.seed) % 2;
    path.iss = places[next_random(&path.seed) % 4];
    path.total = UNIT * (uint32_t)(1 + next_random(&path.seed) % 3000);
    path.peer_window = next_random(&path.seed) % 3 ? 0 : 10000 + (uint32_t)(next_random(&path.seed) % 100000);
    if (next_random(&path.seed) % 3 == 0) {
        path.per_segment = (sf_ns)(1 + next_random(&path.seed) % 1000) * SF_US;
        path.queue = 5 + (uint32_t)(next_random(&path.seed) % 100);
    }
    if (next_random(&path.seed) % 4 == 0) {
        path.outage_from = 1000 * SF_SEC + (sf_ns)(next_random(&path.seed) % 1000) * SF_MS;
        path.outage_to = path.outage_from + (sf_ns)(next_random(&path.seed) % 3000) * SF_MS;
    }
    path.check = true;
}

static void run(uint64_t seed)
{
    static const uint32_t sizes[] = {500, 1000, 1400};
    const char *congestion;
    uint32_t mss, steps = 0;

    current_seed = seed;
    draw(seed);
    congestion = next_random(&path.seed) % 2 ? "cubic" : "newreno";
    mss = sizes[next_random(&path.seed) % 3];
    path_begin(&path, congestion, mss, next_random(&path.seed) % 2 ? 200 * SF_MS : 5 * SF_MS);
    while (path.loss.una != path.iss + path.total) {
        CHECK(path_step(&path));
        CHECK(++steps < 2000000);
        if (steps == 300 && seed % 5 == 0) {
            sf_tcp_loss_set_mss(&path.loss, mss / 200 * UNIT);
            path_output(&path);
        }
    }
    CHECK(path.rcv_nxt == path.iss + path.total);
    CHECK(!path.sack || path.loss.delivered == path.total);
    CHECK(sf_tcp_loss_deadline(&path.loss) == SF_NEVER);
    if (!path.lost && !path.jitter && !path.duplicate && seed % 5 && path.delay_ack < path.loss.rtt.min_rto)
        CHECK(path.loss.n_timeouts == 0 && path.loss.n_recoveries == 0 && path.unneeded <= path.loss.n_probes);
}

/* ---- throughput ---- */

/* Returns the segments per round trip of a transfer with random loss only. */
static double segments_per_rtt(const char *congestion, double lose, sf_ns delay, uint32_t segments, uint64_t seed)
{
    begin(seed);
    path.sack = path.timestamps = true;
    path.delay = delay;
    path.lose = lose;
    path.iss = 0xfff00000;
    path.total = segments * UNIT;
    path_begin(&path, congestion, UNIT, 200 * SF_MS);
    while (path.loss.una != path.iss + path.total)
        CHECK(path_step(&path));
    return segments / ((double)(path.now - 1000 * SF_SEC) / (double)(2 * delay));
}

/* The square-root law: 1.22 / sqrt(p) segments in a round trip (RFC 9438, 5.1; Mathis and others). It leaves out the cost of
 * recovery and timeouts. CUBIC is at least as fast (5.1), and in short round trips as fast. */
static void test_throughput_under_loss(void)
{
    static const double rates[] = {0.0005, 0.001, 0.01, 0.05};

    current_seed = 0;
    for (int i = 0; i < 4; i++) {
        double law = 1.22 / sqrt(rates[i]);
        double newreno = segments_per_rtt("newreno", rates[i], 500 * SF_US, 60000, 77 + i);
        double cubic = segments_per_rtt("cubic", rates[i], 500 * SF_US, 60000, 77 + i);

        printf("loss %.4f: law %.1f, newreno %.1f, cubic %.1f segments per RTT\n", rates[i], law, newreno, cubic);
        law *= rates[i] < 0.02 ? 0.8 : 0.5; /* windows of five segments have a timeout of 200 RTTs now and then */
        CHECK(newreno > law && newreno < 2 * law && cubic > law);
    }
}

/* Over a long path CUBIC's window is 1.054 (RTT / p)^(3/4) segments (RFC 9438, 5.1, with C = 0.4 and beta = 0.7). */
static void test_cubic_over_a_long_way(void)
{
    double p = 0.0005, rtt = 0.2, law = pow(0.4 * (3 + 0.7) / (4 * (1 - 0.7)), 0.25) * pow(rtt, 0.75) / pow(p, 0.75);
    double cubic = segments_per_rtt("cubic", p, 100 * SF_MS, 100000, 5);

    printf("loss %.4f, RTT %.1f s: law %.1f, cubic %.1f segments per RTT\n", p, rtt, law, cubic);
    CHECK(cubic > 0.6 * law);
}

/* A bottleneck whose queue holds the segments of a round trip stays busy, and few segments are retransmitted. */
static void test_a_bottleneck_is_used(void)
{
    static const char *const algorithms[] = {"cubic", "newreno"};

    for (int i = 0; i < 2; i++) {
        double used;

        begin(3);
        path.sack = path.timestamps = true;
        path.delay = 5 * SF_MS;
        path.per_segment = 100 * SF_US; /* 100 segments in a round trip */
        path.queue = 100;
        path.total = 100000 * UNIT;
        path_begin(&path, algorithms[i], UNIT, 200 * SF_MS);
        while (path.loss.una != path.iss + path.total)
            CHECK(path_step(&path));
        used = 100000.0 * 100 * SF_US / (double)(path.now - 1000 * SF_SEC);
        printf("%s: bottleneck used %.3f, retransmits %u, timeouts %u\n", algorithms[i], used, path.loss.n_retransmits,
               path.loss.n_timeouts);
        CHECK(used > 0.93 && path.loss.n_retransmits < 3000 && path.loss.n_timeouts == 0);
    }
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1, n = argc > 2 ? strtoull(argv[2], NULL, 0) : 1500;

    atexit(say_seed);
    for (uint64_t seed = first; seed < first + n; seed++)
        run(seed);
    if (argc == 1) {
        test_throughput_under_loss();
        test_cubic_over_a_long_way();
        test_a_bottleneck_is_used();
    }
    current_seed = 0;
    sf_tcp_loss_free(&path.loss);
    return 0;
}
