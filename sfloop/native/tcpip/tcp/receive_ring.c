/* The ring of received data. It grows on demand, within the limit of all buffers together (memory.c), and is given back when it is
 * empty. */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <stdlib.h>

/* Moves the data in order and out of order to a ring of another size. False: there is no memory. */
static bool resize(struct sf_tcp_rcv *rcv, uint32_t size)
{
    struct sf_byte_ring ring;

    if (!sf_byte_ring_like(&ring, &rcv->ring, size))
        return false;
    sf_byte_ring_copy(&ring, &rcv->ring, rcv->read, ring.end - rcv->read);
    for (uint32_t i = 0; rcv->ooo && i < rcv->ooo->n; i++) {
        const struct sf_tcp_range *r = &rcv->ooo->range[i];

        sf_byte_ring_copy(&ring, &rcv->ring, r->left, r->right - r->left);
    }
    free(rcv->ring.bytes);
    rcv->ring = ring;
    return true;
}

uint32_t sf_tcp_rcv_least(uint32_t mss)
{
    return sf_tcp_ring_size(0, 2 * mss);
}

static uint32_t size_allowed(struct sf_tcp_conn *c, uint32_t wanted, enum sf_tcp_room what)
{
    const struct sf_byte_ring *ring = &c->rcv.ring;

    if (what == SF_TCP_ROOM_OWED)
        return wanted;
    if (what == SF_TCP_ROOM_LATER)
        return sf_tcp_memory_allows(&c->tcpip->tcp, wanted - ring->size) ? wanted : ring->size;
    return sf_tcp_memory_grow(c->tcpip, ring, wanted, sf_tcp_rcv_least(c->loss.mss));
}

int sf_tcp_rcv_room(struct sf_tcp_conn *c, uint32_t need, enum sf_tcp_room what)
{
    struct sf_tcp_rcv *rcv = &c->rcv;
    uint32_t size, before;

    if (SF_LIKELY(need <= rcv->ring.size))
        return 0;
    size = size_allowed(c, sf_tcp_ring_size(rcv->ring.size, need), what);
    before = rcv->ring.size;
    if (size > before) {
        if (!resize(rcv, size))
            return -ENOMEM;
        c->tcpip->tcp.memory += size - before;
        if (c->timers.idle_at == SF_NEVER)
            c->timers.idle_at = c->tcpip->now + SF_TCP_RING_LIFE;
    }
    if (SF_LIKELY(need <= rcv->ring.size))
        return 0;
    sf_count(c->tcpip, SF_COUNT_TCP_MEMORY_FULL);
    return -ENOBUFS;
}

void sf_tcp_rcv_free(struct sf_tcp_conn *c)
{
    uint32_t freed;

    sf_tcp_ooo_free(&c->rcv);
    freed = sf_byte_ring_free(&c->rcv.ring);
    if (freed)
        sf_tcp_memory_give(c->tcpip, freed);
}

void sf_tcp_rcv_trim(struct sf_tcp_conn *c)
{
    struct sf_tcp_rcv *rcv = &c->rcv;
    uint32_t before = rcv->ring.size, held = rcv->ring.end - rcv->read, size = sf_tcp_ring_size(0, held);

    if (rcv->ooo)
        return;
    if (!held) {
        sf_tcp_rcv_free(c);
        return;
    }
    if (size < before && resize(rcv, size))
        sf_tcp_memory_give(c->tcpip, before - size);
}
