/*
 * What a sender knows of what is under way: which segments, when each was sent, which have been acknowledged or selectively
 * acknowledged, which are lost; how much may be under way (congestion control); and the timers that follow from it. Pure: it
 * sends nothing, has no sockets, and `now` is an argument.
 *
 * RTT and RTO (RFC 6298, on a ns clock), SACK scoreboard and the pipe of RFC 6675, RACK-TLP (RFC 8985), limited transmit
 * (RFC 3042), NewReno for peers without SACK (RFC 6582), PRR (RFC 6937 / 9438's advice) in recovery, F-RTO or Eifel by
 * timestamps for spurious timeouts, congestion control by table: CUBIC (RFC 9438) and NewReno (RFC 5681).
 *
 * The connection's code calls, in this order: for each acceptable ACK sf_tcp_loss_ack(); then as long as there is room,
 * sf_tcp_loss_next() for what is to be sent again, else new data within sf_tcp_loss_room() and the peer's window; for every
 * segment that left sf_tcp_loss_sent(). At sf_tcp_loss_deadline(), sf_tcp_loss_timeout().
 */
#ifndef SF_TCPIP_TCP_LOSS_H
#define SF_TCPIP_TCP_LOSS_H

#include "../wire/tcp.h"

#include <stdbool.h>

struct sf_tcp_cc_ops; /* tcp_cc.h: cubic, newreno */

/* One transmitted segment, in a ring in order of sequence. SYN and FIN count one each. The module's own. */
struct sf_tcp_sent;

struct sf_tcp_rtt {
    sf_ns smoothed, variance, min, latest; /* 0: none yet */
    sf_ns rto;
    sf_ns min_rto, max_rto;
    uint8_t backoff;
};

struct sf_tcp_cc {
    const struct sf_tcp_cc_ops *ops;
    uint32_t cwnd, ssthresh; /* bytes */
    /* cubic's */
    sf_ns epoch_start;
    uint32_t w_max, w_last_max, w_est, cwnd_fraction;
    sf_ns k;
    /* slow start's exit by delay (HyStart++, RFC 9406) */
    uint32_t round_end;
    sf_ns round_min_rtt, last_round_min_rtt;
    uint8_t round_samples, css_rounds;
};

struct sf_tcp_loss {
    uint32_t una, nxt; /* SND.UNA, SND.NXT */
    uint32_t mss;
    bool sack; /* agreed upon */
    bool timestamps;

    struct sf_tcp_sent *ring; /* allocated when first needed, given back when nothing is under way for long */
    uint32_t ring_head, ring_count, ring_size;
    uint32_t sacked_bytes, lost_bytes, retransmitted_bytes; /* of what is in the ring: for the pipe */
    uint32_t high_sacked;

    enum sf_tcp_recovery { SF_TCP_OPEN, SF_TCP_RECOVERY, SF_TCP_LOSS } state;
    uint32_t recover; /* SND.NXT when it began */
    uint32_t duplicate_acks;
    /* PRR */
    uint32_t prr_delivered, prr_out, prr_flight;
    /* RACK */
    sf_ns rack_sent_at, rack_rtt, rack_window;
    uint32_t rack_end;
    uint8_t rack_window_multiplier, rack_persist;
    bool rack_reordering;
    uint32_t rack_fack;
    /* TLP */
    uint32_t tlp_end;
    bool tlp_out, tlp_is_retransmit;
    /* undo of a spurious timeout */
    uint32_t undo_cwnd, undo_ssthresh, undo_ts;
    bool undo_possible;

    struct sf_tcp_rtt rtt;
    struct sf_tcp_cc cc;

    enum sf_tcp_loss_timer { SF_TCP_TIMER_NONE, SF_TCP_TIMER_RTO, SF_TCP_TIMER_TLP, SF_TCP_TIMER_RACK } timer;
    sf_ns timer_at;
    sf_ns last_sent;
    sf_ns first_timeout; /* when the present series of timeouts began; 0: none */

    uint64_t delivered; /* bytes */
    bool app_limited;
    uint64_t n_retransmits, n_timeouts, n_recoveries, n_probes, n_duplicate_acks;
};

struct sf_tcp_ack {
    uint32_t ack;
    uint8_t n_sack;
    bool has_ts;
    bool may_be_duplicate; /* no data, no SYN or FIN, the window is what it was (RFC 5681, 2) */
    uint32_t ts_ecr;
    uint32_t ts_now; /* our own timestamp clock, ms or finer: for spurious timeouts only */
    const struct sf_tcp_range *sack;
};

/* `congestion` NULL: cubic. The initial window is RFC 6928's. */
void sf_tcp_loss_init(struct sf_tcp_loss *, uint32_t iss, uint32_t mss, const char *congestion, sf_ns min_rto);
void sf_tcp_loss_free(struct sf_tcp_loss *);
/* After the handshake, or when the path's MTU has changed. */
void sf_tcp_loss_set_mss(struct sf_tcp_loss *, uint32_t mss);

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
bool sf_tcp_loss_next(const struct sf_tcp_loss *, uint32_t *seq, uint32_t *len);
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
    SF_TCP_TIMEOUT_NONE,  /* it was not due yet */
    SF_TCP_TIMEOUT_LOST,  /* something is lost: sf_tcp_loss_next() */
    SF_TCP_TIMEOUT_PROBE, /* TLP: send one new segment if there is data and window, else [*seq, *seq + *len) again */
};
/* `has_new`: there is unsent data that the peer's window has room for. */
enum sf_tcp_timeout sf_tcp_loss_timeout(struct sf_tcp_loss *, sf_ns now, bool has_new, uint32_t *seq, uint32_t *len);

/* Where the application has sent nothing for longer than an RTO the window goes back to the restart window (RFC 5681, 4.1).
 * Called before new data is sent when nothing is under way. */
void sf_tcp_loss_idle(struct sf_tcp_loss *, sf_ns now);
/* An RTT that was measured otherwise: the handshake's. */
void sf_tcp_loss_rtt_sample(struct sf_tcp_loss *, sf_ns rtt);

#endif
