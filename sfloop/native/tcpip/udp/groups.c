/*
 * The groups whose datagrams a socket receives. The side socket has the memberships, so the kernel is asked, and its answer is
 * valid for LIFE.
 *
 * The query may have to wait for a lock that the kernel holds while interfaces change. So it is made between two polls, for
 * groups with recent datagrams, and rarely while a datagram waits for it. Answers are dropped early when the program sets an
 * option of the transport's socket and, since Linux 6.14, when the kernel reports that this host has joined or left a group.
 */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"
#include "storage/sorted_list.h"

#include <errno.h>
#include <stdlib.h>

#define LIFE (100 * SF_MS)
#define IN_USE SF_SEC               /* a group with a datagram since then is asked about before its answer expires */
#define LOOK_INTERVAL (100 * SF_US) /* between two queries */
#define IDLE_INTERVAL (10 * SF_MS)
#define SOCKETS_AT_ONCE 64
#define LEAST_SIZE 8
#define MOST_GROUPS 4096 /* of a socket; the answers can be read again */

/* ---- the table ---- */

static uint32_t home_of(const struct sf_udp_groups *groups, uint32_t group)
{
    return (group * 0x9e3779b1u >> 8) & (groups->size - 1);
}

/* Returns the group's slot, or the free slot for it. */
static uint32_t slot_of(const struct sf_udp_groups *groups, uint32_t group)
{
    uint32_t i = home_of(groups, group);

    while (groups->slot[i].group && groups->slot[i].group != group)
        i = (i + 1) & (groups->size - 1);
    return i;
}

static void empty(struct sf_udp_groups *groups)
{
    for (uint32_t i = 0; i < groups->size; i++)
        free(groups->slot[i].sources);
    free(groups->slot);
    *groups = (struct sf_udp_groups){0};
}

static bool make_room(struct sf_udp_groups *groups)
{
    struct sf_udp_groups bigger = {.used = groups->used};

    if (groups->size >= 2 * (groups->used + 1))
        return true;
    if (groups->used == MOST_GROUPS) {
        empty(groups);
        bigger.used = 0;
    }
    bigger.size = groups->size ? groups->size * 2 : LEAST_SIZE;
    bigger.slot = calloc(bigger.size, sizeof(*bigger.slot));
    if (!bigger.slot)
        return false;
    for (uint32_t i = 0; i < groups->size; i++)
        if (groups->slot[i].group)
            bigger.slot[slot_of(&bigger, groups->slot[i].group)] = groups->slot[i];
    free(groups->slot);
    *groups = bigger;
    return true;
}

void sf_udp_groups_free(struct sf_udp_socket *s)
{
    empty(&s->groups);
}

void sf_udp_groups_outdate(struct sf_udp_socket *s)
{
    for (uint32_t i = 0; i < s->groups.size; i++)
        s->groups.slot[i].until = 0;
    s->tcpip->groups_due = 0;
}

void sf_udp_memberships_changed(struct sf_tcpip *t)
{
    for (uint32_t i = 0; i < t->n_sockets; i++)
        if (t->sockets[i])
            sf_udp_groups_outdate(t->sockets[i]);
    sf_host_groups_outdate(&t->host_groups);
}

/* ---- a datagram ---- */

static void ask(struct sf_udp_socket *s, struct sf_udp_group *g)
{
    sf_udp_ask_membership(s, g);
    g->until = s->tcpip->now + LIFE;
}

static bool is_listed(const struct sf_udp_group *g, uint32_t source)
{
    uint32_t at = sf_sorted_place(g->sources, g->n_sources, sizeof(*g->sources), source);

    return at < g->n_sources && g->sources[at] == source;
}

static bool takes(struct sf_tcpip *t, const struct sf_udp_group *g, uint32_t source)
{
    switch (g->takes) {
    case SF_UDP_TAKES_ALL:
        return true;
    case SF_UDP_TAKES_LISTED:
        return is_listed(g, source);
    case SF_UDP_TAKES_UNLISTED:
        return !is_listed(g, source);
    case SF_UDP_TAKES_HOSTS:
        return sf_host_takes(t, g->group, source);
    default:
        return false;
    }
}

/* Finds or adds the entry of a group that differs from the last datagram's. NULL: no memory. */
static struct sf_udp_group *find(struct sf_udp_socket *s, uint32_t group)
{
    struct sf_udp_groups *groups = &s->groups;
    struct sf_udp_group *g = groups->size ? &groups->slot[slot_of(groups, group)] : NULL;

    if (!g || !g->group) {
        if (!make_room(groups))
            return NULL;
        g = &groups->slot[slot_of(groups, group)];
        g->group = group;
        groups->used++;
    }
    groups->latest = (uint32_t)(g - groups->slot);
    return g;
}

bool sf_udp_takes(struct sf_udp_socket *s, uint32_t group, uint32_t source)
{
    struct sf_udp_group *g = s->groups.size ? &s->groups.slot[s->groups.latest] : NULL;
    sf_ns now = s->tcpip->now;

    if (SF_UNLIKELY(!g || g->group != group)) {
        g = find(s, group);
        if (!g)
            return false;
    }
    if (SF_UNLIKELY(now >= g->until))
        ask(s, g);
    g->used = now;
    return SF_LIKELY(g->takes == SF_UDP_TAKES_ALL) || takes(s->tcpip, g, source);
}

/* ---- between two polls ---- */

static bool ask_one_again(struct sf_udp_socket *s)
{
    sf_ns now = s->tcpip->now;

    for (uint32_t i = 0; i < s->groups.size; i++) {
        struct sf_udp_group *g = &s->groups.slot[i];

        if (g->group && now + LIFE / 2 >= g->until && now - g->used < IN_USE) {
            ask(s, g);
            return true;
        }
    }
    return false;
}

void sf_udp_groups_look(struct sf_tcpip *t)
{
    uint32_t n = t->n_sockets < SOCKETS_AT_ONCE ? t->n_sockets : SOCKETS_AT_ONCE;

    t->groups_due = t->now + LOOK_INTERVAL;
    for (uint32_t i = 0; i < n; i++) {
        struct sf_udp_socket *s = t->sockets[t->groups_at++ % t->n_sockets];

        if (s && s->groups.used && ask_one_again(s)) {
            t->groups_at--; /* the same socket may have more */
            return;
        }
    }
    if (n == t->n_sockets)
        t->groups_due = t->now + IDLE_INTERVAL;
}
