/* Waiting and waking: no wake-up is missed with any spin policy, and no wait ends before its deadline. */
#include "sf/engine.h"

#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

/* The test does WAKES wake-ups. After PATIENCE seconds WAKES_AT_LEAST are enough, because on a busy machine each wake-up may wait
 * for a time slice. */
enum { WAKES = 20000, WAKES_AT_LEAST = 500, PATIENCE = 5 };

static bool enough(int wakes, sf_ns started)
{
    return wakes >= WAKES || (wakes >= WAKES_AT_LEAST && sf_now() - started > PATIENCE * SF_SEC);
}

struct ping {
    struct sf_engine *engine;
    atomic_int asked, answered;
    atomic_bool done;
};

/* Wakes the engine again and again, each time after the last wake-up was seen and a random pause. So wake-ups fall into every
 * phase of a wait. */
static void *waker(void *arg)
{
    struct ping *p = arg;
    uint64_t seed = 0x3a7e;

    for (int i = 1; !atomic_load(&p->done); i++) {
        for (uint64_t spins = next_random(&seed) % 2000; spins; spins--)
            sf_relax();
        atomic_store(&p->asked, i);
        sf_engine_wake(p->engine);
        for (int spins = 1; atomic_load(&p->answered) < i; spins++) {
            if (spins % 10000 == 0) /* the engine's thread may wait for this CPU */
                sched_yield();
            sf_relax();
        }
    }
    return NULL;
}

static void check_wakes(enum sf_spin_mode mode, sf_ns limit)
{
    int error = 0, seen = 0;
    struct ping p = {0};
    sf_ns started = sf_now();
    pthread_t thread;

    p.engine = sf_engine_create(mode, limit, &error);
    CHECK(p.engine);
    CHECK(pthread_create(&thread, NULL, waker, &p) == 0);
    sf_engine_enter(p.engine);
    while (!atomic_load(&p.done)) {
        sf_ns start = sf_now();

        CHECK(sf_engine_wait(p.engine, start + 10 * SF_SEC, SF_NEVER, NULL) == 0);
        CHECK(sf_now() - start < 9 * SF_SEC); /* otherwise the wake-up was missed and the deadline ended the wait */
        atomic_store(&p.engine->wake, 0);
        seen = atomic_load(&p.asked);
        atomic_store(&p.done, enough(seen, started));
        atomic_store(&p.answered, seen);
    }
    sf_engine_leave(p.engine);
    pthread_join(thread, NULL);
    sf_engine_destroy(p.engine);
}

static void check_deadlines(enum sf_spin_mode mode, sf_ns limit)
{
    int error = 0;
    struct sf_engine *e = sf_engine_create(mode, limit, &error);

    CHECK(e);
    sf_engine_enter(e);
    for (sf_ns span = 0; span < 3 * SF_MS; span = span * 3 + 1) {
        sf_ns deadline = sf_now() + span;

        while (sf_now() < deadline) /* a signal or an old wake-up may end a wait; a deadline must not be early */
            CHECK(sf_engine_wait(e, deadline, SF_NEVER, NULL) == 0);
        CHECK(sf_now() >= deadline);
    }
    sf_engine_leave(e);
    sf_engine_destroy(e);
}

static void test_event_ends_a_wait(void)
{
    int error = 0, fd[2];
    struct sf_engine *e = sf_engine_create(SF_SPIN_NEVER, 0, &error);
    struct sf_sock *sock;
    uint32_t slot, generation;

    CHECK(e && pipe(fd) == 0);
    CHECK(sf_slots_take(&e->slots, &slot, &generation) == 0);
    CHECK(e->kernel->ops->adopt(e->kernel, fd[0], SF_KIND_WATCH, slot, generation, &sock) == 0);
    CHECK(e->kernel->ops->interest(sock, SF_READABLE) == 0);
    CHECK(write(fd[1], "x", 1) == 1);
    CHECK(sf_engine_wait(e, SF_NEVER, SF_NEVER, NULL) == 1);
    CHECK(sf_engine_current(e, &e->events[0]) && e->events[0].slot == slot);
    e->kernel->ops->release(sock);
    sf_slots_give(&e->slots, slot);
    CHECK(!sf_engine_current(e, &e->events[0]));
    close(fd[0]);
    close(fd[1]);
    sf_engine_destroy(e);
}

