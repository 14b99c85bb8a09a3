/* The life of a connection: creation, establishment, end; its events and deadlines. */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_WINDOW (128 * 1024u) /* The window's limit until the program has read data. */
#define FIRST_QUICK_ACKS 16

/* With the seam's socket (56 bytes), a place in the table of flows and one in the heap of timers: one KiB. */
_Static_assert(sizeof(struct sf_tcp_conn) <= 864, "a server has many of these");

const char *sf_tcp_state_name(enum sf_tcp_state state)
{
    static const char *const names[] = {
        [SF_TCP_CLOSED] = "CLOSED",           [SF_TCP_RESOLVING] = "SYN-SENT",      [SF_TCP_SYN_SENT] = "SYN-SENT",
        [SF_TCP_SYN_RECEIVED] = "SYN-RECEIVED", [SF_TCP_ESTABLISHED] = "ESTABLISHED", [SF_TCP_CLOSE_WAIT] = "CLOSE-WAIT",
        [SF_TCP_FIN_WAIT_1] = "FIN-WAIT-1",   [SF_TCP_FIN_WAIT_2] = "FIN-WAIT-2",   [SF_TCP_CLOSING] = "CLOSING",
        [SF_TCP_LAST_ACK] = "LAST-ACK",       [SF_TCP_TIME_WAIT] = "TIME-WAIT",
    };

    return names[state];
}

/* ---- made ---- */

struct sf_tcp_conn *sf_tcp_conn_new(struct sf_tcpip *t, const struct sf_tcp_socket_options *options)
{
    struct sf_tcp_conn *c;

    if (t->tcp.n_conns >= t->tcp.limits.max_connections) {
        sf_count(t, SF_COUNT_TCP_CONNECTIONS_FULL);
        return NULL;
    }
    c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    if (sf_tcp_timer_add(t, &c->timers.timer, SF_TCP_TIMER_CONN) < 0) {
        free(c);
        return NULL;
    }
    t->tcp.n_conns++;
    c->flow.kind = SF_TCP_CONN;
    c->ready.kind = SF_READY_TCP;
    c->tcpip = t;
    c->options = *options;
    c->timers.ack_at = c->timers.probe_at = c->timers.end_at = c->timers.idle_at = SF_NEVER;
    c->probe.heard = t->now;
    c->rcv.limit = FIRST_WINDOW;
    if (options->receive_fixed || c->rcv.limit > options->receive_buffer)
        c->rcv.limit = options->receive_buffer;
    return c;
}

int sf_tcp_conn_like(struct sf_tcpip *t, int fd, struct sf_tcp_conn **out)
{
    struct sf_tcp_socket_options options;
    int rc = sf_tcp_open(t);

    if (rc < 0)
        return rc;
    sf_tcp_options_read(t, fd, &options);
    *out = sf_tcp_conn_new(t, &options);
    return *out ? 0 : -ENOBUFS;
}

/* The round trip by the timestamp that the peer echoes, rounded to its tick. 0: there is none. */
static sf_ns echoed(const struct sf_tcp_conn *c, const struct sf_tcp_segment *s)
{
    uint32_t ticks = sf_tcp_ts_now(c->tcpip, &c->agreed) - s->ts_ecr;

    if (!c->agreed.timestamps || !(s->has & SF_TCP_HAS_TIMESTAMPS) || ticks > 3600 * (SF_SEC / SF_TCP_TS_TICK))
        return 0;
    return (ticks ? ticks : 1) * SF_TCP_TS_TICK;
}

/* Only a timestamp tells whether an ACK is for the first SYN or for a repeated one (Karn's algorithm). If it is for the first one,
 * nothing was lost. The initial window depends only on SYNs that the timer repeated, as in Linux. */
static void measure_handshake(struct sf_tcp_conn *c, const struct sf_tcp_handshake *h, const struct sf_tcp_segment *s)
{
    bool again = h->repeats || h->answered;
    sf_ns now = c->tcpip->now, rtt = again ? echoed(c, s) : h->left ? now - h->left : 0;
    bool lost = again && (!rtt || now - rtt > h->began + SF_TCP_TS_TICK);

    if (rtt)
        sf_tcp_loss_rtt_sample(&c->loss, rtt);
    if (lost)
        sf_tcp_loss_syn(&c->loss, h->repeats);
}

