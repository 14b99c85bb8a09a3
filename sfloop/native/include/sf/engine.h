/*
 * The engine of a loop. It owns the stacks, the slots that name their sockets, the timers and the ready queue. It decides when to
 * spin and when to sleep. It never calls Python: the loop core drains its array of events.
 *
 * One thread at a time uses an engine. Only sf_engine_wake() may be called from another thread.
 */
#ifndef SF_ENGINE_H
#define SF_ENGINE_H

#include "sf/stack.h"

#include <stdatomic.h>
#include <stdbool.h>

/* ---- ready queue: a growing ring of opaque handles ---- */
struct sf_ready_queue {
    void **ring;
    size_t head, count, capacity; /* capacity is a power of two */
};

/* Grow and push return -1 if there is no memory. Do not pop an empty queue. */
int sf_ready_queue_grow(struct sf_ready_queue *);

static inline int sf_ready_queue_push(struct sf_ready_queue *q, void *handle)
{
    if (SF_UNLIKELY(q->count == q->capacity) && sf_ready_queue_grow(q) < 0)
        return -1;
    q->ring[(q->head + q->count++) & (q->capacity - 1)] = handle;
    return 0;
}

static inline void *sf_ready_queue_pop(struct sf_ready_queue *q)
{
    void *handle = q->ring[q->head];

    q->head = (q->head + 1) & (q->capacity - 1);
    q->count--;
    return handle;
}

/* ---- timers: a 4-ary heap with the earliest first; equal times keep the order in which they were set ---- */
struct sf_timer {
    sf_ns when;
    uint64_t sequence;
    void *handle;
};

struct sf_timers {
    struct sf_timer *heap;
    size_t count, capacity;
    uint64_t sequence;
};

/* Returns -1 if there is no memory. */
int sf_timers_push(struct sf_timers *, sf_ns when, void *handle);
/* Removes the earliest timer and returns its handle. The heap must not be empty. */
void *sf_timers_pop(struct sf_timers *);
/* Restores the heap's order after its owner has removed entries from heap[] and lowered `count`. */
void sf_timers_rebuild(struct sf_timers *);

static inline sf_ns sf_timers_next(const struct sf_timers *t)
{
    return t->count ? t->heap[0].when : SF_NEVER;
}

/* ---- slots: the numbers and generations that events carry ---- */
struct sf_slots {
    uint32_t *generation;
    uint32_t *next_free;
    uint32_t capacity, free_head, used;
};

#define SF_SLOT_NONE UINT32_MAX

/* Returns 0 or -ENOMEM. */
int sf_slots_take(struct sf_slots *, uint32_t *slot, uint32_t *generation);
/* Frees a slot and makes its generation invalid. */
void sf_slots_give(struct sf_slots *, uint32_t slot);

/* ---- spin policy ---- */
enum sf_spin_mode { SF_SPIN_ADAPTIVE, SF_SPIN_ALWAYS, SF_SPIN_NEVER, SF_SPIN_FOR };

struct sf_spin {
    enum sf_spin_mode mode;
    sf_ns limit;           /* SF_SPIN_FOR: time to spin after the last event */
    sf_ns idle_since;      /* the last turn that found an event */
    bool counted;          /* this loop is among the spinning loops of the process */
    bool contended;        /* adaptive: another thread wants this CPU */
    sf_ns contended_until; /* when to try spinning again */
    sf_ns backoff;
    sf_ns window_start; /* start of the current sample */
    sf_ns window_cpu;
    long window_involuntary, window_voluntary;
    sf_ns yielded;        /* adaptive: when this CPU was last offered to other threads */
    uint64_t contentions; /* times that adaptive spinning gave way */
};

void sf_spin_init(struct sf_spin *, enum sf_spin_mode, sf_ns limit);
/* Call these when the loop's thread starts and stops turning. They count the spinning loops of this process. */
void sf_spin_enter(struct sf_spin *, sf_ns now);
void sf_spin_leave(struct sf_spin *);
/* Call this in a forked child, where none of the parent's loops spin. */
void sf_spin_after_fork(struct sf_spin *);
/* Call this while idle. True: spin on. False: sleep. */
bool sf_spin_on(struct sf_spin *, sf_ns now);

/* ---- how long ago the kernel was polled, in ticks of the CPU's counter ---- */
struct sf_busy {
    sf_ns polled;       /* the poll at `begun` */
    uint64_t begun;     /* ticks at that poll */
    uint64_t interval;  /* the shortest interval between two polls, in ticks; 0: the counter's rate is not yet known */
    unsigned doublings; /* of the interval, because polls found nothing */
    unsigned empty;     /* polls in a row that found nothing, since the last doubling */
    unsigned turns;     /* since that poll */
    uint32_t own;       /* watched descriptors of the loop itself, for wake-ups and signals */
    sf_ns since;        /* start of the rate measurement, in both units */
    uint64_t since_ticks;
};

/* ---- the engine ---- */
#define SF_MAX_STACKS 8
#define SF_MAX_EVENTS 256

struct sf_engine_stats {
    uint64_t turns;       /* polls of all stacks, empty ones included */
    uint64_t empty_turns; /* polls that found nothing */
    uint64_t sleeps;      /* times that the thread blocked in the kernel */
    uint64_t wakeups;     /* call_soon_threadsafe() calls that wrote to the wake-up descriptor */
    uint64_t signals;     /* call_soon_threadsafe() calls that a spinning loop noticed without a system call */
};

