/* Listeners: their segments (RFC 9293, 3.10.7.2), and the connections that wait to be accepted. */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <stdlib.h>

#define MOST_BACKLOG 65535

/* ---- the queue ---- */

static bool is_full(const struct sf_tcp_listener *l)
{
    return l->n_queued >= l->backlog;
}

static void update(struct sf_tcp_listener *l)
{
    sf_ready_set(&l->tcpip->ready, &l->ready.link, l->interest & SF_TCP_READABLE && l->n_queued);
}

void sf_tcp_listener_interest(struct sf_tcp_listener *l, uint32_t what)
{
    l->interest = (uint8_t)what;
    update(l);
}

static void enqueue(struct sf_tcp_listener *l, struct sf_tcp_conn *c)
{
    c->sock.listener = l;
    c->sock.next = NULL;
    if (l->last)
        l->last->sock.next = c;
    else
        l->first = c;
    l->last = c;
    l->n_queued++;
    update(l);
}

static struct sf_tcp_conn *dequeue(struct sf_tcp_listener *l)
{
    struct sf_tcp_conn *c = l->first;

    l->first = c->sock.next;
    if (!l->first)
        l->last = NULL;
    l->n_queued--;
    c->sock.listener = NULL;
    c->sock.next = NULL;
    return c;
}

int sf_tcp_accept(struct sf_tcp_listener *l, struct sf_tcp_conn **out)
{
    if (!l->first)
        return -EAGAIN;
    *out = dequeue(l);
    update(l);
    return 0;
}

/* A connection needs a filter of its own if other programs may begin to listen at the port, because from then on the kernel gets the
 * port's frames. It also needs one if the driver received the SYN, and the kernel has the port since then. */
static bool wants_own_filter(const struct sf_tcp_listener *l, const struct sf_flow_key *key)
{
    struct sf_flow_key local = {.local_addr = key->local_addr, .local_port = key->local_port};
    const struct sf_filter *f;

    if (sf_tcpip_is_point_to_point(l->tcpip) || !l->tcpip->driver)
        return false;
    f = l->shares ? NULL : sf_filter_find(l->tcpip, IPPROTO_TCP, &local);
    return !f || !f->added;
}

/* Returns the listener's port, with one more user, or a port that belongs only to the connection. */
struct sf_tcp_port *sf_tcp_listener_port(struct sf_tcp_listener *l, const struct sf_flow_key *key)
{
    struct sf_tcp_port *port = l->port;

    port->users++;
    if (wants_own_filter(l, key) && !sf_tcp_port_part(l->tcpip, key, &port))
        sf_count(l->tcpip, SF_COUNT_TCP_FILTERS_FULL);
    return port;
}

struct sf_tcp_conn *sf_tcp_listener_establish(struct sf_tcp_listener *l, const struct sf_flow_key *key, struct sf_tcp_half *half,
                                              const struct sf_tcp_agreed *agreed, const struct sf_tcp_handshake *handshake,
                                              const struct sf_tcp_segment *s)
{
    struct sf_tcpip *t = l->tcpip;
    struct sf_tcp_conn *c;

    if (is_full(l)) {
        sf_count(t, SF_COUNT_TCP_ACCEPT_FULL);
        return NULL;
    }
    c = sf_tcp_conn_new(t, &l->options);
    if (!c)
        return NULL;
    c->flow.key = *key;
    c->agreed = *agreed;
    c->port = half ? sf_tcp_half_take_port(half) : sf_tcp_listener_port(l, key);
    if (half)
        sf_tcp_half_free(t, half);
    if (sf_tcp_conn_place(c) < 0) {
        sf_tcp_conn_bury(c);
        return NULL;
    }
    sf_count(t, SF_COUNT_TCP_ACCEPTED);
    sf_tcp_conn_establish(c, handshake, s);
    enqueue(l, c);
    return c;
}

/* ---- segments ---- */

static void ack_input(struct sf_tcp_listener *l, const struct sf_flow_key *key, const struct sf_tcp_segment *s, bool keep)
{
    struct sf_tcpip *t = l->tcpip;
    struct sf_tcp_agreed agreed = {0};
    struct sf_tcp_handshake handshake = {0};
    struct sf_tcp_segment copy = *s;
    struct sf_tcp_conn *c;

    if (!sf_tcp_cookie_check(l, key, s, &agreed)) {
        if (sf_kernel_conns_take(t, key, s))
            return;
        sf_count(t, SF_COUNT_TCP_RX_NO_SOCKET);
        if (!sf_kernel_conns_claim(t, key, s))
            sf_tcp_reset_for(t, key, s);
        return;
    }
    c = sf_tcp_listener_establish(l, key, NULL, &agreed, &handshake, s);
    if (c)
        sf_tcp_conn_input(c, &copy, keep);
}

