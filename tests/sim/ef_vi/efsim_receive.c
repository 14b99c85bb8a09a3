/* Receiving: copies frames from the wire into posted buffers (EF10) or superbufs (EFCT), and makes their events. */
#define _GNU_SOURCE
#include "efsim.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#define BURST 16
#define POISON 0xa5
#define BUFFER 2048 /* length of a posted buffer */
#define HEADERS (SF_CACHE_LINE - EFSIM_PREFIX) /* bytes of a frame in the first cache line of its buffer */

struct prefix {
    uint64_t stamped; /* only a flag: the clock is read when the program asks, because reading a real NIC's takes no time */
    uint16_t len;
    uint32_t turn; /* the poll that reports the packet */
} __attribute__((packed));

_Static_assert(sizeof(struct prefix) == EFSIM_PREFIX, "the prefix has the length of EF10's");

/* ---- posting ---- */

int ef_vi_receive_prefix_len(const ef_vi *vi)
{
    return efsim_refers(vi->sim->nic) ? 0 : EFSIM_PREFIX;
}

int ef_vi_receive_buffer_len(const ef_vi *vi)
{
    (void)vi;
    return EFSIM_RX_BYTES;
}

int ef_vi_receive_capacity(const ef_vi *vi)
{
    return (int)vi->sim->rx_mask;
}

int ef_vi_receive_fill_level(const ef_vi *vi)
{
    return (int)(vi->sim->rx_added - vi->sim->rx_removed);
}

int ef_vi_receive_space(const ef_vi *vi)
{
    return (int)(vi->sim->rx_mask - (vi->sim->rx_added - vi->sim->rx_removed));
}

/* Call this when the program is told of the packet. The program may ask for its timestamp until the next poll. */
static void tell(struct efsim_vi *v, uint8_t *packet)
{
    ((struct prefix *)packet)->turn = v->turn;
}

static ef_request_id remove_desc(struct efsim_vi *v)
{
    struct efsim_rx_desc *d = &v->rx[v->rx_removed++ & v->rx_mask];

    if (d->first)
        tell(v, d->buffer);
    return d->id;
}

void efsim_read_received(struct efsim_vi *v, const ef_event *event)
{
    struct efsim_rx_desc *d = &v->rx[v->rx_removed & v->rx_mask];

    switch (EF_EVENT_TYPE(*event)) {
    case EF_EVENT_TYPE_RX:
    case EF_EVENT_TYPE_RX_DISCARD:
        if (event->rx.flags & EF_EVENT_FLAG_SOP)
            tell(v, d->buffer);
        v->rx_removed++;
        break;
    case EF_EVENT_TYPE_RX_REF:
    case EF_EVENT_TYPE_RX_REF_DISCARD:
        tell(v, v->superbuf[event->rx_ref.pkt_id / EFSIM_SLOTS].memory + event->rx_ref.pkt_id % EFSIM_SLOTS * EFSIM_SLOT);
        break;
    default:
        break;
    }
}

static void check_not_posted(struct efsim_vi *v, const uint8_t *buffer, ef_addr addr)
{
    for (uint32_t i = v->rx_filled; i != v->rx_added; i++)
        EFSIM_MUST(v->rx[i & v->rx_mask].buffer != buffer, "the NIC has the buffer at %#llx already", (unsigned long long)addr);
}

int ef_vi_receive_init(ef_vi *vi, ef_addr addr, ef_request_id id)
{
    struct efsim_vi *v = vi->sim;
    uint8_t *buffer = efsim_dma(v->nic, addr, BUFFER);

    if (efsim_refers(v->nic))
        return -ENOSYS;
    EFSIM_MUST(addr % 64 == 0, "the buffer's address %#llx is no multiple of 64", (unsigned long long)addr);
    EFSIM_MUST(v->rx_added - v->rx_removed < v->rx_mask, "the receive ring is full");
    if (v->nic->options.strict) {
        check_not_posted(v, buffer, addr);
        memset(buffer, POISON, BUFFER);
    }
    v->rx[v->rx_added++ & v->rx_mask] = (struct efsim_rx_desc){.buffer = buffer, .id = id};
    return 0;
}

