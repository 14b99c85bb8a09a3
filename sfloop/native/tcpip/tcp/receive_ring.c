/* The ring that received data is copied into: it grows on demand, within the limit of all buffers together (memory.c), and is
 * given back when it holds nothing. */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_RING 4096
#define MODEST_RING (64 * 1024u) /* others' out-of-order data is dropped for a ring of this size, not for a larger one */
#define IDLE_LIFE SF_SEC

static void move(const struct sf_tcp_rcv *from, uint8_t *ring, uint32_t size, uint32_t seq, uint32_t len)
{
    uint32_t at, first;

    if (!len)
        return;
    at = seq & (from->size - 1);
    first = from->size - at;
    if (len < first)
        first = len;
    sf_tcp_ring_put(ring, size, seq, from->ring + at, first);
    sf_tcp_ring_put(ring, size, seq + first, from->ring, len - first);
}

/* Another ring, with what the present one holds. */
static bool resize(struct sf_tcp_conn *c, uint32_t size)
{
    struct sf_tcp_rcv *rcv = &c->rcv;
    uint8_t *ring = malloc(size);

    if (!ring)
        return false;
    move(rcv, ring, size, rcv->read, rcv->ring_end - rcv->read);
    for (uint32_t i = 0; rcv->ooo && i < rcv->ooo->n; i++)
        move(rcv, ring, size, rcv->ooo->range[i].left, rcv->ooo->range[i].right - rcv->ooo->range[i].left);
    free(rcv->ring);
    rcv->ring = ring;
    rcv->size = size;
    return true;
}

uint32_t sf_tcp_rcv_least(const struct sf_tcp_conn *c)
{
    uint32_t size = FIRST_RING;

    while (size < 2u * c->loss.mss)
        size *= 2;
    return size;
}

static uint32_t size_allowed(struct sf_tcp_conn *c, uint32_t wanted, enum sf_tcp_room what)
{
    struct sf_tcpip *t = c->tcpip;
    struct sf_tcp_rcv *rcv = &c->rcv;
    uint32_t modest = wanted < MODEST_RING ? wanted : MODEST_RING, least = sf_tcp_rcv_least(c);

    if (SF_LIKELY(what == SF_TCP_ROOM_OWED || sf_tcp_memory_allows(&t->tcp, wanted - rcv->size)))
        return wanted;
    if (what == SF_TCP_ROOM_LATER)
        return rcv->size;
    if (modest > rcv->size)
        sf_tcp_memory_make(t, modest - rcv->size); /* which may make this ring smaller */
    while (wanted > rcv->size && wanted > least && !sf_tcp_memory_allows(&t->tcp, wanted - rcv->size))
        wanted /= 2;
    return wanted > rcv->size ? wanted : rcv->size;
}

int sf_tcp_rcv_room(struct sf_tcp_conn *c, uint32_t need, enum sf_tcp_room what)
{
    struct sf_tcp_rcv *rcv = &c->rcv;
    uint32_t wanted = rcv->size ? rcv->size : FIRST_RING, size, before;

    if (SF_LIKELY(need <= rcv->size))
        return 0;
    while (wanted < need)
        wanted *= 2;
    size = size_allowed(c, wanted, what);
    before = rcv->size;
    if (size > before) {
        if (!resize(c, size))
            return -ENOMEM;
        c->tcpip->tcp.memory += size - before;
        if (c->idle_at == SF_NEVER)
            c->idle_at = c->tcpip->now + IDLE_LIFE;
    }
    if (SF_LIKELY(need <= rcv->size))
        return 0;
    sf_count(c->tcpip, SF_COUNT_TCP_MEMORY_FULL);
    return -ENOBUFS;
}

void sf_tcp_rcv_free(struct sf_tcp_conn *c)
{
    uint32_t size = c->rcv.size;

    sf_tcp_ooo_free(c);
    free(c->rcv.ring);
    c->rcv.ring = NULL;
    c->rcv.size = 0;
    if (size)
        sf_tcp_memory_give(c->tcpip, size);
}

void sf_tcp_rcv_trim(struct sf_tcp_conn *c)
{
    struct sf_tcp_rcv *rcv = &c->rcv;
    uint32_t before = rcv->size, size = FIRST_RING, held = rcv->ring_end - rcv->read;

    if (rcv->ooo)
        return;
    if (!held) {
        sf_tcp_rcv_free(c);
        return;
    }
    while (size < held)
        size *= 2;
    if (size < before && resize(c, size))
        sf_tcp_memory_give(c->tcpip, before - size);
}
