/*
 * A ring buffer (BPF_MAP_TYPE_RINGBUF) that eBPF programs write records into, and its reading end. Positions count bytes and never
 * wrap. A record's room is the programs' again when sf_bpf_ring_free() is called behind it.
 */
#ifndef SF_DRIVERS_KERNEL_BPF_RING_H
#define SF_DRIVERS_KERNEL_BPF_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sf_bpf_ring {
    int fd;      /* the map; -1: there is no ring */
    size_t size; /* in bytes */
    uint64_t at; /* the next record's position */
    uint64_t end;             /* how far programs had written at the last look */
    uint64_t *consumer;       /* all before it is the programs' again */
    const uint64_t *producer; /* how far programs have written; without a ring, points to `at` */
    const uint8_t *data;
};

/* The struct must stay where it is. */
void sf_bpf_ring_none(struct sf_bpf_ring *ring);
/* `size`: a power of two, and whole pages. 0 or a negative errno; then there is no ring, and nothing is left. */
int sf_bpf_ring_open(struct sf_bpf_ring *ring, const char *name, size_t size);
void sf_bpf_ring_close(struct sf_bpf_ring *ring);

/*
 * A forked child gets no copy of the page tables, which takes milliseconds for a large ring. It has to call sf_bpf_ring_abandon(), which
 * closes the child's descriptor and lets the records read as zeroes.
 */
void sf_bpf_ring_keep_from_children(struct sf_bpf_ring *ring);
void sf_bpf_ring_abandon(struct sf_bpf_ring *ring);

static inline bool sf_bpf_ring_waits(const struct sf_bpf_ring *ring)
{
    return __atomic_load_n(ring->producer, __ATOMIC_RELAXED) != ring->at;
}

/* The next record, which is in one piece; NULL: there is none, or it is still being written. */
const void *sf_bpf_ring_peek(struct sf_bpf_ring *ring);
/* Goes on behind the record that sf_bpf_ring_peek() has returned. */
void sf_bpf_ring_skip(struct sf_bpf_ring *ring);
/* Gives the room of all records that were skipped back to the programs. */
void sf_bpf_ring_free(struct sf_bpf_ring *ring);

#endif