void ef_vi_receive_push(ef_vi *vi)
{
    vi->sim->rx_posted = vi->sim->rx_added & ~7u; /* buffers beyond a multiple of 8 are not posted yet */
}

static uint8_t *next_buffer(struct efsim_vi *v)
{
    struct efsim_rx_desc *d = &v->rx[v->rx_filled & v->rx_mask];

    if (v->nic->options.strict)
        for (int i = 0; i < BUFFER; i++)
            EFSIM_MUST(d->buffer[i] == POISON, "the program wrote to byte %d of buffer %d while the NIC had it", i, d->id);
    v->rx_filled++;
    return d->buffer;
}

/* ---- bad frames ---- */

static inline bool header_sum_is_right(const uint8_t *ip, uint32_t len)
{
    return sf_sum_fold(sf_sum_bytes(0, ip, len)) == 0xffff;
}

static inline bool segment_sum_is_right(const uint8_t *ip, const uint8_t *segment, uint16_t len)
{
    uint64_t sum = sf_sum_pseudo(sf_load32(ip + 12), sf_load32(ip + 16), ip[9]) + sf_be16(len);

    return sf_sum_fold(sf_sum_bytes(sum, segment, len)) == 0xffff;
}

/* Returns the frame's EF_VI_DISCARD_RX_… bits: wrong checksums, and an unknown class of protocol. */
static unsigned classify(const uint8_t *frame, uint32_t len)
{
    uint32_t at = len >= 18 && frame[12] == 0x81 && frame[13] == 0 ? 18 : 14, header, total;
    const uint8_t *ip = frame + at, *segment;
    bool right = true;

    if (len < at + 20 || ip[-2] != 8 || ip[-1] != 0)
        return EF_VI_DISCARD_RX_L3_CLASS_OTHER | EF_VI_DISCARD_RX_L4_CLASS_OTHER;
    header = (ip[0] & 15u) * 4;
    total = sf_load16_be(ip + 2);
    if (header < 20 || total < header || at + total > len || !header_sum_is_right(ip, header))
        return EF_VI_DISCARD_RX_L3_CSUM_ERR;
    if ((ip[6] & 0x3f) || ip[7])
        return 0;
    segment = ip + header;
    if (ip[9] == IPPROTO_UDP && total - header >= 8)
        right = !sf_load16(segment + 6) || segment_sum_is_right(ip, segment, (uint16_t)(total - header));
    else if (ip[9] == IPPROTO_TCP && total - header >= 20)
        right = segment_sum_is_right(ip, segment, (uint16_t)(total - header));
    else
        return EF_VI_DISCARD_RX_L4_CLASS_OTHER;
    return right ? 0 : EF_VI_DISCARD_RX_L4_CSUM_ERR;
}

static unsigned flags_of(unsigned subtype)
{
    switch (subtype) {
    case EF_EVENT_RX_DISCARD_CSUM_BAD:
        return EF_VI_DISCARD_RX_L4_CSUM_ERR;
    case EF_EVENT_RX_DISCARD_INNER_CSUM_BAD:
        return EF_VI_DISCARD_RX_INNER_L4_CSUM_ERR;
    case EF_EVENT_RX_DISCARD_TRUNC:
        return EF_VI_DISCARD_RX_ETH_LEN_ERR;
    default:
        return EF_VI_DISCARD_RX_ETH_FCS_ERR;
    }
}

/* Returns 0 for a good frame. Otherwise returns its EF_VI_DISCARD_RX_… bits, and the subtype of its event. */
static unsigned faults_of(struct efsim_vi *v, const uint8_t *frame, uint32_t len, unsigned *subtype)
{
    struct efsim_faults *faults = &v->nic->faults;
    unsigned bits;

    if (faults->discards > 0) {
        faults->discards--;
        *subtype = faults->subtype;
        return flags_of(faults->subtype);
    }
    bits = classify(frame, len) & v->discards;
    *subtype = EF_EVENT_RX_DISCARD_CSUM_BAD;
    return bits;
}

