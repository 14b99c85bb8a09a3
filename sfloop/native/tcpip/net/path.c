#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <stdlib.h>

#define ROUTE_LIFE (10 * SF_SEC) /* because some changes of routes cause no notification: policy, nexthop objects */
#define IN_USE (2 * SF_SEC)      /* longer than anything built from a path lasts */
#define ASK_AGAIN (200 * SF_MS)
#define PROVOKE_AGAIN SF_SEC /* the kernel itself asks once a second */
#define LEARNED_LIFE (600 * SF_SEC) /* RFC 1191, 6.3 */
#define OLD_ROUTER_MTU 576          /* RFC 1191, 5: for a router that sends no MTU */
#define LEAST_MTU 552               /* Linux's lower limit (ip_rt_min_pmtu), which limits the effect of a forged error */

int sf_paths_init(struct sf_paths *paths)
{
    paths->generation = 1;
    paths->sets = calloc(SF_PATH_SETS, sizeof(*paths->sets));
    return paths->sets ? 0 : -ENOMEM;
}

void sf_paths_free(struct sf_paths *paths)
{
    free(paths->sets);
    paths->sets = NULL;
}

/* Skips 0, which means that a destination was never built. */
void sf_paths_outdate(struct sf_paths *paths)
{
    if (!++paths->generation)
        paths->generation = 1;
}

void sf_paths_flush(struct sf_tcpip *t)
{
    sf_paths_outdate(&t->paths);
    t->paths.outdated = true;
    for (int i = 0; i < SF_PATH_SETS; i++) {
        for (int j = 0; j < SF_PATH_SET_SIZE; j++) {
            struct sf_path *path = &t->paths.sets[i][j];

            if (path->state != SF_PATH_UNUSED && t->now - path->used > IN_USE)
                path->state = SF_PATH_ASKED;
            path->asked = 0; /* an answer under way may be outdated */
            path->ask_at = 0;
        }
    }
}

/* ---- the table ---- */

static struct sf_path *set_of(struct sf_tcpip *t, uint32_t dst)
{
    return t->paths.sets[(dst * 0x9e3779b1u >> 24) % SF_PATH_SETS];
}

static struct sf_path *find_or_make(struct sf_tcpip *t, uint32_t dst, uint32_t src)
{
    struct sf_path *set = set_of(t, dst), *oldest = set;

    for (int i = 0; i < SF_PATH_SET_SIZE; i++) {
        if (set[i].state != SF_PATH_UNUSED && set[i].dst == dst && set[i].src == src)
            return &set[i];
        if (oldest->state != SF_PATH_UNUSED && (set[i].state == SF_PATH_UNUSED || set[i].used < oldest->used))
            oldest = &set[i];
    }
    if (oldest->state != SF_PATH_UNUSED)
        sf_count(t, SF_COUNT_PATH_EVICTED);
    *oldest = (struct sf_path){.dst = dst, .src = src, .state = SF_PATH_ASKED};
    return oldest;
}

/* ---- finding ---- */

static uint32_t mtu_of(const struct sf_tcpip *t, const struct sf_path *path)
{
    uint32_t mtu = t->interface.mtu < t->caps.mtu ? t->interface.mtu : t->caps.mtu;

    if (path->route_mtu && path->route_mtu < mtu)
        mtu = path->route_mtu;
    if (path->learned_mtu && t->now < path->learned_until && path->learned_mtu < mtu)
        mtu = path->learned_mtu;
    return mtu;
}

/* Finds the way to the peer of a point-to-point link, or to a group there. */
static enum sf_way find_on_link(struct sf_tcpip *t, uint32_t dst, uint32_t src, struct sf_hop *hop)
{
    if (!t->caps.peer_addr)
        return sf_is_multicast(dst) ? SF_WAY_DOWN : SF_WAY_KERNEL;
    if (dst != t->caps.peer_addr && !sf_is_multicast(dst))
        return SF_WAY_KERNEL;
    if (sf_is_multicast(dst))
        sf_eth_multicast(dst, hop->mac);
    else
        memcpy(hop->mac, t->caps.peer_mac, sizeof(hop->mac));
    hop->src = src ? src : t->caps.addr;
    hop->mtu = t->caps.mtu;
    return SF_WAY_DIRECT;
}

static void ask(struct sf_tcpip *t, struct sf_path *path)
{
    path->asked = sf_route_ask(t, path->dst, path->src);
    path->ask_at = t->now + ASK_AGAIN;
}

/* Asks at once about paths in use, because packets take the old way until the answer. */
void sf_paths_ask_again(struct sf_tcpip *t)
{
    if (!t->paths.outdated)
        return;
    t->paths.outdated = false;
    for (int i = 0; i < SF_PATH_SETS; i++)
        for (int j = 0; j < SF_PATH_SET_SIZE; j++)
            if (t->paths.sets[i][j].state != SF_PATH_UNUSED && t->now - t->paths.sets[i][j].used <= IN_USE)
                ask(t, &t->paths.sets[i][j]);
}

