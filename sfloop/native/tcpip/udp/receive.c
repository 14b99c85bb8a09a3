/*
 * Receiving datagrams. A datagram in one piece stays in its frame until the next poll and is read there. If it is still unread
 * then, it is copied, so that a paused socket keeps no frame from the NIC.
 */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>

static void keep_copy(struct sf_udp_socket *s, const void *data, uint32_t len, const struct sockaddr_in *from,
                      sf_ns timestamp)
{
    struct sf_backlog_entry *entry;

    if (s->tcpip->now >= s->room_until)
        sf_udp_read_room(s);
    entry = sf_backlog_push(&s->backlog, len);
    if (!entry) {
        sf_count(s->tcpip, SF_COUNT_RX_BACKLOG_FULL);
        return;
    }
    sf_count(s->tcpip, SF_COUNT_RX_BACKLOG_COPIES);
    entry->from = *from;
    entry->timestamp = timestamp;
    memcpy(entry->data, data, len);
}

static void forget_lent(struct sf_udp_socket *s)
{
    s->lent_first = NULL;
    s->lent_last = &s->lent_first;
}

static void spill_one(struct sf_udp_socket *s)
{
    for (struct sf_udp_lent *l = s->lent_first; l; l = l->next) {
        keep_copy(s, l->data, l->len, &l->from, l->timestamp);
        l->socket = NULL;
    }
    forget_lent(s);
}

void sf_udp_spill(struct sf_tcpip *t)
{
    for (int i = 0; i < t->n_lent; i++) {
        struct sf_udp_socket *s = t->lent[i].socket;

        if (SF_LIKELY(!s))
            continue;
        spill_one(s);
        sf_udp_update(s);
    }
    t->n_lent = 0;
}

static void give(struct sf_udp_socket *s, const struct sf_udp *udp, const struct sockaddr_in *from, sf_ns timestamp,
                 bool keep)
{
    struct sf_tcpip *t = s->tcpip;

    if (SF_LIKELY(keep && t->n_lent < SF_TCPIP_LENT)) {
        struct sf_udp_lent *l = &t->lent[t->n_lent++];

        l->socket = s;
        l->next = NULL;
        l->data = udp->payload;
        l->len = udp->payload_len;
        l->from = *from;
        l->timestamp = timestamp;
        *s->lent_last = l;
        s->lent_last = &l->next;
    } else {
        spill_one(s); /* the backlog is read first, so earlier datagrams must be in it too */
        keep_copy(s, udp->payload, udp->payload_len, from, timestamp);
    }
    sf_udp_update(s);
}

static struct sf_udp_socket *socket_of(struct sf_flow_link *link)
{
    return (struct sf_udp_socket *)((char *)link - offsetof(struct sf_udp_socket, flow));
}

/* Gives a group or broadcast datagram to each socket that is bound to that address or to any. A connected socket gets it only
 * from its peer. */
static void give_all(struct sf_tcpip *t, const struct sf_flow_key *packet, const struct sf_udp *udp,
                     const struct sockaddr_in *from, sf_ns timestamp, bool keep)
{
    const struct sf_flow_key keys[] = {
        *packet,
        {.local_addr = packet->local_addr, .local_port = packet->local_port},
        {.local_port = packet->local_port},
    };
    bool group = sf_is_multicast(packet->local_addr), found = false;
    bool connected = t->udp.connected && packet->remote_port; /* without a remote port the first key equals the second */

    for (int i = connected ? 0 : 1; i < 3; i++) {
        struct sf_flow_link *link = sf_flows_find(&t->udp, &keys[i]);

        for (; link; link = link->next) {
            found = true;
            if (group && !sf_udp_takes(socket_of(link), packet->local_addr, packet->remote_addr))
                sf_count(t, SF_COUNT_RX_NOT_JOINED);
            else
                give(socket_of(link), udp, from, timestamp, keep);
        }
    }
    if (!found)
        sf_count(t, SF_COUNT_RX_NO_SOCKET);
}