int ef_vi_receive_set_discards(ef_vi *vi, unsigned flags)
{
    const unsigned others = EF_VI_DISCARD_RX_L2_CLASS_OTHER | EF_VI_DISCARD_RX_L3_CLASS_OTHER | EF_VI_DISCARD_RX_L4_CLASS_OTHER;

    vi->sim->discards = efsim_refers(vi->sim->nic) ? flags : flags & ~others; /* EF10 cannot discard by class */
    return 0;
}

uint64_t ef_vi_receive_get_discards(ef_vi *vi)
{
    return vi->sim->discards;
}

/* ---- EF10 ---- */

static uint64_t wall_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * SF_SEC + (uint64_t)ts.tv_nsec;
}

static void put_prefix(ef_vi *vi, uint8_t *at, uint32_t len)
{
    struct prefix *prefix = (struct prefix *)at;

    prefix->stamped = !vi->sim->nic->options.no_timestamps && vi->vi_flags & EF_VI_RX_TIMESTAMPS;
    prefix->len = (uint16_t)len;
    prefix->turn = vi->sim->turn;
}

/* Copies the frame with its prefix into n buffers. If it needs more buffers, its end is cut off. */
static void fill(ef_vi *vi, const uint8_t *frame, uint32_t len, uint32_t n)
{
    struct efsim_vi *v = vi->sim;
    uint32_t frame_len = len;

    for (uint32_t i = 0; i < n; i++) {
        uint8_t *buffer = next_buffer(v);
        uint32_t skip = i == 0 ? EFSIM_PREFIX : 0;

        v->rx[(v->rx_filled - 1) & v->rx_mask].first = i == 0;
        if (i == 0)
            put_prefix(vi, buffer, frame_len);
        if (len <= EFSIM_RX_BYTES - skip) {
            sim_copy(buffer + skip, frame, len);
            return;
        }
        sim_copy(buffer + skip, frame, EFSIM_RX_BYTES - skip);
        frame += EFSIM_RX_BYTES - skip;
        len -= EFSIM_RX_BYTES - skip;
    }
}

static void report_each(struct efsim_vi *v, uint32_t len, uint32_t n, bool whole, unsigned bad, unsigned subtype)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t done = (i + 1) * EFSIM_RX_BYTES < len + EFSIM_PREFIX ? (i + 1) * EFSIM_RX_BYTES : len + EFSIM_PREFIX;
        bool last = i + 1 == n;
        unsigned flags = (i == 0 ? EF_EVENT_FLAG_SOP : 0) | (last && whole ? 0 : EF_EVENT_FLAG_CONT);
        ef_event event = {.word = { /* the fields of rx_discard: type, rq_id, len and flags, subtype */
                              bad && last ? EF_EVENT_TYPE_RX_DISCARD : EF_EVENT_TYPE_RX,
                              (unsigned)v->rx[(v->rx_filled - n + i) & v->rx_mask].id,
                              done | flags << 16,
                              subtype & 0xffff,
                          }};

        efsim_put_event(v, &event);
    }
}

static void put_multi(struct efsim_vi *v, uint32_t n, unsigned flags, unsigned type, unsigned subtype)
{
    ef_event event = {.rx_multi_discard = {.type = type & 0xffff, .n_descs = n & 0xffff, .flags = flags & 0xffff,
                                           .subtype = subtype & 0xffff}};

    efsim_put_event(v, &event);
}

/* Good frames that fit into one buffer share an event. A frame in several buffers has two events: one for the first buffer and one
 * for the others. */
static void report_merged(struct efsim_vi *v, uint32_t n, bool whole, unsigned bad, unsigned subtype)
{
    unsigned type = bad ? EF_EVENT_TYPE_RX_MULTI_DISCARD : EF_EVENT_TYPE_RX_MULTI;
    bool alone = n > 1 || bad || !whole;
    ef_event *last = &v->events[(v->events_last - 1) & v->events_mask];

    if (!alone && v->merging > 0 && v->merging < EF_VI_RECEIVE_BATCH && v->events_first != v->events_last) {
        last->rx_multi.n_descs++;
        v->merging++;
        v->nic->counts.merged++;
        return;
    }
    v->merging = alone ? 0 : 1;
    if (n > 1) {
        put_multi(v, 1, EF_EVENT_FLAG_SOP | EF_EVENT_FLAG_CONT, EF_EVENT_TYPE_RX_MULTI, 0);
        put_multi(v, n - 1, whole ? 0 : EF_EVENT_FLAG_CONT, type, subtype);
        return;
    }
    put_multi(v, 1, EF_EVENT_FLAG_SOP | (whole ? 0 : EF_EVENT_FLAG_CONT), type, subtype);
}

