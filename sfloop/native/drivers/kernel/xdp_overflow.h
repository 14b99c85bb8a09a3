/*
 * The buffer for datagrams during a pause of the loop: a ring buffer (drivers/kernel/bpf_ring.h) into which the XDP program
 * copies them. An AF_XDP socket has few frames, because few frames stay in the CPU's caches. Its fill ring is a queue, which uses
 * each frame in turn, so the frames for a pause of 50 ms would all be cold. This buffer's memory is used only in a pause.
 *
 * The program sends a datagram to the queue's socket while fewer than `limit` frames wait there and the buffer has none of the
 * queue's datagrams. Else it copies the datagram to the buffer, until all of them are read. Thus a flow's datagrams stay in
 * order: those in the buffer came after those in the socket. TCP always goes to the socket, because its sender retransmits lost
 * segments.
 *
 * The packet driver has the same. Its ring of slots, in one queue, stands for the socket, and its socket's filter for the XDP program.
 *
 * The XDP program needs Linux 5.18 (bpf_xdp_load_bytes). Receive queues beyond the 64th go without.
 */
#ifndef SF_DRIVERS_KERNEL_XDP_OVERFLOW_H
#define SF_DRIVERS_KERNEL_XDP_OVERFLOW_H

#include "drivers/kernel/bpf.h"
#include "drivers/kernel/bpf_ring.h"
#include "sf/driver.h"

#define SF_OVERFLOW_QUEUES 64

/* The counts of a receive queue, in memory shared by the program and the driver. All count up and wrap at 2^32. */
struct sf_overflow_counts {
    /* Written by the program. The first count changes with each frame, so it has its own cache line. */
    _Alignas(256) uint32_t sent; /* frames to the socket */
    _Alignas(SF_CACHE_LINE) uint32_t kept; /* datagrams to the buffer */
    uint32_t lost;               /* for lack of room in the buffer */
    /* Written by the driver. */
    _Alignas(SF_CACHE_LINE) uint32_t taken; /* of those sent; updated every SF_OVERFLOW_LAG frames */
    uint32_t read;                          /* of those kept */
};

/* A datagram in the buffer, after the header that the kernel writes (BPF_RINGBUF_HDR_SZ). */
struct sf_overflow_record {
    uint32_t len, queue;
    uint32_t sent; /* frames that went to the queue's socket before */
    uint32_t unused;
    uint64_t time; /* by CLOCK_MONOTONIC; 0: not known */
    uint8_t frame[];
};

/* The driver's state of a receive queue. */
struct sf_overflow_queue {
    struct sf_overflow_counts *counts;
    uint32_t taken;
    uint32_t read; /* told at the end of each burst */
};

struct sf_overflow {
    struct sf_bpf_ring ring; /* the buffer */
    int counts_map;          /* -1: there is no buffer */
    uint32_t limit;          /* most frames waiting in a socket */
    uint32_t lent;
    /* If the oldest record waits for frames of the socket: since when, and the count of taken frames then. */
    sf_ns waits_since;
    uint32_t waits_at;
    void *shared;
    struct sf_overflow_queue queues[SF_OVERFLOW_QUEUES];
};

/* Creates the buffer and the counts. On failure, returns a negative errno, and the functions below do nothing. */
int sf_overflow_open(struct sf_overflow *overflow, size_t size, uint32_t limit);
void sf_overflow_none(struct sf_overflow *overflow);
void sf_overflow_close(struct sf_overflow *overflow);
/* For a forked child. Lent frames then read as zeroes. */
void sf_overflow_abandon(struct sf_overflow *overflow);
static inline bool sf_overflow_is_open(const struct sf_overflow *overflow)
{
    return overflow->ring.fd >= 0;
}

/* Starts counting for a queue that gets a socket. NULL: this queue has no counts. */
struct sf_overflow_queue *sf_overflow_begin(struct sf_overflow *overflow, uint32_t queue);

#define SF_OVERFLOW_LAG 128u

/* Counts frames that the driver has taken from the queue's socket. */
static inline void sf_overflow_taken(struct sf_overflow_queue *queue, uint32_t frames)
{
    queue->taken += frames;
    if (queue->taken - queue->counts->taken >= SF_OVERFLOW_LAG)
        __atomic_store_n(&queue->counts->taken, queue->taken, __ATOMIC_RELEASE);
}

static inline bool sf_overflow_waits(const struct sf_overflow *overflow)
{
    return sf_bpf_ring_waits(&overflow->ring);
}

/*
 * Lends up to n frames; the sockets have to be read first in the same turn. Data, length and timestamp are set and no more. The timestamp is the
 * record's time. Each frame is given back by sf_overflow_release(), in any order.
 */
int sf_overflow_take(struct sf_overflow *overflow, struct sf_frame *frames, int n);
void sf_overflow_release(struct sf_overflow *overflow);
/* The number of datagrams lost for lack of room. */
uint64_t sf_overflow_lost(const struct sf_overflow *overflow);

/* ---- the program's part ---- */

/* The number of labels that the code needs. */
#define SF_OVERFLOW_LABELS 13

struct sf_overflow_program {
    bool is_filter;  /* a packet socket's filter, which has one queue, 0; otherwise an XDP program */
    int context;     /* the register that holds the program's context; registers 7 to 9 are spoilt */
    int protocol_at; /* on the program's stack: IPPROTO_UDP or IPPROTO_TCP, 32 bits */
    int first_label;
    uint32_t mtu;    /* longer datagrams do not reach this code */
    bool many_cpus;  /* several CPUs may run the program for one queue, so count atomically */
};

/* Writes code that ends the program if the datagram went to the buffer or was lost. Else it continues after this code, and the
 * frame is the socket's. */
void sf_overflow_write(struct sf_bpf_code *code, const struct sf_overflow *overflow, const struct sf_overflow_program *program);

#endif
