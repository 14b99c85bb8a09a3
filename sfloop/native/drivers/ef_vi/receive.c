/*
 * Receiving with ef_vi, in two ways, depending on the NIC:
 *
 *  - EF10 (7000, 8000, X2 series) and EF100: we post buffers, and an event names a filled one. A frame larger than a buffer
 *    comes in pieces. A frame in error ("discard") uses up a buffer too, so the buffer is posted again.
 *  - EFCT (X3, X4's express datapath): an event refers to a frame in one of the NIC's own buffers of a megabyte. Such a buffer
 *    is held back until all its frames are released, including discards.
 *
 * Source: Onload's etherfabric/ef_vi.h and efct_vi.h.
 */
#define _GNU_SOURCE
#include "driver.h"

static inline struct sf_frame *piece_at(struct efvi_rx *rx, uint32_t position)
{
    return &rx->ready[position & rx->ready_mask];
}

static inline uint8_t *buffer_of(struct efvi *d, uint32_t id)
{
    return d->memory + (size_t)id * EFVI_RX_BUFFER;
}

/* Marks all buffers as free, for a new VI. */
void efvi_rx_reset(struct efvi *d)
{
    struct efvi_rx *rx = &d->rx;

    rx->first = rx->whole = rx->last = 0;
    rx->seen = rx->left = rx->frame_len = 0;
    rx->skipping = false;
    rx->n_free = 0;
    for (uint32_t id = rx->buffers; id-- > 0;)
        rx->free[rx->n_free++] = id;
}

/* Posts groups of eight only, because fewer would not reach the NIC. */
void efvi_refill(struct efvi *d)
{
    struct efvi_rx *rx = &d->rx;
    uint32_t room = (uint32_t)ef_vi_receive_space(&d->vi), n = rx->n_free < room ? rx->n_free : room;
    bool posted = false;

    for (n &= ~(EFVI_POST - 1); n > 0; n--, posted = true) {
        uint32_t id = rx->free[rx->n_free - 1];

        if (ef_vi_receive_init(&d->vi, ef_memreg_dma_addr(&d->memreg, (size_t)id * EFVI_RX_BUFFER), (ef_request_id)id) < 0)
            break;
        rx->n_free--;
    }
    if (posted)
        ef_vi_receive_push(&d->vi);
}

static void give_back(struct efvi *d, uint64_t token)
{
    if (d->rx.refs)
        efct_vi_rxpkt_release(&d->vi, (uint32_t)token);
    else
        d->rx.free[d->rx.n_free++] = (uint32_t)token;
}

/* ---- frames from pieces ---- */

static void drop_unfinished(struct efvi *d)
{
    struct efvi_rx *rx = &d->rx;

    while (rx->last != rx->whole)
        give_back(d, piece_at(rx, --rx->last)->token);
    rx->frame_len = rx->seen = rx->left = 0;
}

/* Counts once for each frame, however many pieces follow. */
static void refuse(struct efvi *d, uint64_t token, bool more)
{
    give_back(d, token);
    drop_unfinished(d);
    if (!d->rx.skipping)
        d->stats.rx_invalid++;
    d->rx.skipping = more;
}

/* The adapter's clock may need seconds to synchronize, and before it is set its time is arbitrary. */
__attribute__((noinline)) static sf_ns wanted_timestamp(struct efvi *d, const void *packet)
{
    ef_precisetime t;

    if (!d->rx.timestamps || ef_vi_receive_get_precise_timestamp(&d->vi, packet, &t) != 0 ||
        !(t.tv_flags & EF_VI_SYNC_FLAG_CLOCK_SET))
        return 0;
    return (sf_ns)t.tv_sec * SF_SEC + t.tv_nsec;
}

static inline sf_ns read_timestamp(struct efvi *d, const void *packet)
{
    return SF_LIKELY(!d->rx.stamps_wanted) ? 0 : wanted_timestamp(d, packet);
}