void sf_tcp_listener_input(struct sf_tcp_listener *l, const struct sf_flow_key *key, const struct sf_tcp_segment *s, bool keep)
{
    struct sf_tcpip *t = l->tcpip;

    if (s->flags & SF_TCP_RST) {
        if (!sf_kernel_conns_take(t, key, s))
            sf_kernel_conns_claim(t, key, s);
        return;
    }
    if (s->flags & SF_TCP_ACK) {
        ack_input(l, key, s, keep);
        return;
    }
    if (!(s->flags & SF_TCP_SYN) || s->flags & SF_TCP_FIN || sf_kernel_conns_take_syn(t, key, s))
        return;
    if (is_full(l)) {
        sf_count(t, SF_COUNT_TCP_ACCEPT_FULL); /* The peer sends its SYN again. */
        return;
    }
    if (t->tcp.n_half_open >= t->tcp.limits.max_half_open)
        sf_tcp_cookie_send(l, key, s);
    else
        sf_tcp_half_open(l, key, s);
}

/* As on Linux with SO_REUSEPORT (socket(7)): the same peer's port always comes to the same listener. */
struct sf_tcp_listener *sf_tcp_listener_pick(const struct sf_flows *flows, struct sf_flow_link *first, const struct sf_flow_key *key)
{
    uint32_t n = 0, which;

    if (SF_LIKELY(!first->next))
        return (struct sf_tcp_listener *)first;
    for (struct sf_flow_link *l = first; l; l = l->next)
        n++;
    for (which = sf_flow_hash(flows, key) % n; which; which--)
        first = first->next;
    return (struct sf_tcp_listener *)first;
}

/* ---- the program's side ---- */

/* Takes the port of the listeners that are there already, if they and this one have SO_REUSEPORT. */
static int take_port(struct sf_tcp_listener *l)
{
    struct sf_tcp_listener *others = (struct sf_tcp_listener *)sf_flows_find(&l->tcpip->tcp.flows, &l->flow.key);

    if (others && (!l->shares || !others->shares))
        return -EADDRINUSE;
    l->port = others ? others->port : sf_tcp_port_of_listener(&l->flow.key, l->shares);
    if (!l->port)
        return -ENOMEM;
    l->port->users += others != NULL;
    return 0;
}

static bool has_reuse_port(int fd)
{
    int on = 0;
    socklen_t len = sizeof(on);

    return getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, &len) == 0 && on;
}

int sf_tcp_listen(struct sf_tcpip *t, int fd, int backlog, struct sf_tcp_listener **out)
{
    struct sockaddr_in local;
    struct sf_tcp_listener *l;
    int rc = sf_tcp_port_name(t, fd, &local);

    if (rc == 0)
        rc = sf_tcp_open(t);
    if (rc < 0)
        return rc;
    l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    l->flow.kind = SF_TCP_LISTENING;
    l->flow.key = (struct sf_flow_key){.local_addr = local.sin_addr.s_addr, .local_port = local.sin_port};
    l->ready.kind = SF_READY_TCP_LISTENER;
    l->tcpip = t;
    l->backlog = backlog < 1 ? 1 : backlog > MOST_BACKLOG ? MOST_BACKLOG : (uint32_t)backlog;
    sf_tcp_options_read(t, fd, &l->options);
    l->shares = has_reuse_port(fd);
    rc = take_port(l);
    if (rc == 0)
        rc = sf_flows_add(&t->tcp.flows, &l->flow);
    if (rc < 0) {
        sf_tcp_port_drop(t, l->port);
        free(l);
        return rc;
    }
    rc = sf_binding_open(t, &l->binding, fd, IPPROTO_TCP, &l->flow.key);
    if (rc < 0) {
        sf_flows_remove(&t->tcp.flows, &l->flow);
        sf_tcp_port_drop(t, l->port);
        free(l);
        return rc;
    }
    *out = l;
    return 0;
}

void sf_tcp_listener_close(struct sf_tcp_listener *l)
{
    struct sf_tcpip *t = l->tcpip;

    sf_tcp_listener_interest(l, 0);
    sf_tcp_half_forget(l);
    while (l->first)
        sf_tcp_abort(dequeue(l));
    sf_flows_remove(&t->tcp.flows, &l->flow);
    if (l->port->users > 1 && !sf_flows_find(&t->tcp.flows, &l->flow.key))
        sf_tcp_port_orphaned(t, l->port);
    sf_binding_close(t, &l->binding); /* Only now, when its connections have filters of their own. */
    sf_tcp_port_drop(t, l->port);
    free(l);
}