struct sf_engine {
    /* Other threads write these, so they have a cache line of their own. */
    _Alignas(SF_CACHE_LINE) atomic_int wake;
    atomic_int asleep;
    atomic_ullong wake_writes;

    _Alignas(SF_CACHE_LINE) struct sf_stack *kernel;
    struct sf_stack *stacks[SF_MAX_STACKS]; /* bypass stacks; the kernel stack is not among them */
    int n_stacks;
    int wake_fd;
    struct sf_sock *wake_sock;
    uint32_t wake_slot, last_own_slot;
    uint32_t stale_in_a_row;
    sf_ns kernel_interval; /* how often to poll the kernel while a bypass stack is hot */
    sf_ns kernel_polled;
    sf_ns now; /* read once a turn */

    struct sf_event events[SF_MAX_EVENTS];
    int event_next, event_count;

    struct sf_ready_queue ready;
    struct sf_ready_queue due; /* timers that this turn took off the heap */
    struct sf_timers timers;
    struct sf_slots slots;
    struct sf_spin spin;
    struct sf_busy busy;
    long timer_slack; /* the thread's own slack; the engine's is in force only during sleep */
    struct sf_engine_stats stats;
};

/* On failure, returns NULL and a negative errno in *error. */
struct sf_engine *sf_engine_create(enum sf_spin_mode, sf_ns spin_limit, int *error);
void sf_engine_destroy(struct sf_engine *);
/* Adds a stack, which the engine then owns. -ENOSPC: SF_MAX_STACKS are in use. */
int sf_engine_add_stack(struct sf_engine *, struct sf_stack *);
/* Destroys a stack. All of its sockets must be released before. */
void sf_engine_remove_stack(struct sf_engine *, struct sf_stack *);
/* Call this in a forked child. It replaces the epoll set and wake-up descriptor shared with the parent and keeps sockets and
 * timers. */
int sf_engine_after_fork(struct sf_engine *);
/* Reports an event that matched no socket. A single one follows a close within a batch. Many in a row mean that a descriptor
 * was closed while a duplicate of it is open. Only a new epoll set ends these events. */
void sf_engine_stale(struct sf_engine *);

/* Mark the start and end of running in a thread, which polls and waits in between. */
void sf_engine_enter(struct sf_engine *);
void sf_engine_leave(struct sf_engine *);

/* Polls every stack once without waiting. Returns the number of events in events[]. */
int sf_engine_poll(struct sf_engine *);

/* The socket that is expected to get the next message. While there are no events, the engine receives from it directly instead
 * of asking the kernel first whether it is readable. */
struct sf_linger {
    struct sf_sock *sock; /* NULL: only wait for events */
    /* The destination: `datagram` if set, else up to `len` bytes of `buf` if set, else memory that the stack lends (`lent`). */
    struct sf_datagram *datagram;
    void *buf;
    size_t len;
    const void *lent;
    ssize_t got; /* the result of recv_batch(), recv_into() or recv_borrow(); -EAGAIN: none */
};

/*
 * Spins or sleeps until there are events, another thread wakes the loop, a signal interrupts the sleep, `deadline` (a time of
 * sf_now) has come, or `patience` ns are over. While it spins, a message received through `linger` (may be NULL) ends the wait
 * too. Needs no GIL. Returns the number of events, or a negative errno.
 */
int sf_engine_wait(struct sf_engine *, sf_ns deadline, sf_ns patience, struct sf_linger *);

/*
 * Like sf_engine_wait(), but returns 0 instead of sleeping. It leaves a wake-up for the next wait to notice. It also returns 0
 * after a message was received.
 */
int sf_engine_linger(struct sf_engine *, struct sf_linger *, sf_ns deadline, sf_ns patience);

/*
 * Tells whether this turn may skip its poll: the last one was less than an interval ago, and since then the program has neither
 * sent nor watched anything. The first turn after a send or a watch thus polls, as asyncio does. Events from outside are noticed
 * one interval later at most. The interval is 4 us after an event, a send, a watch or a wait. It doubles after each 32 polls in a
 * row that find nothing, up to 16 us, or up to 64 us if only the loop's own descriptors are watched. On true, `now` is the time
 * of this turn or of the last poll, and no timer is due between the two.
 */
bool sf_engine_may_skip_poll(struct sf_engine *);
/* Polls in a turn for which sf_engine_may_skip_poll() returned false. */
int sf_engine_poll_busy(struct sf_engine *);
/* Tells the engine that all descriptors watched so far are the loop's own. */
void sf_engine_note_own(struct sf_engine *);

/* Before a loop closes, polls at least once, until the bypass stacks have delivered all data of released streams or `patience`
 * ns are over. Drops the sockets' events. Returns the number of streams that have more to deliver. Needs no GIL. */
int sf_engine_quiesce(struct sf_engine *, sf_ns patience);

/* From any thread: ends the current sleep or spin, or keeps the next one from starting. */
void sf_engine_wake(struct sf_engine *);

static inline bool sf_engine_current(const struct sf_engine *e, const struct sf_event *ev)
{
    return ev->slot < e->slots.capacity && e->slots.generation[ev->slot] == ev->generation;
}

#endif