static void report_packets(struct efsim_vi *v)
{
    ef_event event = {.rx_multi_pkts = {.type = EF_EVENT_TYPE_RX_MULTI_PKTS, .n_pkts = 1}};

    efsim_put_event(v, &event);
}

/* Does what classify() does, for frames that match efsim_knows(). It saves 3 % of a round trip, because it runs for every frame. */
static inline bool sums_are_right(const uint8_t *frame, uint32_t len)
{
    const uint8_t *ip = frame + 14;
    uint32_t total = sf_load16_be(ip + 2);

    return total >= 28 && total <= len - 14 && header_sum_is_right(ip, 20) &&
           segment_sum_is_right(ip, ip + 20, (uint16_t)(total - 20));
}

/* Copies the headers by stores that overlap, so that each field lies within one store. A load of a field from two stores would wait. */
static inline void copy_headers(uint8_t *to, const uint8_t *frame)
{
    memcpy(to, frame, 16);
    memcpy(to + 16, frame + 16, 16);
    memcpy(to + 18, frame + 18, 16);
    memcpy(to + 34, frame + 34, 16);
}

/* Copies the headers of a frame of the known flow, which fill its buffer's first cache line, and makes the event. finish() copies the
 * rest later, because the other lines arrive from the sender's core later, and this code would wait for them. */
static inline bool into_one(ef_vi *vi, const struct sf_frame *frame)
{
    struct efsim_vi *v = vi->sim;
    struct efsim_rx_desc *d = &v->rx[v->rx_filled & v->rx_mask];
    ef_event *event = &v->events[v->events_last & v->events_mask];
    uint32_t len = frame->len;

    if (SF_UNLIKELY(len < HEADERS || len > EFSIM_RX_BYTES - EFSIM_PREFIX || v->rx_posted == v->rx_filled ||
                    !efsim_knows(v->nic, frame->data, len)))
        return false;
    v->nic->counts.received++;
    put_prefix(vi, d->buffer, len);
    v->rest.data = frame->data;
    v->rest.to = d->buffer + EFSIM_PREFIX;
    v->rest.token = frame->token;
    v->rest.len = len;
    copy_headers(d->buffer + EFSIM_PREFIX, frame->data);
    d->first = true;
    v->rx_filled++;
    v->events_last++;
    event->word[0] = EF_EVENT_TYPE_RX; /* stored in words, as efsim_move_event() loads it */
    event->word[1] = (unsigned)d->id;
    event->word[2] = (len + EFSIM_PREFIX) | EF_EVENT_FLAG_SOP << 16;
    event->word[3] = 0;
    return true;
}

static void finish(struct efsim_vi *v, ef_event *event)
{
    const uint8_t *data = v->rest.data;
    uint32_t len = v->rest.len;

    v->rest.data = NULL;
    sim_copy(v->rest.to + HEADERS, data + HEADERS, len - HEADERS);
    if (SF_LIKELY(sums_are_right(data, len)) || !(classify(data, len) & v->discards))
        return;
    v->nic->counts.discarded++;
    event->word[0] = EF_EVENT_TYPE_RX_DISCARD;
    event->word[3] = EF_EVENT_RX_DISCARD_CSUM_BAD;
}

void efsim_receive_rest(struct efsim_vi *v, ef_event *event)
{
    struct sf_driver *wire = v->nic->wire;
    struct sf_frame frame = {.token = v->rest.token};

    finish(v, event);
    wire->fast.rx_release(wire, &frame, 1);
}

