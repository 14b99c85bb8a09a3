/*
 * Groups of sockets that are bound to any address. The kernel does not tell which groups a socket has joined, so the first
 * datagram to a group comes by the side socket, and then the driver is asked for the group's frames.
 *
 * Where the driver shares groups with the kernel (SF_DRIVER_SHARES_GROUPS), the side socket goes on receiving copies. They are
 * left out once the side socket has been read empty after the driver's filter was there.
 */
#define _GNU_SOURCE
#include "tcpip.h"

static struct sf_udp_shared *find(struct sf_udp_socket *s, uint32_t group)
{
    for (int i = 0; i < s->n_shared; i++)
        if (s->shared[i].group == group)
            return &s->shared[i];
    return NULL;
}

static void take_group(struct sf_udp_socket *s, uint32_t group, uint32_t source)
{
    if (s->n_shared == SF_UDP_SHARED || !sf_udp_has_joined(s, group, source))
        return; /* the side socket goes on bringing it */
    sf_binding_add_group(s->tcpip, &s->binding, group);
    s->shared[s->n_shared++] = (struct sf_udp_shared){.group = group};
}

static bool shares_groups(const struct sf_tcpip *t)
{
    return t->caps.flags & SF_DRIVER_SHARES_GROUPS;
}

/* A broadcast has its filter from the beginning, as a group has that the socket is bound to. */
bool sf_udp_group_repeated(struct sf_udp_socket *s, uint32_t group, uint32_t source)
{
    struct sf_flow_key key = {.local_addr = group, .local_port = s->local_port};
    const struct sf_udp_shared *shared = NULL;
    const struct sf_filter *f;

    if (!s->local_addr && sf_is_multicast(group)) {
        shared = find(s, group);
        if (!shared) {
            take_group(s, group, source);
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
