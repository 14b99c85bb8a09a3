/*
 * Importing a connection that the kernel's TCP has opened, and that goes on here with the same numbers (docs/imports.md).
 *
 * begin() makes the connection, places it among the flows, and has the driver bring its frames. The frames wait in the driver's rings,
 * because the caller does not poll before it has called finish() or undo(). In between it reads the kernel's socket. finish() takes the
 * image, and sends nothing; the next poll does. undo() leaves no trace. After finish() the caller closes the kernel's socket, and calls
 * closed() to reserve the port.
 */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include "storage/kernel_socket.h"

#include <errno.h>
#include <netinet/tcp.h>

#define QUICK_ACKS 16          /* As after a handshake, because the peer's window may just begin to open. */
#define MOST_BYTES (1u << 30)  /* Of a queue, and of a window: the largest window of RFC 7323 is smaller. */
#define MOST_RTT (3600 * SF_SEC)

/* ---- the checks ---- */

static bool is_state(uint8_t state)
{
    return state == TCP_ESTABLISHED || state == TCP_CLOSE_WAIT || state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2;
}

static bool has_good_options(const struct sf_tcp_image *i)
{
    if (!i->mss || i->mss > UINT16_MAX || i->snd_scale > SF_TCP_WINDOW_SCALE_MAX || i->rcv_scale > SF_TCP_WINDOW_SCALE_MAX)
        return false;
    return i->scaling || (!i->snd_scale && !i->rcv_scale);
}

static bool has_good_estimates(const struct sf_tcp_image *i)
{
    return i->rtt >= 0 && i->rtt <= MOST_RTT && i->rtt_var >= 0 && i->rtt_var <= MOST_RTT;
}

/* The FIN of FIN_WAIT_1 may be under way, or wait behind data. That of FIN_WAIT_2 is acknowledged. */
static bool has_good_sending(const struct sf_tcp_image *i)
{
    uint32_t written = i->snd_end - i->snd_una, sent = i->snd_nxt - i->snd_una, fin = i->state == TCP_FIN_WAIT1;

    if (i->max_window < i->snd_wnd || i->max_window > (uint32_t)UINT16_MAX << i->snd_scale)
        return false;
    if (i->state == TCP_FIN_WAIT2)
        return written == UINT32_MAX && !sent && !i->n_unacked;
    return written <= MOST_BYTES && sent <= written + fin && i->n_unacked == written && (i->unacked || !written);
}

/* The window's right edge. A segment may end beyond the window that was advertised. */
static uint32_t edge_of(const struct sf_tcp_image *i)
{
    uint32_t edge = i->rcv_wup + i->rcv_wnd;

    return sf_seq_lt(edge, i->rcv_nxt) ? i->rcv_nxt : edge;
}

static bool has_good_receiving(const struct sf_tcp_image *i)
{
    uint32_t window = edge_of(i) - i->rcv_nxt;

    if (i->rcv_wnd > MOST_BYTES || i->rcv_nxt - i->rcv_wup > MOST_BYTES || window > (uint32_t)UINT16_MAX << i->rcv_scale)
        return false;
    return i->n_unread <= MOST_BYTES - window && (i->unread || !i->n_unread) && sf_seq_le(i->snd_wl1, edge_of(i));
}

static bool is_of(const struct sf_tcp_image *i, const struct sf_flow_key *key)
{
    return i->local_addr == key->local_addr && i->remote_addr == key->remote_addr && i->local_port == key->local_port &&
           i->remote_port == key->remote_port;
}

static bool is_consistent(const struct sf_tcp_image *i)
{
    return is_state(i->state) && has_good_options(i) && has_good_sending(i) && has_good_receiving(i) && has_good_estimates(i);
}

/* ---- beginning ---- */

/* The kernel answers about a route while it is asked, so a route that was not known is known the second time. News of routes that wait
 * before the answer outdate it, and then it is known the third time. The neighbour may be missing, because the segments that need it wait
 * (detour.c). */
static int look_for_way(struct sf_tcpip *t, const struct sf_flow_key *key)
{
    struct sf_hop hop = {.src = key->local_addr};
    enum sf_way way = sf_path_find(t, key->remote_addr, key->local_addr, &hop);

    for (int i = 0; i < 2 && way == SF_WAY_UNRESOLVED; i++) {
        sf_netlink_poll(t);
        way = sf_path_find(t, key->remote_addr, key->local_addr, &hop);
    }
    if (way == SF_WAY_UNRESOLVED)
        sf_path_provoke(t, key->remote_addr, key->local_addr);
    else if (way != SF_WAY_DIRECT || hop.mtu < SF_IPV4_MTU_MIN)
        return -EOPNOTSUPP;
    return sf_interface_owns(&t->interface, key->local_addr) ? 0 : -EOPNOTSUPP;
}