static void finish(struct efvi *d)
{
    struct efvi_rx *rx = &d->rx;

    piece_at(rx, rx->last - 1)->flags &= ~(uint32_t)SF_FRAME_MORE;
    d->stats.rx_frames++;
    d->stats.rx_bytes += rx->frame_len;
    rx->whole = rx->last;
    rx->frame_len = rx->seen = rx->left = 0;
}

/* Takes a frame in one piece. Hands it to the caller directly, unless other frames wait before it or the caller's array is
 * full. */
static inline void take_whole(struct efvi *d, struct sf_frame frame)
{
    struct efvi_rx *rx = &d->rx;

    if (SF_LIKELY(rx->first == rx->last && rx->n_out < rx->max_out)) {
        rx->out[rx->n_out++] = frame;
        d->stats.rx_frames++;
        d->stats.rx_bytes += frame.len;
        return;
    }
    *piece_at(rx, rx->last++) = frame;
    rx->frame_len = frame.len;
    finish(d);
}

static inline struct sf_frame received(struct efvi *d, uint32_t id, uint32_t len, bool first)
{
    uint8_t *buffer = buffer_of(d, id);

    return (struct sf_frame){
        .data = first ? buffer + d->rx.prefix : buffer,
        .len = len,
        .flags = d->rx.sniffing ? 0 : d->rx.good, /* no filter has classified it */
        .timestamp = first ? read_timestamp(d, buffer) : 0,
        .token = id,
    };
}

/* Takes a piece of a frame. `len`: bytes of the frame in this buffer, without the prefix of a first piece. */
static void take_piece(struct efvi *d, uint32_t id, uint32_t len, bool first, bool more)
{
    struct efvi_rx *rx = &d->rx;
    uint32_t prefix = first ? rx->prefix : 0;
    struct sf_frame frame;

    if (first) {
        if (rx->last != rx->whole) { /* the end of the last frame was lost */
            drop_unfinished(d);
            d->stats.rx_invalid++;
        }
        rx->skipping = false;
    } else if (rx->last == rx->whole && !rx->skipping) {
        d->stats.rx_invalid++;
        rx->skipping = true;
    }
    if (SF_UNLIKELY(rx->skipping || len + prefix > rx->room || rx->frame_len + len > d->frame_max ||
                    (!more && rx->frame_len + len < SF_ETHERNET_HEADER))) {
        refuse(d, id, more);
        return;
    }
    frame = received(d, id, len, first);
    if (first && !more) {
        take_whole(d, frame);
        return;
    }
    frame.flags |= SF_FRAME_MORE;
    *piece_at(rx, rx->last++) = frame;
    rx->frame_len += len;
    if (!more)
        finish(d);
}

static bool known(struct efvi *d, uint32_t id)
{
    if (SF_LIKELY(id < d->rx.buffers))
        return true;
    d->stats.rx_invalid++; /* not one of our buffers, so there is none to post again */
    return false;
}

/* ---- events of one buffer: the length is that of the frame so far, with the prefix ---- */

__attribute__((noinline)) static void one_of_any_kind(struct efvi *d, uint32_t id, uint32_t total, bool first, bool more)
{
    struct efvi_rx *rx = &d->rx;
    uint32_t before = first ? rx->prefix : rx->seen;

    if (!known(d, id))
        return;
    if (SF_UNLIKELY(total < before)) {
        refuse(d, id, more);
        return;
    }
    take_piece(d, id, total - before, first, more);
    if (more)
        rx->seen = total;
}

/* Handles nearly every event: a whole frame in one buffer. */
static inline void one(struct efvi *d, const ef_event *event)
{
    struct efvi_rx *rx = &d->rx;
    uint32_t id = (uint32_t)EF_EVENT_RX_RQ_ID(*event), total = EF_EVENT_RX_BYTES(*event), len = total - rx->prefix;
    bool first = EF_EVENT_RX_SOP(*event), more = EF_EVENT_RX_CONT(*event);

    if (SF_UNLIKELY(!first || more || id >= rx->buffers || rx->last != rx->whole || total < rx->prefix + SF_ETHERNET_HEADER ||
                    total > rx->room || len > d->frame_max)) {
        one_of_any_kind(d, id, total, first, more);
        return;
    }
    rx->skipping = false;
    take_whole(d, received(d, id, len, true));
}

