/*
 * A sender's loss recovery, against a simulated path and receiver, with a clock of its own. The path loses, reorders, duplicates
 * and delays packets. There are no frames and no sockets, only sequence numbers. All lengths are multiples of UNIT bytes.
 */
#ifndef SF_TEST_TCP_LOSS_PATH_H
#define SF_TEST_TCP_LOSS_PATH_H

#include "tcp_loss_check.h"

#include <string.h>

enum { UNIT = 100, UNITS_MAX = 1 << 18, PACKETS_MAX = 1 << 14, RECENT = 8 };

struct path_packet {
    sf_ns at;
    uint64_t order; /* packets with the same time arrive in the order in which they were sent */
    bool is_ack;
    uint32_t seq, len, ts; /* of a data segment */
    struct sf_tcp_ack ack; /* of an ACK, as are the SACK blocks */
    struct sf_tcp_range sack[SF_TCP_SACK_MAX];
};

struct path {
    struct sf_tcp_loss loss;
    uint64_t seed;
    sf_ns now, delay, jitter; /* delay and jitter are one-way */
    double lose, lose_ack, duplicate;
    sf_ns outage_from, outage_to; /* packets sent in between are lost */
    sf_ns delay_ack;
    sf_ns per_segment; /* of the bottleneck; 0: no bottleneck */
    sf_ns busy_until;
    uint32_t queue;    /* the most segments that wait at the bottleneck */
    bool sack, timestamps, dsack;
    uint32_t iss, total, peer_window;
    bool check; /* check the invariants in each step */

    struct path_packet packet[PACKETS_MAX]; /* a heap by time */
    uint32_t n_packets;
    /* The receiver. */
    uint32_t rcv_nxt;
    uint8_t received[UNITS_MAX];
    uint32_t recent[RECENT];
    uint32_t n_recent;
    uint32_t unacked, ts_recent;
    sf_ns ack_at;
    uint64_t lost, sent, unneeded, order;
};

static inline double path_chance(struct path *p)
{
    return (double)(next_random(&p->seed) >> 11) / (double)(1ull << 53);
}

static inline bool path_before(const struct path_packet *a, const struct path_packet *b)
{
    return a->at < b->at || (a->at == b->at && a->order < b->order);
}

static inline void path_swap(struct path *p, uint32_t a, uint32_t b)
{
    struct path_packet packet = p->packet[a];

    p->packet[a] = p->packet[b];
    p->packet[b] = packet;
}

static inline void path_push(struct path *p, const struct path_packet *packet)
{
    uint32_t i = p->n_packets++;

    CHECK(i < PACKETS_MAX);
    p->packet[i] = *packet;
    p->packet[i].order = p->order++;
    for (; i && path_before(&p->packet[i], &p->packet[(i - 1) / 2]); i = (i - 1) / 2)
        path_swap(p, i, (i - 1) / 2);
}

static inline struct path_packet path_pop(struct path *p)
{
    struct path_packet first = p->packet[0];

    p->packet[0] = p->packet[--p->n_packets];
    for (uint32_t i = 0, least = 0;; i = least) {
        for (uint32_t child = 2 * i + 1; child <= 2 * i + 2; child++)
            if (child < p->n_packets && path_before(&p->packet[child], &p->packet[least]))
                least = child;
        if (least == i)
            return first;
        path_swap(p, i, least);
    }
}

static inline void path_carry(struct path *p, struct path_packet *packet, double lose)
{
    int copies = 1 + (p->duplicate > 0 && path_chance(p) < p->duplicate);

    for (; copies; copies--) {
        sf_ns ready = p->now;

        if (!packet->is_ack && p->per_segment) {
            sf_ns waits = p->busy_until > p->now ? p->busy_until - p->now : 0;

            if (waits > p->per_segment * p->queue) {
                p->lost++;
                continue;
            }
            ready = p->busy_until = p->now + waits + p->per_segment;
        }
        if (path_chance(p) < lose || (p->now >= p->outage_from && p->now < p->outage_to)) {
            p->lost++;
            continue;
        }
        packet->at = ready + p->delay + (p->jitter ? (sf_ns)(path_chance(p) * (double)p->jitter) : 0);
        path_push(p, packet);
    }
}

/* ---- the receiver ---- */

static inline uint32_t path_unit(const struct path *p, uint32_t seq)
{
    return (seq - p->iss) / UNIT;
}

static inline struct sf_tcp_range path_range_around(const struct path *p, uint32_t seq)
{
    uint32_t left = path_unit(p, seq), right = left;

    while (left > 0 && p->received[left - 1])
        left--;
    while (right < UNITS_MAX && p->received[right])
        right++;
    return (struct sf_tcp_range){p->iss + left * UNIT, p->iss + right * UNIT};
}

static inline void path_send_ack(struct path *p, bool duplicate, struct sf_tcp_range dup)
{
    struct path_packet packet = {.is_ack = true, .ack = {.ack = p->rcv_nxt, .may_be_duplicate = true}};
    uint8_t n = 0, most = p->timestamps ? 3 : 4;

    if (p->sack && duplicate && p->dsack)
        packet.sack[n++] = dup;
    for (uint32_t i = 0; p->sack && i < p->n_recent && n < most; i++) {
        struct sf_tcp_range r;
        bool known = false;

        if (!sf_seq_lt(p->rcv_nxt, p->recent[i]))
            continue;
        r = path_range_around(p, p->recent[i]);
        for (uint8_t j = duplicate; j < n; j++)
            known |= packet.sack[j].left == r.left;
        if (!known)
            packet.sack[n++] = r;
    }
    packet.ack.n_sack = n;
    packet.ack.has_ts = p->timestamps;
    packet.ack.ts_ecr = p->ts_recent;
    p->unacked = 0;
    p->ack_at = SF_NEVER;
    path_carry(p, &packet, p->lose_ack);
}