void sf_tcp_conn_establish(struct sf_tcp_conn *c, const struct sf_tcp_handshake *handshake, const struct sf_tcp_segment *s)
{
    struct sf_tcpip *t = c->tcpip;
    const struct sf_tcp_agreed *a = &c->agreed;
    uint32_t window = (uint32_t)s->window << (s->flags & SF_TCP_SYN ? 0 : a->snd_scale);

    c->state = SF_TCP_ESTABLISHED;
    c->probe.heard = t->now;
    c->probe.retries = 0;
    c->timers.end_at = SF_NEVER;
    c->snd.ring.end = a->iss + 1;
    c->snd.wnd = c->snd.max_wnd = window;
    c->snd.wl1 = a->irs;
    c->snd.wl2 = a->iss + 1;
    c->rcv.nxt = c->rcv.acked = c->rcv.read = c->rcv.ring.end = a->irs + 1;
    c->rcv.adv = c->rcv.nxt + sf_tcp_first_window(&c->options);
    sf_tcp_bound_window(&c->rcv, c->agreed.rcv_scale);
    c->rcv.measured = t->now;
    c->rcv.quick = FIRST_QUICK_ACKS;
    sf_tcp_loss_init(&c->loss, a->iss + 1, a->mss, c->options.congestion, t->tcp.limits.min_rto);
    c->loss.sack = a->sack;
    c->loss.timestamps = a->timestamps;
    sf_tcp_find_way(c);
    sf_tcp_update_mss(c); /* Without a way, too: the MTU that is known from the SYN counts. */
    measure_handshake(c, handshake, s);
    sf_tcp_conn_timer(c);
}

int sf_tcp_conn_place(struct sf_tcp_conn *c)
{
    struct sf_flows *flows = &c->tcpip->tcp.flows;
    int rc;

    if (sf_flows_find(flows, &c->flow.key))
        return -EADDRNOTAVAIL;
    rc = sf_flows_add(flows, &c->flow);
    c->placed = rc > 0;
    return rc < 0 ? rc : 0;
}

/* ---- ended ---- */

void sf_tcp_conn_detach(struct sf_tcp_conn *c)
{
    struct sf_tcpip *t = c->tcpip;

    if (c->placed)
        sf_flows_remove(&t->tcp.flows, &c->flow);
    c->placed = false;
    sf_tcp_timer_clear(t, &c->timers.timer);
    sf_ready_set(&t->tcp.pending, &c->pending, false);
    sf_ready_set(&t->tcp.starved, &c->starved, false);
    sf_tcp_port_drop(t, c->port);
    c->port = NULL;
    sf_tcp_snd_free(c);
    sf_tcp_loss_free(&c->loss);
    sf_tcp_ooo_free(&c->rcv);
}

void sf_tcp_conn_end(struct sf_tcp_conn *c, int error)
{
    if (c->dead)
        return;
    c->dead = true;
    sf_tcp_conn_detach(c);
    c->state = SF_TCP_CLOSED;
    c->sock.error = (int16_t)error;
    if (c->sock.owner || c->sock.listener)
        sf_tcp_conn_update(c);
    else
        sf_tcp_conn_bury(c);
}

void sf_tcp_conn_bury(struct sf_tcp_conn *c)
{
    struct sf_tcp *tcp = &c->tcpip->tcp;

    c->dead = true;
    c->state = SF_TCP_CLOSED;
    c->sock.interest = 0;
    sf_ready_set(&c->tcpip->ready, &c->ready.link, false);
    sf_tcp_conn_detach(c);
    sf_tcp_rcv_forget(&c->rcv);
    c->sock.next = tcp->graves;
    tcp->graves = c;
    c->tcpip->unfinished = true;
}

void sf_tcp_conn_free(struct sf_tcp_conn *c)
{
    struct sf_tcpip *t = c->tcpip;

    sf_tcp_rcv_free(c);
    sf_tcp_timer_remove(t, &c->timers.timer);
    t->tcp.n_conns--;
    free(c);
}

/* ---- events ---- */

static bool is_readable(const struct sf_tcp_conn *c)
{
    return c->rcv.lent_first || c->rcv.ring.end != c->rcv.read || c->rcv.fin || c->sock.error ||
           (c->state == SF_TCP_CLOSED && !c->sock.connecting);
}

static bool is_writable(const struct sf_tcp_conn *c)
{
    uint32_t room;

    if (c->sock.error || c->state == SF_TCP_CLOSED)
        return true;
    if (c->state < SF_TCP_ESTABLISHED)
        return false;
    if (!sf_tcp_may_send(c) || !c->snd.blocked)
        return true; /* The next send reports an error, or finds room. */
    room = sf_tcp_send_room(c);
    return room && (room >= c->options.send_buffer / 4 || room >= sf_tcp_unacked(&c->snd, &c->loss) / 3);
}

uint32_t sf_tcp_conn_events(struct sf_tcp_conn *c)
{
    uint32_t what = 0;

    if (c->sock.interest & SF_TCP_READABLE && is_readable(c))
        what |= SF_TCP_READABLE;
    if (c->sock.interest & SF_TCP_WRITABLE && is_writable(c))
        what |= SF_TCP_WRITABLE;
    return what;
}

uint32_t sf_tcp_conn_levels(const struct sf_tcp_conn *c)
{
    return (is_readable(c) ? SF_TCP_READABLE : 0) | (is_writable(c) ? SF_TCP_WRITABLE : 0);
}

