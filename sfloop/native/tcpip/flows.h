/*
 * Finds the receiver of a datagram or segment: a hash table with open addressing from addresses and ports to a chain of sockets.
 * The key of a listening or unconnected socket has no remote address. The key of a socket bound to any address has no local
 * address either.
 *
 * Only local sockets add keys for UDP. Peers cause keys for TCP, so its table has a secret seed that keeps them from making long
 * chains.
 */
#ifndef SF_TCPIP_FLOWS_H
#define SF_TCPIP_FLOWS_H

#include "sf/base.h"

/* In network byte order; 0: any. */
struct sf_flow_key {
    uint32_t local_addr, remote_addr;
    uint16_t local_port, remote_port;
};

/* A member of a socket. Sockets with the same key are chained, the latest first. */
struct sf_flow_link {
    struct sf_flow_key key;
    uint8_t kind; /* Which struct the link is in. For TCP: enum sf_tcp_kind. */
    struct sf_flow_link *next;
};

struct sf_flows {
    struct sf_flow_link **slot; /* NULL: free */
    uint32_t mask;
    uint32_t used;
    /* Number of keys of each form. A lookup tries only existing forms. */
    uint32_t connected, any_addr;
    uint64_t seed[2];
};

/* Returns 1 for the first socket of its key, 0 for a further one, or -ENOMEM. */
int sf_flows_add(struct sf_flows *, struct sf_flow_link *);
/* Returns 1 if it was the last socket of its key. */
int sf_flows_remove(struct sf_flows *, struct sf_flow_link *);
void sf_flows_free(struct sf_flows *);

/* Both halves of the 128-bit product depend on every bit of both factors. */
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

/* The chain that fits the packet best: connected, bound to the address, or bound only to the port. */
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
