/* Sending: the ring of descriptors, CTPIO and its fallback, PIO, completions. */
#define _GNU_SOURCE
#include "efsim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST 10000
#define SHORTEST 60

static struct efsim_tx_desc *desc_at(struct efsim_vi *v, uint32_t position)
{
    return &v->tx[position & v->tx_mask];
}

int ef_vi_transmit_capacity(const ef_vi *vi)
{
    return (int)vi->sim->tx_mask;
}

int ef_vi_transmit_fill_level(const ef_vi *vi)
{
    return (int)(vi->sim->tx_added - vi->sim->tx_removed);
}

int ef_vi_transmit_space(const ef_vi *vi)
{
    return (int)(vi->sim->tx_mask - (vi->sim->tx_added - vi->sim->tx_removed));
}

int ef_vi_transmit_space_bytes(const ef_vi *vi)
{
    return efsim_refers(vi->sim->nic) ? (int)(EFSIM_FIFO_BYTES - vi->sim->fifo_used) : 1 << 30;
}

static void check_may_send(struct efsim_vi *v)
{
    EFSIM_MUST(v, "the virtual interface was freed");
    EFSIM_MUST(!v->ctpio_pending, "the last CTPIO send lacks its fallback");
    EFSIM_MUST(!v->tx_error_seen, "an error has stopped the queue, and it was not started again");
}

/* ---- sending on the wire ---- */

static void copy_out(struct efsim_vi *v, const struct efsim_tx_desc *first, uint32_t position, uint8_t *to)
{
    for (uint32_t i = 0; i < first->pages; i++) {
        const struct efsim_tx_desc *d = desc_at(v, position + i);
        const uint8_t *from = d->ours ? d->copy : efsim_dma(v->nic, d->iov.iov_base, d->iov.iov_len);

        sim_copy(to, from, d->iov.iov_len);
        to += d->iov.iov_len;
    }
}

static uint8_t *reserve(struct efsim_vi *v, uint32_t len, struct sf_frame *piece)
{
    struct sf_driver *wire = v->nic->wire;

    if (wire->fast.tx_reserve(wire, len, piece, 1) != 1)
        return NULL;
    return piece->data;
}

static void commit(struct efsim_vi *v, struct sf_frame *piece)
{
    struct sf_driver *wire = v->nic->wire;

    wire->fast.tx_commit(wire, piece, 1);
    wire->fast.tx_flush(wire);
    v->nic->counts.sent++;
}

static void stop(struct efsim_vi *v)
{
    ef_event event = {.tx_error = {.type = EF_EVENT_TYPE_TX_ERROR, .desc_id = (v->tx_done + 1) & 0xffff,
                                   .subtype = EF_EVENT_TX_ERROR_BUS}};

    v->nic->faults.tx_error = false;
    v->nic->counts.tx_errors++;
    v->tx_stopped = true;
    efsim_put_event(v, &event);
}

void efsim_transmit(ef_vi *vi)
{
    struct efsim_vi *v = vi->sim;

    while (v->tx_done != v->tx_pushed && !v->tx_stopped && !v->halted) {
        struct efsim_tx_desc *d = desc_at(v, v->tx_done);
        struct sf_frame piece;

        if (!d->sent) {
            if (v->nic->faults.tx_error) {
                stop(v);
                return;
            }
            if (!reserve(v, d->frame_len, &piece))
                return;
            copy_out(v, d, v->tx_done, piece.data);
            EFSIM_MUST(d->by_ctpio || d->ours || !v->nic->options.strict || efsim_sum(piece.data, d->frame_len) == d->sum,
                       "frame %d was changed after it was handed over", desc_at(v, v->tx_done + d->pages - 1)->id);
            commit(v, &piece);
            d->sent = true;
        }
        v->tx_done += d->pages;
    }
}

/* ---- descriptors ---- */

static uint32_t total(const ef_iovec *iov, int n)
{
    uint32_t len = 0;

    for (int i = 0; i < n; i++)
        len += iov[i].iov_len;
    return len;
}

static uint64_t sum_of(struct efsim_vi *v, const ef_iovec *iov, int n)
{
    uint8_t bytes[LONGEST], *to = bytes;

    if (!v->nic->options.strict)
        return 0;
    for (int i = 0; i < n; i++) {
        memcpy(to, efsim_dma(v->nic, iov[i].iov_base, iov[i].iov_len), iov[i].iov_len);
        to += iov[i].iov_len;
    }
    return efsim_sum(bytes, (size_t)(to - bytes));
}

