/* The heap of timers: the order of times, equal times, and rebuilding. */
#include "sf/engine.h"

#include "check.h"

static void test_equal_times_keep_their_order(void)
{
    struct sf_timers t = {0};

    for (uintptr_t i = 1; i <= 1000; i++)
        CHECK(sf_timers_push(&t, 7, (void *)i) == 0);
    for (uintptr_t i = 1; i <= 1000; i++)
        CHECK(sf_timers_pop(&t) == (void *)i);
    CHECK(t.count == 0 && sf_timers_next(&t) == SF_NEVER);
    free(t.heap);
}

static void drain_in_order(struct sf_timers *t)
{
    sf_ns last = 0;
    uint64_t last_sequence = 0;

    while (t->count) {
        struct sf_timer first = t->heap[0];

        CHECK(first.when > last || (first.when == last && first.sequence >= last_sequence));
        last = first.when;
        last_sequence = first.sequence;
        CHECK(sf_timers_next(t) == first.when);
        CHECK(sf_timers_pop(t) == first.handle);
    }
}

static void test_random_times_come_out_sorted(void)
{
    uint64_t seed = 0x5f10095eed;

    for (int round = 0; round < 50; round++) {
        struct sf_timers t = {0};
        size_t n = next_random(&seed) % 3000;

        for (size_t i = 0; i < n; i++)
            CHECK(sf_timers_push(&t, (sf_ns)(next_random(&seed) % 512), (void *)(i + 1)) == 0);
        drain_in_order(&t);
        free(t.heap);
    }
}

/* Removes timers in place, then rebuilds the heap, as the loop core does when most timers are cancelled. */
static void test_rebuild_after_removal(void)
{
    uint64_t seed = 0xca11ed;

    for (size_t n = 0; n < 200; n++) {
        struct sf_timers t = {0};
        size_t kept = 0;

        for (size_t i = 0; i < n; i++)
            CHECK(sf_timers_push(&t, (sf_ns)(next_random(&seed) % 64), (void *)(i + 1)) == 0);
        for (size_t i = 0; i < t.count; i++)
            if ((uintptr_t)t.heap[i].handle % 3)
                t.heap[kept++] = t.heap[i];
        t.count = kept;
        sf_timers_rebuild(&t);
        CHECK(t.count == kept);
        drain_in_order(&t);
        free(t.heap);
    }
}

int main(void)
{
    test_equal_times_keep_their_order();
    test_random_times_come_out_sorted();
    test_rebuild_after_removal();
    return 0;
}
