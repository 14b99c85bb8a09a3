/*
 * A wire in memory between two drivers. Frames arrive after a delay by the test's clock. On the way frames are lost, duplicated,
 * reordered and corrupted at random, from a seed. A test may also send and receive frames at an end itself.
 */
#ifndef SF_TEST_MEMORY_WIRE_H
#define SF_TEST_MEMORY_WIRE_H

#include "tcp_hosts.h"

#include <stdlib.h>

enum { WIRE_FRAMES = 1 << 14, WIRE_FRAME_MAX = 9100 };

struct wire_frame {
    struct wire_frame *next; /* in the list of free frames */
    sf_ns at;
    uint64_t order;
    uint32_t len;
    uint8_t data[WIRE_FRAME_MAX];
};

struct wire_end {
    struct sf_driver driver;
    struct wire *wire;
    struct wire_frame **heap; /* frames on their way to this end */
    uint32_t n;
    uint32_t lent, reserved;
    sf_ns busy_until; /* the bottleneck, by frames from this end */
};

struct wire {
    struct wire_end end[2];
    uint32_t addr[2];
    uint32_t mtu;
    uint64_t seed, order;
    sf_ns delay, jitter;
    sf_ns per_byte;  /* of the bottleneck, in thousandths of a ns; 0: no bottleneck */
    sf_ns queue;     /* the longest time for which a frame waits at the bottleneck; beyond it, the frame is lost */
    double lose, duplicate, corrupt, reorder;
    bool cut;        /* nothing passes */
    uint64_t sent, lost;
    struct wire_frame *free;
    uint32_t n_frames;
};

static inline struct wire_frame *wire_frame_new(struct wire *w)
{
    struct wire_frame *f = w->free;

    if (f) {
        w->free = f->next;
        return f;
    }
    CHECK(w->n_frames++ < 4 * WIRE_FRAMES);
    f = malloc(sizeof(*f));
    CHECK(f);
    return f;
}

static inline void wire_frame_free(struct wire *w, struct wire_frame *f)
{
    f->next = w->free;
    w->free = f;
}

static inline double wire_chance(struct wire *w)
{
    return (double)(next_random(&w->seed) >> 11) / (double)(1ull << 53);
}

/* ---- frames on their way, in a heap by their time of arrival ---- */

static inline bool wire_before(const struct wire_frame *x, const struct wire_frame *y)
{
    return x->at < y->at || (x->at == y->at && x->order < y->order);
}

static inline void wire_push(struct wire_end *e, struct wire_frame *f)
{
    uint32_t i = e->n++;

    f->order = e->wire->order++;
    for (; i && wire_before(f, e->heap[(i - 1) / 2]); i = (i - 1) / 2)
        e->heap[i] = e->heap[(i - 1) / 2];
    e->heap[i] = f;
}

static inline struct wire_frame *wire_pop(struct wire_end *e)
{
    struct wire_frame *first = e->heap[0], *last = e->heap[--e->n];
    uint32_t i = 0;

    for (uint32_t child; (child = 2 * i + 1) < e->n; i = child) {
        if (child + 1 < e->n && wire_before(e->heap[child + 1], e->heap[child]))
            child++;
        if (!wire_before(e->heap[child], last))
            break;
        e->heap[i] = e->heap[child];
    }
    if (e->n)
        e->heap[i] = last;
    return first;
}

/* The time at which the next frame arrives at an end. SF_NEVER: no frame is on its way. */
static inline sf_ns wire_next(const struct wire *w, int end)
{
    return w->end[end].n ? w->end[end].heap[0]->at : SF_NEVER;
}

/* ---- delay, loss and damage ---- */

static inline void wire_carry_one(struct wire *w, struct wire_end *to, struct wire_frame *f, sf_ns ready)
{
    f->at = ready + w->delay;
    if (w->jitter && wire_chance(w) < w->reorder)
        f->at += (sf_ns)(wire_chance(w) * (double)w->jitter);
    if (w->corrupt > 0 && wire_chance(w) < w->corrupt)
        f->data[next_random(&w->seed) % f->len] ^= (uint8_t)(1 << next_random(&w->seed) % 8);
    wire_push(to, f);
}

/* Carries a frame to the other end. The frame belongs to the wire. */
static inline void wire_carry(struct wire_end *from, struct wire_frame *f)
{
    struct wire *w = from->wire;
    struct wire_end *to = &w->end[from == &w->end[0]];
    sf_ns ready = clock_now;

    w->sent++;
    if (w->per_byte) {
        sf_ns waits = from->busy_until > clock_now ? from->busy_until - clock_now : 0;

        ready = clock_now + waits + w->per_byte * f->len / 1000;
        if (waits <= w->queue)
            from->busy_until = ready;
        else
            ready = 0;
    }
    if (!ready || w->cut || to->n >= WIRE_FRAMES - 2 || (w->lose > 0 && wire_chance(w) < w->lose)) {
        w->lost++;
        wire_frame_free(w, f);
        return;
    }
    if (w->duplicate > 0 && wire_chance(w) < w->duplicate) {
        struct wire_frame *again = wire_frame_new(w);

        again->len = f->len;
        memcpy(again->data, f->data, f->len);
        wire_carry_one(w, to, again, ready);
    }
    wire_carry_one(w, to, f, ready);
}

/* ---- the driver ---- */

static inline int wire_rx_burst(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    struct wire_end *e = (struct wire_end *)driver;
    int got = 0;

    for (; got < n && e->n && e->heap[0]->at <= clock_now; got++) {
        struct wire_frame *f = wire_pop(e);

        frames[got] = (struct sf_frame){.data = f->data, .len = f->len, .token = (uint64_t)(uintptr_t)f};
        e->lent++;
    }
    return got;
}