int sf_tcp_import_look(struct sf_tcpip *t, int fd, const struct sf_flow_key *key)
{
    if (!t->usable || !key->local_port || !key->remote_port || !key->remote_addr || sf_is_multicast(key->remote_addr) ||
        sf_interface_is_broadcast(&t->interface, key->remote_addr))
        return -EOPNOTSUPP;
    if (!sf_kernel_socket_is(fd, IPPROTO_TCP) || sf_interface_is_not_of(&t->interface, fd))
        return -EOPNOTSUPP;
    return look_for_way(t, key);
}

/* A listener of ours keeps the port of the connections that the kernel has accepted there. */
static int take_port(struct sf_tcpip *t, struct sf_tcp_conn *c)
{
    struct sf_flow_key local = {.local_addr = c->flow.key.local_addr, .local_port = c->flow.key.local_port};
    struct sf_flow_link *link = sf_flows_match(&t->tcp.flows, &local);
    bool kernels = sf_kernel_conns_take_back(t, &c->flow.key);
    int rc = 0;

    if (link && link->kind == SF_TCP_LISTENING) {
        c->port = ((struct sf_tcp_listener *)link)->port;
        c->port->users++;
        rc = sf_tcp_port_part(t, &c->flow.key, &c->port) ? 0 : -ENOBUFS;
    } else {
        c->port = sf_tcp_port_unreserved();
        rc = c->port ? sf_tcp_port_filter(t, c->port, &c->flow.key) : -ENOMEM;
    }
    if (rc == 0)
        c->port->kernels = kernels;
    else if (kernels)
        sf_kernel_conns_leave(t, &c->flow.key);
    return rc;
}

int sf_tcp_import_begin(struct sf_tcpip *t, int fd, const struct sf_flow_key *key, struct sf_tcp_conn **out)
{
    struct sf_tcp_conn *c;
    int rc = sf_tcp_import_look(t, fd, key);

    if (rc == 0)
        rc = sf_tcp_conn_like(t, fd, &c);
    if (rc < 0)
        return rc;
    c->flow.key = *key;
    c->state = SF_TCP_RESOLVING; /* Segments are ignored, and the peer sends them again. */
    rc = sf_tcp_conn_place(c);
    if (rc == 0)
        rc = take_port(t, c);
    if (rc < 0) {
        sf_tcp_conn_bury(c);
        return rc;
    }
    *out = c;
    return 0;
}

void sf_tcp_import_undo(struct sf_tcp_conn *c)
{
    struct sf_tcpip *t = c->tcpip;
    struct sf_flow_key key = c->flow.key;
    bool kernels = c->port && c->port->kernels;

    sf_count(t, SF_COUNT_TCP_IMPORTS_UNDONE);
    c->sock.owner = NULL;
    sf_tcp_conn_bury(c);
    if (kernels)
        sf_kernel_conns_leave(t, &key);
}

void sf_tcp_import_closed(struct sf_tcp_conn *c)
{
    if (c->port && !c->port->held_by && !sf_tcp_port_reserve(c->port))
        sf_count(c->tcpip, SF_COUNT_TCP_PORTS_UNRESERVED);
}

/* ---- finishing ---- */

static void take_state(struct sf_tcp_conn *c, const struct sf_tcp_image *i)
{
    switch (i->state) {
    case TCP_CLOSE_WAIT:
        c->state = SF_TCP_CLOSE_WAIT;
        break;
    case TCP_FIN_WAIT1:
        c->state = SF_TCP_FIN_WAIT_1;
        break;
    case TCP_FIN_WAIT2:
        c->state = SF_TCP_FIN_WAIT_2;
        break;
    default:
        c->state = SF_TCP_ESTABLISHED;
        break;
    }
}

/* Copies the bytes of both directions. Both rings together must keep the limit of memory, because the kernel may keep the connection. */
static int take_bytes(struct sf_tcp_conn *c, const struct sf_tcp_image *i)
{
    struct sf_tcp *tcp = &c->tcpip->tcp;
    struct sf_byte_ring *ring = &c->snd.ring;
    uint32_t sending = i->n_unacked ? sf_tcp_ring_size(0, i->n_unacked) : 0;
    uint32_t receiving = i->n_unread ? sf_tcp_ring_size(0, i->n_unread) : 0;

    if (!sf_tcp_memory_allows(tcp, (uint64_t)sending + receiving))
        return -ENOBUFS;
    ring->end = i->state == TCP_FIN_WAIT2 ? i->snd_end : i->snd_una;
    if (sending) {
        struct sf_byte_ring made;

        if (!sf_byte_ring_like(&made, ring, sending))
            return -ENOMEM;
        *ring = made;
        tcp->memory += sending;
        sf_byte_ring_append(ring, i->unacked, i->n_unacked);
    }
    c->rcv.read = c->rcv.ring.end = i->rcv_nxt - (i->state == TCP_CLOSE_WAIT) - i->n_unread;
    if (receiving && sf_tcp_rcv_room(c, i->n_unread, SF_TCP_ROOM_OWED) < 0)
        return -ENOMEM;
    sf_byte_ring_append(&c->rcv.ring, i->unread, i->n_unread);
    return 0;
}

