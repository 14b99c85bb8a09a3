/*
 * A ring buffer (BPF_MAP_TYPE_RINGBUF) in which eBPF programs write records, and its reader. Positions count bytes and never
 * wrap. sf_bpf_ring_free() returns the room of read records to the programs.
 */
#ifndef SF_DRIVERS_KERNEL_BPF_RING_H
#define SF_DRIVERS_KERNEL_BPF_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sf_bpf_ring {
    int fd;      /* the map; -1: no ring */
    size_t size; /* in bytes */
    uint64_t at; /* the next record's position */
    uint64_t end;             /* how far programs had written at the last look */
    uint64_t fetched;         /* how far the CPU was told to fetch */
    uint64_t *consumer;       /* all before it is the programs' again */
    const uint64_t *producer; /* how far programs have written; without a ring, points to `at` */
    const uint8_t *data;
};

/* Initializes a ring that is not open. The struct must not move, because it points to itself. */
void sf_bpf_ring_none(struct sf_bpf_ring *ring);
/* `size` is a power of two, in whole pages. Returns 0 or a negative errno. On failure there is no ring, and nothing is left
 * open. */
int sf_bpf_ring_open(struct sf_bpf_ring *ring, const char *name, size_t size);
void sf_bpf_ring_close(struct sf_bpf_ring *ring);

/*
 * Keeps the ring's page tables from forked children, because copying those of a large ring takes milliseconds. The child has to
 * call sf_bpf_ring_abandon(), which closes the child's descriptor. The records then read as zeroes.
 */
void sf_bpf_ring_keep_from_children(struct sf_bpf_ring *ring);
void sf_bpf_ring_abandon(struct sf_bpf_ring *ring);

static inline bool sf_bpf_ring_waits(const struct sf_bpf_ring *ring)
{
    return __atomic_load_n(ring->producer, __ATOMIC_RELAXED) != ring->at;
}

/* Returns the next record, in one piece. NULL: there is none, or it is still being written. */
const void *sf_bpf_ring_peek(struct sf_bpf_ring *ring);
/* Makes the CPU fetch the lines behind the next record, because those of a large ring are in no cache. */
void sf_bpf_ring_fetch(struct sf_bpf_ring *ring);
/* Moves past the record that sf_bpf_ring_peek() returned. */
void sf_bpf_ring_skip(struct sf_bpf_ring *ring);
/* Returns the room of all skipped records to the programs. */
void sf_bpf_ring_free(struct sf_bpf_ring *ring);

#endif
