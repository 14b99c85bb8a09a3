/*
 * The engine: one per loop. It owns the stacks, the slots that name their sockets, the timers and the ready queue, and it
 * knows when to spin and when to sleep. It never calls Python: the loop core drains its event array.
 */
#ifndef SF_ENGINE_H
#define SF_ENGINE_H

#include "sf/stack.h"

#include <stdatomic.h>
#include <stdbool.h>

/* ---- ready queue: a growing ring of opaque handles ---- */
struct sf_ready {
    void **ring;
    size_t head, count, capacity; /* capacity is a power of two */
};

int sf_ready_grow(struct sf_ready *);

static inline int sf_ready_push(struct sf_ready *q, void *handle)
{
    if (SF_UNLIKELY(q->count == q->capacity) && sf_ready_grow(q) < 0)
        return -1;
    q->ring[(q->head + q->count++) & (q->capacity - 1)] = handle;
    return 0;
}

static inline void *sf_ready_pop(struct sf_ready *q)
{
    void *handle = q->ring[q->head];

    q->head = (q->head + 1) & (q->capacity - 1);
    q->count--;
    return handle;
}

/* ---- timers: a 4-ary heap, earliest first, equal times in the order they were set ---- */
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

int sf_timers_push(struct sf_timers *, sf_ns when, void *handle);
void *sf_timers_pop(struct sf_timers *);
/* Restores the order after the owner has removed entries from heap[] and lowered count. */
void sf_timers_rebuild(struct sf_timers *);

static inline sf_ns sf_timers_next(const struct sf_timers *t)
{
    return t->count ? t->heap[0].when : SF_NEVER;
}

/* ---- slots: what an event's slot and generation refer to ---- */
struct sf_slots {
    uint32_t *generation;
    uint32_t *next_free;
    uint32_t capacity, free_head, used;
};

#define SF_SLOT_NONE UINT32_MAX

int sf_slots_take(struct sf_slots *, uint32_t *slot, uint32_t *generation);
void sf_slots_give(struct sf_slots *, uint32_t slot);

/* ---- spin policy ---- */
enum sf_spin_mode { SF_SPIN_ADAPTIVE, SF_SPIN_ALWAYS, SF_SPIN_NEVER, SF_SPIN_FOR };

struct sf_spin {
    enum sf_spin_mode mode;
    sf_ns limit;           /* SF_SPIN_FOR: ns to spin after the last event */
    sf_ns idle_since;      /* the last turn that found something */
    bool counted;          /* among the spinning loops of this process */
    bool contended;        /* adaptive: somebody else wants this CPU */
    sf_ns contended_until; /* when to try spinning again */
    sf_ns backoff;
    sf_ns window_start; /* the sample being taken */
    sf_ns window_cpu;
    long window_involuntary, window_voluntary;
    sf_ns yielded;        /* adaptive: when the CPU was last offered to other threads */
    uint64_t contentions; /* times that adaptive gave way */
};

void sf_spin_init(struct sf_spin *, enum sf_spin_mode, sf_ns limit);
/* Called when the loop's thread starts and stops turning; counts the spinning loops of this process. */
void sf_spin_enter(struct sf_spin *, sf_ns now);
void sf_spin_leave(struct sf_spin *);
/* In a forked child, where none of the parent's loops spin. */
void sf_spin_after_fork(struct sf_spin *);
/* Called while idle: true to spin on, false to sleep. */
bool sf_spin_on(struct sf_spin *, sf_ns now);

/* ---- how long ago the kernel was polled, by the CPU's counter ---- */
struct sf_busy {
    sf_ns polled;       /* the poll that `begun` belongs to */
    uint64_t begun;     /* ticks at that poll */
    uint64_t interval;  /* ticks of the shortest interval between two polls; 0: the counter's rate is not known */
    unsigned doublings; /* of the interval, because polls found nothing */
    unsigned empty;     /* polls in a row that found nothing, since the last doubling */
    unsigned turns;     /* since that poll */
    uint32_t own;       /* watched descriptors that are the loop's own: by them come wake-ups and signals */
    sf_ns since;        /* where the measurement of the rate began, in both units */
    uint64_t since_ticks;
};

/* ---- the engine ---- */
#define SF_MAX_STACKS 8
#define SF_MAX_EVENTS 256

struct sf_engine_stats {
    uint64_t turns;       /* polls of all stacks, the empty ones included */
    uint64_t empty_turns; /* those that found nothing */
    uint64_t sleeps;      /* times the thread blocked in the kernel */
    uint64_t wakeups;     /* call_soon_threadsafe that had to write to the wake-up descriptor */
    uint64_t signals;     /* call_soon_threadsafe seen by a spinning loop, without a system call */
};

struct sf_engine {
    /* written by other threads, so on a cache line of their own */
    _Alignas(SF_CACHE_LINE) atomic_int wake;
    atomic_int asleep;
    atomic_ullong wake_writes;

