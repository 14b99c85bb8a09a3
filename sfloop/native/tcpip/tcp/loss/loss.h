/*
 * Loss recovery: a sender's knowledge of its segments in flight. Which segments these are, when each was sent, which are
 * acknowledged, selectively acknowledged, or lost; how much may be in flight (congestion control); and the resulting timers.
 * Pure: it sends nothing, has no sockets, and gets the time as the argument `now`.
 *
 * RTT and RTO (RFC 6298, on a ns clock; rto.c); the SACK scoreboard and the pipe of RFC 6675 (sack.c); RACK-TLP (RFC 8985;
 * rack.c), which includes limited transmit (RFC 3042); NewReno for peers without SACK (RFC 6582; dupack.c); PRR in recovery (RFC
 * 6937) and undoing spurious recoveries by F-RTO (RFC 5682), Eifel with timestamps (RFC 3522) and DSACK (RFC 3708) (recovery.c);
 * congestion control by table (congestion.h): CUBIC (RFC 9438), NewReno (RFC 5681).
 *
 * The connection calls, in this order: sf_tcp_loss_ack() for each acceptable ACK; then, while there is room, sf_tcp_loss_next()
 * for a retransmission, else new data within sf_tcp_loss_room() and the peer's window; sf_tcp_loss_sent() for each segment that
 * leaves. At sf_tcp_loss_deadline() it calls sf_tcp_loss_timeout().
 *
 * A peer's claims are trusted only within limits: an ACK covers sent data, SACK ranges lie within it, a DSACK below. A peer that
 * acknowledges data it has not received grows the window by the bytes in flight and no faster. A peer that invents DSACKs restores
 * a window that we had before. The cost of an ACK does not depend on the amount in flight, except for a binary search for each SACK
 * range.
 */
#ifndef SF_TCPIP_TCP_LOSS_LOSS_H
#define SF_TCPIP_TCP_LOSS_LOSS_H

#include "wire/tcp.h"

#include <stdbool.h>

struct sf_tcp_cc_ops; /* congestion.h: cubic, newreno */

/* A transmitted segment (scoreboard.h), in a ring ordered by sequence number. A FIN counts one. */
struct sf_tcp_sent;

struct sf_tcp_rtt {
    sf_ns smoothed, variance, latest; /* 0: none yet */
    sf_ns min;                        /* of the last 10 to 20 s; 0: none yet */
    sf_ns next_min, min_until;        /* of the current 10 s, and their end */
    sf_ns rto;                        /* without the backoff */
    sf_ns min_rto;
    uint8_t backoff; /* times that the timer has doubled */
    uint32_t patience; /* ms of a series of timeouts after which the timer fires despite the backoff; 0: no limit */
};

struct sf_tcp_cc {
    const struct sf_tcp_cc_ops *ops;
    uint32_t cwnd, ssthresh; /* bytes */
    uint32_t credit;         /* acknowledged bytes for which the window has not grown yet */
    bool hystart;            /* in the first slow start, which ends on delay (HyStart++, RFC 9406) */
    uint8_t css_rounds;      /* of conservative slow start; 0: not in it */
    uint16_t round_samples;
    sf_ns round_min_rtt, last_round_min_rtt, css_baseline;
    /* Only for CUBIC. Windows are in bytes. */
    sf_ns epoch_start; /* 0: it begins with the next ACK */
    double w_est;
    float w_max, cwnd_prior, k, fraction; /* k in seconds */
};

/* State needed only while data is in flight, allocated and freed with the ring. */
struct sf_tcp_past {
    struct sf_tcp_range last_sack[SF_TCP_SACK_MAX]; /* ranges already processed */
    /* The state before a loss that may prove spurious. */
    struct sf_tcp_cc cc;
    uint32_t una, retransmits; /* retransmissions without a DSACK so far */
    uint32_t prr_delivered, prr_out, prr_flight; /* of the current recovery (RFC 6937) */
    sf_ns at;                  /* of the first retransmission; 0: none yet */
};

