#define _GNU_SOURCE
#include "tcpip/tcpip.h"
#include "storage/kernel_setting.h"

#include <net/if.h>
#include <stdio.h>

#define NONE UINT64_MAX
#define SETTINGS_LIFE SF_SEC

void sf_sources_forget(struct sf_tcpip *t)
{
    t->sources.latest = NONE;
}

/* ---- the interface's settings, which few hosts change ---- */

static bool is_on(const char *interface, const char *setting)
{
    char path[80 + IF_NAMESIZE];

    snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/%s", interface, setting);
    return sf_setting_is_on(path);
}

static void read_settings(struct sf_tcpip *t)
{
    char name[IF_NAMESIZE] = "";

    if (t->now < t->sources.settings_until || !if_indextoname((unsigned)t->interface.index, name))
        return;
    t->sources.own = is_on("all", "accept_local") || is_on(name, "accept_local");
    t->sources.loopback = is_on("all", "route_localnet") || is_on(name, "route_localnet");
    t->sources.settings_until = t->now + SETTINGS_LIFE;
}

/* ---- the check ---- */

static bool is_loopback(uint32_t addr)
{
    return ((const uint8_t *)&addr)[0] == 127;
}

/* A host accepts no packet from the network that claims to come from itself (fib_validate_source in Linux). */
static bool is_good_from_network(struct sf_tcpip *t, const struct sf_ipv4 *ip)
{
    bool own = sf_addr_set_has(&t->interface.host, ip->src), possible = sf_ipv4_source_is_possible(ip->src, ip->dst);

    if (SF_LIKELY(possible && !own))
        return true;
    read_settings(t);
    if (own && !t->sources.own)
        return false;
    return possible || (is_loopback(ip->src) && t->sources.loopback);
}

bool sf_source_check(struct sf_tcpip *t, const struct sf_ipv4 *ip)
{
    bool good;

    if (sf_tcpip_is_point_to_point(t)) /* between two programs of this machine 127/8 is permitted */
        good = is_loopback(ip->src) || sf_ipv4_source_is_possible(ip->src, ip->dst);
    else
        good = is_good_from_network(t, ip);
    /* Do not remember sources that are good only for some destinations, or because of a setting. */
    if (good && ip->src &&
        (sf_tcpip_is_point_to_point(t) || !(is_loopback(ip->src) || sf_addr_set_has(&t->interface.host, ip->src))))
        t->sources.latest = ip->src;
    return good;
}