static void check_id(struct efsim_vi *v, ef_request_id id)
{
    EFSIM_MUST((unsigned)id != EF_REQUEST_ID_MASK, "the id %#x means \"no id\"", EF_REQUEST_ID_MASK);
    for (uint32_t i = v->tx_removed; v->nic->options.strict && i != v->tx_added; i++)
        EFSIM_MUST(desc_at(v, i)->id != id, "the NIC has buffer %d already", id);
}

static int add(struct efsim_vi *v, const ef_iovec *iov, int n, ef_request_id id)
{
    uint32_t len = total(iov, n);

    EFSIM_MUST(n > 0 && len >= SHORTEST && len <= LONGEST, "a frame of %u bytes in %d pieces", len, n);
    check_id(v, id);
    if (v->tx_mask - (v->tx_added - v->tx_removed) < (uint32_t)n)
        return -EAGAIN;
    for (int i = 0; i < n; i++) {
        struct efsim_tx_desc *d = desc_at(v, v->tx_added + (uint32_t)i);

        efsim_dma(v->nic, iov[i].iov_base, iov[i].iov_len);
        d->iov = iov[i];
        d->id = i + 1 == n ? id : (ef_request_id)EF_REQUEST_ID_MASK;
        d->sent = d->by_ctpio = d->ours = false;
        d->pages = (uint32_t)n;
        d->frame_len = len;
        d->sum = i == 0 ? sum_of(v, iov, n) : 0;
    }
    v->tx_added += (uint32_t)n;
    return 0;
}

int ef_vi_transmitv_init(ef_vi *vi, const ef_iovec *iov, int n, ef_request_id id)
{
    int rc;

    check_may_send(vi->sim);
    EFSIM_MUST(!efsim_refers(vi->sim->nic), "EFCT sends only by CTPIO");
    rc = add(vi->sim, iov, n, id);
    vi->sim->nic->counts.dma += rc == 0;
    return rc;
}

void ef_vi_transmit_push(ef_vi *vi)
{
    check_may_send(vi->sim);
    EFSIM_MUST(vi->sim->tx_added != vi->sim->tx_pushed, "there are no descriptors to push: this is a second doorbell for the same ones");
    vi->sim->tx_pushed = vi->sim->tx_added;
    efsim_transmit(vi);
}

int ef_vi_transmit_copy_pio(ef_vi *vi, int offset, const void *frame, int len, ef_request_id id)
{
    struct efsim_vi *v = vi->sim;
    struct efsim_tx_desc *d;

    check_may_send(v);
    EFSIM_MUST(v->nic->pio_linked, "no PIO buffer is linked");
    EFSIM_MUST(v->tx_added == v->tx_pushed, "earlier descriptors were not pushed");
    EFSIM_MUST(offset >= 0 && offset % 64 == 0 && len >= SHORTEST && offset + len <= EFSIM_PIO_BYTES, "%d bytes at %d of %d",
               len, offset, EFSIM_PIO_BYTES);
    for (uint32_t i = v->tx_removed; i != v->tx_added; i++)
        EFSIM_MUST(!desc_at(v, i)->ours || (int)desc_at(v, i)->iov.iov_base + (int)desc_at(v, i)->iov.iov_len <= offset ||
                       (int)desc_at(v, i)->iov.iov_base >= offset + len,
                   "the PIO buffer at %d is in use", offset);
    check_id(v, id);
    if (v->tx_mask == v->tx_added - v->tx_removed)
        return -EAGAIN;
    d = desc_at(v, v->tx_added++);
    free(d->copy);
    *d = (struct efsim_tx_desc){.id = id, .iov = {(ef_addr)offset, (unsigned)len}, .frame_len = (uint32_t)len, .pages = 1,
                                .ours = true, .copy = malloc((size_t)len)};
    EFSIM_MUST(d->copy, "out of memory");
    memcpy(d->copy, frame, (size_t)len);
    v->tx_pushed = v->tx_added;
    v->nic->counts.pio++;
    efsim_transmit(vi);
    return 0;
}

/* ---- CTPIO ---- */

/* True: the CTPIO send succeeds. On EF10 it fails while sends by DMA are under way or the NIC is busy. On EFCT it fails only if there
 * is no room. */
