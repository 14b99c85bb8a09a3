/*
 * The wire that the two sides of the shm driver share: a file that both map, and a FIFO for each side to be woken by.
 *
 *   <path>      the rings; a record lock on byte 0 or 1 marks a taken side, one on byte 2 a side that arrives or leaves
 *   <path>.0    side 0 sleeps on it; side 1 holds it open for writing, from its arrival to its end
 *   <path>.1    the same for side 1
 *
 * The wire uses locks and FIFOs because the kernel releases both when a process is killed: its locks are free at once, and the
 * FIFO that it wrote to reports a hang-up, which also wakes a sleeper. They work whichever side is first. They work across
 * network namespaces, unlike names of abstract sockets. A forked child shares the open files and thus the locks. It has to close
 * its copies (sf_shm_abandon()), or its parent's side stays taken for as long as the child lives.
 *
 * The last side to leave removes the three files. After a crash of both they stay, and the next side creates them again.
 */
#ifndef SF_DRIVERS_SHM_WIRE_H
#define SF_DRIVERS_SHM_WIRE_H

#include "sf/driver.h"

#include <stdatomic.h>
#include <sys/types.h>

/* A word with a cache line of its own, which moves between cores only when this word is used. */
struct shm_word {
    _Alignas(SF_CACHE_LINE) _Atomic uint32_t value;
};

/*
 * Positions count frames and wrap at 2^32. A slot is full when its `seq` is its position plus one. So a consumer reads only the
 * slot, and the line with the news also has the beginning of the frame. `head` and `tail` show which slots are free, and where a
 * new side begins.
 */
struct shm_ring {
    struct shm_word head;       /* producer: slots before it are written */
    struct shm_word starved;    /* producer: wake it when there is room */
    struct shm_word tail;       /* consumer: slots before it are free again */
    struct shm_word sleeping;   /* consumer: wake it when there is a frame */
};

struct shm_slot {
    _Atomic uint32_t seq;
    _Atomic uint32_t len; /* 0: an empty slot that its sender has cancelled */
    uint8_t frame[];
};

struct shm_side {
    _Alignas(SF_CACHE_LINE) _Atomic uint32_t generation; /* counts the arrivals at this side */
    _Atomic uint32_t addr;
    _Atomic uint32_t pid; /* in its own pid namespace, so only a hint */
};

struct shm_file {
    _Alignas(SF_CACHE_LINE) uint32_t magic;
    uint32_t frame_size;
    uint32_t frames[2]; /* of the ring in which side i sends */
    struct shm_side side[2];
    struct shm_ring ring[2];
    /* The slots of ring 0 follow, then those of ring 1. */
};

#define SHM_WIRE_PATH 128

struct shm_wire {
    struct shm_file *map;
    size_t size;
    /* Checked copies, because the peer can change the shared memory. */
    uint32_t frame_size, slot_size, frames[2];
    int side; /* ours */
    pid_t owner;
    int file, wake_own, wake_peer;
    int epoll; /* contains wake_own, which is opened again after a hang-up; this descriptor stays */
    char path[SHM_WIRE_PATH];
};

/*
 * Takes a free side and keeps others from arriving or leaving until sf_shm_announce(), which tells the peer about us. No frames
 * are sent to us in between. Returns 0, or a negative errno and a sentence in `message`.
 */
int sf_shm_attach(struct shm_wire *wire, const struct sf_driver_config *config, char *message);
int sf_shm_announce(struct shm_wire *wire, uint32_t addr, char *message);
void sf_shm_detach(struct shm_wire *wire);
/* For a forked child: leaves the parent's locks and files as they are. */
void sf_shm_abandon(struct shm_wire *wire);
/* Tells whether there is a peer. Also empties our FIFO. */
bool sf_shm_peer_lives(struct shm_wire *wire);
void sf_shm_wake_peer(struct shm_wire *wire);

static inline uint8_t *sf_shm_slots(const struct shm_wire *wire, int ring)
{
    return (uint8_t *)(wire->map + 1) + (ring ? (size_t)wire->frames[0] * wire->slot_size : 0);
}

#endif