/* Wake-ups that were written to the descriptor before anybody read it must end one wait only. */
static void test_wakes_do_not_linger(void)
{
    int error = 0;
    struct sf_engine *e = sf_engine_create(SF_SPIN_NEVER, 0, &error);
    sf_ns start;

    CHECK(e);
    atomic_store(&e->asleep, 1);
    for (int i = 0; i < 100; i++)
        sf_engine_wake(e);
    atomic_store(&e->asleep, 0);
    atomic_store(&e->wake, 0);
    CHECK(sf_engine_wait(e, SF_NEVER, SF_NEVER, NULL) == 0); /* drains the descriptor */
    start = sf_now();
    CHECK(sf_engine_wait(e, start + 2 * SF_MS, SF_NEVER, NULL) == 0);
    CHECK(sf_now() - start >= 2 * SF_MS);
    sf_engine_destroy(e);
}

/* Runs turns of a loop that is never idle, until the engine knows the rate of the CPU's counter. */
static void turn_until_measured(struct sf_engine *e)
{
    sf_ns give_up = sf_now() + 5 * SF_SEC;

    while (!e->busy.interval && sf_now() < give_up)
        if (!sf_engine_may_skip_poll(e))
            CHECK(sf_engine_poll_busy(e) == 0);
    CHECK(e->busy.interval);
}

/* Polls once. Returns the number of turns after it that need no poll. */
static unsigned turns_without_poll(struct sf_engine *e)
{
    unsigned n = 0;

    CHECK(sf_engine_poll_busy(e) == 0);
    while (sf_engine_may_skip_poll(e))
        CHECK(n++ < 1000000);
    return n;
}

static void test_a_busy_loop_polls(void)
{
    int error = 0;
    struct sf_engine *e = sf_engine_create(SF_SPIN_ALWAYS, 0, &error);
    sf_ns start;

    CHECK(e);
    turn_until_measured(e);
    start = sf_now();
    turns_without_poll(e);
    CHECK(sf_now() - start >= 2 * SF_US);

    CHECK(sf_engine_poll_busy(e) == 0);
    e->kernel->touched = true;
    CHECK(!sf_engine_may_skip_poll(e));

    CHECK(sf_engine_poll_busy(e) == 0);
    e->busy.begun = sf_ticks() + ((uint64_t)1 << 40); /* as if read on another CPU */
    CHECK(!sf_engine_may_skip_poll(e));

    e->busy.interval = UINT64_MAX; /* as if the counter stood still */
    CHECK(turns_without_poll(e) > 0);
    sf_engine_destroy(e);
}

static void test_a_busy_loop_reads_the_clock_for_near_timers_only(void)
{
    int error = 0, skipped = 0, timer;
    struct sf_engine *e = sf_engine_create(SF_SPIN_ALWAYS, 0, &error);
    sf_ns polled;

    CHECK(e);
    turn_until_measured(e);
    CHECK(sf_timers_push(&e->timers, sf_now() + 3600 * SF_SEC, &timer) == 0);
    for (int i = 0; i < 1000 && !skipped; i++) { /* on a busy machine the thread may lose its CPU at any time */
        CHECK(sf_engine_poll_busy(e) == 0);
        polled = e->now;
        skipped = sf_engine_may_skip_poll(e);
        CHECK(!skipped || e->now == polled);
    }
    CHECK(skipped);
    CHECK(sf_timers_push(&e->timers, sf_now() + SF_US, &timer) == 0);
    CHECK(sf_engine_poll_busy(e) == 0);
    polled = e->now;
    sf_engine_may_skip_poll(e);
    CHECK(e->now > polled);
    sf_engine_destroy(e);
}

/* Polls `polls` times without finding an event. Returns how often the interval has doubled since it was last reset. */
static unsigned doublings_after(struct sf_engine *e, int polls)
{
    while (polls-- > 0)
        CHECK(sf_engine_poll_busy(e) == 0);
    return e->busy.doublings;
}

static struct sf_sock *watch(struct sf_engine *e, int fd)
{
    struct sf_sock *sock;
    uint32_t slot, generation;

    CHECK(sf_slots_take(&e->slots, &slot, &generation) == 0);
    CHECK(e->kernel->ops->adopt(e->kernel, fd, SF_KIND_WATCH, slot, generation, &sock) == 0);
    CHECK(e->kernel->ops->interest(sock, SF_READABLE) == 0);
    return sock;
}