static enum sf_way find_direct(struct sf_tcpip *t, const struct sf_path *path, struct sf_hop *hop)
{
    struct sf_neighbour *neighbour = sf_neighbour_find(&t->neighbours, path->next_hop);

    if (!neighbour || !neighbour->usable)
        return SF_WAY_UNRESOLVED;
    if (neighbour->stale && !sf_neighbour_confirm(t, neighbour))
        return SF_WAY_UNRESOLVED;
    memcpy(hop->mac, neighbour->mac, sizeof(hop->mac));
    hop->src = path->preferred_src;
    hop->mtu = mtu_of(t, path);
    return SF_WAY_DIRECT;
}

enum sf_way sf_path_find(struct sf_tcpip *t, uint32_t dst, uint32_t src, struct sf_hop *hop)
{
    struct sf_path *path;

    if (!t->usable)
        return SF_WAY_DOWN;
    if (sf_tcpip_is_point_to_point(t))
        return find_on_link(t, dst, src, hop);
    if (sf_is_multicast(dst)) { /* no route is needed, because the program has named the interface */
        sf_eth_multicast(dst, hop->mac);
        hop->src = src;
        hop->mtu = t->interface.mtu < t->caps.mtu ? t->interface.mtu : t->caps.mtu;
        return SF_WAY_DIRECT;
    }
    path = find_or_make(t, dst, src);
    path->used = t->now;
    if (t->now >= path->ask_at)
        ask(t, path);
    switch (path->state) {
    case SF_PATH_DIRECT:
        return find_direct(t, path, hop);
    case SF_PATH_KERNEL:
        return SF_WAY_KERNEL;
    case SF_PATH_NONE:
        return SF_WAY_NONE;
    default:
        return SF_WAY_UNRESOLVED;
    }
}

static struct sf_path *find_known(struct sf_tcpip *t, uint32_t dst, uint32_t src)
{
    struct sf_path *set = set_of(t, dst);

    for (int i = 0; i < SF_PATH_SET_SIZE; i++)
        if (set[i].state == SF_PATH_DIRECT && set[i].dst == dst && set[i].src == src)
            return &set[i];
    return NULL;
}

void sf_path_provoke(struct sf_tcpip *t, uint32_t dst, uint32_t src)
{
    struct sf_path *path = find_known(t, dst, src);

    if (!path || (path->provoked && t->now - path->provoked < PROVOKE_AGAIN))
        return;
    path->provoked = t->now;
    sf_neighbour_provoke(t, path->next_hop);
}

bool sf_path_failed(struct sf_tcpip *t, uint32_t dst, uint32_t src, sf_ns since)
{
    const struct sf_path *path = find_known(t, dst, src);
    const struct sf_neighbour *neighbour = path ? sf_neighbour_find(&t->neighbours, path->next_hop) : NULL;

    return neighbour && !neighbour->usable && neighbour->failed > since;
}

/* ---- learning ---- */

static bool is_changed(const struct sf_path *path, const struct sf_path *before)
{
    return path->state != before->state || path->next_hop != before->next_hop ||
           path->preferred_src != before->preferred_src || path->route_mtu != before->route_mtu;
}

void sf_path_answer(struct sf_tcpip *t, uint32_t request, const struct sf_route *route)
{
    struct sf_path *path = NULL;

    for (int i = 0; i < SF_PATH_SETS * SF_PATH_SET_SIZE && !path; i++) {
        struct sf_path *each = &t->paths.sets[i / SF_PATH_SET_SIZE][i % SF_PATH_SET_SIZE];

        if (each->state != SF_PATH_UNUSED && each->asked == request)
            path = each;
    }
    if (!path)
        return; /* evicted or flushed since */
    struct sf_path before = *path;

    path->asked = 0;
    path->ask_at = t->now + ROUTE_LIFE;
    path->state = route->direct ? SF_PATH_DIRECT : route->refused ? SF_PATH_NONE : SF_PATH_KERNEL;
    path->next_hop = route->gateway ? route->gateway : path->dst;
    path->preferred_src = path->src ? path->src : route->preferred_src;
    path->route_mtu = route->mtu;
    if (route->direct && !path->preferred_src)
        path->state = SF_PATH_KERNEL;
    if (is_changed(path, &before))
        sf_paths_outdate(&t->paths);
}

void sf_path_learn_mtu(struct sf_tcpip *t, uint32_t dst, uint32_t mtu)
{
    struct sf_path *set = set_of(t, dst);

    if (!mtu)
        mtu = OLD_ROUTER_MTU;
    if (mtu < LEAST_MTU)
        mtu = LEAST_MTU;
    for (int i = 0; i < SF_PATH_SET_SIZE; i++) {
        if (set[i].state == SF_PATH_UNUSED || set[i].dst != dst)
            continue;
        set[i].learned_mtu = mtu;
        set[i].learned_until = t->now + LEARNED_LIFE;
        sf_count(t, SF_COUNT_PATH_MTU_LEARNED);
        sf_paths_outdate(&t->paths);
    }
}