static inline void wire_rx_release(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    struct wire_end *e = (struct wire_end *)driver;

    for (int i = 0; i < n; i++) {
        struct wire_frame *f = (struct wire_frame *)(uintptr_t)frames[i].token;

        memset(f->data, 0xdd, f->len); /* a stack that still reads it gets wrong data */
        wire_frame_free(e->wire, f);
        e->lent--;
    }
}

static inline int wire_tx_reserve(struct sf_driver *driver, uint32_t len, struct sf_frame *pieces, int max)
{
    struct wire_end *e = (struct wire_end *)driver;
    struct wire_frame *f;

    if (max < 1 || len < 14)
        return -EINVAL;
    if (len > e->wire->mtu + 14)
        return -EMSGSIZE;
    f = wire_frame_new(e->wire);
    pieces[0] = (struct sf_frame){.data = f->data, .len = len, .token = (uint64_t)(uintptr_t)f};
    e->reserved++;
    return 1;
}

static inline void wire_tx_cancel(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    struct wire_end *e = (struct wire_end *)driver;

    CHECK(n == 1);
    e->reserved--;
    wire_frame_free(e->wire, (struct wire_frame *)(uintptr_t)pieces[0].token);
}

static inline void wire_tx_commit(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    struct wire_end *e = (struct wire_end *)driver;
    struct wire_frame *f = (struct wire_frame *)(uintptr_t)pieces[0].token;

    CHECK(n == 1);
    e->reserved--;
    f->len = pieces[0].len;
    wire_carry(e, f);
}

static inline void wire_tx_flush(struct sf_driver *driver)
{
    (void)driver;
}

static inline void wire_close(struct sf_driver *driver)
{
    struct wire_end *e = (struct wire_end *)driver;

    CHECK(!e->reserved);
    while (e->n)
        wire_frame_free(e->wire, wire_pop(e));
}

static inline void wire_caps(struct sf_driver *driver, struct sf_driver_caps *caps)
{
    struct wire_end *e = (struct wire_end *)driver;
    int side = e == &e->wire->end[1];

    *caps = (struct sf_driver_caps){
        .flags = SF_DRIVER_POINT_TO_POINT | SF_DRIVER_UNFILTERED,
        .mtu = e->wire->mtu,
        .rx_lent = 256,
        .tx_queue = 256,
        .mac = {2, 0, 0, 0, 0, (uint8_t)(1 + side)},
        .peer_mac = {2, 0, 0, 0, 0, (uint8_t)(2 - side)},
        .addr = e->wire->addr[side],
        .peer_addr = e->wire->addr[!side],
        .queue = -1,
        .mode = "in memory",
    };
}

static inline void wire_stats(struct sf_driver *driver, struct sf_driver_stats *stats)
{
    (void)driver;
    *stats = (struct sf_driver_stats){0};
}

static inline int wire_filter(struct sf_driver *driver, const struct sf_flow *flow)
{
    (void)driver;
    (void)flow;
    return 0;
}

/* There is no descriptor, because no test sleeps on this driver. */
static inline int wire_arm(struct sf_driver *driver, int *fd)
{
    (void)driver;
    *fd = -1;
    return -EAGAIN;
}

static inline void wire_disarm(struct sf_driver *driver)
{
    (void)driver;
}

static const struct sf_driver_control wire_control = {
    .name = "memory",
    .close = wire_close,
    .caps = wire_caps,
    .stats = wire_stats,
    .filter_add = wire_filter,
    .filter_del = wire_filter,
    .arm = wire_arm,
    .disarm = wire_disarm,
};

static inline void wire_begin(struct wire *w, uint32_t mtu)
{
    *w = (struct wire){.mtu = mtu, .addr = {inet_addr(A_ADDR), inet_addr(B_ADDR)}, .seed = 1};
    for (int i = 0; i < 2; i++) {
        w->end[i].wire = w;
        w->end[i].heap = malloc(WIRE_FRAMES * sizeof(struct wire_frame *));
        CHECK(w->end[i].heap);
        w->end[i].driver.fast = (struct sf_driver_fast){
            .rx_burst = wire_rx_burst,
            .rx_release = wire_rx_release,
            .tx_reserve = wire_tx_reserve,
            .tx_cancel = wire_tx_cancel,
            .tx_commit = wire_tx_commit,
            .tx_flush = wire_tx_flush,
            .control = &wire_control,
        };
    }
}

static inline void wire_end(struct wire *w)
{
    for (int i = 0; i < 2; i++) {
        while (w->end[i].n)
            wire_frame_free(w, wire_pop(&w->end[i]));
        free(w->end[i].heap);
    }
    for (struct wire_frame *f; (f = w->free);) {
        w->free = f->next;
        free(f);
    }
}

/* ---- frames that the test itself sends and receives ---- */

static inline void wire_put(struct wire *w, int from, const void *data, size_t len)
{
    struct wire_frame *f = wire_frame_new(w);

    CHECK(len && len <= WIRE_FRAME_MAX);
    memcpy(f->data, data, len);
    f->len = (uint32_t)len;
    wire_carry(&w->end[from], f);
}

/* Copies the next frame that has arrived into `data`. Returns its length, or 0. */
static inline size_t wire_take(struct wire *w, int end, uint8_t *data)
{
    struct wire_frame *f;
    size_t len;

    if (wire_next(w, end) > clock_now)
        return 0;
    f = wire_pop(&w->end[end]);
    len = f->len;
    memcpy(data, f->data, len);
    wire_frame_free(w, f);
    return len;
}

#endif