static void one_discarded(struct efvi *d, const ef_event *event)
{
    uint32_t id = (uint32_t)EF_EVENT_RX_DISCARD_RQ_ID(*event);

    if (!known(d, id))
        return;
    if (EF_EVENT_RX_DISCARD_SOP(*event))
        d->rx.skipping = false;
    refuse(d, id, EF_EVENT_RX_DISCARD_CONT(*event));
}

/* ---- merged events of several buffers: the lengths are in the prefixes ---- */

static void one_of_several(struct efvi *d, uint32_t id)
{
    struct efvi_rx *rx = &d->rx;
    bool first = rx->left == 0;
    uint32_t room = rx->room - (first ? rx->prefix : 0), len, left;
    uint16_t bytes = 0;

    if (!known(d, id))
        return;
    if (first) {
        if (ef_vi_receive_get_bytes(&d->vi, buffer_of(d, id), &bytes) < 0) {
            refuse(d, id, false);
            return;
        }
        rx->left = bytes;
    }
    len = rx->left < room ? rx->left : room;
    left = rx->left - len;
    take_piece(d, id, len, first, left > 0);
    rx->left = left;
}

static void several(struct efvi *d, const ef_event *event)
{
    ef_request_id ids[EF_VI_RECEIVE_BATCH];
    int n = ef_vi_receive_unbundle(&d->vi, event, ids);

    if (EF_EVENT_RX_MULTI_SOP(*event)) {
        d->rx.skipping = false;
        d->rx.left = 0;
    }
    for (int i = 0; i < n; i++) {
        if (SF_UNLIKELY(d->rx.skipping && !d->rx.left))
            refuse(d, (uint32_t)ids[i], true); /* the rest of a discarded frame */
        else
            one_of_several(d, (uint32_t)ids[i]);
    }
    if (!EF_EVENT_RX_MULTI_CONT(*event))
        d->rx.skipping = false;
}

static void several_discarded(struct efvi *d, const ef_event *event)
{
    ef_request_id ids[EF_VI_RECEIVE_BATCH];
    int n = ef_vi_receive_unbundle(&d->vi, event, ids);
    bool more = EF_EVENT_RX_MULTI_CONT(*event);

    if (EF_EVENT_RX_MULTI_SOP(*event))
        d->rx.skipping = false;
    for (int i = 0; i < n; i++)
        if (known(d, (uint32_t)ids[i]))
            refuse(d, (uint32_t)ids[i], more || i + 1 < n);
}

static void whole_packets(struct efvi *d, const ef_event *event)
{
    for (unsigned n = event->rx_multi_pkts.n_pkts; n > 0; n--) {
        do {
            one_of_several(d, (uint32_t)ef_vi_rxq_next_desc_id(&d->vi));
        } while (d->rx.left);
    }
}

/* ---- EFCT ---- */

static void referred(struct efvi *d, uint32_t packet, uint32_t len, uint32_t good)
{
    struct efvi_rx *rx = &d->rx;
    const uint8_t *data = efct_vi_rxpkt_get(&d->vi, packet);

    if (SF_UNLIKELY(len < SF_ETHERNET_HEADER || len > d->frame_max)) {
        refuse(d, packet, false);
        return;
    }
    if (rx->check_flows && !efvi_flows_match(d, data, len)) {
        give_back(d, packet);
        return;
    }
    take_whole(d, (struct sf_frame){
        .data = (uint8_t *)(uintptr_t)data,
        .len = len,
        .flags = good,
        .timestamp = read_timestamp(d, data),
        .token = packet,
    });
}