    _Alignas(SF_CACHE_LINE) struct sf_stack *kernel;
    struct sf_stack *stacks[SF_MAX_STACKS]; /* bypass stacks; the kernel stack is apart */
    int n_stacks;
    int wake_fd;
    struct sf_sock *wake_sock;
    uint32_t wake_slot, last_own_slot;
    uint32_t stale_in_a_row;
    sf_ns kernel_interval; /* how often the kernel is polled while a bypass stack is hot */
    sf_ns kernel_polled;
    sf_ns now; /* read once per turn */

    struct sf_event events[SF_MAX_EVENTS];
    int event_next, event_count;

    struct sf_ready ready;
    struct sf_ready due; /* timers taken off the heap in this turn */
    struct sf_timers timers;
    struct sf_slots slots;
    struct sf_spin spin;
    struct sf_busy busy;
    long timer_slack; /* the thread's own; ours is in force only while the thread sleeps */
    struct sf_engine_stats stats;
};

struct sf_engine *sf_engine_create(enum sf_spin_mode, sf_ns spin_limit, int *error);
void sf_engine_destroy(struct sf_engine *);
/* Gives the engine another stack, which it owns from then on. -ENOSPC: it has as many as it can have. */
int sf_engine_add_stack(struct sf_engine *, struct sf_stack *);
/* Destroys a stack whose sockets are all released. */
void sf_engine_remove_stack(struct sf_engine *, struct sf_stack *);
/* In a forked child: parts from the parent's epoll set and wake-up descriptor; sockets and timers stay. */
int sf_engine_after_fork(struct sf_engine *);
/* Tells of an event that matched no socket. One is a close within the batch; many in a row are a descriptor that was
 * closed while a duplicate of it lives on, which only a new epoll set gets rid of. */
void sf_engine_stale(struct sf_engine *);

/* The thread that calls these is the one that polls and waits in between. */
void sf_engine_enter(struct sf_engine *);
void sf_engine_leave(struct sf_engine *);

/* One pass over all stacks, without waiting. Returns the number of events in events[]. */
int sf_engine_poll(struct sf_engine *);

/* The socket from which the next message is expected: it is received from while there are no events, without asking the kernel
 * first whether there is something. */
struct sf_linger {
    struct sf_sock *sock; /* NULL: nobody, only events */
    /* Where to: a datagram; else up to len bytes into buf; else, without buf, where the stack lends them. */
    struct sf_datagram *datagram;
    void *buf;
    size_t len;
    const void *lent;
    ssize_t got; /* as recv_batch(), recv_into() and recv_borrow() have it; -EAGAIN: nothing */
};

/*
 * Spins or sleeps until there are events, another thread wakes the loop, a signal interrupts the sleep, `deadline`
 * (ns of sf_now) has come or `patience` is over, or something was received by `linger` (or NULL) while it spun. Needs no GIL. Returns
 * the number of events, or a negative errno.
 */
int sf_engine_wait(struct sf_engine *, sf_ns deadline, sf_ns patience, struct sf_linger *);


/*
 * As sf_engine_wait, but where that would go to sleep it returns 0, and a wake-up is left to be seen by the next wait. It returns
 * 0, too, when something was received.
 */
int sf_engine_linger(struct sf_engine *, struct sf_linger *, sf_ns deadline, sf_ns patience);

/*
 * A loop that always has callbacks ready need not ask the kernel at every turn: true if it was asked less than an interval
 * ago and nothing was sent or watched since. The very next turn thus sees what the program does itself, as in asyncio, and
 * a turn at most one interval later sees what comes from outside. The interval is 4 us after an event, after something
 * was sent or watched, and after a wait. Each time that 32 polls in a row find nothing it doubles, up to 16 us, or up to
 * 64 us if only the loop's own descriptors are watched. `now` is then the time of this turn or of the last poll. No timer
 * is due between the two.
 */
bool sf_engine_may_skip_poll(struct sf_engine *);
/* sf_engine_poll for the turns in which it says no. */
int sf_engine_poll_busy(struct sf_engine *);
/* All descriptors that are watched now are the loop's own. */
void sf_engine_note_own(struct sf_engine *);

/* Before the end: polls, at least once, until the bypass stacks have delivered what released streams have sent, or `patience` ns are
 * over. Sockets' events are dropped. Returns how many streams have more to deliver. Needs no GIL. */
int sf_engine_quiesce(struct sf_engine *, sf_ns patience);

/* From any thread: the loop's next look at its ready queue must not be put off. */
void sf_engine_wake(struct sf_engine *);

static inline bool sf_engine_current(const struct sf_engine *e, const struct sf_event *ev)
{
    return ev->slot < e->slots.capacity && e->slots.generation[ev->slot] == ev->generation;
}

#endif
