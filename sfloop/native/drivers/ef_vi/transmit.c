/*
 * Sending with ef_vi: by CTPIO, which writes the frame into the NIC and sends it at once; by PIO, which does the same on older
 * NICs with a few buffers; or by DMA. A CTPIO send may fail (the NIC was busy). So on EF10 the same frame always follows as a DMA
 * descriptor, which the NIC drops if it is not needed. EFCT has only CTPIO.
 *
 * A descriptor and its buffer belong to the NIC until the event that ef_vi_transmit_unbundle() takes apart, or, with timestamps,
 * until the frame's own event.
 */
#define _GNU_SOURCE
#include "driver.h"

static inline size_t offset_of(const struct efvi *d, uint32_t id)
{
    return d->tx_offset + (size_t)id * d->tx.stride;
}

/* Resets for a new VI with new DMA addresses, where nothing is under way. Reserved buffers stay reserved until tx_commit() or
 * tx_cancel(). */
void efvi_tx_reset(struct efvi *d)
{
    struct efvi_tx *tx = &d->tx;

    tx->n_free = 0;
    for (uint32_t id = tx->buffers; id-- > 0;) {
        tx->sent[id].data = d->memory + offset_of(d, id);
        tx->sent[id].addr = ef_memreg_dma_addr(&d->memreg, offset_of(d, id));
        if (!tx->sent[id].reserved)
            tx->free[tx->n_free++] = id;
    }
    tx->unpushed = tx->by_dma = 0;
    tx->pio_free = 0;
}

int efvi_tx_reserve(struct sf_driver *driver, uint32_t len, struct sf_frame *pieces, int max)
{
    struct efvi *d = efvi_of(driver);
    struct efvi_tx *tx = &d->tx;
    uint32_t id;

    if (SF_UNLIKELY(len > d->frame_max || max < 1))
        return -EMSGSIZE;
    if (SF_UNLIKELY(len < SF_ETHERNET_HEADER))
        return -EINVAL;
    if (SF_UNLIKELY(d->state != EFVI_UP))
        return -ENETDOWN;
    if (SF_UNLIKELY(!tx->n_free || ef_vi_transmit_space(&d->vi) < (int)tx->descriptors ||
                    (tx->ctpio_only && ef_vi_transmit_space_bytes(&d->vi) < (int)len))) {
        d->stats.tx_full++;
        return -EAGAIN;
    }
    id = tx->free[--tx->n_free];
    tx->sent[id].reserved = len;
    pieces[0] = (struct sf_frame){.data = tx->sent[id].data, .len = len, .token = id};
    return 1;
}

void efvi_tx_cancel(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    struct efvi_tx *tx = &efvi_of(driver)->tx;
    uint32_t id;

    if (n < 1 || pieces[0].token >= tx->buffers)
        return;
    id = (uint32_t)pieces[0].token;
    if (!tx->sent[id].reserved)
        return;
    tx->sent[id].reserved = 0;
    tx->free[tx->n_free++] = id;
}

/* ---- ways to send; they return 0 or a negative errno ---- */

/* Writes a descriptor for each page of the frame. */
static int describe(struct efvi *d, uint32_t id, uint32_t len, ef_iovec *iov)
{
    size_t at = offset_of(d, id), end = at + len;
    int n = 0;

    while (at < end && n < EFVI_PIECES) {
        size_t stop = (at / EFVI_PAGE + 1) * EFVI_PAGE;

        if (stop > end)
            stop = end;
        iov[n].iov_base = ef_memreg_dma_addr(&d->memreg, at);
        iov[n++].iov_len = (unsigned)(stop - at);
        at = stop;
    }
    return n;
}

__attribute__((noinline)) static int by_dma(struct efvi *d, uint32_t id, uint32_t len)
{
    ef_iovec iov[EFVI_PIECES];
    int n = describe(d, id, len, iov), rc = ef_vi_transmitv_init(&d->vi, iov, n, (ef_request_id)id);

    if (rc < 0)
        return rc;
    d->tx.unpushed += (uint32_t)n;
    d->tx.by_dma++;
    d->tx.sent[id].method = EFVI_DMA;
    return 0;
}

__attribute__((noinline)) static int fall_back_in_pages(struct efvi *d, uint32_t id, uint32_t len)
{
    ef_iovec iov[EFVI_PIECES];

    return ef_vi_transmitv_ctpio_fallback(&d->vi, iov, describe(d, id, len, iov), (ef_request_id)id);
}

/* Always posts the fallback, because the NIC would take the next send for it. */
static inline int by_ctpio(struct efvi *d, uint32_t id, uint32_t len)
{
    struct efvi_sent *sent = &d->tx.sent[id];

    ef_vi_transmit_ctpio(&d->vi, sent->data, len, d->tx.ctpio_threshold);
    sent->method = EFVI_CTPIO;
    if (SF_UNLIKELY(d->tx.descriptors != 1))
        return fall_back_in_pages(d, id, len);
    return ef_vi_transmit_ctpio_fallback(&d->vi, sent->addr, len, (ef_request_id)id);
}

__attribute__((noinline)) static int by_pio(struct efvi *d, uint32_t id, uint32_t len)
{
    int slot = __builtin_ctz(d->tx.pio_free);
    int rc = ef_vi_transmit_copy_pio(&d->vi, slot * (int)EFVI_PIO_SLOT, d->tx.sent[id].data, (int)len, (ef_request_id)id);

    if (rc < 0)
        return rc;
    d->tx.pio_free &= ~(1u << slot);
    d->tx.sent[id].pio_slot = (int8_t)slot;
    d->tx.sent[id].method = EFVI_PIO;
    return 0;
}

