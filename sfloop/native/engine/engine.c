/* The turn, and the wait between turns. */
#define _GNU_SOURCE
#include "sf/engine.h"
#include "storage/stale_events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#define KERNEL_INTERVAL (20 * SF_US)
#define WAKER_LEAVES (3 * SF_US)
#define LINGER_LOOKS 3

/* ---- waking ---- */

void sf_engine_wake(struct sf_engine *e)
{
    static const uint64_t one = 1;

    /* Sequentially consistent against sleep_once(): either it sees `wake`, or this sees `asleep`. */
    atomic_store(&e->wake, 1);
    if (!atomic_load(&e->asleep))
        return;
    atomic_fetch_add_explicit(&e->wake_writes, 1, memory_order_relaxed);
    while (write(e->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

/* Removes events of the engine's own descriptors from the batch: of the wake-up descriptor, and of the other stacks'
 * descriptors, which only end a sleep. */
static int without_own(struct sf_engine *e, struct sf_event *events, int n)
{
    uint64_t count;

    for (int i = 0; i < n;) {
        if (SF_LIKELY(events[i].slot > e->last_own_slot)) {
            i++;
            continue;
        }
        if (events[i].slot == e->wake_slot)
            while (read(e->wake_fd, &count, sizeof(count)) < 0 && errno == EINTR)
                ;
        events[i] = events[--n];
    }
    return n;
}

/* ---- the turn ---- */

static int poll_bypass(struct sf_engine *e)
{
    int n = 0;

    for (int i = 0; i < e->n_stacks; i++)
        n += e->stacks[i]->ops->poll(e->stacks[i], e->now, e->events + n, SF_MAX_EVENTS - n);
    return n;
}

int sf_engine_poll(struct sf_engine *e)
{
    int n = 0;

    e->now = sf_now();
    e->stats.turns++;
    if (e->n_stacks)
        n = poll_bypass(e);
    if (!e->n_stacks || e->now - e->kernel_polled >= e->kernel_interval) {
        n += without_own(e, e->events + n, e->kernel->ops->poll(e->kernel, e->now, e->events + n, SF_MAX_EVENTS - n));
        e->kernel_polled = e->now;
        e->kernel->touched = false;
    }
    e->event_next = 0;
    e->event_count = n;
    if (n)
        e->spin.idle_since = e->now;
    else
        e->stats.empty_turns++;
    return n;
}

/* ---- the wait ---- */

static bool arm_stacks(struct sf_engine *e)
{
    int fd;

    for (int i = 0; i < e->n_stacks; i++) {
        if (e->stacks[i]->ops->arm(e->stacks[i], &fd) == 0)
            continue;
        while (i-- > 0)
            e->stacks[i]->ops->disarm(e->stacks[i]);
        return false;
    }
    return true;
}

static void disarm_stacks(struct sf_engine *e)
{
    for (int i = 0; i < e->n_stacks; i++)
        e->stacks[i]->ops->disarm(e->stacks[i]);
}

static sf_ns earliest(struct sf_engine *e, sf_ns deadline)
{
    for (int i = 0; i < e->n_stacks; i++) {
        sf_ns at = e->stacks[i]->ops->poll_at(e->stacks[i], e->now);

        if (at < deadline)
            deadline = at;
    }
    return deadline;
}

/* Sleeps without timer slack. By default the kernel wakes a thread up to 50 us late, to handle timers together. The slack is
 * changed only during the sleep, because threads and processes that the program starts inherit it. */
static int wait_precisely(struct sf_engine *e, sf_ns timeout)
{
    bool asks = timeout != SF_NEVER && e->timer_slack > 1;
    int n;

    if (asks)
        prctl(PR_SET_TIMERSLACK, 1UL);
    n = e->kernel->ops->wait(e->kernel, timeout, e->events, SF_MAX_EVENTS);
    if (asks)
        prctl(PR_SET_TIMERSLACK, (unsigned long)e->timer_slack);
    return n;
}

static int sleep_once(struct sf_engine *e, sf_ns deadline)
{
    sf_ns now, until;
    int n = 0;

    if (!arm_stacks(e))
        return 0;
    atomic_store(&e->asleep, 1);
    if (!atomic_load(&e->wake)) {
        now = sf_now();
        until = earliest(e, deadline);
        e->stats.sleeps++;
        n = wait_precisely(e, until == SF_NEVER ? SF_NEVER : until > now ? until - now : 0);
    }
    atomic_store(&e->asleep, 0);
    disarm_stacks(e);
    e->now = sf_now();
    e->kernel_polled = e->now;
    if (n == -EINTR)
        n = 0;
    if (n < 0)
        return n;
    e->stats.turns++;
    e->event_next = 0;
    e->event_count = without_own(e, e->events, n);
    e->spin.idle_since = e->now;
    return e->event_count;
}

/*
 * Waits for the waking thread to release the lock that our caller needs next. It is inside a call of ours and releases the lock
 * when it blocks, usually after 1 or 2 us. Asking for the lock earlier would put us to sleep, which takes 15 us.
 */
static void let_waker_leave(sf_ns now)
{
    while (sf_now() - now < WAKER_LEAVES)
        sf_relax();
}

static ssize_t receive_once(struct sf_linger *l)
{
    const struct sf_stack_ops *ops = l->sock->stack->ops;

    if (l->datagram)
        return ops->recv_batch(l->sock, l->datagram, 1);
    return l->buf ? ops->recv_into(l->sock, l->buf, l->len) : ops->recv_borrow(l->sock, &l->lent);
}

/* Try recv a few times per poll. If one succeeds, we saved the poll that would only have told us to try. Not beside a bypass
 * stack, because its frames must not wait for a kernel socket. */
static bool receive_for(struct sf_engine *e, struct sf_linger *l)
{
    for (int i = 0; l->sock && !e->n_stacks && i < LINGER_LOOKS; i++) {
        l->got = receive_once(l);
        if (l->got != -EAGAIN) {
            e->stats.turns++; /* counts as a turn, because the caller polls at least once in a number of turns */
            e->event_next = e->event_count = 0;
            return true;
        }
        sf_relax();
    }
    return false;
}

/* Does not spin again after a sleep that only the caller's patience has ended. */
static int sleep_until(struct sf_engine *e, sf_ns deadline, sf_ns give_up)
{
    sf_ns idle_since = e->spin.idle_since;
    int n = sleep_once(e, deadline < give_up ? deadline : give_up);

    if (n == 0 && e->now >= give_up && !atomic_load_explicit(&e->wake, memory_order_relaxed))
        e->spin.idle_since = idle_since;
    return n;
}

int sf_engine_wait(struct sf_engine *e, sf_ns deadline, sf_ns patience, struct sf_linger *linger)
{
    sf_ns give_up = patience == SF_NEVER ? SF_NEVER : sf_now() + patience;
    int n;

    e->event_next = e->event_count = 0;
    if (e->spin.mode == SF_SPIN_NEVER && !e->n_stacks)
        return sleep_until(e, deadline, give_up);
    for (;;) {
        if (linger && receive_for(e, linger)) {
            e->spin.idle_since = e->now;
            return 0;
        }
        n = sf_engine_poll(e);
        if (n)
            return n;
        if (atomic_load_explicit(&e->wake, memory_order_acquire)) {
            e->stats.signals++;
            e->spin.idle_since = e->now;
            let_waker_leave(e->now);
            return 0;
        }
        if (e->now >= deadline || e->now >= give_up)
            return 0;
        if (!sf_spin_on(&e->spin, e->now))
            return sleep_until(e, deadline, give_up);
        sf_relax();
    }
}

static int count_lingering(const struct sf_engine *e)
{
    int n = 0;

    for (int i = 0; i < e->n_stacks; i++)
        if (e->stacks[i]->ops->lingering)
            n += e->stacks[i]->ops->lingering(e->stacks[i]);
    return n;
}

int sf_engine_quiesce(struct sf_engine *e, sf_ns patience)
{
    sf_ns until = sf_now() + patience;
    int left;

    atomic_store(&e->wake, 0); /* it would keep us from sleeping */
    for (;;) {
        e->now = sf_now();
        if (poll_bypass(e))
            e->spin.idle_since = e->now;
        left = count_lingering(e);
        if (!left || e->now >= until)
            break;
        if (sf_spin_on(&e->spin, e->now))
            sf_relax();
        else
            sleep_once(e, until);
    }
    e->event_next = e->event_count = 0;
    return left;
}

int sf_engine_linger(struct sf_engine *e, struct sf_linger *l, sf_ns deadline, sf_ns patience)
{
    sf_ns give_up = sf_now() + patience;
    int n;

    if (deadline < give_up)
        give_up = deadline;
    for (;;) {
        if (receive_for(e, l))
            return 0;
        n = sf_engine_poll(e);
        if (n || atomic_load_explicit(&e->wake, memory_order_acquire) || e->now >= give_up || !sf_spin_on(&e->spin, e->now))
            return n;
        sf_relax();
    }
}

void sf_engine_stale(struct sf_engine *e)
{
    e->kernel->stats.stale_events++;
    if (sf_stale_event(&e->stale_in_a_row))
        e->kernel->ops->rebuild(e->kernel);
}

/* ---- life ---- */

void sf_engine_enter(struct sf_engine *e)
{
    e->timer_slack = prctl(PR_GET_TIMERSLACK);
    sf_spin_enter(&e->spin, sf_now());
}

void sf_engine_leave(struct sf_engine *e)
{
    sf_spin_leave(&e->spin);
}

/* Lets the stack's descriptor end a sleep. The descriptor stays the same for the stack's life, even if arm() fails now. */
static int sleep_on(struct sf_engine *e, struct sf_stack *stack, uint32_t slot, uint32_t generation)
{
    int fd = -1;

    if (stack->ops->arm(stack, &fd) == 0)
        stack->ops->disarm(stack);
    return fd < 0 ? 0 : e->kernel->ops->wait_on(e->kernel, fd, slot, generation);
}

static int wake_open(struct sf_engine *e)
{
    uint32_t generation;
    int rc;

    e->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (e->wake_fd < 0)
        return -errno;
    rc = sf_slots_take(&e->slots, &e->wake_slot, &generation);
    if (rc == 0)
        rc = e->kernel->ops->adopt(e->kernel, e->wake_fd, SF_KIND_WATCH, e->wake_slot, generation, &e->wake_sock);
    if (rc == 0)
        rc = e->kernel->ops->interest(e->wake_sock, SF_READABLE);
    return rc;
}

/* Gives the engine's own descriptors the first slots, so that one comparison recognizes them. A stack's descriptor may have
 * any of them, because its events only end a sleep. */
static int reserve_slots(struct sf_engine *e)
{
    uint32_t generation;
    int rc = 0;

    for (int i = 0; i < SF_MAX_STACKS && rc == 0; i++)
        rc = sf_slots_take(&e->slots, &e->last_own_slot, &generation);
    return rc;
}

int sf_engine_add_stack(struct sf_engine *e, struct sf_stack *stack)
{
    int rc;

    if (e->n_stacks == SF_MAX_STACKS)
        return -ENOSPC;
    rc = sleep_on(e, stack, e->last_own_slot, e->slots.generation[e->last_own_slot]);
    if (rc < 0)
        return rc;
    e->stacks[e->n_stacks++] = stack;
    return 0;
}

/* The stack's descriptor leaves the epoll set when it is closed. */
void sf_engine_remove_stack(struct sf_engine *e, struct sf_stack *stack)
{
    int i = 0;

    while (i < e->n_stacks && e->stacks[i] != stack)
        i++;
    if (i == e->n_stacks)
        return;
    stack->ops->destroy(stack);
    for (e->n_stacks--; i < e->n_stacks; i++)
        e->stacks[i] = e->stacks[i + 1];
}

static void wake_close(struct sf_engine *e)
{
    if (e->wake_sock) {
        e->kernel->ops->release(e->wake_sock);
        sf_slots_give(&e->slots, e->wake_slot);
        e->wake_sock = NULL;
    }
    if (e->wake_fd >= 0)
        close(e->wake_fd);
    e->wake_fd = -1;
}

struct sf_engine *sf_engine_create(enum sf_spin_mode mode, sf_ns spin_limit, int *error)
{
    struct sf_engine *e = aligned_alloc(SF_CACHE_LINE, sizeof(*e));

    *error = -ENOMEM;
    if (!e)
        return NULL;
    memset(e, 0, sizeof(*e));
    e->wake_fd = -1;
    e->kernel_interval = KERNEL_INTERVAL;
    e->slots.free_head = SF_SLOT_NONE;
    sf_spin_init(&e->spin, mode, spin_limit);
    e->kernel = sf_stack_kernel_create(error);
    if (e->kernel)
        *error = sf_ready_queue_grow(&e->ready) < 0 ? -ENOMEM : wake_open(e);
    if (*error == 0)
        *error = reserve_slots(e);
    if (*error < 0) {
        sf_engine_destroy(e);
        return NULL;
    }
    sf_engine_note_own(e);
    return e;
}

void sf_engine_destroy(struct sf_engine *e)
{
    for (int i = 0; i < e->n_stacks; i++)
        e->stacks[i]->ops->destroy(e->stacks[i]);
    if (e->kernel) {
        wake_close(e);
        e->kernel->ops->destroy(e->kernel);
    }
    free(e->ready.ring);
    free(e->due.ring);
    free(e->timers.heap);
    free(e->slots.generation);
    free(e->slots.next_free);
    free(e);
}

/* Rebuilds all bypass stacks first, so that the child never shares the parent's drivers, even if a later step fails. */
int sf_engine_after_fork(struct sf_engine *e)
{
    int rc = 0;

    for (int i = 0; i < e->n_stacks; i++) {
        int failed = e->stacks[i]->ops->rebuild(e->stacks[i]);

        rc = rc ? rc : failed;
    }
    /* Replace the epoll set next, because the parent's contains the wake-up descriptor, and a removal would affect it. */
    if (rc == 0)
        rc = e->kernel->ops->rebuild(e->kernel);
    if (rc < 0)
        return rc;
    wake_close(e);
    sf_spin_after_fork(&e->spin);
    atomic_store(&e->asleep, 0);
    e->event_next = e->event_count = 0;
    rc = wake_open(e);
    for (int i = 0; rc == 0 && i < e->n_stacks; i++)
        rc = sleep_on(e, e->stacks[i], e->last_own_slot, e->slots.generation[e->last_own_slot]);
    return rc;
}
