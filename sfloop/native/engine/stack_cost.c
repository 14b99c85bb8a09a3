#define _GNU_SOURCE
#include "stack_cost.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BURST 64
#define BURSTS_MAX 65536
#define POLLS 512 /* of one measurement: enough to make the cost of reading the clock twice negligible */
#define POLLS_UNTIL_LOST 1000000
#define EVENTS 16
#define LARGEST 65507

static int compare(const void *a, const void *b)
{
    sf_ns x = *(const sf_ns *)a, y = *(const sf_ns *)b;

    return (x > y) - (x < y);
}

static double median(sf_ns *values, int n)
{
    qsort(values, (size_t)n, sizeof(*values), compare);
    return (double)values[n / 2];
}

/* ---- datagrams ---- */

static void poll_once(struct sf_stack *stack)
{
    struct sf_event events[EVENTS];

    stack->ops->poll(stack, sf_now(), events, EVENTS);
}

static int send_burst(struct sf_sock *from, const void *data, uint32_t size)
{
    for (int i = 0; i < BURST; i++) {
        ssize_t sent = from->stack->ops->send_to(from, data, size, NULL, 0);

        if (sent < 0)
            return (int)sent;
    }
    poll_once(from->stack);
    return 0;
}

static int receive_burst(struct sf_sock *to)
{
    struct sf_datagram datagrams[BURST];
    struct sf_event events[EVENTS];
    struct sf_stack *stack = to->stack;
    int got = 0;

    for (int i = 0; got < BURST; i++) {
        int n = 0;

        if (stack->ops->poll(stack, sf_now(), events, EVENTS))
            n = stack->ops->recv_batch(to, datagrams, BURST);
        if (n < 0 && n != -EAGAIN)
            return n;
        got += n > 0 ? n : 0;
        if (i == POLLS_UNTIL_LOST)
            return -ETIMEDOUT;
    }
    poll_once(stack);
    return 0;
}

int sf_measure_datagrams(struct sf_sock *from, struct sf_sock *to, uint32_t size, sf_ns span, struct sf_datagram_cost *out)
{
    static const uint8_t data[LARGEST];
    sf_ns *sent = calloc(2 * BURSTS_MAX, sizeof(*sent)), *received = sent + BURSTS_MAX;
    sf_ns begin = sf_now(), before, between, after = begin;
    int n = 0, rc = sent ? 0 : -ENOMEM;

    if (size > sizeof(data))
        rc = -EMSGSIZE;
    while (rc == 0 && n < BURSTS_MAX && (!n || after - begin < span)) {
        before = sf_now();
        rc = send_burst(from, data, size);
        between = sf_now();
        if (rc == 0)
            rc = receive_burst(to);
        after = sf_now();
        sent[n] = between - before;
        received[n++] = after - between;
    }
    if (rc == 0) {
        out->send_ns = median(sent, n) / BURST;
        out->receive_ns = median(received, n) / BURST;
    }
    free(sent);
    return rc;
}

/* ---- segments ---- */

static int write_burst(struct sf_sock *from, const void *data, uint32_t size)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};

    for (int i = 0; i < BURST; i++) {
        ssize_t sent = from->stack->ops->sendv(from, &iov, 1);

        if (sent != (ssize_t)size)
            return sent < 0 ? (int)sent : -EAGAIN;
    }
    poll_once(from->stack);
    return 0;
}

/* Reads received data and sends its ACKs. */
static int read_burst(struct sf_sock *to, size_t *left)
{
    const struct sf_stack_ops *ops = to->stack->ops;
    const void *data;
    ssize_t n;

    poll_once(to->stack);
    while (*left && (n = ops->recv_borrow(to, &data)) != -EAGAIN) {
        if (n <= 0 || (size_t)n > *left)
            return n < 0 ? (int)n : -ECONNRESET;
        ops->recv_done(to, (size_t)n);
        *left -= (size_t)n;
    }
    poll_once(to->stack);
    return 0;
}

/* Sends a burst and receives its ACKs. A window smaller than a burst takes more exchanges. */
static int exchange_burst(struct sf_sock *from, struct sf_sock *to, const void *data, uint32_t size, sf_ns spent[2])
{
    size_t left = (size_t)size * BURST;
    sf_ns then = sf_now(), now;
    int rc = write_burst(from, data, size);

    spent[0] = spent[1] = 0;
    for (int i = 0; rc == 0; i++) {
        spent[0] += (now = sf_now()) - then;
        rc = left ? read_burst(to, &left) : 0;
        spent[1] += (then = sf_now()) - now;
        poll_once(from->stack);
        if (!left) {
            spent[0] += sf_now() - then;
            break;
        }
        if (i == POLLS_UNTIL_LOST)
            rc = -ETIMEDOUT;
    }
    return rc;
}

int sf_measure_segments(struct sf_sock *from, struct sf_sock *to, uint32_t size, sf_ns span, struct sf_segment_cost *out)
{
    static const uint8_t data[LARGEST];
    sf_ns *sent = calloc(2 * BURSTS_MAX, sizeof(*sent)), *received = sent + BURSTS_MAX, begin = sf_now(), spent[2];
    int n = 0, rc = sent ? 0 : -ENOMEM;

    if (size > sizeof(data))
        rc = -EMSGSIZE;
    while (rc == 0 && n < BURSTS_MAX && (!n || sf_now() - begin < span)) {
        rc = exchange_burst(from, to, data, size, spent);
        sent[n] = spent[0];
        received[n++] = spent[1];
    }
    if (rc == 0) {
        out->send_ns = median(sent, n) / BURST;
        out->receive_ns = median(received, n) / BURST;
    }
    free(sent);
    return rc;
}

/* ---- nothing ---- */

static sf_ns time_polls(struct sf_stack *stack)
{
    struct sf_event events[EVENTS];
    sf_ns begin = sf_now();

    for (int i = 0; i < POLLS; i++)
        stack->ops->poll(stack, sf_now(), events, EVENTS);
    return sf_now() - begin;
}

static sf_ns time_clock(void)
{
    volatile sf_ns now;
    sf_ns begin = sf_now();

    for (int i = 0; i < POLLS; i++)
        now = sf_now();
    (void)now;
    return sf_now() - begin;
}

double sf_measure_idle(struct sf_stack *stack, sf_ns span)
{
    sf_ns *polls = calloc(2 * BURSTS_MAX, sizeof(*polls)), *clocks = polls + BURSTS_MAX, begin = sf_now();
    double found;
    int n = 0;

    if (!polls)
        return -1;
    do {
        polls[n] = time_polls(stack);
        clocks[n++] = time_clock();
    } while (n < BURSTS_MAX && sf_now() - begin < span);
    found = (median(polls, n) - median(clocks, n)) / POLLS;
    free(polls);
    return found;
}
