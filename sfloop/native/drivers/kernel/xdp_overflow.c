#define _GNU_SOURCE 1
#include "xdp_overflow.h"

#include "drivers/kernel/bpf.h"
#include "drivers/driver_util.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NAME "sfloop_overflow"
#define PATIENCE (2 * SF_MS) /* far more than the kernel needs to deliver one batch from the NIC */

/* ---- opening ---- */

void sf_overflow_none(struct sf_overflow *o)
{
    memset(o, 0, sizeof(*o));
    sf_bpf_ring_none(&o->ring);
    o->counts_map = -1;
}

static size_t counts_size(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = SF_OVERFLOW_QUEUES * sizeof(struct sf_overflow_counts);

    return (size + page - 1) / page * page;
}

static int open_counts(struct sf_overflow *o)
{
    const struct sf_bpf_map_kind kind = {
        NAME, BPF_MAP_TYPE_ARRAY, sizeof(uint32_t), SF_OVERFLOW_QUEUES * sizeof(struct sf_overflow_counts), 1, BPF_F_MMAPABLE,
    };
    void *shared;

    o->counts_map = sf_bpf_create_map(&kind);
    if (o->counts_map < 0)
        return o->counts_map;
    shared = mmap(NULL, counts_size(), PROT_READ | PROT_WRITE, MAP_SHARED, o->counts_map, 0);
    if (shared == MAP_FAILED)
        return -errno;
    o->shared = shared;
    return 0;
}

int sf_overflow_open(struct sf_overflow *o, size_t size, uint32_t limit)
{
    int error;

    sf_overflow_none(o);
    o->limit = limit;
    error = sf_bpf_ring_open(&o->ring, NAME, size);
    if (!error) {
        sf_bpf_ring_keep_from_children(&o->ring);
        error = open_counts(o);
    }
    if (error)
        sf_overflow_close(o);
    return error;
}

static void close_counts(struct sf_overflow *o)
{
    if (o->shared)
        munmap(o->shared, counts_size());
    sf_close_descriptor(o->counts_map);
    sf_overflow_none(o);
}

void sf_overflow_close(struct sf_overflow *o)
{
    sf_bpf_ring_close(&o->ring);
    close_counts(o);
}

/* Lent frames of the buffer stay readable. */
void sf_overflow_abandon(struct sf_overflow *o)
{
    sf_bpf_ring_abandon(&o->ring);
    close_counts(o);
}

struct sf_overflow_queue *sf_overflow_begin(struct sf_overflow *o, uint32_t queue)
{
    struct sf_overflow_queue *q = queue < SF_OVERFLOW_QUEUES ? &o->queues[queue] : NULL;

    if (!q || !sf_overflow_is_open(o))
        return NULL;
    q->counts = (struct sf_overflow_counts *)o->shared + queue;
    q->taken = __atomic_load_n(&q->counts->sent, __ATOMIC_RELAXED);
    __atomic_store_n(&q->counts->taken, q->taken, __ATOMIC_RELEASE);
    q->read = q->counts->read;
    return q;
}

/* ---- reading ---- */

/*
 * True: all frames that went to the socket before this record have been taken. Some may be lost, for example because the socket
 * had no free frame. If none arrives for PATIENCE, the missing ones count as taken.
 */
static bool is_next(struct sf_overflow *o, struct sf_overflow_queue *q, const struct sf_overflow_record *record)
{
    sf_ns now;

    if (SF_LIKELY((int32_t)(record->sent - q->taken) <= 0)) {
        o->waits_since = 0;
        return true;
    }
    now = sf_now();
    if (!o->waits_since || o->waits_at != q->taken) {
        o->waits_since = now;
        o->waits_at = q->taken;
    }
    if (now - o->waits_since < PATIENCE)
        return false;
    o->waits_since = 0;
    q->taken = record->sent;
    __atomic_store_n(&q->counts->taken, q->taken, __ATOMIC_RELEASE);
    return true;
}

/* The program waits for the cache line each time that it is written. So it is written once for many records. */
static void tell_read(struct sf_overflow_queue *q)
{
    if (q && q->counts)
        __atomic_store_n(&q->counts->read, q->read, __ATOMIC_RELEASE);
}

/* False: the record must not be lent yet. */
static bool lend(struct sf_overflow *o, struct sf_overflow_queue *q, const struct sf_overflow_record *record, struct sf_frame *frame)
{
    if (q->counts && !is_next(o, q, record))
        return false;
    frame->data = (uint8_t *)(uintptr_t)record->frame;
    frame->len = record->len;
    frame->timestamp = (sf_ns)record->time;
    o->lent++;
    q->read++;
    return true;
}

int sf_overflow_take(struct sf_overflow *o, struct sf_frame *frames, int n)
{
    const struct sf_overflow_record *record;
    struct sf_overflow_queue *last = NULL;
    int taken = 0;

    while (taken < n && (record = sf_bpf_ring_peek(&o->ring))) {
        struct sf_overflow_queue *q = &o->queues[record->queue % SF_OVERFLOW_QUEUES];

        sf_bpf_ring_fetch(&o->ring);
        if (!lend(o, q, record, &frames[taken]))
            break;
        if (q != last)
            tell_read(last);
        last = q;
        sf_bpf_ring_skip(&o->ring);
        taken++;
    }
    tell_read(last);
    if (!o->lent)
        sf_bpf_ring_free(&o->ring);
    return taken;
}

void sf_overflow_release(struct sf_overflow *o)
{
    if (o->lent && --o->lent == 0)
        sf_bpf_ring_free(&o->ring);
}

uint64_t sf_overflow_lost(const struct sf_overflow *o)
{
    uint64_t lost = 0;

    for (int i = 0; i < SF_OVERFLOW_QUEUES; i++)
        if (o->queues[i].counts)
            lost += __atomic_load_n(&o->queues[i].counts->lost, __ATOMIC_RELAXED);
    return lost;
}
