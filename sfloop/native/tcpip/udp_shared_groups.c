/*
 * Multicast by a NIC that gives us copies while the kernel keeps its own (SF_DRIVER_SHARES_GROUPS). What the side socket then
 * repeats is left out, once it has been read empty after the driver's filter was there.
 *
 * Such a NIC's filters name the group. A socket that is bound to it has its filter from the beginning; one that is bound to any
 * address gets one for each group when the first datagram to it has come by the side socket.
 */
#define _GNU_SOURCE
#include "tcpip.h"

#include <errno.h>
#include <netinet/in.h>

static struct sf_udp_shared *find(struct sf_udp_socket *s, uint32_t group)
{
    for (int i = 0; i < s->n_shared; i++)
        if (s->shared[i].group == group)
            return &s->shared[i];
    return NULL;
}

static struct sf_flow filter_of(const struct sf_udp_socket *s, uint32_t group)
{
    return (struct sf_flow){.local_addr = group, .local_port = s->local_port, .protocol = IPPROTO_UDP};
}

bool sf_udp_group_filtered(struct sf_tcpip *t, const struct sf_udp_socket *except, uint32_t group, uint16_t port)
{
    for (uint32_t i = 0; i < t->n_sockets; i++) {
        struct sf_udp_socket *s = t->sockets[i];

        if (s && s != except && s->local_port == port && (s->local_addr == group || find(s, group)))
            return true;
    }
    return false;
}

static void take_group(struct sf_udp_socket *s, uint32_t group)
{
    struct sf_tcpip *t = s->tcpip;
    struct sf_flow filter = filter_of(s, group);
    int rc;

    if (s->n_shared == SF_UDP_SHARED)
        return; /* the side socket goes on bringing it */
    rc = t->driver->fast.control->filter_add(t->driver, &filter);
    if (rc < 0 && rc != -EEXIST)
        return;
    s->shared[s->n_shared++] = (struct sf_udp_shared){.group = group};
}

bool sf_udp_group_repeated(struct sf_udp_socket *s, uint32_t group)
{
    struct sf_udp_shared *shared;

    if (s->local_addr)
        return s->local_addr == group && s->sifting;
    shared = find(s, group);
    if (!shared)
        take_group(s, group);
    return shared && shared->sifting;
}

void sf_udp_groups_sift(struct sf_udp_socket *s, int n)
{
    for (int i = 0; i < n; i++)
        s->shared[i].sifting = true;
}

void sf_udp_groups_close(struct sf_udp_socket *s)
{
    struct sf_tcpip *t = s->tcpip;

    for (int i = 0; t->driver && i < s->n_shared; i++) {
        struct sf_flow filter = filter_of(s, s->shared[i].group);

        if (!sf_udp_group_filtered(t, s, s->shared[i].group, s->local_port))
            t->driver->fast.control->filter_del(t->driver, &filter);
    }
    s->n_shared = 0;
}
