/* Reading the overflow buffer. A ring in memory stands in for the kernel's, and the test writes records as the XDP program would.
 * */
#define _GNU_SOURCE 1
#include "drivers/kernel/xdp_overflow.h"

#include "check.h"

#include <string.h>

enum { SIZE = 4096, QUEUE = 3 };

struct ring {
    struct sf_overflow overflow;
    struct sf_overflow_counts counts[SF_OVERFLOW_QUEUES];
    uint64_t consumer, producer;
    _Alignas(8) uint8_t data[2 * SIZE];
};

static struct ring ring;

static struct sf_overflow *begin(void)
{
    struct sf_overflow *o = &ring.overflow;

    memset(&ring, 0, sizeof(ring));
    sf_overflow_none(o);
    o->ring = (struct sf_bpf_ring){.size = SIZE, .consumer = &ring.consumer, .producer = &ring.producer, .data = ring.data};
    o->shared = ring.counts;
    CHECK(sf_overflow_begin(o, QUEUE) == &o->queues[QUEUE]);
    CHECK(sf_overflow_begin(o, SF_OVERFLOW_QUEUES) == NULL);
    return o;
}

/* Writes a record of 248 bytes. The kernel maps the buffer twice, so the test writes both copies. */
static uint32_t *push(uint32_t len, uint32_t sent, uint32_t flags)
{
    struct sf_overflow_record record = {.len = len, .queue = QUEUE, .sent = sent};
    size_t at = ring.producer & (SIZE - 1);
    const uint32_t header[2] = {248 | flags, 0};

    for (int copy = 0; copy < 2; copy++) {
        memcpy(ring.data + at + copy * SIZE, header, sizeof(header));
        memcpy(ring.data + at + copy * SIZE + 8, &record, sizeof(record));
    }
    ring.producer += 256;
    ring.counts[QUEUE].kept++;
    return (uint32_t *)(void *)(ring.data + at);
}

static void test_records_are_lent_in_order_and_their_room_returns_when_all_are_released(void)
{
    struct sf_overflow *o = begin();
    struct sf_frame frames[8];

    CHECK(!sf_overflow_waits(o));
    for (uint32_t i = 0; i < 5; i++)
        push(100 + i, 0, 0);
    CHECK(sf_overflow_waits(o));
    CHECK(sf_overflow_take(o, frames, 3) == 3);
    CHECK(frames[0].len == 100 && frames[2].len == 102);
    CHECK(frames[1].data == ring.data + 256 + 8 + sizeof(struct sf_overflow_record));
    CHECK(ring.counts[QUEUE].read == 3 && ring.consumer == 0);
    sf_overflow_release(o);
    sf_overflow_release(o);
    CHECK(ring.consumer == 0);
    CHECK(sf_overflow_take(o, frames, 8) == 2);
    for (int i = 0; i < 3; i++)
        sf_overflow_release(o);
    CHECK(ring.consumer == ring.producer && !sf_overflow_waits(o));
    sf_overflow_release(o); /* one more than was lent, by a caller's mistake */
    CHECK(ring.consumer == ring.producer);
}

static void test_a_record_waits_for_the_frames_that_went_to_the_socket_before(void)
{
    struct sf_overflow *o = begin();
    struct sf_frame frame;

    push(1, 10, 0);
    CHECK(sf_overflow_take(o, &frame, 1) == 0);
    sf_overflow_taken(&o->queues[QUEUE], 9);
    CHECK(sf_overflow_take(o, &frame, 1) == 0);
    sf_overflow_taken(&o->queues[QUEUE], 1);
    CHECK(sf_overflow_take(o, &frame, 1) == 1);
}

static void test_frames_that_never_come_are_not_waited_for_for_ever(void)
{
    struct sf_overflow *o = begin();
    struct sf_frame frame;
    sf_ns start = sf_now();

    push(1, 10, 0);
    while (!sf_overflow_take(o, &frame, 1))
        CHECK(sf_now() < start + SF_SEC);
    CHECK(sf_now() >= start + 2 * SF_MS);
    CHECK(ring.counts[QUEUE].taken == 10); /* so the XDP program sends the next datagram to the socket */
    push(2, 10, 0);
    CHECK(sf_overflow_take(o, &frame, 1) == 1);
}

static void test_patience_begins_anew_when_some_come(void)
{
    struct sf_overflow *o = begin();
    struct sf_frame frame;

    push(1, 10, 0);
    CHECK(sf_overflow_take(o, &frame, 1) == 0);
    o->waits_since -= SF_SEC; /* as if the loop had not polled since */
    sf_overflow_taken(&o->queues[QUEUE], 1);
    CHECK(sf_overflow_take(o, &frame, 1) == 0);
    o->waits_since -= SF_SEC;
    CHECK(sf_overflow_take(o, &frame, 1) == 1);
}

static void test_a_record_that_is_being_written_ends_the_burst_and_a_discarded_one_does_not(void)
{
    struct sf_overflow *o = begin();
    struct sf_frame frames[4];
    uint32_t *busy;

    push(1, 0, BPF_RINGBUF_DISCARD_BIT);
    push(2, 0, 0);
    busy = push(3, 0, BPF_RINGBUF_BUSY_BIT);
    CHECK(sf_overflow_take(o, frames, 4) == 1 && frames[0].len == 2);
    CHECK(sf_overflow_take(o, frames, 4) == 0);
    *busy &= ~BPF_RINGBUF_BUSY_BIT;
    CHECK(sf_overflow_take(o, frames, 4) == 1 && frames[0].len == 3);
}

static void test_positions_wrap(void)
{
    struct sf_overflow *o = begin();
    struct sf_frame frames[4];

    for (uint32_t i = 0; i < 1000; i++) {
        push(i + 1, i + 1, 0);
        CHECK(sf_overflow_take(o, frames, 4) == 0);
        sf_overflow_taken(&o->queues[QUEUE], 1);
        CHECK(sf_overflow_take(o, frames, 4) == 1 && frames[0].len == i + 1);
        sf_overflow_release(o);
        CHECK(ring.consumer == (i + 1) * 256ull);
    }
    CHECK(ring.counts[QUEUE].taken >= 1000 - SF_OVERFLOW_LAG);
}

static void test_without_a_buffer_nothing_waits(void)
{
    struct sf_overflow o;

    sf_overflow_none(&o);
    CHECK(!sf_overflow_is_open(&o) && !sf_overflow_waits(&o) && sf_overflow_lost(&o) == 0);
    CHECK(sf_overflow_begin(&o, 0) == NULL);
    sf_overflow_release(&o);
    sf_overflow_close(&o);
    sf_overflow_abandon(&o);
}

int main(void)
{
    test_records_are_lent_in_order_and_their_room_returns_when_all_are_released();
    test_a_record_waits_for_the_frames_that_went_to_the_socket_before();
    test_frames_that_never_come_are_not_waited_for_for_ever();
    test_patience_begins_anew_when_some_come();
    test_a_record_that_is_being_written_ends_the_burst_and_a_discarded_one_does_not();
    test_positions_wrap();
    test_without_a_buffer_nothing_waits();
    return 0;
}