static void test_polls_that_find_nothing_become_rarer(void)
{
    int error = 0, fd[2];
    struct sf_engine *e = sf_engine_create(SF_SPIN_ALWAYS, 0, &error);
    struct sf_sock *sock;
    char byte;

    CHECK(e && pipe(fd) == 0);
    sock = watch(e, fd[0]);
    CHECK(doublings_after(e, 32) == 0); /* the first one does not count, because the watch is new */
    CHECK(doublings_after(e, 1) == 1);
    CHECK(doublings_after(e, 200) == 2);
    CHECK(write(fd[1], "x", 1) == 1);
    CHECK(sf_engine_poll_busy(e) == 1);
    CHECK(e->busy.doublings == 0);
    CHECK(read(fd[0], &byte, 1) == 1);
    CHECK(doublings_after(e, 200) == 2);
    e->kernel->touched = true; /* as after a send, whose answer is expected soon */
    CHECK(doublings_after(e, 1) == 0);
    CHECK(doublings_after(e, 200) == 2);
    CHECK(sf_engine_poll(e) == 0); /* the poll of a wait, because the loop was idle */
    CHECK(doublings_after(e, 1) == 0);
    e->kernel->ops->release(sock);
    close(fd[0]);
    close(fd[1]);
    sf_engine_destroy(e);
}

static void test_the_loops_own_descriptors_are_polled_least(void)
{
    int error = 0, fd[2];
    struct sf_engine *e = sf_engine_create(SF_SPIN_ALWAYS, 0, &error);
    struct sf_sock *own, *sock;

    CHECK(e && pipe(fd) == 0);
    own = watch(e, fd[0]);
    sf_engine_note_own(e);
    CHECK(doublings_after(e, 200) == 4);
    sock = watch(e, dup(fd[0]));
    CHECK(doublings_after(e, 200) == 2);
    CHECK(e->kernel->ops->interest(sock, 0) == 0);
    CHECK(e->kernel->ops->interest(sock, 0) == 0); /* the second one changes nothing */
    CHECK(doublings_after(e, 200) == 4);
    CHECK(e->kernel->ops->interest(sock, SF_READABLE) == 0);
    CHECK(e->kernel->ops->interest(sock, SF_READABLE | SF_WRITABLE) == 0);
    CHECK(doublings_after(e, 200) == 2);
    e->kernel->ops->release(sock);
    CHECK(doublings_after(e, 200) == 4);
    e->kernel->ops->release(own);
    close(fd[0]);
    close(fd[1]);
    sf_engine_destroy(e);
}

static void test_a_longer_interval_delays_no_timer(void)
{
    int error = 0, timer;
    struct sf_engine *e = sf_engine_create(SF_SPIN_ALWAYS, 0, &error);
    sf_ns polled, start;

    CHECK(e);
    turn_until_measured(e);
    CHECK(doublings_after(e, 200) == 4);
    start = sf_now();
    turns_without_poll(e);
    CHECK(sf_now() - start >= 32 * SF_US);
    CHECK(sf_timers_push(&e->timers, sf_now() + 100 * SF_US, &timer) == 0);
    CHECK(sf_engine_poll_busy(e) == 0);
    polled = e->now;
    sf_engine_may_skip_poll(e);
    CHECK(e->now > polled);
    sf_engine_destroy(e);
}

int main(void)
{
    test_a_busy_loop_polls();
    test_a_busy_loop_reads_the_clock_for_near_timers_only();
    test_polls_that_find_nothing_become_rarer();
    test_the_loops_own_descriptors_are_polled_least();
    test_a_longer_interval_delays_no_timer();
    check_wakes(SF_SPIN_NEVER, 0);
    check_wakes(SF_SPIN_FOR, 3 * SF_US);
    check_wakes(SF_SPIN_ADAPTIVE, 0);
    check_wakes(SF_SPIN_ALWAYS, 0);
    check_deadlines(SF_SPIN_NEVER, 0);
    check_deadlines(SF_SPIN_FOR, 20 * SF_US);
    check_deadlines(SF_SPIN_ADAPTIVE, 0);
    check_deadlines(SF_SPIN_ALWAYS, 0);
    test_event_ends_a_wait();
    test_wakes_do_not_linger();
    return 0;
}
