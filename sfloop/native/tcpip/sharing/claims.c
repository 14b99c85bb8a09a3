#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static socklen_t name_of(struct sockaddr_un *name, const struct sf_tcpip *t, const struct sf_claim *claim, int number)
{
    int length;

    memset(name, 0, sizeof(*name));
    name->sun_family = AF_UNIX;
    length = snprintf(name->sun_path + 1, sizeof(name->sun_path) - 1, "sfloop/%d/%s/%u/%d", t->interface.index,
                      claim->tcp ? "tcp" : "udp", claim->id, number);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

/* Without a descriptor for it the socket is served all the same: that two loops serve one is the rare case. */
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
    if (claim->fd >= 0)
        close(claim->fd);
    free(claim);
}

bool sf_claim_is_shared(struct sf_tcpip *t, struct sf_claim *claim)
{
    struct sockaddr_un name;

    if (claim->fd < 0)
        bind_name(t, claim);
    if (claim->fd < 0)
        return claim->crowded;
    for (int i = 0; i < SF_CLAIMS; i++) {
        socklen_t len = name_of(&name, t, claim, i);

        if (i == claim->number || (connect(claim->fd, (struct sockaddr *)&name, len) < 0 && errno == ECONNREFUSED))
            continue;
        name.sun_family = AF_UNSPEC; /* no longer connected */
        connect(claim->fd, (struct sockaddr *)&name, sizeof(sa_family_t));
        return true;
    }
    return false;
}

void sf_claims_after_fork(struct sf_tcpip *t)
{
    for (struct sf_claim *claim = t->filters.claims; claim; claim = claim->next) {
        if (claim->fd >= 0)
            close(claim->fd);
        claim->fd = -1;
    }
}
