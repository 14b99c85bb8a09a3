/* Bindings: the addresses at which the program's sockets receive, and the loop that serves an inherited socket. */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include "storage/kernel_socket.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct sf_flow_key key_at(const struct sf_binding *b, uint32_t addr)
{
    return (struct sf_flow_key){.local_addr = addr, .local_port = b->key.local_port};
}

/* ---- the addresses ---- */

static int visit_set(struct sf_tcpip *t, const struct sf_binding *b, const struct sf_addr_set *set, sf_binding_visit visit)
{
    int rc = 0;

    for (uint32_t i = 0; rc >= 0 && i < set->size; i++) {
        struct sf_flow_key key = key_at(b, set->slot[i].addr);

        if (set->slot[i].addr)
            rc = visit(t, b, &key);
    }
    return rc;
}

static int visit_any(struct sf_tcpip *t, const struct sf_binding *b, sf_binding_visit visit)
{
    struct sf_flow_key key;
    int rc = visit_set(t, b, &t->interface.own, visit);

    if (rc < 0 || b->protocol != IPPROTO_UDP)
        return rc;
    rc = visit_set(t, b, &t->interface.broadcasts, visit);
    if (rc < 0)
        return rc;
    key = key_at(b, INADDR_BROADCAST);
    rc = visit(t, b, &key);
    for (int i = 0; rc >= 0 && i < b->n_groups; i++) {
        key = key_at(b, b->groups[i]);
        rc = visit(t, b, &key);
    }
    return rc;
}

/* An address that the interface has lost may belong to another host by now. */
static bool receives_at(const struct sf_tcpip *t, uint32_t addr)
{
    return sf_is_multicast(addr) || sf_interface_owns(&t->interface, addr) || sf_interface_is_broadcast(&t->interface, addr);
}

int sf_binding_keys(struct sf_tcpip *t, const struct sf_binding *b, sf_binding_visit visit)
{
    if (sf_tcpip_is_point_to_point(t)) /* the peer of a point-to-point link sends to us only */
        return visit(t, b, &b->key);
    if (!b->key.local_addr)
        return visit_any(t, b, visit);
    return receives_at(t, b->key.local_addr) ? visit(t, b, &b->key) : 0;
}

/* ---- sockets that several loops serve ---- */

/* A connected socket needs no claim, because no other socket receives from its peer. */
static void take_claim(struct sf_tcpip *t, struct sf_binding *b)
{
    bool tcp = b->protocol == IPPROTO_TCP;

    if (!t->interface.index || !b->inode || b->key.remote_addr)
        return;
    b->claim = sf_claim_take(t, tcp, tcp ? ntohs(b->key.local_port) : b->inode);
    b->unclaimed = b->claim && sf_claim_is_shared(t, b->claim);
    if (!t->filters.next_claim)
        t->filters.claims_at = t->now;
}

bool sf_bindings_have(const struct sf_filters *filters, uint32_t inode)
{
    for (const struct sf_binding *b = filters->bindings; b; b = b->next)
        if (b->inode == inode)
            return true;
    return false;
}

static int release(struct sf_tcpip *t, const struct sf_binding *b, const struct sf_flow_key *key)
{
    sf_filter_release(t, b, key);
    return 0;
}

void sf_bindings_claim(struct sf_tcpip *t)
{
    for (struct sf_binding *b = t->filters.bindings; b; b = b->next) {
        bool others = b->claim && b->claim->shared;
        int holder = b->holder || !sf_holders_are_doubtful(&t->filters.holders) ? b->holder : b->held_by;

        if (others == b->unclaimed && holder == b->held_by)
            continue;
        sf_binding_keys(t, b, release);
        b->unclaimed = others;
        b->held_by = holder;
        sf_binding_keys(t, b, sf_filter_retain);
    }
}

void sf_filters_after_fork(struct sf_tcpip *t)
{
    sf_claims_after_fork(t);
    if (t->filters.others_fd >= 0)
        close(t->filters.others_fd);
    if (t->filters.stations_fd >= 0)
        close(t->filters.stations_fd);
    t->filters.others_fd = t->filters.stations_fd = -1;
    sf_survey_close(&t->filters.survey);
}

/* ---- life ---- */

static bool option(int fd, int name)
{
    int on = 0;
    socklen_t len = sizeof(on);

    return getsockopt(fd, SOL_SOCKET, name, &on, &len) == 0 && on;
}

/* Returns the driver's error if it has refused every filter of the socket, else 0. */
static int refusal(struct sf_tcpip *t, const struct sf_binding *b)
{
    int error = 0;

    for (struct sf_filter *f = t->filters.first; f; f = f->next) {
        if (f->protocol != b->protocol || f->link.key.local_port != b->key.local_port)
            continue;
        if (f->why != SF_WHY_DRIVER)
            return 0;
        error = f->error;
    }
    return error;
}

static void unlink_binding(struct sf_tcpip *t, struct sf_binding *b)
{
    sf_claim_drop(t, b->claim);
    sf_holders_closed(t, b);
    b->claim = NULL;
    if (b->prev)
        b->prev->next = b->next;
    else
        t->filters.bindings = b->next;
    if (b->next)
        b->next->prev = b->prev;
    b->open = false;
}

int sf_binding_open(struct sf_tcpip *t, struct sf_binding *b, int fd, uint8_t protocol, const struct sf_flow_key *key)
{
    struct sf_filters *filters = &t->filters;
    int rc;

    *b = (struct sf_binding){.key = *key, .protocol = protocol, .inode = sf_others_inode(fd)};
    b->mapped = sf_kernel_socket_is_mapped(fd, protocol);
    b->shared = option(fd, SO_REUSEPORT) || (protocol == IPPROTO_UDP && option(fd, SO_REUSEADDR));
    if (!sf_holders_opened(t, b))
        return -ENOMEM;
    take_claim(t, b);
    b->open = true;
    b->next = filters->bindings;
    if (b->next)
        b->next->prev = b;
    filters->bindings = b;
    filters->opened = t->now;
    filters->others_which = -1;
    rc = sf_binding_keys(t, b, sf_filter_retain);
    if (rc < 0) { /* some of the filters are retained */
        unlink_binding(t, b);
        sf_filters_addresses_changed(t);
        return rc;
    }
    rc = refusal(t, b);
    if (rc < 0)
        sf_binding_close(t, b);
    return rc;
}

void sf_binding_close(struct sf_tcpip *t, struct sf_binding *b)
{
    if (!b->open)
        return;
    sf_binding_keys(t, b, release);
    unlink_binding(t, b);
}

bool sf_binding_add_group(struct sf_tcpip *t, struct sf_binding *b, uint32_t group)
{
    struct sf_flow_key key = key_at(b, group);
    const struct sf_filter *f;

    for (int i = 0; i < b->n_groups; i++)
        if (b->groups[i] == group)
            return false;
    if (b->n_groups == SF_BINDING_GROUPS)
        return false;
    t->filters.others_which = -1;
    if (sf_filter_retain(t, b, &key) < 0)
        return false;
    b->groups[b->n_groups++] = group;
    f = sf_filter_find(t, b->protocol, &key);
    return f && f->why == SF_WHY_OURS;
}