static bool ctpio_works(struct efsim_vi *v, size_t len)
{
    if (v->halted || v->tx_stopped)
        return false;
    if (efsim_refers(v->nic))
        return (size_t)(EFSIM_FIFO_BYTES - v->fifo_used) >= len && v->tx_mask > v->tx_added - v->tx_removed;
    if (v->nic->faults.ctpio_failures > 0) {
        v->nic->faults.ctpio_failures--;
        return false;
    }
    return v->tx_done == v->tx_added && !v->nic->faults.tx_error;
}

/* The usual case: no send is under way and there is no fault. False: this is not the usual case. */
static inline bool leaves_at_once(struct efsim_vi *v, const void *frame, size_t len)
{
    const struct efsim_faults *faults = &v->nic->faults;
    struct sf_frame piece;

    if (SF_UNLIKELY(v->impeded || !v->plain || v->tx_done != v->tx_added || faults->ctpio_failures || faults->tx_error ||
                    !reserve(v, (uint32_t)len, &piece)))
        return false;
    sim_copy(piece.data, frame, len);
    commit(v, &piece);
    v->nic->counts.ctpio++;
    v->ctpio_len = len;
    v->ctpio_pending = v->ctpio_sent = true;
    return true;
}

__attribute__((noinline)) static void leaves_or_not(struct efsim_vi *v, const void *frame, size_t len)
{
    struct sf_frame piece;

    check_may_send(v);
    v->ctpio_pending = true;
    v->ctpio_len = len;
    v->ctpio_sum = v->nic->options.strict ? efsim_sum(frame, len) : 0;
    v->ctpio_sent = ctpio_works(v, len) && reserve(v, (uint32_t)len, &piece);
    if (!v->ctpio_sent)
        return;
    sim_copy(piece.data, frame, len);
    commit(v, &piece);
    v->nic->counts.ctpio++;
}

void ef_vi_transmit_ctpio(ef_vi *vi, const void *frame, size_t len, unsigned threshold)
{
    struct efsim_vi *v = vi->sim;

    EFSIM_MUST(v, "the virtual interface was freed");
    EFSIM_MUST(vi->vi_flags & EF_VI_TX_CTPIO, "the virtual interface was made without EF_VI_TX_CTPIO");
    EFSIM_MUST(len >= SHORTEST && len <= LONGEST, "a frame of %zu bytes", len);
    EFSIM_MUST(threshold >= 64, "a threshold of %u bytes", threshold);
    if (SF_UNLIKELY(!leaves_at_once(v, frame, len)))
        leaves_or_not(v, frame, len);
}

/* The usual fallback: its frame has left, and all frames before it. False: this is not the usual case. */
static inline bool not_needed(struct efsim_vi *v, ef_addr addr, size_t len, ef_request_id id)
{
    struct efsim_tx_desc *d = desc_at(v, v->tx_added);

    if (SF_UNLIKELY(!v->plain || !v->ctpio_sent || !v->ctpio_pending || len != v->ctpio_len ||
                    v->tx_added - v->tx_removed == v->tx_mask || (unsigned)id == EF_REQUEST_ID_MASK))
        return false;
    efsim_dma(v->nic, addr, len);
    d->id = id;
    d->frame_len = (uint32_t)len;
    d->pages = 1;
    d->sent = d->by_ctpio = true;
    d->ours = false;
    v->ctpio_pending = false;
    v->tx_done = v->tx_pushed = ++v->tx_added;
    return true;
}

__attribute__((noinline)) static int fall_back(ef_vi *vi, const ef_iovec *iov, int n, ef_request_id id)
{
    struct efsim_vi *v = vi->sim;
    struct efsim_tx_desc *d;
    uint32_t at = v->tx_added;
    int rc;

    EFSIM_MUST(v->ctpio_pending, "there was no CTPIO send before");
    EFSIM_MUST(total(iov, n) == v->ctpio_len, "the fallback has %u bytes, the CTPIO send %zu", total(iov, n), v->ctpio_len);
    EFSIM_MUST(!v->nic->options.strict || sum_of(v, iov, n) == v->ctpio_sum, "the fallback has another frame");
    v->ctpio_pending = false;
    if (efsim_refers(v->nic) && (size_t)(EFSIM_FIFO_BYTES - v->fifo_used) < v->ctpio_len)
        return -EAGAIN;
    rc = add(v, iov, n, id);
    if (rc < 0)
        return rc;
    d = desc_at(v, at);
    d->sent = d->by_ctpio = v->ctpio_sent;
    v->nic->counts.fallbacks += !v->ctpio_sent;
    if (efsim_refers(v->nic))
        v->fifo_used += d->frame_len;
    v->tx_pushed = v->tx_added;
    efsim_transmit(vi);
    return 0;
}

