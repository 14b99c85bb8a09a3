/* The ring of segments in flight. */
#include "scoreboard.h"

#include "rack.h"

#include <errno.h>
#include <stdlib.h>

enum { FIRST_SIZE = 8 };

/* The position of the old ring's `slot` in a new one that begins with the head. */
static uint32_t moved(const struct sf_tcp_loss *l, uint32_t slot)
{
    return slot == SF_TCP_SENT_NONE ? slot : (slot - l->ring_head) & (l->ring_size - 1);
}

int sf_tcp_sent_reserve(struct sf_tcp_loss *l)
{
    uint32_t size = l->ring_size ? l->ring_size * 2 : FIRST_SIZE;
    struct sf_tcp_sent *ring;

    if (SF_LIKELY(l->ring_count < l->ring_size))
        return 0;
    if (size > SF_TCP_SENT_MAX)
        return -ENOMEM;
    if (!l->past)
        l->past = calloc(1, sizeof *l->past);
    if (!l->past)
        return -ENOMEM;
    ring = malloc(size * sizeof *ring);
    if (!ring)
        return -ENOMEM;
    for (uint32_t i = 0; i < l->ring_count; i++) {
        ring[i] = *sf_tcp_sent_at(l, i);
        ring[i].older = moved(l, ring[i].older);
        ring[i].newer = moved(l, ring[i].newer);
    }
    l->oldest = moved(l, l->oldest);
    l->newest = moved(l, l->newest);
    free(l->ring);
    l->ring = ring;
    l->ring_size = size;
    l->ring_head = 0;
    return 0;
}

