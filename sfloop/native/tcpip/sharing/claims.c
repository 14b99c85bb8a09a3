#define _GNU_SOURCE
#include "tcpip/tcpip.h"
#include "slices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { NAMES_AT_ONCE = 16 }; /* about 0.6 us each */

static socklen_t name_of(struct sockaddr_un *name, const struct sf_tcpip *t, const struct sf_claim *claim, int number)
{
    int length;

    memset(name, 0, sizeof(*name));
    name->sun_family = AF_UNIX;
    length = snprintf(name->sun_path + 1, sizeof(name->sun_path) - 1, "sfloop/%d/%s/%u/%d", t->interface.index,
                      claim->tcp ? "tcp" : "udp", claim->id, number);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

/* Without a descriptor for the claim the stack serves the socket nevertheless, because two loops rarely serve the same socket. */
static void bind_name(struct sf_tcpip *t, struct sf_claim *claim)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc = -EADDRINUSE;
    struct sockaddr_un name;

    claim->crowded = false;
    if (fd < 0)
        return;
    for (int i = 0; i < SF_CLAIMS && rc == -EADDRINUSE; i++) {
        socklen_t len = name_of(&name, t, claim, i);

        rc = bind(fd, (struct sockaddr *)&name, len) < 0 ? -errno : 0;
        claim->number = i;
    }
    claim->crowded = rc == -EADDRINUSE;
    if (rc < 0)
        close(fd);
    else
        claim->fd = fd;
}

struct sf_claim *sf_claim_take(struct sf_tcpip *t, bool tcp, uint32_t id)
{
    struct sf_claim *claim = t->filters.claims;

    while (claim && (claim->tcp != tcp || claim->id != id))
        claim = claim->next;
    if (!claim) {
        claim = calloc(1, sizeof(*claim));
        if (!claim)
            return NULL;
        *claim = (struct sf_claim){.next = t->filters.claims, .tcp = tcp, .id = id, .fd = -1};
        t->filters.claims = claim;
        bind_name(t, claim);
    }
    claim->users++;
    return claim;
}

void sf_claim_drop(struct sf_tcpip *t, struct sf_claim *claim)
{
    struct sf_claim **at = &t->filters.claims;

    if (!claim || --claim->users)
        return;
    while (*at != claim)
        at = &(*at)->next;
    *at = claim->next;
    if (t->filters.next_claim == claim)
        t->filters.next_claim = claim->next;
    if (claim->fd >= 0)
        close(claim->fd);
    free(claim);
}

/* True: another loop has one of the names `from` to `to` - 1. */
static bool ask_names(const struct sf_tcpip *t, const struct sf_claim *claim, int from, int to)
{
    struct sockaddr_un name;

    for (int i = from; i < to; i++) {
        socklen_t len = name_of(&name, t, claim, i);

        if (i == claim->number || (connect(claim->fd, (struct sockaddr *)&name, len) < 0 && errno == ECONNREFUSED))
            continue;
        name.sun_family = AF_UNSPEC; /* disconnects */
        connect(claim->fd, (struct sockaddr *)&name, sizeof(sa_family_t));
        return true;
    }
    return false;
}

bool sf_claim_is_shared(struct sf_tcpip *t, struct sf_claim *claim)
{
    if (claim->fd < 0)
        bind_name(t, claim);
    claim->asked = 0;
    claim->shared = claim->fd < 0 ? claim->crowded : ask_names(t, claim, 0, SF_CLAIMS);
    return claim->shared;
}

/* Tries some of the names. True: all were tried, or another loop was found. */
static bool look_at(struct sf_tcpip *t, struct sf_claim *claim)
{
    bool shared;

    if (claim->fd < 0) {
        sf_claim_is_shared(t, claim);
        return true;
    }
    shared = ask_names(t, claim, claim->asked, claim->asked + NAMES_AT_ONCE);
    claim->asked += NAMES_AT_ONCE;
    if (!shared && claim->asked < SF_CLAIMS)
        return false;
    claim->shared = shared;
    claim->asked = 0;
    return true;
}

bool sf_claims_look(struct sf_tcpip *t, bool starting)
{
    struct sf_filters *filters = &t->filters;
    struct sf_claim *claim = filters->next_claim;
    bool before;

    if (!claim) {
        filters->claims_begun = t->now;
        claim = filters->next_claim = filters->claims;
    }
    if (!claim) {
        filters->claims_at = SF_NEVER;
        return false;
    }
    before = claim->shared;
    if (look_at(t, claim))
        filters->next_claim = claim->next;
    filters->claims_at = filters->next_claim ? sf_next_slice(t->now, starting)
                                             : sf_next_round(t->now, filters->claims_begun, starting);
    return claim->shared != before;
}

void sf_claims_after_fork(struct sf_tcpip *t)
{
    for (struct sf_claim *claim = t->filters.claims; claim; claim = claim->next) {
        if (claim->fd >= 0)
            close(claim->fd);
        claim->fd = -1;
    }
}
