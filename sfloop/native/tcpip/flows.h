/*
 * Whom a datagram or segment is for: a hash table with open addressing from addresses and ports to a chain of sockets. A
 * listening or unconnected socket's key has no remote side; one that is bound to every address has no local address either.
 *
 * Of UDP only local sockets put keys in; of TCP the network does, and a table with a seed that nobody knows keeps it from making
 * the chains long.
 */
#ifndef SF_TCPIP_FLOWS_H
#define SF_TCPIP_FLOWS_H

#include "sf/base.h"

/* In network byte order; 0: any. */
struct sf_flow_key {
    uint32_t local_addr, remote_addr;
    uint16_t local_port, remote_port;
};

/* A member of a socket. Those of one key are chained, the latest first. */
struct sf_flow_link {
    struct sf_flow_key key;
    struct sf_flow_link *next;
};

struct sf_flows {
    struct sf_flow_link **slot; /* NULL: free */
    uint32_t mask;
    uint32_t used;
    /* How many keys there are of each form, so that a lookup tries only those that there are. */
    uint32_t connected, any_addr;
    uint64_t seed[2];
};

/* 1: the first of its key. 0: another one. -ENOMEM. */
int sf_flows_add(struct sf_flows *, struct sf_flow_link *);
/* 1: it was the last of its key. */
int sf_flows_remove(struct sf_flows *, struct sf_flow_link *);
void sf_flows_free(struct sf_flows *);

/* Both halves of a product of 128 bits depend on every bit of both factors. */
static inline uint32_t sf_flow_hash(const struct sf_flows *flows, const struct sf_flow_key *key)
{
    uint64_t addrs = (uint64_t)key->local_addr << 32 | key->remote_addr;
    uint64_t ports = (uint64_t)key->local_port << 16 | key->remote_port;
    __uint128_t product = (__uint128_t)(addrs ^ flows->seed[0] ^ 0x9e3779b97f4a7c15u) *
                          ((ports << 32 | (uint32_t)addrs) ^ flows->seed[1] ^ 0xff51afd7ed558ccdu);

    return (uint32_t)((uint64_t)product ^ (uint64_t)(product >> 64));
}

static inline int sf_flow_key_is(const struct sf_flow_key *a, const struct sf_flow_key *b)
{
    return a->local_addr == b->local_addr && a->remote_addr == b->remote_addr && a->local_port == b->local_port &&
           a->remote_port == b->remote_port;
}

/* The chain of exactly this key. */
static inline struct sf_flow_link *sf_flows_find(const struct sf_flows *flows, const struct sf_flow_key *key)
{
    struct sf_flow_link *link;

    if (SF_UNLIKELY(!flows->slot))
        return NULL;
    for (uint32_t i = sf_flow_hash(flows, key) & flows->mask; (link = flows->slot[i]); i = (i + 1) & flows->mask)
        if (SF_LIKELY(sf_flow_key_is(&link->key, key)))
            return link;
    return NULL;
}

/* The most specific chain for a packet between these: connected, bound to the address, bound to the port alone. */
static inline struct sf_flow_link *sf_flows_match(const struct sf_flows *flows, const struct sf_flow_key *packet)
{
    struct sf_flow_key key = *packet;
    struct sf_flow_link *link = NULL;

    if (flows->connected)
        link = sf_flows_find(flows, &key);
    if (link)
        return link;
    key.remote_addr = 0;
    key.remote_port = 0;
    link = sf_flows_find(flows, &key);
    if (link || !flows->any_addr)
        return link;
    key.local_addr = 0;
    return sf_flows_find(flows, &key);
}

#endif
