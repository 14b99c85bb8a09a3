#define _GNU_SOURCE 1
#include "xdp_overflow.h"

#include "driver_util.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NAME "sfloop_overflow"
#define PATIENCE (2 * SF_MS) /* far more than the kernel needs to hand on what it has taken from the NIC in one go */

/* ---- making it ---- */

void sf_overflow_none(struct sf_overflow *o)
{
    memset(o, 0, sizeof(*o));
    o->buffer = o->counts_map = -1;
    o->producer = &o->at;
}

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t counts_size(void)
{
    size_t page = page_size(), size = SF_OVERFLOW_QUEUES * sizeof(struct sf_overflow_counts);

    return (size + page - 1) / page * page;
}

static void *map(int fd, size_t size, int protection, size_t offset)
{
    void *memory = mmap(NULL, size, protection, MAP_SHARED, fd, (off_t)offset);

    return memory == MAP_FAILED ? NULL : memory;
}

/* The kernel shows the buffer twice in a row, so that no record is cut in two. */
static int map_all(struct sf_overflow *o)
{
    size_t page = page_size();
    void *producer;

    o->shared = map(o->counts_map, counts_size(), PROT_READ | PROT_WRITE, 0);
    o->consumer = map(o->buffer, page, PROT_READ | PROT_WRITE, 0);
    producer = map(o->buffer, page + 2 * o->size, PROT_READ, page);
    if (producer) {
        madvise(producer, page + 2 * o->size, MADV_DONTFORK); /* to copy so many page tables takes a fork() milliseconds */
        o->producer = producer;
        o->data = (uint8_t *)producer + page;
    }
    return o->shared && o->consumer && producer ? 0 : -ENOMEM;
}

int sf_overflow_open(struct sf_overflow *o, size_t size, uint32_t limit)
{
    const struct sf_bpf_map_kind buffer = {.name = NAME, .type = BPF_MAP_TYPE_RINGBUF, .entries = (uint32_t)size};
    const struct sf_bpf_map_kind counts = {
        NAME, BPF_MAP_TYPE_ARRAY, sizeof(uint32_t), SF_OVERFLOW_QUEUES * sizeof(struct sf_overflow_counts), 1, BPF_F_MMAPABLE,
    };
    int error = 0;

    sf_overflow_none(o);
    o->size = size;
    o->limit = limit;
    o->buffer = sf_bpf_create_map(&buffer);
    if (o->buffer >= 0)
        o->counts_map = sf_bpf_create_map(&counts);
    if (o->buffer < 0 || o->counts_map < 0)
        error = o->buffer < 0 ? o->buffer : o->counts_map;
    else
        error = map_all(o);
    if (error)
        sf_overflow_close(o);
    return error;
}

static void close_all(struct sf_overflow *o)
{
    if (o->shared)
        munmap(o->shared, counts_size());
    if (o->consumer)
        munmap(o->consumer, page_size());
    sf_close_descriptor(o->buffer);
    sf_close_descriptor(o->counts_map);
    sf_overflow_none(o);
}

void sf_overflow_close(struct sf_overflow *o)
{
    if (o->data)
        munmap(o->producer, page_size() + 2 * o->size);
    close_all(o);
}

/* The child has a hole where the buffer was. Frames that are lent from it may still be looked at. */
void sf_overflow_abandon(struct sf_overflow *o)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;

    if (o->data)
        (void)mmap(o->producer, page_size() + 2 * o->size, PROT_READ, flags, -1, 0);
    close_all(o);
}

struct sf_overflow_queue *sf_overflow_begin(struct sf_overflow *o, uint32_t queue)
{
    struct sf_overflow_queue *q = queue < SF_OVERFLOW_QUEUES ? &o->queues[queue] : NULL;

    if (!q || !sf_overflow_is_open(o))
        return NULL;
    q->counts = (struct sf_overflow_counts *)o->shared + queue;
    q->taken = __atomic_load_n(&q->counts->sent, __ATOMIC_RELAXED);
    __atomic_store_n(&q->counts->taken, q->taken, __ATOMIC_RELEASE);
    return q;
}

/* ---- reading ---- */

/*
 * True when all frames that went to the socket before the record have been taken. Some may have been lost on the way, as when the
 * socket had no frame left: after a while in which none has come they count as taken.
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

/* False: it is not to be lent now. */
static bool lend(struct sf_overflow *o, const struct sf_overflow_record *record, struct sf_frame *frame)
{
    struct sf_overflow_queue *q = &o->queues[record->queue % SF_OVERFLOW_QUEUES];

    if (q->counts && !is_next(o, q, record))
        return false;
    frame->data = (uint8_t *)(uintptr_t)record->frame;
    frame->len = record->len;
    o->lent++;
    if (q->counts)
        __atomic_store_n(&q->counts->read, q->counts->read + 1, __ATOMIC_RELEASE);
    return true;
}

int sf_overflow_take(struct sf_overflow *o, struct sf_frame *frames, int n)
{
    uint64_t end = __atomic_load_n(o->producer, __ATOMIC_ACQUIRE);
    int taken = 0;

    while (o->at != end && taken < n) {
        const uint8_t *header = o->data + (o->at & (o->size - 1));
        uint32_t size = __atomic_load_n((const uint32_t *)(const void *)header, __ATOMIC_ACQUIRE);

        if (size & BPF_RINGBUF_BUSY_BIT)
            break;
        if (!(size & BPF_RINGBUF_DISCARD_BIT)) {
            if (!lend(o, (const struct sf_overflow_record *)(const void *)(header + BPF_RINGBUF_HDR_SZ), &frames[taken]))
                break;
            taken++;
        }
        size &= ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
        o->at += (size + BPF_RINGBUF_HDR_SZ + 7) & ~7u;
    }
    if (!o->lent)
        __atomic_store_n(o->consumer, o->at, __ATOMIC_RELEASE);
    return taken;
}

void sf_overflow_release(struct sf_overflow *o)
{
    if (o->lent && --o->lent == 0 && o->consumer)
        __atomic_store_n(o->consumer, o->at, __ATOMIC_RELEASE);
}

uint64_t sf_overflow_lost(const struct sf_overflow *o)
{
    uint64_t lost = 0;

    for (int i = 0; i < SF_OVERFLOW_QUEUES; i++)
        if (o->queues[i].counts)
            lost += __atomic_load_n(&o->queues[i].counts->lost, __ATOMIC_RELAXED);
    return lost;
}
