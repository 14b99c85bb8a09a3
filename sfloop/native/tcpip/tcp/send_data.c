/*
 * Sending. The program's bytes are copied into a ring. They leave at once as far as the windows allow, and stay in the ring until they
 * are acknowledged. The ring grows on demand and is given back when the connection is idle.
 */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <stdlib.h>

#define LEAST_LIMIT (256 * 1024u)   /* The program may write this many bytes even if the congestion window is small. */
#define ORPHAN_PROBE (200 * SF_MS)  /* Least time between probes of an orphan, because it gets few and its reader may be slow. */
#define CORK_PATIENCE (200 * SF_MS) /* tcp(7), TCP_CORK */

/* ---- the ring ---- */

/* Moves the last `held` bytes to a ring of another size. False: there is no memory. */
static bool resize(struct sf_tcp_snd *snd, uint32_t held, uint32_t size)
{
    struct sf_byte_ring ring;

    if (!sf_byte_ring_like(&ring, &snd->ring, size))
        return false;
    sf_byte_ring_copy(&ring, &snd->ring, ring.end - held, held);
    free(snd->ring.bytes);
    snd->ring = ring;
    return true;
}

/* Makes room for `need` bytes, as far as memory allows. */
static void grow(struct sf_tcp_conn *c, uint32_t need)
{
    struct sf_tcp_snd *snd = &c->snd;
    uint32_t size = sf_tcp_memory_grow(c->tcpip, &snd->ring, sf_tcp_ring_size(snd->ring.size, need), SF_TCP_FIRST_RING);
    uint32_t before = snd->ring.size;

    if (size > before && resize(snd, sf_tcp_unacked(&c->snd, &c->loss), size))
        c->tcpip->tcp.memory += size - before;
    if (SF_LIKELY(snd->ring.size >= need))
        return;
    sf_count(c->tcpip, SF_COUNT_TCP_MEMORY_FULL);
    snd->starved = true;
    sf_tcp_starve(c);
}

void sf_tcp_snd_relieved(struct sf_tcp_conn *c)
{
    struct sf_tcp_snd *snd = &c->snd;
    uint32_t size = snd->ring.size;

    if (size && size < c->options.send_buffer && sf_tcp_memory_affords(&c->tcpip->tcp, size, 1) == size) {
        sf_tcp_starve(c);
        return;
    }
    snd->starved = false;
    sf_tcp_conn_update(c);
}

void sf_tcp_snd_free(struct sf_tcp_conn *c)
{
    uint32_t freed = sf_byte_ring_free(&c->snd.ring);

    c->snd.starved = false; /* It may have its first ring again. */
    if (freed)
        sf_tcp_memory_give(c->tcpip, freed);
}

void sf_tcp_snd_trim(struct sf_tcp_conn *c)
{
    uint32_t before = c->snd.ring.size, held = sf_tcp_unacked(&c->snd, &c->loss), size = sf_tcp_ring_size(0, held);

    if (!before || held > before / 4)
        return;
    if (!held) {
        sf_tcp_snd_free(c);
        sf_tcp_conn_update(c);
        return;
    }
    if (size < before && resize(&c->snd, held, size))
        sf_tcp_memory_give(c->tcpip, before - size);
}

/* Returns the most bytes to hold: SO_SNDBUF, but not much more than can be under way, because further bytes would only wait here. */
static uint32_t limit_of(const struct sf_tcp_socket_options *options, uint32_t cwnd)
{
    uint32_t limit = cwnd > LEAST_LIMIT / 2 ? cwnd * 2 : LEAST_LIMIT;

    return limit < options->send_buffer ? limit : options->send_buffer;
}

uint32_t sf_tcp_send_room(const struct sf_tcp_conn *c)
{
    uint32_t held = sf_tcp_unacked(&c->snd, &c->loss), limit = limit_of(&c->options, c->loss.cc.cwnd);

    if (SF_UNLIKELY(c->snd.starved) && limit > c->snd.ring.size)
        limit = c->snd.ring.size;
    return held < limit ? limit - held : 0;
}