/* The image may be older than this poll. Otherwise the clock runs a little ahead, because a segment that leaves before the next poll has
 * this poll's time, and its timestamp must not be less than the kernel's last one. */
static uint32_t ts_offset(const struct sf_tcpip *t, const struct sf_tcp_image *i)
{
    sf_ns age = t->now > i->read_at ? t->now - i->read_at : 0;

    return i->ts_clock + (uint32_t)((uint64_t)age / (uint64_t)SF_MS) - sf_tcp_ts_clock(t);
}

static void take_agreed(struct sf_tcp_conn *c, const struct sf_tcp_image *i)
{
    c->agreed = (struct sf_tcp_agreed){
        .iss = i->snd_una - 1, /* The initial numbers are not known. Only a handshake needs them. */
        .irs = i->rcv_nxt - 1,
        .mss = (uint16_t)i->mss,
        .snd_scale = i->snd_scale,
        .rcv_scale = i->rcv_scale,
        .scaling = i->scaling,
        .sack = i->sack,
        .timestamps = i->timestamps,
        .ts_recent = i->timestamps ? i->ts_recent : 0,
        .ts_offset = ts_offset(c->tcpip, i),
    };
}

static void take_sending(struct sf_tcp_conn *c, const struct sf_tcp_image *i)
{
    struct sf_tcp_snd *snd = &c->snd;

    snd->wnd = i->snd_wnd;
    snd->max_wnd = i->max_window;
    snd->wl1 = i->snd_wl1;
    snd->wl2 = i->snd_una;
    snd->n_bytes = i->n_unacked;
    snd->fin = i->state == TCP_FIN_WAIT1 || i->state == TCP_FIN_WAIT2;
    snd->fin_sent = snd->fin && i->snd_nxt == i->snd_end + 1;
}

/* The limit is at least what the kernel has promised, so that the window does not shrink. */
static void take_receiving(struct sf_tcp_conn *c, const struct sf_tcp_image *i)
{
    struct sf_tcp_rcv *rcv = &c->rcv;
    uint32_t promised;

    rcv->nxt = i->rcv_nxt;
    rcv->adv = edge_of(i);
    rcv->acked = i->rcv_wup;
    rcv->fin = i->state == TCP_CLOSE_WAIT;
    rcv->n_bytes = i->n_unread;
    rcv->measured = c->tcpip->now;
    rcv->quick = QUICK_ACKS;
    promised = rcv->adv - rcv->nxt + i->n_unread;
    sf_tcp_bound_window(rcv, c->agreed.rcv_scale);
    if (rcv->limit < promised)
        rcv->limit = promised;
}

/* Loss recovery goes on with what the kernel has sent. The numbers before SND.UNA were sent too, and their ACKs may still be under way. */
static int take_loss(struct sf_tcp_conn *c, const struct sf_tcp_image *i)
{
    struct sf_tcpip *t = c->tcpip;
    struct sf_tcp_resumed resumed = {
        .nxt = i->snd_nxt,
        .delivered = i->max_window,
        .rtt = i->rtt,
        .rtt_var = i->rtt_var,
        .cwnd = i->cwnd < i->max_window ? i->cwnd : i->max_window,
        .ssthresh = i->ssthresh,
    };

    sf_tcp_loss_init(&c->loss, i->snd_una, i->mss, c->options.congestion, t->tcp.limits.min_rto);
    c->loss.sack = i->sack;
    c->loss.timestamps = i->timestamps;
    sf_tcp_find_way(c);
    sf_tcp_update_mss(c); /* Without a way, too: the MTU of the detour counts. */
    return sf_tcp_loss_resume(&c->loss, &resumed, t->now);
}

/* The kernel may owe an ACK, or bytes may wait for a window that has just opened. A window that was nearly closed opens now. */
static void go_on(struct sf_tcp_conn *c)
{
    struct sf_tcp_rcv *rcv = &c->rcv;

    if (rcv->acked != rcv->nxt)
        sf_tcp_owe(c, SF_TCP_OWED_ACK);
    if (rcv->adv - rcv->nxt < 2 * c->loss.mss)
        sf_tcp_rcv_relieved(c);
    sf_tcp_owe(c, SF_TCP_OWED_OUTPUT);
    sf_tcp_conn_timer(c);
    sf_tcp_conn_update(c);
}

int sf_tcp_import_finish(struct sf_tcp_conn *c, const struct sf_tcp_image *i)
{
    int rc;

    if (c->state != SF_TCP_RESOLVING || c->dead || !is_of(i, &c->flow.key) || !is_consistent(i))
        return -EINVAL;
    rc = take_bytes(c, i);
    if (rc < 0)
        return rc;
    take_agreed(c, i);
    take_sending(c, i);
    take_receiving(c, i);
    take_state(c, i); /* Before the size of segments, which depends on it. */
    rc = take_loss(c, i);
    if (rc < 0)
        return rc;
    c->probe.heard = c->tcpip->now;
    sf_count(c->tcpip, SF_COUNT_TCP_IMPORTED);
    go_on(c);
    return 0;
}