int ef_vi_transmit_ctpio_fallback(ef_vi *vi, ef_addr addr, size_t len, ef_request_id id)
{
    ef_iovec iov = {addr, (unsigned)len};

    return SF_LIKELY(not_needed(vi->sim, addr, len, id)) ? 0 : fall_back(vi, &iov, 1, id);
}

int ef_vi_transmitv_ctpio_fallback(ef_vi *vi, const ef_iovec *iov, int n, ef_request_id id)
{
    return fall_back(vi, iov, n, id);
}

/* ---- completions ---- */

static void report_stamp(struct efsim_vi *v, struct efsim_tx_desc *d)
{
    struct timespec ts;
    ef_event event = {.tx_timestamp = {.type = EF_EVENT_TYPE_TX_WITH_TIMESTAMP,
                                       .rq_id = (unsigned)desc_at(v, v->tx_reported + d->pages - 1)->id}};

    clock_gettime(CLOCK_REALTIME, &ts);
    event.tx_timestamp.ts_sec = (unsigned)ts.tv_sec;
    event.tx_timestamp.ts_nsec = (unsigned)ts.tv_nsec & 0x3fffffff;
    event.tx_timestamp.ts_flags = v->nic->faults.clock_unset ? 0 : EF_VI_SYNC_FLAG_CLOCK_SET;
    efsim_put_event(v, &event);
}

/* Makes an event for several frames, or one for each frame if the events have timestamps. */
__attribute__((noinline)) void efsim_report_sent(ef_vi *vi)
{
    struct efsim_vi *v = vi->sim;
    ef_event event = {.tx = {.type = EF_EVENT_TYPE_TX}};

    while (v->tx_reported != v->tx_done) {
        int frames = 0;

        for (; v->tx_reported != v->tx_done && frames < 8; frames++) {
            struct efsim_tx_desc *d = desc_at(v, v->tx_reported);

            if (efsim_refers(v->nic))
                v->fifo_used -= d->frame_len;
            if (vi->vi_flags & EF_VI_TX_TIMESTAMPS)
                report_stamp(v, d);
            event.tx.flags = d->by_ctpio ? EF_EVENT_FLAG_CTPIO : 0;
            v->tx_reported += d->pages;
        }
        event.tx.desc_id = v->tx_reported & 0xffff;
        if (!(vi->vi_flags & EF_VI_TX_TIMESTAMPS))
            efsim_put_event(v, &event);
    }
}

int ef_vi_transmit_unbundle(ef_vi *vi, const ef_event *event, ef_request_id *ids)
{
    struct efsim_vi *v = vi->sim;
    int n = 0;

    EFSIM_MUST(EF_EVENT_TYPE(*event) == EF_EVENT_TYPE_TX || EF_EVENT_TYPE(*event) == EF_EVENT_TYPE_TX_ERROR,
               "an event of type %u has nothing to unbundle", EF_EVENT_TYPE(*event));
    EFSIM_MUST(((event->tx.desc_id - v->tx_removed) & v->tx_mask) <= v->tx_added - v->tx_removed, "an event was unbundled twice");
    while ((v->tx_removed & v->tx_mask) != (event->tx.desc_id & v->tx_mask)) {
        ef_request_id id = desc_at(v, v->tx_removed++)->id;

        if ((unsigned)id != EF_REQUEST_ID_MASK)
            ids[n++] = id;
    }
    EFSIM_MUST(n <= EF_VI_TRANSMIT_BATCH, "the simulator completes too many at a time");
    return n;
}

/* ---- after an error ---- */

bool efsim_next_failed(ef_vi *vi, uint32_t *id)
{
    struct efsim_vi *v = vi->sim;

    EFSIM_MUST(v->tx_error_seen, "there was no error");
    while (v->tx_removed != v->tx_added) {
        *id = (uint32_t)desc_at(v, v->tx_removed++)->id;
        if (*id != EF_REQUEST_ID_MASK)
            return true;
    }
    return false;
}

int efsim_restart_sending(ef_vi *vi)
{
    struct efsim_vi *v = vi->sim;

    EFSIM_MUST(v->tx_error_seen, "there was no error");
    EFSIM_MUST(v->tx_removed == v->tx_added, "the events of failed frames were not read");
    if (v->nic->faults.tx_stays)
        return -EIO;
    v->tx_pushed = v->tx_done = v->tx_reported = v->tx_added;
    v->fifo_used = 0;
    v->tx_stopped = v->tx_error_seen = false;
    return 0;
}