static inline void path_receive(struct path *p, const struct path_packet *packet)
{
    struct sf_tcp_range whole = {packet->seq, packet->seq + packet->len};
    uint32_t first = path_unit(p, packet->seq), n = packet->len / UNIT, fresh = 0;
    bool in_order = packet->seq == p->rcv_nxt;

    if (sf_seq_le(packet->seq, p->rcv_nxt))
        p->ts_recent = packet->ts;
    for (uint32_t i = first; i < first + n; i++) {
        fresh += !p->received[i];
        p->received[i] = 1;
    }
    if (!fresh)
        p->unneeded++;
    while (p->received[path_unit(p, p->rcv_nxt)])
        p->rcv_nxt += UNIT;
    memmove(p->recent + 1, p->recent, sizeof p->recent - sizeof *p->recent);
    p->recent[0] = packet->seq;
    if (p->n_recent < RECENT)
        p->n_recent++;
    if (in_order && fresh && p->rcv_nxt == whole.right && p->delay_ack && ++p->unacked < 2) {
        p->ack_at = p->now + p->delay_ack;
        return;
    }
    path_send_ack(p, !fresh, whole);
}

/* ---- the sender ---- */

static inline void path_transmit(struct path *p, uint32_t seq, uint32_t len)
{
    struct path_packet packet = {.seq = seq, .len = len, .ts = (uint32_t)(p->now / SF_TCP_TS_TICK)};

    p->sent++;
    path_carry(p, &packet, p->lose);
}

static inline bool path_send_new(struct path *p)
{
    struct sf_tcp_loss *l = &p->loss;
    uint32_t len = p->iss + p->total - l->nxt;

    if (len > l->mss)
        len = l->mss;
    if (!len || l->nxt + len - l->una > p->peer_window)
        return false;
    if (sf_tcp_loss_sent(l, l->nxt, len, p->now) < 0)
        return false;
    path_transmit(p, l->nxt - len, len);
    return true;
}

static inline void path_send_again(struct path *p, uint32_t seq, uint32_t len)
{
    if (len > p->loss.mss)
        len = p->loss.mss;
    if (sf_tcp_loss_sent(&p->loss, seq, len, p->now) == 0)
        path_transmit(p, seq, len);
}

static inline void path_output(struct path *p)
{
    uint32_t seq, len;

    while (sf_tcp_loss_room(&p->loss) && sf_tcp_loss_next(&p->loss, &seq, &len))
        path_send_again(p, seq, len);
    while (sf_tcp_loss_room(&p->loss) && !sf_tcp_loss_next(&p->loss, &seq, &len) && path_send_new(p))
        ;
}

static inline void path_timeout(struct path *p)
{
    uint32_t seq = 0, len = 0;

    if (sf_tcp_loss_timeout(&p->loss, p->now, true, &seq, &len) == SF_TCP_TIMEOUT_PROBE && !path_send_new(p))
        path_send_again(p, seq, len);
}

/* Runs the next event: an arrival, a delayed ACK or a timeout. Returns false if there is none. */
static inline bool path_step(struct path *p)
{
    sf_ns timer = sf_tcp_loss_deadline(&p->loss), packet = p->n_packets ? p->packet[0].at : SF_NEVER;

    if (timer == SF_NEVER && packet == SF_NEVER && p->ack_at == SF_NEVER)
        return false;
    if (packet <= timer && packet <= p->ack_at) {
        struct path_packet arrived = path_pop(p);

        p->now = arrived.at;
        if (!arrived.is_ack) {
            path_receive(p, &arrived);
        } else if (!sf_seq_lt(arrived.ack.ack, p->loss.una)) {
            arrived.ack.sack = arrived.sack;
            arrived.ack.ts_now = (uint32_t)(p->now / SF_TCP_TS_TICK);
            sf_tcp_loss_ack(&p->loss, &arrived.ack, p->now);
        }
    } else if (p->ack_at <= timer) {
        p->now = p->ack_at;
        path_send_ack(p, false, (struct sf_tcp_range){0, 0});
    } else {
        p->now = timer > p->now ? timer : p->now;
        path_timeout(p);
    }
    if (p->check)
        check_loss(&p->loss);
    path_output(p);
    if (p->check)
        check_loss(&p->loss);
    return true;
}

/* Starts the transfer of `total` bytes. The caller has set the properties of the path. */
static inline void path_begin(struct path *p, const char *congestion, uint32_t mss, sf_ns min_rto)
{
    p->now = 1000 * SF_SEC;
    p->rcv_nxt = p->iss;
    p->ack_at = SF_NEVER;
    if (!p->peer_window)
        p->peer_window = UINT32_MAX / 4;
    sf_tcp_loss_init(&p->loss, p->iss, mss, congestion, min_rto);
    p->loss.sack = p->sack;
    p->loss.timestamps = p->timestamps;
    path_output(p);
}

#endif
