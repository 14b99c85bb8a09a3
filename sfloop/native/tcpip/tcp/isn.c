/*
 * Numbers that nobody else can guess: initial sequence numbers (RFC 6528) and the start of timestamps (RFC 7323, 7.1). All come from
 * SipHash-2-4 (Aumasson and Bernstein, 2012) with a random key of the stack.
 */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

static inline uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

uint64_t sf_siphash(const uint64_t key[2], const uint64_t *words, int n)
{
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du, key[0] ^ 0x6c7967656e657261u,
                     key[1] ^ 0x7465646279746573u};

    for (int i = 0; i <= n; i++) {
        uint64_t word = i < n ? words[i] : (uint64_t)n * 8 << 56; /* The last word has the length. */

        v[3] ^= word;
        sip_round(v);
        sip_round(v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

enum { ISN = 1, TIMESTAMP };

/* The clock ticks every 4 us (RFC 9293, 3.4.1), so that a later connection begins with numbers that the earlier one has not used. */
uint32_t sf_tcp_isn(struct sf_tcpip *t, const struct sf_flow_key *key)
{
    uint64_t words[] = {(uint64_t)key->local_addr << 32 | key->remote_addr,
                        (uint64_t)ISN << 32 | (uint32_t)key->local_port << 16 | key->remote_port};

    uint32_t isn = (uint32_t)sf_siphash(t->tcp.key, words, 2) + (uint32_t)(t->now / (4 * SF_US));

    if (t->tcp.limits.first_sequence)
        isn = t->tcp.limits.first_sequence;
    return t->tcp.least_isn && sf_seq_lt(isn, t->tcp.least_isn) ? t->tcp.least_isn : isn;
}

/* All connections of a pair of addresses have the same offset, so that a later connection has later timestamps (RFC 6191). */
uint32_t sf_tcp_ts_offset(struct sf_tcpip *t, const struct sf_flow_key *key)
{
    uint64_t words[] = {(uint64_t)key->local_addr << 32 | key->remote_addr, (uint64_t)TIMESTAMP << 32};

    return (uint32_t)sf_siphash(t->tcp.key, words, 2);
}

uint32_t sf_tcp_ts_clock(const struct sf_tcpip *t)
{
    return (uint32_t)((uint64_t)t->now / (uint64_t)SF_MS);
}
