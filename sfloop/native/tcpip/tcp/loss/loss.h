/*
 * What a sender knows of what is under way: which segments, when each was sent, which have been acknowledged or selectively
 * acknowledged, which are lost; how much may be under way (congestion control); and the timers that follow from it. Pure: it
 * sends nothing, has no sockets, and `now` is an argument.
 *
 * RTT and RTO (RFC 6298, on a ns clock; rto.c), the SACK scoreboard and the pipe of RFC 6675 (sack.c), RACK-TLP
 * (RFC 8985; rack.c), which has limited transmit (RFC 3042) in it, NewReno for peers without SACK (RFC 6582;
 * dupack.c), PRR in recovery (RFC 6937) and the undoing of what was spurious: F-RTO (RFC 5682), Eifel by timestamps
 * (RFC 3522), DSACK (RFC 3708) (recovery.c), congestion control by table (congestion.h): CUBIC (RFC 9438), NewReno (RFC 5681).
 *
 * The connection's code calls, in this order: for each acceptable ACK sf_tcp_loss_ack(); then as long as there is room,
 * sf_tcp_loss_next() for what is to be sent again, else new data within sf_tcp_loss_room() and the peer's window; for every
 * segment that left sf_tcp_loss_sent(). At sf_tcp_loss_deadline(), sf_tcp_loss_timeout().
 *
 * What a peer says is believed only where it can be: an ACK covers what was sent, SACK lies in it, a DSACK below. A peer that
 * acknowledges what it has not received makes the window grow by the bytes that were under way and no faster; one that makes
 * up DSACKs gets back a window that we had before. The cost of an ACK does not depend on how much is under way, but for a
 * binary search for each SACK range.
 */
#ifndef SF_TCPIP_TCP_LOSS_LOSS_H
#define SF_TCPIP_TCP_LOSS_LOSS_H

#include "wire/tcp.h"

#include <stdbool.h>

struct sf_tcp_cc_ops; /* congestion.h: cubic, newreno */

/* One transmitted segment (scoreboard.h), in a ring in order of sequence. A FIN counts one. */
struct sf_tcp_sent;

struct sf_tcp_rtt {
    sf_ns smoothed, variance, latest; /* 0: none yet */
    sf_ns min;                        /* of the last 10 to 20 s; 0: none yet */
    sf_ns next_min, min_until;        /* of the present ones of these seconds, and their end */
    sf_ns rto;                        /* without the backoff */
    sf_ns min_rto;
    uint8_t backoff; /* the timer has doubled so often */
    uint32_t patience; /* ms, of a series of timeouts: then the timer fires, whatever the backoff. 0: there is no end */
};

struct sf_tcp_cc {
    const struct sf_tcp_cc_ops *ops;
    uint32_t cwnd, ssthresh; /* bytes */
    uint32_t credit;         /* bytes acknowledged for which the window has not grown yet */
    bool hystart;            /* the first slow start, to be left by delay (HyStart++, RFC 9406) */
    uint8_t css_rounds;      /* of conservative slow start; 0: not in it */
    uint16_t round_samples;
    sf_ns round_min_rtt, last_round_min_rtt, css_baseline;
    /* cubic's; windows in bytes */
    sf_ns epoch_start; /* 0: it begins with the next ACK */
    double w_est;
    float w_max, cwnd_prior, k, fraction; /* k in seconds */
};

/* What is needed only while something is under way: allocated and given back with the ring. */
struct sf_tcp_past {
    struct sf_tcp_range last_sack[SF_TCP_SACK_MAX]; /* what has been taken in already */
    /* What it was before a loss that may have been none. */
    struct sf_tcp_cc cc;
    uint32_t una, retransmits; /* retransmissions whose DSACK has not come */
    uint32_t prr_delivered, prr_out, prr_flight; /* of the present recovery (RFC 6937) */
    sf_ns at;                  /* of the first retransmission; 0: none yet */
};

enum sf_tcp_recovery { SF_TCP_OPEN, SF_TCP_RECOVERY, SF_TCP_LOSS };
enum sf_tcp_loss_timer { SF_TCP_TIMER_NONE, SF_TCP_TIMER_RTO, SF_TCP_TIMER_TLP, SF_TCP_TIMER_RACK };

struct sf_tcp_loss {
    uint32_t una, nxt; /* SND.UNA, SND.NXT */
    uint32_t mss;      /* payload of a full segment, what options take left out */
    bool sack;         /* agreed upon */
    bool timestamps;
    uint8_t state; /* enum sf_tcp_recovery */
    uint8_t timer; /* enum sf_tcp_loss_timer */

    struct sf_tcp_sent *ring; /* NULL: nothing has been sent, or sf_tcp_loss_trim() */
    struct sf_tcp_past *past; /* NULL: likewise */
    uint32_t ring_head, ring_count, ring_size;
    uint32_t oldest, newest; /* of what is under way, by when it was sent last: slots of the ring, or SF_TCP_SENT_NONE */
    /* Of what is in the ring. Without SACK, sacked_bytes is what duplicate ACKs stand for. */
    uint32_t sacked_bytes, lost_bytes, retransmitted_bytes, sacked_segments;
    uint32_t resend; /* nothing before it is lost and yet to be sent again */

    uint32_t recover; /* SND.NXT when the recovery began */
    bool recovered;   /* it has ended, with una just there (RFC 6582, 3.2) */
    bool tlp_out, tlp_is_retransmit;
    bool rack_reordering;
    uint8_t rack_window_multiplier, rack_persist;
    bool rack_dsack_round_open;
    bool undo_possible, frto;
    uint8_t n_last_sack;
    /* RACK */
    sf_ns rack_sent_at, rack_rtt;
    sf_ns rack_at; /* when something under way will be lost if nothing arrives; 0: never */
    uint32_t rack_end, rack_fack, rack_dsack_round;
    uint32_t tlp_end;

