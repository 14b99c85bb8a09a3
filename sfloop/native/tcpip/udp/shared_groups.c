/*
 * Groups of sockets bound to any address. The driver is asked for the groups that the socket had joined when the stack got it
 * (joined.c). For a group joined later, the side socket receives the first datagram, and then the driver is asked.
 *
 * A driver that shares groups with the kernel (SF_DRIVER_SHARES_GROUPS) leaves copies to the side socket. They are dropped once
 * the side socket has been read empty with the driver's filter set.
 */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

static struct sf_udp_shared *find(struct sf_udp_socket *s, uint32_t group)
{
    for (int i = 0; i < s->n_shared; i++)
        if (s->shared[i].group == group)
            return &s->shared[i];
    return NULL;
}

/* Takes a group. The side socket receives the groups beyond SF_UDP_SHARED. */
void sf_udp_take_group(struct sf_udp_socket *s, uint32_t group)
{
    if (s->n_shared == SF_UDP_SHARED || find(s, group))
        return;
    sf_binding_add_group(s->tcpip, &s->binding, group);
    s->shared[s->n_shared++] = (struct sf_udp_shared){.group = group};
}

static bool shares_groups(const struct sf_tcpip *t)
{
    return t->caps.flags & SF_DRIVER_SHARES_GROUPS;
}

/* Broadcasts, and a group that the socket is bound to, have their filter from the beginning. */
bool sf_udp_group_repeated(struct sf_udp_socket *s, uint32_t group, uint32_t source)
{
    struct sf_flow_key key = {.local_addr = group, .local_port = s->local_port};
    const struct sf_udp_shared *shared = NULL;
    const struct sf_filter *f;

    if (!s->local_addr && sf_is_multicast(group)) {
        shared = find(s, group);
        if (!shared) {
            if (sf_udp_takes(s, group, source))
                sf_udp_take_group(s, group);
            return false;
        }
    }
    if (!shares_groups(s->tcpip))
        return false;
    f = sf_filter_find(s->tcpip, IPPROTO_UDP, &key);
    return f && f->added && (shared ? shared->sifting : s->sifting);
}

void sf_udp_groups_sift(struct sf_udp_socket *s, int n)
{
    for (int i = 0; i < n; i++)
        s->shared[i].sifting = true;
}