enum sf_tcp_recovery { SF_TCP_OPEN, SF_TCP_RECOVERY, SF_TCP_LOSS };
enum sf_tcp_loss_timer { SF_TCP_TIMER_NONE, SF_TCP_TIMER_RTO, SF_TCP_TIMER_TLP, SF_TCP_TIMER_RACK };

struct sf_tcp_loss {
    uint32_t una, nxt; /* SND.UNA, SND.NXT */
    uint32_t mss;      /* payload of a full segment, without options */
    bool sack;         /* negotiated */
    bool timestamps;
    uint8_t state; /* enum sf_tcp_recovery */
    uint8_t timer; /* enum sf_tcp_loss_timer */

    struct sf_tcp_sent *ring; /* NULL: nothing sent yet, or freed by sf_tcp_loss_trim() */
    struct sf_tcp_past *past; /* NULL: likewise */
    uint32_t ring_head, ring_count, ring_size;
    uint32_t oldest, newest; /* segments in flight by the time they were last sent: slots of the ring, or SF_TCP_SENT_NONE */
    /* Totals of the ring. Without SACK, sacked_bytes are those announced by duplicate ACKs. */
    uint32_t sacked_bytes, lost_bytes, retransmitted_bytes, sacked_segments;
    uint32_t resend; /* no segment before it is lost and not yet resent */

    uint32_t recover; /* SND.NXT when the recovery began */
    bool recovered;   /* the recovery ended and una is still `recover`: duplicate ACKs begin no other one (RFC 6582, 3.2) */
    bool tlp_out, tlp_is_retransmit;
    bool rack_reordering;
    uint8_t rack_window_multiplier, rack_persist;
    bool rack_dsack_round_open;
    bool undo_possible, frto;
    uint8_t n_last_sack;
    /* RACK */
    sf_ns rack_sent_at, rack_rtt;
    sf_ns rack_at; /* when the next segment in flight counts as lost if no ACK arrives; 0: never */
    uint32_t rack_end, rack_fack, rack_dsack_round;
    uint32_t tlp_end;

    struct sf_tcp_rtt rtt;
    struct sf_tcp_cc cc;
    uint32_t round_end;  /* a round trip ends when this is acknowledged */
    uint32_t flight_max, last_flight_max; /* of this round and the last: tells whether the window limited us */
    uint32_t duplicate_acks;

    sf_ns timer_at;
    sf_ns rto_at;
    sf_ns last_sent;
    sf_ns first_timeout; /* start of the current series of timeouts or window probes; 0: none */

    uint64_t delivered; /* bytes */
    uint32_t n_retransmits, n_timeouts, n_recoveries, n_probes, n_duplicate_acks, n_undone;
};

struct sf_tcp_ack {
    uint32_t ack;
    uint8_t n_sack;
    bool has_ts;
    bool may_be_duplicate; /* no data, no SYN or FIN, and an unchanged window (RFC 5681, 2) */
    uint32_t ts_ecr;
    uint32_t ts_now; /* our timestamp clock, in units of SF_TCP_TS_TICK */
    const struct sf_tcp_range *sack;
};

#define SF_TCP_TS_TICK SF_MS

/* `congestion` NULL or unknown: cubic. The initial window is RFC 6928's. `iss` is the first sequence number to be sent. */
void sf_tcp_loss_init(struct sf_tcp_loss *, uint32_t iss, uint32_t mss, const char *congestion, sf_ns min_rto);
void sf_tcp_loss_free(struct sf_tcp_loss *);
/* Changes the congestion control, by the same names. The window stays. */
void sf_tcp_loss_set_congestion(struct sf_tcp_loss *, const char *congestion);
/* Call this after the handshake, or when the path MTU has changed. Segments in flight that are now too long count as lost, but
 * not as congestion. sf_tcp_loss_next() may then have segments to resend. */
void sf_tcp_loss_set_mss(struct sf_tcp_loss *, uint32_t mss);
/* Frees the ring's memory if nothing is in flight. The next segment allocates it again. */
void sf_tcp_loss_trim(struct sf_tcp_loss *);

/* Notes that [seq, seq + len) is sent, for the first time (seq is nxt, which advances) or again. Call this before sending,
 * because it may need memory for one entry. On -ENOMEM do not send. sf_tcp_loss_unsent() undoes the last new one. */
