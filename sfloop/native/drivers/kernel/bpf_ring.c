#define _GNU_SOURCE 1
#include "bpf_ring.h"

#include "bpf.h"
#include "drivers/driver_util.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#define FETCH_AHEAD 4096u /* bytes */
#define FLAGS (BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT) /* flags in a record's length field */

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* The producer's page and the records. The kernel maps the records twice in a row, so that none is cut. */
static size_t read_size(const struct sf_bpf_ring *ring)
{
    return page_size() + 2 * ring->size;
}

static void *pages_of(const struct sf_bpf_ring *ring)
{
    return (void *)(uintptr_t)ring->producer;
}

static int map_all(struct sf_bpf_ring *ring)
{
    size_t page = page_size();
    void *consumer = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0);
    void *producer = mmap(NULL, read_size(ring), PROT_READ, MAP_SHARED, ring->fd, (off_t)page);

    ring->consumer = consumer == MAP_FAILED ? NULL : consumer;
    if (producer != MAP_FAILED) {
        ring->producer = producer;
        ring->data = (const uint8_t *)producer + page;
    }
    return ring->consumer && ring->data ? 0 : -ENOMEM;
}

void sf_bpf_ring_none(struct sf_bpf_ring *ring)
{
    *ring = (struct sf_bpf_ring){.fd = -1, .producer = &ring->at};
}

int sf_bpf_ring_open(struct sf_bpf_ring *ring, const char *name, size_t size)
{
    const struct sf_bpf_map_kind kind = {.name = name, .type = BPF_MAP_TYPE_RINGBUF, .entries = (uint32_t)size};
    int error;

    sf_bpf_ring_none(ring);
    ring->size = size;
    ring->fd = sf_bpf_create_map(&kind);
    error = ring->fd < 0 ? ring->fd : map_all(ring);
    if (error)
        sf_bpf_ring_close(ring);
    return error;
}

static void close_rest(struct sf_bpf_ring *ring)
{
    if (ring->consumer)
        munmap(ring->consumer, page_size());
    sf_close_descriptor(ring->fd);
    sf_bpf_ring_none(ring);
}

void sf_bpf_ring_close(struct sf_bpf_ring *ring)
{
    if (ring->data)
        munmap(pages_of(ring), read_size(ring));
    close_rest(ring);
}

void sf_bpf_ring_keep_from_children(struct sf_bpf_ring *ring)
{
    madvise(pages_of(ring), read_size(ring), MADV_DONTFORK);
}

/* The child gets a hole where the records were, so map empty pages there. */
void sf_bpf_ring_abandon(struct sf_bpf_ring *ring)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;

    if (ring->data)
        (void)mmap(pages_of(ring), read_size(ring), PROT_READ, flags, -1, 0);
    close_rest(ring);
}

/* ---- reading ---- */

static const uint32_t *header_of(const struct sf_bpf_ring *ring)
{
    return (const uint32_t *)(const void *)(ring->data + (ring->at & (ring->size - 1)));
}

void sf_bpf_ring_skip(struct sf_bpf_ring *ring)
{
    ring->at += ((*header_of(ring) & ~FLAGS) + BPF_RINGBUF_HDR_SZ + 7) & ~7u;
}

void sf_bpf_ring_fetch(struct sf_bpf_ring *ring)
{
    uint64_t until = ring->at + FETCH_AHEAD < ring->end ? ring->at + FETCH_AHEAD : ring->end;

    if (ring->fetched < ring->at)
        ring->fetched = ring->at;
    for (; ring->fetched < until; ring->fetched += SF_CACHE_LINE)
        __builtin_prefetch(ring->data + (ring->fetched & (ring->size - 1)));
}

const void *sf_bpf_ring_peek(struct sf_bpf_ring *ring)
{
    /* While programs write, each look at their position waits for its cache line. */
    if (ring->at == ring->end)
        ring->end = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
    while (ring->at != ring->end) {
        const uint32_t *header = header_of(ring);
        uint32_t size = __atomic_load_n(header, __ATOMIC_ACQUIRE);

        if (size & BPF_RINGBUF_BUSY_BIT)
            return NULL;
        if (!(size & BPF_RINGBUF_DISCARD_BIT))
            return (const uint8_t *)header + BPF_RINGBUF_HDR_SZ;
        sf_bpf_ring_skip(ring);
    }
    return NULL;
}

void sf_bpf_ring_free(struct sf_bpf_ring *ring)
{
    if (ring->consumer)
        __atomic_store_n(ring->consumer, ring->at, __ATOMIC_RELEASE);
}