/* Frames that wait for the doorbell go first, so later ones must not overtake them. */
static inline int send_frame(struct efvi *d, uint32_t id, uint32_t len)
{
    struct efvi_tx *tx = &d->tx;

    if (SF_LIKELY(tx->method == EFVI_CTPIO && len <= tx->ctpio_max && !tx->by_dma) || tx->ctpio_only)
        return by_ctpio(d, id, len);
    if (tx->method == EFVI_PIO && len <= EFVI_PIO_SLOT && tx->pio_free && !tx->unpushed)
        return by_pio(d, id, len);
    return by_dma(d, id, len);
}

__attribute__((noinline)) static void refuse(struct efvi *d, struct sf_frame *pieces, int n)
{
    d->stats.tx_errors++;
    efvi_tx_cancel(&d->base, pieces, n);
}

/* Pads with zeroes, so that no old contents of the buffer are sent. */
__attribute__((noinline)) static void fill_up(uint8_t *data, uint32_t len)
{
    memset(data + len, 0, EFVI_SHORTEST - len);
}

void efvi_tx_commit(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    struct efvi *d = efvi_of(driver);
    struct efvi_tx *tx = &d->tx;
    uint32_t id = (uint32_t)pieces[0].token, len = pieces[0].len;
    struct efvi_sent *sent = &tx->sent[id];

    tx->committed++;
    if (SF_UNLIKELY(n != 1 || pieces[0].token >= tx->buffers || len > sent->reserved || len < SF_ETHERNET_HEADER ||
                    d->state != EFVI_UP)) {
        refuse(d, pieces, n);
        return;
    }
    if (SF_UNLIKELY(len < EFVI_SHORTEST))
        fill_up(sent->data, len);
    if (SF_UNLIKELY(send_frame(d, id, len < EFVI_SHORTEST ? EFVI_SHORTEST : len) < 0)) { /* rare, after a reservation */
        refuse(d, pieces, n);
        return;
    }
    sent->reserved = 0;
    sent->number = tx->committed;
    d->stats.tx_frames++;
    d->stats.tx_bytes += len;
}

void efvi_tx_flush(struct sf_driver *driver)
{
    struct efvi *d = efvi_of(driver);

    if (!d->tx.unpushed)
        return;
    d->tx.unpushed = 0;
    if (d->state == EFVI_UP)
        ef_vi_transmit_push(&d->vi);
}

/* ---- completed frames ---- */

static void completed(struct efvi *d, uint32_t id)
{
    struct efvi_tx *tx = &d->tx;

    if (SF_UNLIKELY(id >= tx->buffers))
        return;
    if (tx->sent[id].method == EFVI_DMA)
        tx->by_dma--;
    else if (tx->sent[id].method == EFVI_PIO)
        tx->pio_free |= 1u << tx->sent[id].pio_slot;
    tx->free[tx->n_free++] = id;
}

static void keep_stamp(struct efvi *d, const ef_event *event)
{
    struct efvi_stamps *stamps = &d->stamps;
    uint32_t id = (uint32_t)EF_EVENT_TX_WITH_TIMESTAMP_RQ_ID(*event);

    /* Without a time, or with a clock that was never set, there is no stamp to keep. */
    if (id >= d->tx.buffers || !EF_EVENT_TX_WITH_TIMESTAMP_SEC(*event) ||
        !(EF_EVENT_TX_WITH_TIMESTAMP_SYNC_FLAGS(*event) & EF_VI_SYNC_FLAG_CLOCK_SET))
        return;
    if (stamps->last - stamps->first == EFVI_STAMPS)
        stamps->first++;
    stamps->ring[stamps->last++ % EFVI_STAMPS] = (struct sf_stamp){
        .number = d->tx.sent[id].number,
        .timestamp = (sf_ns)EF_EVENT_TX_WITH_TIMESTAMP_SEC(*event) * SF_SEC + EF_EVENT_TX_WITH_TIMESTAMP_NSEC(*event),
    };
}

/* Handles a stopped queue. Its frames may or may not have left. */
static void failed(struct efvi *d)
{
#ifdef EFVI_NO_RESTART
    efvi_lose(d);
#else
    uint32_t id;

    ef_vi_for_each_tx_error_failed_transmit(&d->vi, id) {
        d->stats.tx_errors++;
        completed(d, id);
    }
    d->tx.unpushed = d->tx.by_dma = 0;
    if (ef_vi_reinit_txq_post_error(&d->vi) < 0)
        efvi_lose(d);
#endif
}

void efvi_tx_event(struct efvi *d, const ef_event *event)
{
    ef_request_id ids[EF_VI_TRANSMIT_BATCH];
    int n;

    switch (EF_EVENT_TYPE(*event)) {
    case EF_EVENT_TYPE_TX:
        n = ef_vi_transmit_unbundle(&d->vi, event, ids);
        for (int i = 0; i < n; i++)
            completed(d, (uint32_t)ids[i]);
        break;
    case EF_EVENT_TYPE_TX_WITH_TIMESTAMP: /* needs no unbundling */
        keep_stamp(d, event);
        completed(d, (uint32_t)EF_EVENT_TX_WITH_TIMESTAMP_RQ_ID(*event));
        break;
    case EF_EVENT_TYPE_TX_ERROR:
        failed(d);
        break;
    default:
        break;
    }
}

int efvi_tx_stamps(struct sf_driver *driver, struct sf_stamp *stamps, int max)
{
    struct efvi_stamps *left = &efvi_of(driver)->stamps;
    int n = 0;

    while (n < max && left->first != left->last)
        stamps[n++] = left->ring[left->first++ % EFVI_STAMPS];
    return n;
}
