/*
 * Two of our hosts on a wire in memory, and streams between them. Byte i of a stream is a function of i, so that the receiver can
 * check each byte.
 */
#ifndef SF_TEST_SIMULATED_NETWORK_H
#define SF_TEST_SIMULATED_NETWORK_H

#include "memory_wire.h"

enum { CHUNK = 32768, STREAM_PERIOD = 65521 };

static struct wire wire;
static uint8_t pattern[STREAM_PERIOD + CHUNK];

/* One end of a connection, with the numbers of bytes that it sends and receives. */
struct side {
    struct sf_sock *sock;
    uint64_t to_send, sent, to_receive, received;
    uint32_t most_at_once; /* the most bytes of one write; 0: CHUNK */
    bool shut, eof;
    sf_ns paused_until; /* does not read before */
    int error;
};

struct stream {
    struct side client, server;
};

static inline void make_pattern(void)
{
    uint64_t seed = 0x5eed;

    for (size_t i = 0; i < STREAM_PERIOD; i++)
        pattern[i] = (uint8_t)next_random(&seed);
    memcpy(pattern + STREAM_PERIOD, pattern, CHUNK);
}

static inline void network_begin(uint32_t mtu, const struct sf_tcp_limits *a_limits, const struct sf_tcp_limits *b_limits)
{
    struct sf_event events[16];

    make_pattern();
    wire_begin(&wire, mtu);
    a = make_stack_with(&wire.end[0].driver, a_limits);
    b = make_stack_with(&wire.end[1].driver, b_limits);
    poll_late(a, events);
    poll_late(b, events);
}

static inline void network_end(void)
{
    a->ops->destroy(a);
    b->ops->destroy(b);
    wire_end(&wire);
}

static inline sf_ns sooner(sf_ns x, sf_ns y)
{
    return x < y ? x : y;
}

/* Polls both hosts, then sets the clock to the time of the next event, but not beyond `until`. */
static inline void network_step(sf_ns until)
{
    struct sf_event events[64];
    sf_ns next;

    a->ops->poll(a, clock_now, events, 64);
    b->ops->poll(b, clock_now, events, 64);
    a->ops->poll(a, clock_now, events, 64); /* the ACKs that the first poll owes leave now */
    b->ops->poll(b, clock_now, events, 64);
    next = sooner(wire_next(&wire, 0), wire_next(&wire, 1));
    next = sooner(next, sooner(a->ops->poll_at(a, clock_now), b->ops->poll_at(b, clock_now)));
    next = sooner(next, until);
    clock_now = next > clock_now ? next : clock_now + 1;
}

/* ---- the program's part ---- */

static inline bool side_write(struct side *s)
{
    bool progress = false;

    while (s->sent < s->to_send && !s->error) {
        size_t len = s->to_send - s->sent < CHUNK ? (size_t)(s->to_send - s->sent) : CHUNK;
        ssize_t n;

        if (s->most_at_once && len > s->most_at_once)
            len = s->most_at_once;
        n = put(s->sock, pattern + s->sent % STREAM_PERIOD, len);
        if (n == -EAGAIN)
            return progress;
        if (n < 0) {
            s->error = (int)n;
            return true;
        }
        CHECK(n > 0 && (size_t)n <= len);
        s->sent += (uint64_t)n;
        progress = true;
    }
    if (!s->shut && s->sent == s->to_send && !s->error) {
        s->shut = true;
        CHECK(s->sock->stack->ops->shutdown_tx(s->sock) == 0);
        progress = true;
    }
    return progress;
}

static inline bool side_read(struct side *s)
{
    static uint8_t got[CHUNK];
    bool progress = false;

    if (clock_now < s->paused_until)
        return false;
    while (!s->eof && !s->error) {
        ssize_t n = take(s->sock, got, sizeof(got));

        if (n == -EAGAIN)
            return progress;
        progress = true;
        if (n < 0) {
            s->error = (int)n;
        } else if (n == 0) {
            s->eof = true;
        } else {
            CHECK(s->received + (uint64_t)n <= s->to_receive);
            CHECK(memcmp(got, pattern + s->received % STREAM_PERIOD, (size_t)n) == 0);
            s->received += (uint64_t)n;
        }
    }
    return progress;
}

static inline bool side_is_done(const struct side *s)
{
    return s->error || (s->shut && s->eof);
}

static inline bool side_run(struct side *s)
{
    bool wrote = side_write(s);

    return side_read(s) | wrote;
}

static inline void stream_connect(struct stream *s, struct sockaddr_in to, uint32_t slot)
{
    struct sf_event events[64];

    a->ops->poll(a, clock_now, events, 64); /* sets the stack's time, as a loop does by polling before it runs its program */
    *s = (struct stream){.client.sock = connect_from(a, to, slot)};
}

/* Waits for the result of connecting. By then, or soon after, the server's end is in the listener's accept queue. */
static inline int stream_connected(struct stream *s, sf_ns patience)
{
    sf_ns until = clock_now + patience;
    int rc;

    while ((rc = a->ops->connect_result(s->client.sock)) == -EINPROGRESS && clock_now < until)
        network_step(until);
    return rc;
}

static inline void stream_accepted(struct stream *s, struct sf_sock *listener, uint32_t slot)
{
    sf_ns until = clock_now + 100 * SF_SEC;
    struct sf_sock *sock = NULL;

    while (b->ops->accept_stream(listener, &sock) == -EAGAIN) {
        CHECK(clock_now < until);
        network_step(until);
        if (s->client.to_send)
            side_run(&s->client); /* data repeats an ACK that was lost */
    }
    sock->slot = slot;
    sock->generation = slot + 100;
    s->server.sock = sock;
}

static inline void stream_release(struct stream *s)
{
    a->ops->release(s->client.sock);
    if (s->server.sock)
        b->ops->release(s->server.sock);
}

#endif
