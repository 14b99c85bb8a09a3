#define _GNU_SOURCE 1
#include "overflow.h"

#include <time.h>

#define TOKEN_OVERFLOW (UINT64_C(1) << 63) /* in the token of a frame in the buffer */
#define SIZE_MIN 65536u                    /* a multiple of every page size */

void sf_packet_overflow_none(struct sf_packet_overflow *o)
{
    sf_overflow_none(&o->buffer);
    o->counts = NULL;
}

bool sf_packet_overflow_open(struct sf_packet_overflow *o, uint64_t size, uint32_t slots)
{
    size_t power = SIZE_MIN;

    while (power < size)
        power *= 2;
    return sf_overflow_open(&o->buffer, power, slots / 2) == 0;
}

void sf_packet_overflow_close(struct sf_packet_overflow *o)
{
    sf_overflow_close(&o->buffer);
    o->counts = NULL;
}

/* Counts all frames that wait in the ring as sent, because the program may have counted some of them and not others. */
void sf_packet_overflow_count(struct sf_packet_overflow *o, const struct sf_packet_ring *ring, bool on)
{
    o->counts = on ? sf_overflow_begin(&o->buffer, 0) : NULL;
    if (o->counts)
        o->counts->taken -= sf_packet_ring_waiting(ring);
}

/* ---- every turn ---- */

/* Add this to a time of CLOCK_MONOTONIC to have one of CLOCK_REALTIME. */
static sf_ns real_time_offset(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (sf_ns)now.tv_sec * SF_SEC + now.tv_nsec - sf_now();
}

/* Gives the ring and the overflow half of the burst each, because TCP still arrives by the ring. */
int sf_packet_overflow_burst(struct sf_packet_overflow *o, struct sf_packet_ring *ring, struct sf_frame *frames, int n)
{
    int taken = sf_packet_overflow_ring_burst(o, ring, frames, n - n / 2);
    int kept = sf_overflow_take(&o->buffer, frames + taken, n - taken);
    sf_ns offset = real_time_offset();

    for (struct sf_frame *frame = frames + taken; frame < frames + taken + kept; frame++) {
        frame->flags = SF_FRAME_CHECKSUM_UNSURE;
        frame->timestamp += offset;
        frame->token = TOKEN_OVERFLOW;
        ring->bytes += frame->len;
    }
    ring->frames += (uint64_t)kept;
    return taken + kept;
}

void sf_packet_overflow_release(struct sf_packet_overflow *o, struct sf_packet_ring *ring, const struct sf_frame *frames, int n)
{
    for (int i = 0; i < n; i++)
        if (frames[i].token == TOKEN_OVERFLOW)
            sf_overflow_release(&o->buffer);
        else
            sf_packet_ring_release(ring, &frames[i], 1);
}