    struct sf_tcp_rtt rtt;
    struct sf_tcp_cc cc;
    uint32_t round_end;  /* a round trip ends when this is acknowledged */
    uint32_t flight_max, last_flight_max; /* in this round and the last: whether the window was what limited us */
    uint32_t duplicate_acks;

    sf_ns timer_at;
    sf_ns rto_at;
    sf_ns last_sent;
    sf_ns first_timeout; /* when the present series of timeouts, or of window probes, began; 0: none */

    uint64_t delivered; /* bytes */
    uint32_t n_retransmits, n_timeouts, n_recoveries, n_probes, n_duplicate_acks, n_undone;
};

struct sf_tcp_ack {
    uint32_t ack;
    uint8_t n_sack;
    bool has_ts;
    bool may_be_duplicate; /* no data, no SYN or FIN, the window is what it was (RFC 5681, 2) */
    uint32_t ts_ecr;
    uint32_t ts_now; /* our own timestamp clock, of SF_TCP_TS_TICK */
    const struct sf_tcp_range *sack;
};

#define SF_TCP_TS_TICK SF_MS

/* `congestion` NULL: cubic, as is a name that is not known. The initial window is RFC 6928's. The first sequence number to be
 * sent is iss. */
void sf_tcp_loss_init(struct sf_tcp_loss *, uint32_t iss, uint32_t mss, const char *congestion, sf_ns min_rto);
void sf_tcp_loss_free(struct sf_tcp_loss *);
/* Another congestion control from now on, by the same names; the window stays what it is. */
void sf_tcp_loss_set_congestion(struct sf_tcp_loss *, const char *congestion);
/* After the handshake, or when the path's MTU has changed. What is under way and has become too long is lost then, though
 * not for congestion: there may be something in sf_tcp_loss_next(). */
void sf_tcp_loss_set_mss(struct sf_tcp_loss *, uint32_t mss);
/* Gives the ring's memory back if nothing is under way. It comes again with the next segment. */
void sf_tcp_loss_trim(struct sf_tcp_loss *);

/* [seq, seq + len) has left, for the first time (seq is nxt, which moves on) or again. -ENOMEM: it must not be sent. So call it
 * before: room for one more entry is what it needs; sf_tcp_loss_unsent() takes the last new one back. */
int sf_tcp_loss_sent(struct sf_tcp_loss *, uint32_t seq, uint32_t len, sf_ns now);
void sf_tcp_loss_unsent(struct sf_tcp_loss *, uint32_t seq, uint32_t len);

enum sf_tcp_acked {
    SF_TCP_ACKED_NEW = 1,  /* una has moved */
    SF_TCP_ACKED_SACK = 2, /* something new was selectively acknowledged */
    SF_TCP_ACKED_LOST = 4, /* something is to be sent again: ask sf_tcp_loss_next() */
};

/* una <= ack <= nxt, which the caller has checked. SACK ranges are not to be trusted and are checked here. */
uint32_t sf_tcp_loss_ack(struct sf_tcp_loss *, const struct sf_tcp_ack *, sf_ns now);

/* Bytes that may leave now, by the congestion window and what is under way; less than a segment counts as none. New data is
 * in addition bounded by the peer's window, retransmissions of the first segment after a timeout never are. */
uint32_t sf_tcp_loss_room(const struct sf_tcp_loss *);
/* What is lost and to be sent again first. The caller sends it, or as much of it from its beginning as fits into a segment,
 * and says so by sf_tcp_loss_sent(). */
bool sf_tcp_loss_next(struct sf_tcp_loss *, uint32_t *seq, uint32_t *len);
static inline uint32_t sf_tcp_loss_in_flight(const struct sf_tcp_loss *l) /* RFC 6675's pipe, in bytes */
{
    return l->nxt - l->una - l->sacked_bytes - l->lost_bytes + l->retransmitted_bytes;
}

/* The timer: SF_NEVER when nothing is under way. It may fire early by a little, never has to be cancelled. */
static inline sf_ns sf_tcp_loss_deadline(const struct sf_tcp_loss *l)
{
    return l->timer ? l->timer_at : SF_NEVER;
}

enum sf_tcp_timeout {
    SF_TCP_TIMEOUT_NONE,  /* it was not due yet, or nothing was lost after all */
    SF_TCP_TIMEOUT_LOST,  /* something is lost: sf_tcp_loss_next() */
    SF_TCP_TIMEOUT_PROBE, /* TLP: send one new segment if there is data and window, else [*seq, *seq + *len) again; whatever the
                           * congestion window says */
};
/* `has_new`: there is unsent data that the peer's window has room for. */
enum sf_tcp_timeout sf_tcp_loss_timeout(struct sf_tcp_loss *, sf_ns now, bool has_new, uint32_t *seq, uint32_t *len);

/* Where the application has sent nothing for longer than an RTO the window decays, by half for each, down to the restart
 * window (RFC 5681, 4.1; RFC 2861). Called before new data is sent when nothing is under way. */
void sf_tcp_loss_idle(struct sf_tcp_loss *, sf_ns now);
/* An RTT that was measured otherwise: the handshake's. */
void sf_tcp_loss_rtt_sample(struct sf_tcp_loss *, sf_ns rtt);
/* Another patience, from now on. */
void sf_tcp_loss_be_patient(struct sf_tcp_loss *, uint32_t ms, sf_ns now);
/* The SYN was lost so often, and nothing has been sent since. */
void sf_tcp_loss_syn(struct sf_tcp_loss *, uint8_t times);

#endif