/* Copies at most `room` bytes to the ring's end, and returns how many. */
static uint32_t copy_in(struct sf_tcp_snd *snd, const struct iovec *iov, int n, uint32_t room)
{
    uint32_t taken = 0;

    for (int i = 0; i < n && taken < room; i++) {
        uint32_t len = iov[i].iov_len < room - taken ? (uint32_t)iov[i].iov_len : room - taken;

        sf_byte_ring_append(&snd->ring, iov[i].iov_base, len);
        taken += len;
    }
    return taken;
}

static ssize_t may_not_send(struct sf_tcp_conn *c)
{
    int error = c->sock.error;

    if (error) {
        c->sock.error = 0;
        sf_tcp_conn_update(c);
        return error;
    }
    return c->state == SF_TCP_RESOLVING || c->state == SF_TCP_SYN_SENT || c->state == SF_TCP_SYN_RECEIVED ? -EAGAIN : -EPIPE;
}

ssize_t sf_tcp_sendv(struct sf_tcp_conn *c, const struct iovec *iov, int n)
{
    uint64_t total = 0;
    struct sf_tcp_snd *snd = &c->snd;
    uint32_t room, held, taken;

    if (SF_UNLIKELY(c->sock.error || !sf_tcp_may_send(c)))
        return may_not_send(c);
    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    if (SF_UNLIKELY(!total))
        return 0;
    room = sf_tcp_send_room(c);
    if (room > total)
        room = (uint32_t)total;
    held = sf_tcp_unacked(snd, &c->loss);
    if (SF_UNLIKELY(held + room > snd->ring.size)) {
        grow(c, held + room);
        if (room > snd->ring.size - held)
            room = snd->ring.size - held;
    }
    c->snd.blocked = room < total;
    if (SF_UNLIKELY(!room))
        return -EAGAIN;
    taken = copy_in(&c->snd, iov, n, room);
    c->snd.n_bytes += taken;
    if (SF_LIKELY(c->rcv.nxt != c->agreed.irs + 1))
        c->rcv.quick = 0; /* In a conversation, answers carry the ACKs. A request before any received data is no answer. */
    sf_tcp_output(c);
    return taken;
}

/* ---- output ---- */

/* Sends [seq, seq + len) of sequence space, FIN included. */
static int send_range(struct sf_tcp_conn *c, uint32_t seq, uint32_t len)
{
    bool fin = c->snd.fin && seq + len == c->snd.ring.end + 1;
    uint32_t data = len - fin;
    uint8_t flags = fin ? SF_TCP_FIN : 0;

    if (data && seq + data == c->snd.ring.end)
        flags |= SF_TCP_PSH;
    return sf_tcp_transmit(c, seq, data, flags);
}

void sf_tcp_send_again(struct sf_tcp_conn *c, uint32_t seq, uint32_t len)
{
    if (len > c->loss.mss + 1 || (len > c->loss.mss && !(c->snd.fin_sent && seq + len == c->snd.ring.end + 1)))
        len = c->loss.mss;
    if (send_range(c, seq, len) < 0)
        sf_tcp_owe(c, SF_TCP_OWED_OUTPUT);
    else
        sf_tcp_loss_sent(&c->loss, seq, len, c->tcpip->now);
}

bool sf_tcp_may_send_again(const struct sf_tcp_snd *snd, const struct sf_tcp_loss *loss, uint32_t seq)
{
    return seq == loss->una || sf_seq_lt(seq, loss->una + snd->wnd);
}

/* Lost segments go before new ones. */
static int retransmit(struct sf_tcp_conn *c)
{
    uint32_t seq, len;

    while (sf_tcp_loss_next(&c->loss, &seq, &len)) {
        uint32_t most = c->loss.mss + (c->snd.fin_sent && seq + len == c->snd.ring.end + 1);
        int rc;

        if (!sf_tcp_loss_room(&c->loss) || !sf_tcp_may_send_again(&c->snd, &c->loss, seq))
            return 0;
        if (len > most)
            len = c->loss.mss;
        rc = send_range(c, seq, len);
        if (rc < 0)
            return rc;
        if (sf_tcp_loss_sent(&c->loss, seq, len, c->tcpip->now) < 0)
            return 0;
    }
    return 0;
}

