#define _GNU_SOURCE
#include "flows.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_SLOTS 64

static void put(struct sf_flows *flows, struct sf_flow_link *link)
{
    uint32_t i = sf_flow_hash(flows, &link->key) & flows->mask;

    while (flows->slot[i])
        i = (i + 1) & flows->mask;
    flows->slot[i] = link;
}

/* At most half full, so that an unsuccessful lookup ends soon. Most lookups in tables of connected sockets begin with one. */
static int make_room(struct sf_flows *flows)
{
    struct sf_flows bigger = *flows;
    uint32_t slots = flows->slot ? flows->mask + 1 : 0;

    if (slots && (flows->used + 1) * 2 <= slots)
        return 0;
    bigger.mask = (slots ? slots * 2 : FIRST_SLOTS) - 1;
    bigger.slot = calloc((size_t)bigger.mask + 1, sizeof(struct sf_flow_link *));
    if (!bigger.slot)
        return -ENOMEM;
    for (uint32_t i = 0; i < slots; i++)
        if (flows->slot[i])
            put(&bigger, flows->slot[i]);
    free(flows->slot);
    *flows = bigger;
    return 0;
}

static void count(struct sf_flows *flows, const struct sf_flow_key *key, uint32_t by)
{
    flows->used += by;
    if (key->remote_addr)
        flows->connected += by;
    if (!key->local_addr)
        flows->any_addr += by;
}

static uint32_t slot_of(const struct sf_flows *flows, const struct sf_flow_key *key)
{
    uint32_t i = sf_flow_hash(flows, key) & flows->mask;

    while (flows->slot[i] && !sf_flow_key_is(&flows->slot[i]->key, key))
        i = (i + 1) & flows->mask;
    return i;
}

int sf_flows_add(struct sf_flows *flows, struct sf_flow_link *link)
{
    struct sf_flow_link *first = sf_flows_find(flows, &link->key);
    int rc;

    link->next = first;
    if (first) {
        flows->slot[slot_of(flows, &link->key)] = link;
        return 0;
    }
    rc = make_room(flows);
    if (rc < 0)
        return rc;
    put(flows, link);
    count(flows, &link->key, 1);
    return 1;
}

/* Closes the gap: moves entries back that could not be found otherwise. */
static void close_gap(struct sf_flows *flows, uint32_t gap)
{
    uint32_t i = gap;

    for (;;) {
        struct sf_flow_link *link;
        uint32_t home;

        i = (i + 1) & flows->mask;
        link = flows->slot[i];
        if (!link)
            break;
        home = sf_flow_hash(flows, &link->key) & flows->mask;
        if (((i - home) & flows->mask) < ((i - gap) & flows->mask))
            continue;
        flows->slot[gap] = link;
        gap = i;
    }
    flows->slot[gap] = NULL;
}

int sf_flows_remove(struct sf_flows *flows, struct sf_flow_link *link)
{
    uint32_t i = slot_of(flows, &link->key);
    struct sf_flow_link **at = &flows->slot[i];

    while (*at != link)
        at = &(*at)->next;
    *at = link->next;
    if (flows->slot[i])
        return 0;
    close_gap(flows, i);
    count(flows, &link->key, UINT32_MAX); /* minus one */
    return 1;
}

void sf_flows_free(struct sf_flows *flows)
{
    free(flows->slot);
    *flows = (struct sf_flows){0};
}