/* Handles a "discard", which may only be a frame of a class whose checksums the NIC does not verify. */
static void referred_discarded(struct efvi *d, const ef_event *event)
{
    const unsigned errors = EF_VI_DISCARD_RX_L4_CSUM_ERR | EF_VI_DISCARD_RX_L3_CSUM_ERR | EF_VI_DISCARD_RX_ETH_FCS_ERR |
                            EF_VI_DISCARD_RX_ETH_LEN_ERR | EF_VI_DISCARD_RX_INNER_L3_CSUM_ERR |
                            EF_VI_DISCARD_RX_INNER_L4_CSUM_ERR;

    if (event->rx_ref_discard.flags & errors || !event->rx_ref_discard.flags)
        refuse(d, event->rx_ref_discard.pkt_id, false);
    else
        referred(d, event->rx_ref_discard.pkt_id, event->rx_ref_discard.len, 0);
}

/* Handles the rare events, because nearly every event is a received frame. */
__attribute__((noinline)) static void other_event(struct efvi *d, const ef_event *event)
{
    switch (EF_EVENT_TYPE(*event)) {
    case EF_EVENT_TYPE_TX:
    case EF_EVENT_TYPE_TX_WITH_TIMESTAMP:
    case EF_EVENT_TYPE_TX_ERROR:
        efvi_tx_event(d, event);
        break;
    case EF_EVENT_TYPE_RX_REF:
        referred(d, event->rx_ref.pkt_id, event->rx_ref.len, d->rx.good);
        break;
    case EF_EVENT_TYPE_RX_DISCARD:
        one_discarded(d, event);
        break;
    case EF_EVENT_TYPE_RX_MULTI:
        several(d, event);
        break;
    case EF_EVENT_TYPE_RX_MULTI_DISCARD:
        several_discarded(d, event);
        break;
    case EF_EVENT_TYPE_RX_MULTI_PKTS:
        whole_packets(d, event);
        break;
    case EF_EVENT_TYPE_RX_REF_DISCARD:
        referred_discarded(d, event);
        break;
    case EF_EVENT_TYPE_RX_NO_DESC_TRUNC: /* there were no buffers for the rest of the frame */
        drop_unfinished(d);
        d->rx.skipping = false;
        d->stats.rx_dropped++;
        break;
    case EF_EVENT_TYPE_RESET:
    case EF_EVENT_TYPE_OFLOW:
        efvi_lose(d);
        break;
    default:
        break;
    }
}

/* ---- lending and returning ---- */

/* Hands out whole frames only. A frame with more pieces than there is room for waits. */
int efvi_hand_out(struct efvi *d, struct sf_frame *frames, int n)
{
    struct efvi_rx *rx = &d->rx;
    int taken = 0;

    while (rx->first != rx->whole && taken < n) {
        uint32_t end = rx->first;

        while (piece_at(rx, end)->flags & SF_FRAME_MORE)
            end++;
        end++;
        if (end - rx->first > (uint32_t)(n - taken))
            break;
        while (rx->first != end)
            frames[taken++] = *piece_at(rx, rx->first++);
    }
    rx->lent += (uint32_t)taken;
    return taken;
}

int efvi_take_events(struct efvi *d, const ef_event *events, int n_events, struct sf_frame *frames, int n)
{
    struct efvi_rx *rx = &d->rx;

    rx->out = frames;
    rx->n_out = 0;
    rx->max_out = (uint32_t)n;
    for (int i = 0; i < n_events && d->state == EFVI_UP; i++) {
        if (SF_LIKELY(EF_EVENT_TYPE(events[i]) == EF_EVENT_TYPE_RX))
            one(d, &events[i]);
        else
            other_event(d, &events[i]);
    }
    if (SF_LIKELY(d->state == EFVI_UP))
        efvi_refill_at(d, rx->refill_under_load);
    rx->lent += rx->n_out;
    n = (int)rx->n_out;
    return SF_LIKELY(rx->first == rx->whole) ? n : n + efvi_hand_out(d, frames + n, (int)rx->max_out - n);
}

void efvi_rx_release(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    struct efvi *d = efvi_of(driver);

    for (int i = 0; i < n; i++)
        give_back(d, frames[i].token);
    d->rx.lent -= (uint32_t)n;
}