/* Sender's silly window avoidance (RFC 9293, 3.8.6.2.1), Nagle's algorithm (3.7.4) if the program has asked for it, and corking. */
static bool is_worth_sending(const struct sf_tcp_conn *c, uint32_t len, uint32_t unsent)
{
    if (len >= c->loss.mss)
        return true;
    if (len == unsent) {
        if (c->snd.fin)
            return true;
        if (!c->options.cork && (c->options.nodelay || c->loss.nxt == c->loss.una))
            return true;
        return false;
    }
    return len >= c->snd.max_wnd / 2;
}

static int send_new_segment(struct sf_tcp_conn *c, uint32_t len, bool fin)
{
    uint32_t seq = c->loss.nxt;
    int rc;

    if (seq == c->loss.una)
        sf_tcp_loss_idle(&c->loss, c->tcpip->now);
    rc = sf_tcp_loss_sent(&c->loss, seq, len + fin, c->tcpip->now);
    if (SF_UNLIKELY(rc < 0))
        return rc;
    rc = send_range(c, seq, len + fin);
    if (SF_UNLIKELY(rc < 0)) {
        sf_tcp_loss_unsent(&c->loss, seq, len + fin);
        return rc;
    }
    c->snd.fin_sent |= fin;
    return 0;
}

/* The next segment of new data: as long as the MSS, the unsent bytes and the peer's window allow, with the FIN if it fits. */
static inline uint32_t next_segment(const struct sf_tcp_snd *snd, const struct sf_tcp_loss *loss, uint32_t unsent, bool *fin)
{
    uint32_t window = sf_tcp_window_left(snd, loss), len = unsent;

    if (len > loss->mss)
        len = loss->mss;
    if (len > window)
        len = window;
    *fin = sf_tcp_has_fin(snd) && len == unsent && window > len;
    return len;
}

static int send_new(struct sf_tcp_conn *c)
{
    for (;;) {
        bool fin;
        uint32_t unsent = sf_tcp_unsent(&c->snd, &c->loss), len = next_segment(&c->snd, &c->loss, unsent, &fin);
        int rc;

        if (!len && !fin)
            return 0;
        if (!is_worth_sending(c, len, unsent) || sf_tcp_loss_room(&c->loss) < len + fin)
            return 0;
        rc = send_new_segment(c, len, fin);
        if (SF_UNLIKELY(rc < 0))
            return rc;
    }
}

bool sf_tcp_send_one(struct sf_tcp_conn *c, bool small)
{
    bool fin;
    uint32_t unsent = sf_tcp_unsent(&c->snd, &c->loss), len = next_segment(&c->snd, &c->loss, unsent, &fin);

    if ((!len && !fin) || (!small && !is_worth_sending(c, len, unsent)))
        return false;
    return send_new_segment(c, len, fin) == 0;
}

/* Data waits for the peer's window or for the program's next bytes, or there is none. */
void sf_tcp_persist_idle(struct sf_tcp_conn *c)
{
    sf_ns wait;

    if (!sf_tcp_unsent(&c->snd, &c->loss) && !sf_tcp_has_fin(&c->snd)) {
        c->timers.probe_at = SF_NEVER;
        return;
    }
    if (c->timers.probe_at != SF_NEVER)
        return;
    wait = c->sock.orphan && c->loss.rtt.rto < ORPHAN_PROBE ? ORPHAN_PROBE : c->loss.rtt.rto;
    wait <<= c->probe.retries < 10 ? c->probe.retries : 10;
    if (wait > 120 * SF_SEC)
        wait = 120 * SF_SEC;
    if (c->options.cork && wait < CORK_PATIENCE)
        wait = CORK_PATIENCE;
    c->timers.probe_at = c->tcpip->now + wait;
    sf_tcp_patience_set(c);
}

void sf_tcp_output(struct sf_tcp_conn *c)
{
    if (SF_UNLIKELY(c->state < SF_TCP_ESTABLISHED || c->state == SF_TCP_TIME_WAIT))
        return;
    sf_tcp_find_way(c); /* Before data is cut into segments, because it finds the MTU. Without a way the segments count as lost. */
    if (SF_UNLIKELY(retransmit(c) < 0 || send_new(c) < 0))
        sf_tcp_owe(c, SF_TCP_OWED_OUTPUT);
    sf_tcp_persist(c);
    if (c->snd.ring.size && c->timers.idle_at == SF_NEVER)
        c->timers.idle_at = c->tcpip->now + SF_TCP_RING_LIFE;
    sf_tcp_conn_timer(c);
}
