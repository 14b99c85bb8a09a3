/* The decision whether the kernel keeps a filter's frames, because another socket, loop or process receives them too. */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <stdlib.h>

/* ---- the other sockets at a port ---- */

static bool keep_other(void *context, const struct sf_other *other)
{
    struct sf_filters *filters = context;

    if (sf_bindings_have(filters, other->inode))
        return true;
    if (filters->n_others == filters->others_capacity) {
        uint32_t capacity = filters->others_capacity ? filters->others_capacity * 2 : 16;
        struct sf_other *bigger = realloc(filters->others, capacity * sizeof(*bigger));

        if (!bigger)
            return false;
        filters->others = bigger;
        filters->others_capacity = capacity;
    }
    filters->others[filters->n_others++] = *other;
    return true;
}

/* Reads the other sockets at the port, unless the last answer was for the same port. False: the kernel does not answer. */
static bool read_others(struct sf_tcpip *t, enum sf_others_which which, uint16_t port)
{
    struct sf_filters *filters = &t->filters;

    if (filters->others_which == (int)which && filters->others_port == port)
        return true;
    filters->n_others = 0;
    if (filters->others_fd < 0 || sf_others_list(filters->others_fd, which, port, keep_other, filters) < 0) {
        sf_count(t, SF_COUNT_OTHERS_UNKNOWN);
        filters->others_which = -1;
        return false;
    }
    filters->others_which = (int)which;
    filters->others_port = port;
    return true;
}

/* ---- the sockets among them that receive the filter's frames ---- */

static bool is_elsewhere(const struct sf_tcpip *t, const struct sf_other *o)
{
    return o->ifindex && o->ifindex != t->interface.index;
}

/* The kernel gives a copy of a multicast or broadcast datagram to each socket that is bound to its address or to any address. */
static bool shares_group(const struct sf_filter *f, const struct sf_other *o)
{
    return !o->local_addr || o->local_addr == f->link.key.local_addr;
}

/* The kernel gives a datagram or a connection to the socket that fits best, and an IPv4 socket fits better than an IPv6 socket. Among
 * sockets that fit equally well it chooses by other rules, so any of them may receive. */
static bool fits_as_well(const struct sf_filter *f, const struct sf_other *o)
{
    const struct sf_flow_key *key = &f->link.key;

    if (key->remote_addr)
        return o->local_addr == key->local_addr && o->remote_addr == key->remote_addr && o->remote_port == key->remote_port;
    if (o->local_addr == key->local_addr)
        return true;
    return !o->local_addr && !f->specific && (!o->ipv6 || f->mapped == f->users);
}

static bool read_survey(struct sf_tcpip *t)
{
    if (t->filters.survey.state == SF_SURVEY_DONE)
        return true;
    sf_count(t, SF_COUNT_OTHERS_UNKNOWN);
    return false;
}

/* Returns another socket that receives the filter's frames, or NULL. If the kernel does not answer, returns `unknown`, because there
 * may be one. */
static const struct sf_other *find_other(struct sf_tcpip *t, const struct sf_filter *f, enum sf_others_which which)
{
    static const struct sf_other unknown;
    const struct sf_filters *filters = &t->filters;
    bool by_survey = which == SF_OTHERS_UDP && filters->by_survey;
    const struct sf_other *others;
    uint32_t n;

    if (!(by_survey ? read_survey(t) : read_others(t, which, f->link.key.local_port)))
        return &unknown;
    others = by_survey ? filters->survey.found : filters->others;
    n = by_survey ? filters->survey.n : filters->n_others;
    for (uint32_t i = 0; i < n; i++) {
        const struct sf_other *o = &others[i];

        if (o->local_port != f->link.key.local_port || is_elsewhere(t, o))
            continue;
        if ((f->group ? shares_group(f, o) : fits_as_well(f, o)) && !(by_survey && sf_bindings_have(filters, o->inode)))
            return o;
    }
    return NULL;
}

bool sf_filter_pass_connections(struct sf_tcpip *t, const struct sf_filter *f)
{
    if (!read_others(t, SF_OTHERS_CONNECTIONS, f->link.key.local_port) || t->filters.n_others > SF_KERNEL_CONNS)
        return false;
    for (uint32_t i = 0; i < t->filters.n_others; i++) {
        const struct sf_other *o = &t->filters.others[i];

        if (!is_elsewhere(t, o) && o->local_addr == f->link.key.local_addr && !sf_kernel_conns_pass(t, o))
            return false;
    }
    return true;
}

bool sf_filter_has_copies(const struct sf_tcpip *t, const struct sf_filter *f)
{
    return t->caps.flags & SF_DRIVER_SHARES || (f->group && t->caps.flags & SF_DRIVER_SHARES_GROUPS);
}

enum sf_filter_why sf_filter_judge(struct sf_tcpip *t, struct sf_filter *f)
{
    bool tcp = f->protocol == IPPROTO_TCP;
    const struct sf_other *o;

    if (!t->interface.index || sf_filter_has_copies(t, f))
        return SF_WHY_OURS;
    if (f->unclaimed)
        return SF_WHY_OTHER_LOOP;
    if (f->held)
        return SF_WHY_OTHER_PROCESS;
    if (f->group && t->filters.stations)
        return SF_WHY_STATIONS;
    o = f->shared ? find_other(t, f, tcp ? SF_OTHERS_LISTENERS : SF_OTHERS_UDP) : NULL;
    f->holder = o ? o->inode : 0;
    if (o)
        return SF_WHY_OTHER_SOCKET;
    if (tcp && !f->added && !sf_filter_pass_connections(t, f)) {
        f->look_at = t->now + SF_CONNECTIONS_INTERVAL;
        return SF_WHY_CONNECTIONS;
    }
    return SF_WHY_OURS;
}
