/*
 * Which groups a socket takes. The joins are the side socket's, so the kernel is asked, and its answer is believed for a
 * while: a second if it was yes, so that what was left is soon quiet; less if it was no, so that what is joined soon speaks.
 */
#define _GNU_SOURCE
#include "tcpip.h"

#include <errno.h>
#include <stdlib.h>

#define YES_LIFE SF_SEC
#define NO_LIFE (100 * SF_MS)
#define SOURCES_MAX 64

/* The socket's filter for the group, as joined by this interface; false: it has not joined it. */
static bool ask(int fd, uint32_t group, uint32_t interface, uint32_t source)
{
    struct {
        struct ip_msfilter filter;
        struct in_addr more[SOURCES_MAX];
    } space = {.filter = {.imsf_multiaddr.s_addr = group, .imsf_interface.s_addr = interface}};
    struct ip_msfilter *filter = &space.filter;
    socklen_t len = IP_MSFILTER_SIZE(SOURCES_MAX);
    bool listed = false;
    uint32_t n;

    filter->imsf_numsrc = SOURCES_MAX;
    if (getsockopt(fd, IPPROTO_IP, IP_MSFILTER, filter, &len) < 0)
        return false;
    n = filter->imsf_numsrc; /* how many there are, which may be more than we have got */
    if (n > SOURCES_MAX)
        return true;
    for (uint32_t i = 0; i < n && !listed; i++)
        listed = memcmp((char *)filter + IP_MSFILTER_SIZE(i), &source, sizeof(source)) == 0;
    return listed == (filter->imsf_fmode == MCAST_INCLUDE);
}

/* On a wire the join may name our address or none, and the kernel keeps the two apart; of an interface all addresses do. */
static bool ask_kernel(struct sf_udp_socket *s, uint32_t group, uint32_t source)
{
    const struct sf_interface *interface = &s->tcpip->interface;

    for (int i = 0; i < interface->n_addrs; i++)
        if (ask(s->fd, group, interface->addrs[i].addr, source))
            return true;
    return sf_tcpip_is_wire(s->tcpip) && ask(s->fd, group, 0, source);
}

bool sf_udp_has_joined(struct sf_udp_socket *s, uint32_t group, uint32_t source)
{
    struct sf_udp_group *g;
    sf_ns now = s->tcpip->now;

    for (int i = 0; i < SF_UDP_GROUPS; i++) {
        g = &s->groups[i];
        if (SF_LIKELY(g->group == group && g->source == source && now < g->until))
            return g->joined;
    }
    g = &s->groups[s->next_group++ % SF_UDP_GROUPS];
    *g = (struct sf_udp_group){.group = group, .source = source, .joined = ask_kernel(s, group, source)};
    g->until = now + (g->joined ? YES_LIFE : NO_LIFE);
    return g->joined;
}
