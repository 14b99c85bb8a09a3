/*
 * The memory of all buffers together, and the behaviour at its limit.
 *
 * A connection that is refused memory joins the list of starved ones. It is served when memory is given back: its window opens
 * again, or its socket becomes writable. While connections are starved, a timer searches for memory that is held but not used.
 *
 * Out-of-order data is dropped to make room for other connections (RFC 2018, 8, allows it): a peer that never sends the missing
 * segment must not keep everybody's memory.
 */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

enum { SERVED_AT_ONCE = 64 };

#define MODEST_RING (64 * 1024u) /* Others' out-of-order data is dropped for a ring of this size, not for a larger one. */
#define SEARCH_PAUSE (20 * SF_MS)
#define SEARCH_PAUSE_SLOT SF_US /* More for each slot of the table, because a search walks through all of them. */

/* ---- giving back ---- */

void sf_tcp_memory_give(struct sf_tcpip *t, uint32_t bytes)
{
    t->tcp.memory -= bytes;
    if (SF_LIKELY(sf_ready_empty(&t->tcp.starved)))
        return;
    t->tcp.relieved = true;
    t->unfinished = true;
}

/* ---- making room ---- */

static void search(struct sf_tcpip *t)
{
    struct sf_tcp *tcp = &t->tcp;

    if (t->now < tcp->search_at)
        return;
    tcp->search_at = t->now + SEARCH_PAUSE + tcp->flows.mask * SEARCH_PAUSE_SLOT;
    for (uint32_t i = 0; tcp->flows.slot && i <= tcp->flows.mask; i++) {
        struct sf_tcp_conn *c = (struct sf_tcp_conn *)tcp->flows.slot[i];

        if (!c || c->flow.kind != SF_TCP_CONN || c->state < SF_TCP_ESTABLISHED)
            continue;
        sf_tcp_snd_trim(c);
        if (c->rcv.ring.end == c->rcv.read)
            sf_tcp_rcv_trim(c);
    }
}

/* Frees empty buffers, and then drops data out of order, until the buffers may grow by `bytes`. False: they may not grow. The caller's
 * own buffer may be freed or made smaller. */
static bool make_memory(struct sf_tcpip *t, uint32_t bytes)
{
    struct sf_tcp *tcp = &t->tcp;

    search(t);
    while (!sf_tcp_memory_allows(tcp, bytes) && !sf_ready_empty(&tcp->holding)) {
        struct sf_tcp_conn *c = sf_tcp_ooo_of(tcp->holding.next)->conn; /* The connection that has held data longest. */

        sf_count(t, SF_COUNT_TCP_RX_PRUNED);
        sf_tcp_ooo_free(&c->rcv);
        sf_tcp_rcv_trim(c);
    }
    return sf_tcp_memory_allows(tcp, bytes);
}

uint32_t sf_tcp_memory_grow(struct sf_tcpip *t, const struct sf_byte_ring *ring, uint32_t wanted, uint32_t least)
{
    uint32_t modest = wanted < MODEST_RING ? wanted : MODEST_RING;

    if (SF_LIKELY(sf_tcp_memory_allows(&t->tcp, wanted - ring->size)))
        return wanted;
    if (modest > ring->size)
        make_memory(t, modest - ring->size); /* This may take the ring away, or make it smaller. */
    while (wanted > ring->size && wanted > least && !sf_tcp_memory_allows(&t->tcp, wanted - ring->size))
        wanted /= 2;
    return wanted > ring->size ? wanted : ring->size;
}

uint32_t sf_tcp_memory_affords(const struct sf_tcp *tcp, uint32_t size, uint32_t share)
{
    uint64_t left = tcp->limits.memory > tcp->memory ? tcp->limits.memory - tcp->memory : 0;
    uint64_t most = size + left / share, ring = 1;

    if (most > 1u << 31)
        most = 1u << 31;
    while (ring * 2 <= most)
        ring *= 2;
    return ring > size ? (uint32_t)ring : size;
}

/* ---- the starved ---- */

void sf_tcp_starve(struct sf_tcp_conn *c)
{
    struct sf_tcp *tcp = &c->tcpip->tcp;

    if (SF_UNLIKELY(c->dead))
        return;
    sf_ready_set(&tcp->starved, &c->starved, true);
    if (tcp->memory_timer.at == SF_NEVER)
        sf_tcp_timer_by(c->tcpip, &tcp->memory_timer, c->tcpip->now + SEARCH_PAUSE + tcp->flows.mask * SEARCH_PAUSE_SLOT);
}

static void serve(struct sf_tcp_conn *c)
{
    sf_ready_set(&c->tcpip->tcp.starved, &c->starved, false);
    if (c->snd.starved)
        sf_tcp_snd_relieved(c);
    if (c->state >= SF_TCP_ESTABLISHED)
        sf_tcp_rcv_relieved(c);
}

void sf_tcp_memory_serve(struct sf_tcpip *t)
{
    struct sf_tcp *tcp = &t->tcp;
    const struct sf_ready_link *last = tcp->starved.prev; /* Connections that stay starved join the list again, behind it. */
    int served = 0;

    tcp->relieved = false;
    while (!sf_ready_empty(&tcp->starved)) {
        struct sf_ready_link *link = tcp->starved.next;

        serve(sf_tcp_conn_of_starved(link));
        if (link == last)
            return;
        if (++served == SERVED_AT_ONCE) {
            tcp->relieved = t->unfinished = true;
            return;
        }
    }
}

void sf_tcp_memory_timeout(struct sf_tcpip *t)
{
    struct sf_tcp *tcp = &t->tcp;

    if (sf_ready_empty(&tcp->starved))
        return;
    search(t);
    sf_tcp_memory_serve(t);
    if (!sf_ready_empty(&tcp->starved))
        sf_tcp_timer_by(t, &tcp->memory_timer, t->now + SEARCH_PAUSE + tcp->flows.mask * SEARCH_PAUSE_SLOT);
}