void sf_tcp_conn_update(struct sf_tcp_conn *c)
{
    sf_ready_set(&c->tcpip->ready, &c->ready.link, c->sock.interest && sf_tcp_conn_events(c));
}

void sf_tcp_conn_interest(struct sf_tcp_conn *c, uint32_t what)
{
    c->sock.interest = (uint8_t)what;
    sf_tcp_conn_update(c);
}

void sf_tcp_owe(struct sf_tcp_conn *c, enum sf_tcp_owed what)
{
    if (SF_UNLIKELY(c->dead))
        return;
    c->owed |= (uint8_t)what;
    sf_ready_set(&c->tcpip->tcp.pending, &c->pending, true);
    c->tcpip->unfinished = true;
}

/* ---- deadlines ---- */

static inline sf_ns earlier(sf_ns a, sf_ns b)
{
    return a < b ? a : b;
}

static sf_ns deadline_of(const struct sf_tcp_conn *c)
{
    sf_ns at = sf_tcp_earliest(&c->timers);

    if (c->state < SF_TCP_ESTABLISHED)
        return at;
    return earlier(earlier(at, sf_tcp_loss_deadline(&c->loss)), sf_tcp_keepalive_at(c));
}

void sf_tcp_conn_timer(struct sf_tcp_conn *c)
{
    if (SF_LIKELY(!c->dead && c->state != SF_TCP_TIME_WAIT))
        sf_tcp_timer_by(c->tcpip, &c->timers.timer, deadline_of(c));
}

static void loss_timeout(struct sf_tcp_conn *c)
{
    uint32_t seq, len;
    bool has_new = sf_tcp_unsent(&c->snd, &c->loss) && sf_tcp_window_left(&c->snd, &c->loss);

    c->loss.rtt.patience = sf_tcp_shut_out(c) ? 0 : (uint32_t)(sf_tcp_patience(c) / SF_MS);
    switch (sf_tcp_loss_timeout(&c->loss, c->tcpip->now, has_new, &seq, &len)) {
    case SF_TCP_TIMEOUT_LOST:
        if (sf_tcp_gives_up(c))
            return;
        sf_tcp_suspect_black_hole(c);
        break;
    case SF_TCP_TIMEOUT_PROBE:
        if ((!has_new || !sf_tcp_send_one(c, true)) && sf_tcp_may_send_again(&c->snd, &c->loss, seq))
            sf_tcp_send_again(c, seq, len);
        break;
    case SF_TCP_TIMEOUT_NONE:
        break;
    }
    sf_tcp_output(c);
}

/* Gives back empty buffers. They are allocated again for the next byte. */
static void give_buffers_back(struct sf_tcp_conn *c)
{
    c->timers.idle_at = SF_NEVER;
    if (c->tcpip->now - c->probe.heard >= SF_SEC && c->state != SF_TCP_TIME_WAIT) {
        if (!sf_tcp_unacked(&c->snd, &c->loss) && c->loss.una == c->loss.nxt) {
            sf_tcp_snd_free(c);
            sf_tcp_loss_trim(&c->loss);
        }
        if (!sf_tcp_unread(&c->rcv) && !c->rcv.ooo)
            sf_tcp_rcv_free(c);
    }
    if (c->snd.ring.size || c->rcv.ring.size)
        c->timers.idle_at = c->tcpip->now + SF_SEC;
}

static void end_timeout(struct sf_tcp_conn *c)
{
    c->timers.end_at = SF_NEVER;
    if (c->state < SF_TCP_ESTABLISHED) {
        sf_tcp_syn_timeout(c);
        return;
    }
    sf_count(c->tcpip, SF_COUNT_TCP_ORPHANS_ENDED);
    if (c->state != SF_TCP_FIN_WAIT_2)
        sf_tcp_send_reset(c);
    sf_tcp_conn_end(c, -ETIMEDOUT);
}

void sf_tcp_conn_timeout(struct sf_tcp_conn *c)
{
    sf_ns now = c->tcpip->now;

    if (c->timers.end_at <= now)
        end_timeout(c);
    if (!c->dead && c->timers.ack_at <= now) {
        c->timers.ack_at = SF_NEVER;
        sf_tcp_ack_now(c);
    }
    if (!c->dead && c->state >= SF_TCP_ESTABLISHED) {
        if (sf_tcp_loss_deadline(&c->loss) <= now)
            loss_timeout(c);
        if (!c->dead && c->timers.probe_at <= now)
            sf_tcp_probe(c);
        if (!c->dead && sf_tcp_keepalive_at(c) <= now)
            sf_tcp_keepalive(c);
    }
    if (!c->dead && c->timers.idle_at <= now)
        give_buffers_back(c);
    sf_tcp_conn_timer(c);
}