void sf_udp_input(struct sf_tcpip *t, const struct sf_ipv4 *ip, uint32_t flags, sf_ns timestamp, bool keep)
{
    struct sf_udp udp;
    struct sf_flow_link *link;
    enum sf_refusal reason = sf_udp_parse(ip, flags, &udp);

    if (SF_UNLIKELY(reason)) {
        t->counters.refused[reason]++;
        return;
    }
    struct sf_flow_key packet = {
        .local_addr = ip->dst,
        .remote_addr = ip->src,
        .local_port = udp.dst_port,
        .remote_port = udp.src_port,
    };
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = udp.src_port, .sin_addr.s_addr = ip->src};
    if (SF_UNLIKELY(!sf_interface_owns(&t->interface, ip->dst))) {
        give_all(t, &packet, &udp, &from, timestamp, keep);
        return;
    }
    link = sf_flows_match(&t->udp, &packet);
    if (SF_LIKELY(link != NULL))
        give(socket_of(link), &udp, &from, timestamp, keep);
    else
        sf_count(t, SF_COUNT_RX_NO_SOCKET);
}

/* ---- reading ---- */

static inline struct sf_datagram arrived(const void *data, uint32_t len, const struct sockaddr_in *from, sf_ns timestamp)
{
    return (struct sf_datagram){
        .data = data, .len = len, .addr = (const struct sockaddr *)from, .addr_len = sizeof(*from), .timestamp = timestamp};
}

static int read_backlog(struct sf_udp_socket *s, struct sf_datagram *out, int max)
{
    int n = 0;

    while (n < max && s->backlog.count) {
        struct sf_backlog_entry *entry = sf_backlog_take(&s->backlog);

        out[n++] = arrived(entry->data, entry->len, &entry->from, entry->timestamp);
    }
    return n;
}

static int read_lent(struct sf_udp_socket *s, struct sf_datagram *out, int max)
{
    struct sf_udp_lent *l = s->lent_first;
    int n = 0;

    for (; n < max && l; l = l->next) {
        out[n++] = arrived(l->data, l->len, &l->from, l->timestamp);
        l->socket = NULL;
    }
    if (l)
        s->lent_first = l;
    else
        forget_lent(s);
    return n;
}

/* Reads the kernel's datagrams first, because it had the frames until a moment ago. They are older than those in frames and in
 * the backlog. */
static int read_side_first(struct sf_udp_socket *s, struct sf_datagram *out, int max)
{
    int n = sf_side_receive(s, out, max);

    if (n > 0)
        return n;
    s->side_first = false;
    if (n < 0 && n != -EAGAIN)
        s->error = n;
    return 0;
}

int sf_udp_receive(struct sf_udp_socket *s, struct sf_datagram *out, int max)
{
    /* Leave a share of the batch to the side socket, so that a busy driver does not starve it. */
    int share = s->side_ready && max > 1 ? max - max / 4 : max;
    int n = 0, rc = 0;

    if (SF_UNLIKELY(s->error)) {
        rc = s->error;
        s->error = 0;
        sf_udp_update(s);
        return rc;
    }
    if (SF_UNLIKELY(s->side_first)) {
        n = read_side_first(s, out, max);
        if (n) {
            sf_udp_update(s);
            return n;
        }
    }
    if (SF_UNLIKELY(s->backlog.taken || s->backlog.count)) {
        sf_backlog_retire(&s->backlog);
        n = read_backlog(s, out, share);
    }
    if (s->lent_first && n < share)
        n += read_lent(s, out + n, share - n);
    if (SF_UNLIKELY(s->side_ready) && n < max) {
        rc = sf_side_receive(s, out + n, max - n);
        if (rc > 0)
            n += rc;
        else if (rc < 0 && rc != -EAGAIN && n)
            s->error = rc; /* after the good datagrams */
    }
    sf_udp_update(s);
    if (n)
        return n;
    return rc < 0 ? rc : -EAGAIN;
}
