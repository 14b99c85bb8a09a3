/* A UDP socket: whether the stack can serve it, its place among the flows, and its events. */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include "storage/kernel_socket.h"

#include <errno.h>
#include <stdlib.h>

static int read_names(struct sf_udp_socket *s)
{
    struct sockaddr_in local, remote;
    int rc = sf_kernel_socket_reserve(s->fd, &local);

    if (rc < 0)
        return rc;
    s->local_addr = local.sin_addr.s_addr;
    s->local_port = local.sin_port;
    if (sf_kernel_socket_peer(s->fd, &remote) == 0) {
        s->remote_addr = remote.sin_addr.s_addr;
        s->remote_port = remote.sin_port;
    }
    return 0;
}

static bool is_ours(const struct sf_tcpip *t, uint32_t addr)
{
    return !addr || sf_is_multicast(addr) || sf_interface_owns(&t->interface, addr) ||
           sf_interface_is_broadcast(&t->interface, addr);
}

/* ---- the place among the flows ---- */

/* Chains an IPv6 socket behind the IPv4 sockets of the same key, because the kernel prefers those (compute_score in udp.c). */
static int enter(struct sf_tcpip *t, struct sf_udp_socket *s)
{
    struct sf_flow_link *before = s->mapped ? sf_flows_find(&t->udp, &s->flow.key) : NULL;

    s->flow.kind = s->mapped;
    if (!before || before->kind)
        return sf_flows_add(&t->udp, &s->flow);
    while (before->next && !before->next->kind)
        before = before->next;
    s->flow.next = before->next;
    before->next = &s->flow;
    return 0;
}

static int flow_add(struct sf_tcpip *t, struct sf_udp_socket *s)
{
    int rc;

    s->flow.key = (struct sf_flow_key){
        .local_addr = s->local_addr,
        .local_port = s->local_port,
        .remote_addr = s->remote_addr,
        .remote_port = s->remote_port,
    };
    if (!s->local_addr || !s->remote_addr) /* a group has any sender, and a connected key needs both sides */
        s->flow.key.remote_addr = s->flow.key.remote_port = 0;
    rc = enter(t, s);
    if (rc < 0)
        return rc;
    rc = sf_binding_open(t, &s->binding, s->fd, IPPROTO_UDP, &s->flow.key);
    if (rc < 0)
        sf_flows_remove(&t->udp, &s->flow);
    return rc;
}

static void flow_remove(struct sf_tcpip *t, struct sf_udp_socket *s)
{
    sf_binding_close(t, &s->binding);
    sf_flows_remove(&t->udp, &s->flow);
}

/* ---- the table of sockets ---- */

static int take_id(struct sf_tcpip *t, struct sf_udp_socket *s)
{
    uint32_t i = 0, bigger = t->n_sockets ? t->n_sockets * 2 : 16;
    struct sf_udp_socket **sockets;
    uint32_t *generations;

    while (i < t->n_sockets && t->sockets[i])
        i++;
    if (i == t->n_sockets) {
        sockets = realloc(t->sockets, bigger * sizeof(struct sf_udp_socket *));
        if (!sockets)
            return -ENOMEM;
        t->sockets = sockets;
        generations = realloc(t->generations, bigger * sizeof(*generations));
        if (!generations)
            return -ENOMEM;
        t->generations = generations;
        memset(sockets + t->n_sockets, 0, (bigger - t->n_sockets) * sizeof(struct sf_udp_socket *));
        memset(generations + t->n_sockets, 0, (bigger - t->n_sockets) * sizeof(*generations));
        t->n_sockets = bigger;
    }
    t->sockets[i] = s;
    s->id = i;
    return 0;
}

static void give_id(struct sf_tcpip *t, struct sf_udp_socket *s)
{
    t->sockets[s->id] = NULL;
    t->generations[s->id]++;
}

/* ---- life ---- */

int sf_udp_open(struct sf_tcpip *t, struct sf_udp_socket *s, int fd)
{
    int rc;

    memset(s, 0, sizeof(*s));
    s->tcpip = t;
    s->fd = fd;
    s->lent_last = &s->lent_first;
    s->backlog.limit = t->backlog_limit;
    s->mapped = sf_kernel_socket_is_mapped(fd, IPPROTO_UDP);
    if (!t->driver || t->caps.flags & SF_DRIVER_DEAD || !(s->mapped || sf_kernel_socket_is(fd, IPPROTO_UDP)) ||
        sf_interface_is_not_of(&t->interface, fd))
        return -EOPNOTSUPP;
    rc = read_names(s);
    if (rc < 0)
        return rc;
    if (!is_ours(t, s->local_addr))
        return -EOPNOTSUPP;
    rc = take_id(t, s);
    if (rc < 0)
        return rc;
    sf_side_details_on(s);
    rc = flow_add(t, s);
    if (rc < 0) {
        give_id(t, s);
        return rc;
    }
    sf_udp_groups_learn(s);
    sf_udp_refresh(s);
    sf_side_errors_on(s);
    s->side_ready = true; /* for datagrams between bind() and the filter */
    return 0;
}

void sf_udp_close(struct sf_udp_socket *s)
{
    struct sf_tcpip *t = s->tcpip;

    for (struct sf_udp_lent *l = s->lent_first; l; l = l->next)
        l->socket = NULL;
    s->lent_first = NULL;
    s->interest = 0;
    s->blocked_by_side = false;
    sf_udp_update(s);
    sf_side_watch(s);
    if (s->timestamps && t->driver)
        sf_driver_rx_stamps(t->driver, false);
    flow_remove(t, s);
    give_id(t, s);
    sf_backlog_free(&s->backlog);
    sf_udp_groups_free(s);
}

/* ---- events ---- */

void sf_udp_update(struct sf_udp_socket *s)
{
    bool wanted = (s->interest & SF_UDP_READABLE && sf_udp_readable(s)) || s->interest & SF_UDP_WRITABLE;

    sf_ready_set(&s->tcpip->ready, &s->ready.link, wanted);
}

int sf_udp_interest(struct sf_udp_socket *s, uint32_t what)
{
    s->interest = what;
    sf_udp_update(s);
    return sf_side_watch(s);
}

/* Tells whether a small datagram could be sent now. Tries it, because a driver has no event for that. */
static bool has_room(struct sf_udp_socket *s)
{
    struct sf_driver *driver = s->tcpip->driver;
    struct sf_frame pieces[2];
    int n;

    if (s->blocked_by_side)
        return false;
    if (!s->blocked || !driver || !s->tcpip->usable)
        return true;
    n = driver->fast.tx_reserve(driver, SF_UDP_HEADERS, pieces, 2);
    if (n == -EAGAIN)
        return false;
    if (n > 0)
        driver->fast.tx_cancel(driver, pieces, n);
    s->blocked = false;
    return true;
}

uint32_t sf_udp_events(struct sf_udp_socket *s)
{
    uint32_t what = 0;

    if (s->interest & SF_UDP_READABLE && sf_udp_readable(s))
        what |= SF_UDP_READABLE;
    if (s->interest & SF_UDP_WRITABLE && has_room(s))
        what |= SF_UDP_WRITABLE;
    return what;
}