__attribute__((noinline)) static void into_buffers(ef_vi *vi, const uint8_t *frame, uint32_t len)
{
    struct efsim_vi *v = vi->sim;
    uint32_t n = (len + EFSIM_PREFIX + EFSIM_RX_BYTES - 1) / EFSIM_RX_BYTES, posted = v->rx_posted - v->rx_filled;
    unsigned subtype = 0, bad = faults_of(v, frame, len, &subtype);
    bool whole = n <= posted;
    ef_event trunc = {.generic.type = EF_EVENT_TYPE_RX_NO_DESC_TRUNC};

    if (!posted) {
        v->nic->counts.no_descriptor++;
        return;
    }
    if (n > 1 && v->nic->faults.trunc > 0) {
        v->nic->faults.trunc--;
        whole = false;
        n--;
    }
    if (n > posted)
        n = posted;
    fill(vi, frame, len, n);
    v->nic->counts.discarded += bad != 0;
    if (v->nic->options.arch == EF_VI_ARCH_EF100)
        report_packets(v);
    else if (efsim_merges(v, vi->vi_flags))
        report_merged(v, n, whole, whole ? bad : 0, subtype);
    else
        report_each(v, len, n, whole, whole ? bad : 0, subtype);
    if (!whole) {
        v->nic->counts.truncated++;
        efsim_put_event(v, &trunc);
    }
}

int ef_vi_receive_unbundle(ef_vi *vi, const ef_event *event, ef_request_id *ids)
{
    struct efsim_vi *v = vi->sim;
    unsigned n = event->rx_multi.n_descs;

    EFSIM_MUST(EF_EVENT_TYPE(*event) == EF_EVENT_TYPE_RX_MULTI || EF_EVENT_TYPE(*event) == EF_EVENT_TYPE_RX_MULTI_DISCARD,
               "an event of type %u has nothing to unbundle", EF_EVENT_TYPE(*event));
    EFSIM_MUST(n <= EF_VI_RECEIVE_BATCH && n <= v->rx_filled - v->rx_removed, "an event was unbundled twice");
    for (unsigned i = 0; i < n; i++)
        ids[i] = remove_desc(v);
    return (int)n;
}

ef_request_id ef_vi_rxq_next_desc_id(ef_vi *vi)
{
    struct efsim_vi *v = vi->sim;

    EFSIM_MUST(v->rx_filled != v->rx_removed, "no descriptor was filled");
    return remove_desc(v);
}

int ef_vi_receive_get_bytes(ef_vi *vi, const void *packet, uint16_t *bytes)
{
    EFSIM_MUST(!efsim_refers(vi->sim->nic), "EFCT has no prefix; the length is in the event");
    *bytes = ((const struct prefix *)packet)->len;
    return 0;
}

/* ---- EFCT ---- */

static bool next_superbuf(struct efsim_vi *v)
{
    struct efsim_superbuf *now = &v->superbuf[v->current];

    if (now->filling && v->next_slot < EFSIM_SLOTS)
        return true;
    now->filling = false;
    now->full = now->held > 0;
    for (int i = 0; i < EFSIM_SUPERBUFS; i++) {
        if (v->superbuf[i].held)
            continue;
        v->current = i;
        v->next_slot = 0;
        v->superbuf[i].filling = true;
        return true;
    }
    return false;
}

__attribute__((noinline)) static void into_superbuf(ef_vi *vi, const uint8_t *frame, uint32_t len)
{
    struct efsim_vi *v = vi->sim;
    struct efsim_superbuf *s;
    unsigned subtype = 0, bad = faults_of(v, frame, len, &subtype), slot;
    ef_event event = {.rx_ref_discard = {.type = bad ? EF_EVENT_TYPE_RX_REF_DISCARD : EF_EVENT_TYPE_RX_REF,
                                         .len = (uint16_t)len, .flags = bad & 0xffff}};

    EFSIM_MUST(len + EFSIM_PREFIX <= EFSIM_SLOT, "a frame of %u bytes", len);
    if (!next_superbuf(v)) {
        v->nic->counts.no_superbuf++;
        return;
    }
    s = &v->superbuf[v->current];
    slot = v->next_slot++;
    s->held++;
    s->lent[slot] = 1;
    put_prefix(vi, s->memory + slot * EFSIM_SLOT, len);
    sim_copy(s->memory + slot * EFSIM_SLOT + EFSIM_PREFIX, frame, len);
    v->nic->counts.discarded += bad != 0;
    event.rx_ref.pkt_id = (unsigned)v->current * EFSIM_SLOTS + slot;
    efsim_put_event(v, &event);
}

