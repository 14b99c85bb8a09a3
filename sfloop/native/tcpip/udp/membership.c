/*
 * Asks the kernel about a socket and a group: whether the side socket is a member on our interface, and with which filter; and if
 * it is not a member, whether it receives groups that other sockets have joined (IP_MULTICAST_ALL).
 */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

#define FEW 16 /* sources that need no allocation */

/* The kernel's answer in either form. n_sources: number of sources. The list has at most `room` of them. */
struct answer {
    uint32_t mode, n_sources;
};

/* A list that may have to grow. */
struct list {
    uint32_t room;
    uint32_t *sources;
};

/* Asks by the interface's index, which also finds memberships on an interface without an address. Returns 0 or a negative
 * errno. */
static int ask_by_index(int fd, uint32_t group, int index, const struct list *list, struct answer *answer)
{
    struct {
        struct group_filter filter;
        struct sockaddr_storage more[FEW];
    } few;
    socklen_t len = GROUP_FILTER_SIZE(list->room);
    struct group_filter *filter = list->room <= FEW ? &few.filter : malloc(len);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = group};
    int rc = 0;

    if (!filter)
        return -ENOMEM;
    memset(filter, 0, sizeof(*filter));
    filter->gf_interface = (uint32_t)index;
    memcpy(&filter->gf_group, &name, sizeof(name));
    filter->gf_numsrc = list->room;
    if (getsockopt(fd, IPPROTO_IP, MCAST_MSFILTER, filter, &len) < 0)
        rc = -errno;
    *answer = (struct answer){.mode = filter->gf_fmode, .n_sources = filter->gf_numsrc};
    for (uint32_t i = 0; rc == 0 && i < answer->n_sources && i < list->room; i++) {
        memcpy(&name, (const char *)filter + GROUP_FILTER_SIZE(i), sizeof(name));
        list->sources[i] = name.sin_addr.s_addr;
    }
    if (filter != &few.filter)
        free(filter);
    return rc;
}

/* Asks by an address. On a point-to-point link the program may have joined with our address or with none, which the kernel
 * distinguishes. */
static int ask_by_address(int fd, uint32_t group, uint32_t addr, const struct list *list, struct answer *answer)
{
    socklen_t len = IP_MSFILTER_SIZE(list->room);
    struct ip_msfilter *filter = malloc(len < sizeof(*filter) ? sizeof(*filter) : len);
    int rc = 0;

    if (!filter)
        return -ENOMEM;
    *filter = (struct ip_msfilter){.imsf_multiaddr.s_addr = group, .imsf_interface.s_addr = addr, .imsf_numsrc = list->room};
    if (getsockopt(fd, IPPROTO_IP, IP_MSFILTER, filter, &len) < 0)
        rc = -errno;
    *answer = (struct answer){.mode = filter->imsf_fmode, .n_sources = filter->imsf_numsrc};
    for (uint32_t i = 0; rc == 0 && i < answer->n_sources && i < list->room; i++)
        memcpy(&list->sources[i], (const char *)filter + IP_MSFILTER_SIZE(i), sizeof(uint32_t));
    free(filter);
    return rc;
}

static int ask_once(const struct sf_udp_socket *s, uint32_t group, const struct list *list, struct answer *answer)
{
    const struct sf_tcpip *t = s->tcpip;
    int rc;

    if (!sf_tcpip_is_point_to_point(t))
        return ask_by_index(s->fd, group, t->interface.index, list, answer);
    rc = ask_by_address(s->fd, group, t->caps.addr, list, answer);
    return rc == 0 ? 0 : ask_by_address(s->fd, group, 0, list, answer);
}

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

    return (left > right) - (left < right);
}

static void take_list(struct sf_udp_group *g, const struct answer *answer, struct list *list)
{
    bool include = answer->mode == MCAST_INCLUDE;

    g->n_sources = answer->n_sources;
    if (!g->n_sources) {
        g->takes = include ? SF_UDP_TAKES_NONE : SF_UDP_TAKES_ALL;
        return;
    }
    g->takes = include ? SF_UDP_TAKES_LISTED : SF_UDP_TAKES_UNLISTED;
    g->sources = list->sources;
    list->sources = NULL;
    qsort(g->sources, g->n_sources, sizeof(*g->sources), compare);
}

static bool wants_what_others_join(int fd)
{
    int on = 0;
    socklen_t len = sizeof(on);

    return getsockopt(fd, IPPROTO_IP, IP_MULTICAST_ALL, &on, &len) == 0 && on;
}

void sf_udp_ask_membership(const struct sf_udp_socket *s, struct sf_udp_group *g)
{
    struct list list = {.room = g->n_sources};
    struct answer answer = {0};
    int rc = -ENOMEM;

    list.sources = g->sources; /* usually as long as the last time */
    g->sources = NULL;
    g->n_sources = 0;
    g->takes = SF_UDP_TAKES_NONE;
    for (int tries = 0; tries < 3; tries++) { /* another thread may add sources between two calls */
        rc = ask_once(s, g->group, &list, &answer);
        if (rc < 0 || answer.n_sources <= list.room)
            break;
        free(list.sources);
        list.room = answer.n_sources;
        list.sources = malloc(list.room * sizeof(*list.sources));
        rc = -ENOMEM;
        if (!list.sources)
            break;
    }
    if (rc == 0)
        take_list(g, &answer, &list);
    else if (!sf_tcpip_is_point_to_point(s->tcpip) && wants_what_others_join(s->fd))
        g->takes = SF_UDP_TAKES_HOSTS;
    free(list.sources);
}