uint32_t sf_tcp_sent_find(const struct sf_tcp_loss *l, uint32_t seq)
{
    uint32_t low = 0, high = l->ring_count, offset = seq - l->una;

    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (sf_tcp_sent_at(l, middle)->seq - l->una <= offset)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Moves an entry to another slot and updates its neighbours in the list. */
static void relocate(struct sf_tcp_loss *l, uint32_t from, uint32_t to)
{
    struct sf_tcp_sent *s = &l->ring[to];

    *s = l->ring[from];
    if (!sf_tcp_sent_is_in_flight(s))
        return;
    if (s->older == SF_TCP_SENT_NONE)
        l->oldest = to;
    else
        l->ring[s->older].newer = to;
    if (s->newer == SF_TCP_SENT_NONE)
        l->newest = to;
    else
        l->ring[s->newer].older = to;
}

/* Makes a free slot after the i-th: moves the entries before or after it by one, whichever are fewer, because lost segments
 * are usually near the beginning. No run of SACKED entries spans it. */
static void make_room_behind(struct sf_tcp_loss *l, uint32_t i)
{
    if (i < l->ring_count / 2) {
        l->ring_head = (l->ring_head - 1) & (l->ring_size - 1);
        for (uint32_t j = 0; j <= i; j++)
            relocate(l, sf_tcp_sent_slot(l, j + 1), sf_tcp_sent_slot(l, j));
    } else {
        for (uint32_t j = l->ring_count; j > i + 1; j--)
            relocate(l, sf_tcp_sent_slot(l, j - 1), sf_tcp_sent_slot(l, j));
    }
    l->ring_count++;
}

int sf_tcp_sent_split(struct sf_tcp_loss *l, uint32_t i, uint32_t len)
{
    uint32_t first_slot, rest_slot;
    struct sf_tcp_sent *first, *rest;

    if (sf_tcp_sent_reserve(l) < 0)
        return -ENOMEM;
    make_room_behind(l, i);
    first_slot = sf_tcp_sent_slot(l, i);
    rest_slot = sf_tcp_sent_slot(l, i + 1);
    first = &l->ring[first_slot];
    rest = &l->ring[rest_slot];
    *rest = *first;
    rest->seq += len;
    rest->len -= len;
    first->len = len;
    if (sf_tcp_sent_is_in_flight(first)) { /* puts the rest after the first in the list */
        rest->older = first_slot;
        if (first->newer == SF_TCP_SENT_NONE)
            l->newest = rest_slot;
        else
            l->ring[first->newer].older = rest_slot;
        first->newer = rest_slot;
    }
    return 0;
}

uint32_t sf_tcp_sent_skip_sacked(struct sf_tcp_loss *l, uint32_t i)
{
    uint32_t end = i;

    while (end < l->ring_count && sf_tcp_sent_at(l, end)->flags & SF_TCP_SENT_SACKED)
        end += sf_tcp_sent_at(l, end)->run;
    while (i < end) { /* shortens the way of the next caller to one step */
        struct sf_tcp_sent *s = sf_tcp_sent_at(l, i);
        uint32_t run = s->run;

        s->run = end - i;
        i += run;
    }
    return end;
}

void sf_tcp_sent_mark_lost(struct sf_tcp_loss *l, struct sf_tcp_sent *s)
{
    sf_tcp_sent_unlink(l, s);
    if (l->lost_bytes == l->retransmitted_bytes || sf_seq_lt(s->seq, l->resend))
        l->resend = s->seq;
    if (s->flags & SF_TCP_SENT_AGAIN) {
        s->flags &= (uint8_t)~SF_TCP_SENT_AGAIN;
        l->retransmitted_bytes -= s->len;
    } else {
        s->flags |= SF_TCP_SENT_LOST;
        l->lost_bytes += s->len;
    }
}

/* Inserts into the list by send time, searching from `cursor`. Returns its slot. */
static uint32_t link_by_time(struct sf_tcp_loss *l, uint32_t slot, uint32_t cursor)
{
    struct sf_tcp_sent *s = &l->ring[slot];

    if (cursor == SF_TCP_SENT_NONE || l->ring[cursor].sent_at > s->sent_at)
        cursor = l->oldest;
    while (cursor != SF_TCP_SENT_NONE && l->ring[cursor].sent_at <= s->sent_at)
        cursor = l->ring[cursor].newer;
    if (cursor == SF_TCP_SENT_NONE) {
        sf_tcp_sent_link(l, slot);
        return slot;
    }
    s->newer = cursor;
    s->older = l->ring[cursor].older;
    l->ring[cursor].older = slot;
    if (s->older == SF_TCP_SENT_NONE)
        l->oldest = slot;
    else
        l->ring[s->older].newer = slot;
    return slot;
}

void sf_tcp_sent_unmark_lost(struct sf_tcp_loss *l)
{
    uint32_t cursor = SF_TCP_SENT_NONE;

    for (uint32_t i = 0; i < l->ring_count && l->lost_bytes; i++) {
        struct sf_tcp_sent *s = sf_tcp_sent_at(l, i);

        if (!(s->flags & SF_TCP_SENT_LOST))
            continue;
        l->lost_bytes -= s->len;
        if (s->flags & SF_TCP_SENT_AGAIN)
            l->retransmitted_bytes -= s->len;
        else
            cursor = link_by_time(l, sf_tcp_sent_slot(l, i), cursor);
        s->flags &= (uint8_t)~(SF_TCP_SENT_LOST | SF_TCP_SENT_AGAIN);
    }
}

void sf_tcp_sent_forget_sack(struct sf_tcp_loss *l)
{
    uint32_t cursor = SF_TCP_SENT_NONE;

    for (uint32_t i = 0; i < l->ring_count; i++) {
        struct sf_tcp_sent *s = sf_tcp_sent_at(l, i);

        if (!(s->flags & SF_TCP_SENT_SACKED))
            continue;
        s->flags &= (uint8_t)~SF_TCP_SENT_SACKED;
        cursor = link_by_time(l, sf_tcp_sent_slot(l, i), cursor);
    }
    l->sacked_bytes = 0;
    l->sacked_segments = 0;
    l->n_last_sack = 0;
}

void sf_tcp_sent_arrived(struct sf_tcp_loss *l, struct sf_tcp_sent *s, struct sf_tcp_delivered *d, sf_ns now)
{
    if (sf_tcp_sent_is_in_flight(s))
        sf_tcp_sent_unlink(l, s);
    if (SF_UNLIKELY(s->flags & SF_TCP_SENT_LOST)) {
        l->lost_bytes -= s->len;
        if (s->flags & SF_TCP_SENT_AGAIN)
            l->retransmitted_bytes -= s->len;
        else
            d->was_lost |= !(s->flags & SF_TCP_SENT_TWICE);
    }
    if (SF_LIKELY(!(s->flags & SF_TCP_SENT_TWICE)) && (!d->oldest_sent_at || s->sent_at < d->oldest_sent_at))
        d->oldest_sent_at = s->sent_at;
    d->bytes += s->len;
    d->segments++;
    sf_tcp_rack_delivered(l, s, d->ack, now);
}

/* Acknowledges the first segment up to `ack`. */
static void acknowledge_part(struct sf_tcp_loss *l, struct sf_tcp_sent *s, uint32_t ack, struct sf_tcp_delivered *d)
{
    uint32_t len = ack - s->seq;

    s->seq = ack;
    s->len -= len;
    if (s->flags & SF_TCP_SENT_SACKED) {
        l->sacked_bytes -= len;
        return;
    }
    if (s->flags & SF_TCP_SENT_LOST)
        l->lost_bytes -= len;
    if (s->flags & SF_TCP_SENT_AGAIN)
        l->retransmitted_bytes -= len;
    d->bytes += len;
}

void sf_tcp_sent_acknowledge(struct sf_tcp_loss *l, uint32_t ack, struct sf_tcp_delivered *d, sf_ns now)
{
    while (l->ring_count) {
        struct sf_tcp_sent *s = sf_tcp_sent_at(l, 0);

        if (SF_UNLIKELY(sf_seq_lt(ack, s->seq + s->len))) {
            if (s->seq != ack)
                acknowledge_part(l, s, ack, d);
            break;
        }
        if (SF_UNLIKELY(s->flags & SF_TCP_SENT_SACKED)) {
            l->sacked_bytes -= s->len;
            l->sacked_segments--;
        } else {
            sf_tcp_sent_arrived(l, s, d, now);
        }
        l->ring_head = (l->ring_head + 1) & (l->ring_size - 1);
        l->ring_count--;
    }
    l->una = ack;
}