static uint8_t *packet_at(struct ef_vi *vi, uint32_t packet)
{
    struct efsim_vi *v = vi->sim;

    EFSIM_MUST(v && efsim_refers(v->nic), "only EFCT has packet ids");
    EFSIM_MUST(packet < EFSIM_SUPERBUFS * EFSIM_SLOTS && v->superbuf[packet / EFSIM_SLOTS].lent[packet % EFSIM_SLOTS],
               "packet %u was released already, or never received", packet);
    return v->superbuf[packet / EFSIM_SLOTS].memory + packet % EFSIM_SLOTS * EFSIM_SLOT;
}

const void *efct_vi_rxpkt_get(struct ef_vi *vi, uint32_t packet)
{
    return packet_at(vi, packet) + EFSIM_PREFIX;
}

void efct_vi_rxpkt_release(struct ef_vi *vi, uint32_t packet)
{
    struct efsim_superbuf *s;
    uint8_t *data = packet_at(vi, packet);

    if (vi->sim->nic->options.strict)
        memset(data, POISON, EFSIM_SLOT);
    s = &vi->sim->superbuf[packet / EFSIM_SLOTS];
    s->lent[packet % EFSIM_SLOTS] = 0;
    s->held--;
}

/* ---- both ---- */

int ef_vi_receive_get_precise_timestamp(ef_vi *vi, const void *packet, ef_precisetime *out)
{
    struct efsim_vi *v = vi->sim;
    const struct prefix *prefix = (const struct prefix *)((const uint8_t *)packet - (efsim_refers(v->nic) ? EFSIM_PREFIX : 0));
    uint64_t now;

    EFSIM_MUST(vi->vi_flags & EF_VI_RX_TIMESTAMPS, "the virtual interface was made without EF_VI_RX_TIMESTAMPS");
    EFSIM_MUST(v->turn == prefix->turn, "the queue was polled again after the packet's event");
    memset(out, 0, sizeof(*out));
    if (v->nic->faults.unsynchronised)
        return -ENOMSG;
    if (!prefix->stamped)
        return -ENODATA;
    now = wall_clock();
    out->tv_sec = (int64_t)(now / SF_SEC);
    out->tv_nsec = (uint32_t)(now % SF_SEC);
    out->tv_flags = v->nic->faults.clock_unset ? 0 : EF_VI_SYNC_FLAG_CLOCK_SET;
    return 0;
}

__attribute__((noinline)) static void take_any(ef_vi *vi, const uint8_t *frame, uint32_t len)
{
    struct efsim_vi *v = vi->sim;
    bool wanted = efsim_wants(v->nic, frame, len);

    v->nic->counts.to_kernel += !wanted;
    if (!wanted && !(v->nic->options.shared && efsim_refers(v->nic)))
        return;
    v->nic->counts.received++;
    if (efsim_refers(v->nic))
        into_superbuf(vi, frame, len);
    else
        into_buffers(vi, frame, len);
}

/* Takes the frames. True: release them now. A single frame of the known flow is released after efsim_receive_rest(). */
__attribute__((noinline)) static bool take(ef_vi *vi, const struct sf_frame *frames, int n)
{
    struct efsim_vi *v = vi->sim;
    bool plain = v->plain && !v->halted && !v->nic->faults.discards;

    for (int i = 0; i < n; i++) {
        if (SF_UNLIKELY(!plain || !into_one(vi, &frames[i])))
            take_any(vi, frames[i].data, frames[i].len);
        else if (n == 1)
            return false;
        else
            finish(v, &v->events[(v->events_last - 1) & v->events_mask]);
    }
    return true;
}

/* Receives a burst only while the event queue is at most half full, so that there is certainly room for its events. */
void efsim_receive(ef_vi *vi)
{
    struct efsim_vi *v = vi->sim;
    struct sf_driver *wire = v->nic->wire;
    struct sf_frame frames[BURST];
    int n;

    if (v->events_last - v->events_first > v->events_mask / 2)
        return;
    n = wire->fast.rx_burst(wire, frames, BURST);
    if (SF_LIKELY(!n))
        return;
    if (take(vi, frames, n))
        wire->fast.rx_release(wire, frames, n);
}