int sf_tcp_loss_sent(struct sf_tcp_loss *, uint32_t seq, uint32_t len, sf_ns now);
void sf_tcp_loss_unsent(struct sf_tcp_loss *, uint32_t seq, uint32_t len);

enum sf_tcp_acked {
    SF_TCP_ACKED_NEW = 1,  /* una has advanced */
    SF_TCP_ACKED_SACK = 2, /* a SACK range has reported new data */
    SF_TCP_ACKED_LOST = 4, /* there is data to resend: call sf_tcp_loss_next() */
};

/* The caller has checked that una <= ack <= nxt. This function checks the SACK ranges, which cannot be trusted. Returns enum
 * sf_tcp_acked bits. */
uint32_t sf_tcp_loss_ack(struct sf_tcp_loss *, const struct sf_tcp_ack *, sf_ns now);

/* Bytes that the congestion window permits to send now; 0 if less than a segment. The peer's window also limits new data. It
 * does not limit retransmissions of the first segment after a timeout. */
uint32_t sf_tcp_loss_room(const struct sf_tcp_loss *);
/* Returns the first lost segment to resend; false: none. The caller sends it, or as much of its beginning as fits into a segment,
 * and calls sf_tcp_loss_sent(). */
bool sf_tcp_loss_next(struct sf_tcp_loss *, uint32_t *seq, uint32_t *len);
static inline uint32_t sf_tcp_loss_in_flight(const struct sf_tcp_loss *l) /* the pipe of RFC 6675, in bytes */
{
    return l->nxt - l->una - l->sacked_bytes - l->lost_bytes + l->retransmitted_bytes;
}

/* The timer's time; SF_NEVER if nothing is in flight. The timer may fire a little early and never has to be cancelled. */
static inline sf_ns sf_tcp_loss_deadline(const struct sf_tcp_loss *l)
{
    return l->timer ? l->timer_at : SF_NEVER;
}

enum sf_tcp_timeout {
    SF_TCP_TIMEOUT_NONE,  /* the timer was not due, or nothing was lost */
    SF_TCP_TIMEOUT_LOST,  /* data is lost: call sf_tcp_loss_next() */
    SF_TCP_TIMEOUT_PROBE, /* TLP: send a new segment if possible, else [*seq, *seq + *len) again, despite cwnd */
};
/* `has_new`: there is unsent data that fits the peer's window. */
enum sf_tcp_timeout sf_tcp_loss_timeout(struct sf_tcp_loss *, sf_ns now, bool has_new, uint32_t *seq, uint32_t *len);

/* Reduces the window after an idle time longer than an RTO: by half for each RTO, down to the restart window (RFC 5681, 4.1;
 * RFC 2861). Call this before sending new data when nothing is in flight. */
void sf_tcp_loss_idle(struct sf_tcp_loss *, sf_ns now);
/* Takes an RTT sample measured elsewhere: the handshake's. */
void sf_tcp_loss_rtt_sample(struct sf_tcp_loss *, sf_ns rtt);
/* Changes the patience (ms). */
void sf_tcp_loss_be_patient(struct sf_tcp_loss *, uint32_t ms, sf_ns now);
/* The past of a connection, as far as the TCP that goes on with it knows it. */
struct sf_tcp_resumed {
    uint32_t nxt;            /* [una, nxt) is under way, for an unknown time */
    uint32_t delivered;      /* at most this many bytes before una belong to the connection */
    sf_ns rtt, rtt_var;      /* 0: not known */
    uint32_t cwnd, ssthresh; /* bytes; 0: not known */
};

/* Goes on with a connection that another TCP has begun (resume.c). Call this after sf_tcp_loss_init(), with its `una`, and once the
 * segment size is set. Bytes under way give no RTT sample. -ENOMEM: no memory, or too many segments. */
int sf_tcp_loss_resume(struct sf_tcp_loss *, const struct sf_tcp_resumed *, sf_ns now);
/* Notes that the SYN was lost `times` times and nothing else has been sent. */
void sf_tcp_loss_syn(struct sf_tcp_loss *, uint8_t times);

#endif
