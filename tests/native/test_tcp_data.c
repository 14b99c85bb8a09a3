/* Data of a TCP connection between two stacks on a wire: in bulk, across wraps of sequence numbers and rings, and at a zero
 * window. */
#define _GNU_SOURCE
#include "tcp_hosts.h"

static const struct sf_tcp_limits defaults;

static void fill(uint8_t *data, size_t len, uint64_t seed)
{
    seed |= 1;
    for (size_t i = 0; i < len; i += 8) {
        uint64_t word = next_random(&seed);

        memcpy(data + i, &word, len - i < 8 ? len - i : 8);
    }
}

/* Transfers `total` bytes. The receiver reads at most `bite` bytes at every `every`th poll. */
static void transfer(struct sf_sock *from, struct sf_sock *to, size_t total, size_t bite, int every)
{
    uint8_t *sent = malloc(total), *got = malloc(total);
    size_t written = 0, read = 0;

    fill(sent, total, total);
    for (int i = 0; read < total; i++) {
        ssize_t n = written < total ? put(from, sent + written, total - written) : 0;

        CHECK(n >= 0 || n == -EAGAIN);
        written += n > 0 ? (size_t)n : 0;
        exchange(1);
        if (i % every)
            continue;
        n = take(to, got + read, total - read < bite ? total - read : bite);
        CHECK(n > 0 || n == -EAGAIN);
        read += n > 0 ? (size_t)n : 0;
        CHECK(i < 10000000);
    }
    CHECK(!memcmp(sent, got, total));
    free(sent);
    free(got);
}

static void test_bulk(void)
{
    struct pair p;

    begin_with(&defaults, &defaults);
    p = connect_pair();
    transfer(p.client, p.server, 8 << 20, 1 << 20, 1);
    transfer(p.server, p.client, 3 << 20, 100000, 3);
    transfer(p.client, p.server, 300000, 777, 2);
    CHECK(info_of(p.client).retransmits == 0 && info_of(p.server).retransmits == 0);
    CHECK(info_of(p.client).bytes_sent == (8 << 20) + 300000 && info_of(p.server).bytes_received == (8 << 20) + 300000);
    release_pair(&p);
    end();
}

/* Sequence numbers wrap during the transfers: the client's as unsigned numbers, the server's as signed ones. */
static void test_wrap(void)
{
    static const struct sf_tcp_limits near = {.first_sequence = UINT32_MAX - 100};
    static const struct sf_tcp_limits half = {.first_sequence = INT32_MAX - 100};
    struct pair p;

    begin_with(&near, &half);
    p = connect_pair();
    transfer(p.client, p.server, 1 << 20, 5000, 2);
    transfer(p.server, p.client, 1 << 20, 5000, 2);
    release_pair(&p);
    end();
}

/* Unread data lies at the end of the ring and at its beginning. recv_borrow() lends it in one piece, and recv_done() may take a
 * part. */
static void test_wrapped_ring(void)
{
    static const struct sf_tcp_limits near = {.first_sequence = 8192 - 1 - 5};
    const void *data;
    struct pair p;

    begin_with(&near, &(struct sf_tcp_limits){0});
    p = connect_pair();
    CHECK(put(p.client, "hello world", 11) == 11);
    exchange(3);
    CHECK(b->ops->recv_borrow(p.server, &data) == 11 && memcmp(data, "hello world", 11) == 0);
    b->ops->recv_done(p.server, 2);
    CHECK(b->ops->recv_borrow(p.server, &data) == 9 && memcmp(data, "llo world", 9) == 0);
    b->ops->recv_done(p.server, 9);
    CHECK(b->ops->recv_borrow(p.server, &data) == -EAGAIN);
    release_pair(&p);
    end();
}

/* While the server does not read, the window closes and the client may not write. The window opens again when the server reads.
 * */
static void test_zero_window(void)
{
    static const struct sf_tcp_limits small = {.receive_buffer = 20000, .send_buffer = 50000};
    struct pair p;
    uint8_t data[100000], got[100000];
    size_t written = 0, read = 0;
    ssize_t n;

    begin_with(&small, &small);
    p = connect_pair();
    fill(data, sizeof(data), 7);
    for (int i = 0; i < 50; i++) {
        n = put(p.client, data + written, sizeof(data) - written);
        written += n > 0 ? (size_t)n : 0;
        exchange(1);
    }
    CHECK(n == -EAGAIN && written < 80000);
    CHECK(a->ops->interest(p.client, SF_WRITABLE) == 0 && events_of(p.client) == 0);
    CHECK(info_of(p.client).snd_wnd < info_of(p.client).mss); /* the client does not fill less than an MSS at once */
    pass(3 * SF_SEC);
    CHECK(info_of(p.client).snd_wnd == 0 && info_of(p.server).unread == 20000);
    CHECK(info_of(p.client).probes > 0 && info_of(p.client).unsent > 0);
    while (read < sizeof(data)) {
        n = take(p.server, got + read, sizeof(got) - read);
        CHECK(n > 0 || n == -EAGAIN);
        read += n > 0 ? (size_t)n : 0;
        exchange(3);
        n = written < sizeof(data) ? put(p.client, data + written, sizeof(data) - written) : 0;
        written += n > 0 ? (size_t)n : 0;
        if (n == -EAGAIN)
            pass(5 * SF_MS);
    }
    CHECK(!memcmp(data, got, sizeof(data)));
    CHECK(events_of(p.client) == SF_WRITABLE);
    release_pair(&p);
    end();
}

int main(void)
{
    clock_now = sf_now();
    test_bulk();
    test_wrap();
    test_wrapped_ring();
    test_zero_window();
    return 0;
}
