/*
 * The scoreboard of RFC 6675: the segments in flight and the state of each. A ring in order of sequence numbers, without gaps.
 * The segments in flight are also in a list ordered by the time they were last sent, for RACK.
 */
#ifndef SF_TCPIP_TCP_LOSS_SCOREBOARD_H
#define SF_TCPIP_TCP_LOSS_SCOREBOARD_H

#include "loss.h"

enum {
    SF_TCP_SENT_NONE = UINT32_MAX,
    SF_TCP_SENT_MAX = 1 << 15, /* most segments in flight */
};

enum sf_tcp_sent_flags {
    SF_TCP_SENT_SACKED = 1,
    SF_TCP_SENT_LOST = 2,  /* stays set after a retransmission */
    SF_TCP_SENT_AGAIN = 4, /* the retransmission is in flight */
    SF_TCP_SENT_TWICE = 8, /* sent more than once, so an ACK may be for any transmission (Karn) */
};

struct sf_tcp_sent {
    sf_ns sent_at; /* the last time */
    uint32_t seq, len;
    uint32_t older, newer; /* slots, while it is in flight */
    uint32_t run;          /* SACKED: at least this many from this one on are SACKED too */
    uint8_t flags;
};

static inline uint32_t sf_tcp_sent_slot(const struct sf_tcp_loss *l, uint32_t i)
{
    return (l->ring_head + i) & (l->ring_size - 1);
}

/* The i-th segment in order of sequence numbers. */
static inline struct sf_tcp_sent *sf_tcp_sent_at(const struct sf_tcp_loss *l, uint32_t i)
{
    return &l->ring[sf_tcp_sent_slot(l, i)];
}

static inline bool sf_tcp_sent_is_in_flight(const struct sf_tcp_sent *s)
{
    return !(s->flags & SF_TCP_SENT_SACKED) &&
           (s->flags & (SF_TCP_SENT_LOST | SF_TCP_SENT_AGAIN)) != SF_TCP_SENT_LOST;
}

static inline bool sf_tcp_sent_is_to_be_resent(const struct sf_tcp_sent *s)
{
    return (s->flags & (SF_TCP_SENT_LOST | SF_TCP_SENT_AGAIN)) == SF_TCP_SENT_LOST;
}

static inline void sf_tcp_sent_link(struct sf_tcp_loss *l, uint32_t slot)
{
    struct sf_tcp_sent *s = &l->ring[slot];

    s->newer = SF_TCP_SENT_NONE;
    s->older = l->newest;
    if (l->newest == SF_TCP_SENT_NONE)
        l->oldest = slot;
    else
        l->ring[l->newest].newer = slot;
    l->newest = slot;
}

static inline void sf_tcp_sent_unlink(struct sf_tcp_loss *l, const struct sf_tcp_sent *s)
{
    if (s->older == SF_TCP_SENT_NONE)
        l->oldest = s->newer;
    else
        l->ring[s->older].newer = s->newer;
    if (s->newer == SF_TCP_SENT_NONE)
        l->newest = s->older;
    else
        l->ring[s->newer].older = s->older;
}

/* Makes room for one more segment. -ENOMEM: no memory, or there are SF_TCP_SENT_MAX. */
int sf_tcp_sent_reserve(struct sf_tcp_loss *);
/* The index of the segment with `seq`, which must be sent and not acknowledged. */
uint32_t sf_tcp_sent_find(const struct sf_tcp_loss *, uint32_t seq);
/* Splits a segment into `len` bytes and the rest. It must not be SACKED. -ENOMEM. */
int sf_tcp_sent_split(struct sf_tcp_loss *, uint32_t i, uint32_t len);
/* The index of the first segment from i on that is not SACKED; ring_count: none. */
uint32_t sf_tcp_sent_skip_sacked(struct sf_tcp_loss *, uint32_t i);
/* Marks a segment in flight as lost. */
void sf_tcp_sent_mark_lost(struct sf_tcp_loss *, struct sf_tcp_sent *);
/* Marks all lost segments as in flight again, including those sent again. */
void sf_tcp_sent_unmark_lost(struct sf_tcp_loss *);
/* Forgets SACKed data, because the peer has discarded it (RFC 2018, 8). */
void sf_tcp_sent_forget_sack(struct sf_tcp_loss *);

/* The effect of an ACK. */
struct sf_tcp_delivered {
    const struct sf_tcp_ack *ack;
    uint32_t bytes, segments;
    sf_ns oldest_sent_at; /* of segments sent once; 0: none */
    bool was_lost;        /* a segment counted as lost has arrived without a retransmission */
    bool dsack;
    uint32_t dsack_left, dsack_right;
};

/* True: the ACK echoes a timestamp from before `at`, so it is for an earlier transmission (RFC 3522; RFC 8985, 6.2, step 2).
 * The timestamp at that time is computed from its age, with a tick for rounding. */
static inline bool sf_tcp_echoes_before(const struct sf_tcp_ack *a, sf_ns at, sf_ns now)
{
    uint32_t then = a->ts_now - (uint32_t)((now - at) / SF_TCP_TS_TICK);

    return a->has_ts && now - at < SF_TCP_TS_TICK * (INT32_MAX / 2) && (int32_t)(a->ts_ecr - then) < -1;
}

/* Removes a segment that has arrived, and is not SACKED yet, from the counters and the list. */
void sf_tcp_sent_arrived(struct sf_tcp_loss *, struct sf_tcp_sent *, struct sf_tcp_delivered *, sf_ns now);
/* Acknowledges everything before `ack`, which may be within a segment. */
void sf_tcp_sent_acknowledge(struct sf_tcp_loss *, uint32_t ack, struct sf_tcp_delivered *, sf_ns now);

#endif
