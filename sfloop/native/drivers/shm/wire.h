/*
 * The wire that two sides of the shm driver share: a file mapped by both, and a FIFO for each side to be woken by.
 *
 *   <path>      the rings; a record lock on byte 0 or 1 says which sides are taken, byte 2 is held while one comes or goes
 *   <path>.0    side 0 sleeps on it; side 1 holds it open for writing, from its coming until its end
 *   <path>.1    the same the other way round
 *
 * Locks and FIFOs because the kernel takes both back from a process that is killed: its locks are free at once, and the FIFO
 * it wrote to reports a hang-up, which wakes a sleeper too. They work whichever side comes first, and across network
 * namespaces, where names of the abstract socket namespace do not. A forked child shares the open files, and with them the
 * locks: it has to close its copies (sf_shm_abandon()), or its parent's side stays taken for as long as the child lives.
 *
 * The last one to leave removes the three files. After a crash of both they stay, and the next opener makes them anew.
 */
#ifndef SF_DRIVERS_SHM_WIRE_H
#define SF_DRIVERS_SHM_WIRE_H

#include "sf/driver.h"

#include <stdatomic.h>
#include <sys/types.h>

/* One word with a cache line for itself: the line moves between cores only when that word is the matter. */
struct shm_word {
    _Alignas(SF_CACHE_LINE) _Atomic uint32_t value;
};

/*
 * Positions count frames and wrap at 2^32. A slot is full when its `seq` is its position plus one, so a consumer looks at
 * the slot alone: the line that brings the news brings the frame's beginning too. `head` and `tail` are there for the
 * other purposes: what is free, and where one who comes anew begins.
 */
struct shm_ring {
    struct shm_word head;       /* producer: everything before it is written */
    struct shm_word starved;    /* producer: wants to be woken when there is room */
    struct shm_word tail;       /* consumer: everything before it is free again */
    struct shm_word sleeping;   /* consumer: wants to be woken when there is a frame */
};

struct shm_slot {
    _Atomic uint32_t seq;
    _Atomic uint32_t len; /* 0: nothing, taken back by its sender */
    uint8_t frame[];
};

struct shm_side {
    _Alignas(SF_CACHE_LINE) _Atomic uint32_t generation; /* counts those who came */
    _Atomic uint32_t addr;
    _Atomic uint32_t pid; /* as it sees itself: between namespaces, only good for a guess */
};

struct shm_file {
    _Alignas(SF_CACHE_LINE) uint32_t magic;
    uint32_t frame_size;
    uint32_t frames[2]; /* in the ring that side i sends by */
    struct shm_side side[2];
    struct shm_ring ring[2];
    /* The slots of ring 0, then those of ring 1. */
};

#define SHM_WIRE_PATH 128

struct shm_wire {
    struct shm_file *map;
    size_t size;
    /* Copies, checked once: what is in the shared memory is the other side's to change. */
    uint32_t frame_size, slot_size, frames[2];
    int side; /* ours */
    pid_t owner;
    int file, wake_own, wake_peer;
    int epoll; /* holds wake_own, which has to be opened anew after a hang-up; this descriptor stays */
    char path[SHM_WIRE_PATH];
};

/*
 * Takes a free side and keeps others from coming or going until sf_shm_announce(), by which the other side learns of us: in
 * between, nobody writes to us. 0, or a negative errno and a sentence in `message`.
 */
int sf_shm_attach(struct shm_wire *wire, const struct sf_driver_config *config, char *message);
int sf_shm_announce(struct shm_wire *wire, uint32_t addr, char *message);
void sf_shm_detach(struct shm_wire *wire);
/* In a forked child: leaves the parent's locks and files as they are. */
void sf_shm_abandon(struct shm_wire *wire);
/* Whether there is another side. Also reads our FIFO empty. */
bool sf_shm_peer_lives(struct shm_wire *wire);
void sf_shm_wake_peer(struct shm_wire *wire);

static inline uint8_t *sf_shm_slots(const struct shm_wire *wire, int ring)
{
    return (uint8_t *)(wire->map + 1) + (ring ? (size_t)wire->frames[0] * wire->slot_size : 0);
}

#endif
