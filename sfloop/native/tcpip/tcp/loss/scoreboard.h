/*
 * The segments under way, and what has become of each: the scoreboard of RFC 6675. A ring in order of sequence, without
 * gaps, and through those of it that are under way a list in order of when they were last sent, which is what RACK looks at.
 */
#ifndef SF_TCPIP_TCP_LOSS_SCOREBOARD_H
#define SF_TCPIP_TCP_LOSS_SCOREBOARD_H

#include "loss.h"

enum {
    SF_TCP_SENT_NONE = UINT32_MAX,
    SF_TCP_SENT_MAX = 1 << 15, /* so many segments at once, and no more */
};

enum sf_tcp_sent_flags {
    SF_TCP_SENT_SACKED = 1,
    SF_TCP_SENT_LOST = 2,  /* stays when it is sent again */
    SF_TCP_SENT_AGAIN = 4, /* ... which is under way */
    SF_TCP_SENT_TWICE = 8, /* has been sent more than once: nobody knows which one an ACK is for (Karn) */
};

struct sf_tcp_sent {
    sf_ns sent_at; /* last */
    uint32_t seq, len;
    uint32_t older, newer; /* slots, while it is under way */
    uint32_t run;          /* SACKED: so many from this one on are too, at least */
    uint8_t flags;
};

static inline uint32_t sf_tcp_sent_slot(const struct sf_tcp_loss *l, uint32_t i)
{
    return (l->ring_head + i) & (l->ring_size - 1);
}

/* The i-th in order of sequence. */
static inline struct sf_tcp_sent *sf_tcp_sent_at(const struct sf_tcp_loss *l, uint32_t i)
{
    return &l->ring[sf_tcp_sent_slot(l, i)];
}

static inline bool sf_tcp_sent_is_under_way(const struct sf_tcp_sent *s)
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

/* Room for one more. -ENOMEM: there is none, or there are SF_TCP_SENT_MAX. */
int sf_tcp_sent_reserve(struct sf_tcp_loss *);
/* The index of the one that `seq` is in, which is sent and not acknowledged. */
uint32_t sf_tcp_sent_find(const struct sf_tcp_loss *, uint32_t seq);
/* Makes two of it: `len` bytes, and the rest. It is not SACKED. -ENOMEM. */
int sf_tcp_sent_split(struct sf_tcp_loss *, uint32_t i, uint32_t len);
/* From i on, the index of the first that is not SACKED; ring_count if there is none. */
uint32_t sf_tcp_sent_skip_sacked(struct sf_tcp_loss *, uint32_t i);
/* One under way is lost. */
void sf_tcp_sent_mark_lost(struct sf_tcp_loss *, struct sf_tcp_sent *);
/* Whatever is lost is not, whether it has been sent again or not. */
void sf_tcp_sent_unmark_lost(struct sf_tcp_loss *);
/* The peer has taken back what it had selectively acknowledged (RFC 2018, 8). */
void sf_tcp_sent_forget_sack(struct sf_tcp_loss *);

/* What an ACK brought. */
struct sf_tcp_delivered {
    const struct sf_tcp_ack *ack;
    uint32_t bytes, segments;
    sf_ns oldest_sent_at; /* of those sent once; 0: there are none */
    bool was_lost;        /* one that was thought lost has arrived without having been sent again */
    bool dsack;
    uint32_t dsack_left, dsack_right;
};

/* The ACK echoes a timestamp from before `at`: it is for what was sent earlier (RFC 3522; RFC 8985, 6.2, step 2). What ours
 * was then is not kept, but how old it is; a tick is left for rounding. */
static inline bool sf_tcp_echoes_before(const struct sf_tcp_ack *a, sf_ns at, sf_ns now)
{
    uint32_t then = a->ts_now - (uint32_t)((now - at) / SF_TCP_TS_TICK);

    return a->has_ts && now - at < SF_TCP_TS_TICK * (INT32_MAX / 2) && (int32_t)(a->ts_ecr - then) < -1;
}

/* It has arrived, and is not SACKED yet: leaves the counters and the list. */
void sf_tcp_sent_arrived(struct sf_tcp_loss *, struct sf_tcp_sent *, struct sf_tcp_delivered *, sf_ns now);
/* Everything before `ack`, which may be within a segment. */
void sf_tcp_sent_acknowledge(struct sf_tcp_loss *, uint32_t ack, struct sf_tcp_delivered *, sf_ns now);

#endif
