/* The ready queue and the slots. */
#include "sf/engine.h"

#include "check.h"

static void test_ready_is_first_in_first_out_while_it_grows(void)
{
    struct sf_ready_queue q = {0};
    uint64_t seed = 0xf1f0;
    uintptr_t in = 0, out = 0;

    for (int round = 0; round < 20000; round++) {
        if (next_random(&seed) % 5 < 3) {
            CHECK(sf_ready_queue_push(&q, (void *)++in) == 0);
        } else if (q.count) {
            CHECK(sf_ready_queue_pop(&q) == (void *)++out);
        }
        CHECK(q.count == in - out);
    }
    CHECK(in > 4096); /* the queue has grown more than once, with its head anywhere in the ring */
    while (q.count)
        CHECK(sf_ready_queue_pop(&q) == (void *)++out);
    CHECK(in == out);
    free(q.ring);
}

static void test_a_slot_given_back_changes_generation(void)
{
    struct sf_slots s = {.free_head = SF_SLOT_NONE};
    uint32_t slot, generation, again, generation_again;

    CHECK(sf_slots_take(&s, &slot, &generation) == 0);
    sf_slots_give(&s, slot);
    CHECK(sf_slots_take(&s, &again, &generation_again) == 0);
    CHECK(again == slot && generation_again != generation);
    free(s.generation);
    free(s.next_free);
}

static void test_slots_are_distinct(void)
{
    enum { N = 5000 };
    struct sf_slots s = {.free_head = SF_SLOT_NONE};
    char *taken = calloc(N, 1);
    uint32_t slot, generation;

    for (int i = 0; i < N; i++) {
        CHECK(sf_slots_take(&s, &slot, &generation) == 0);
        CHECK(slot < N && !taken[slot]);
        taken[slot] = 1;
    }
    CHECK(s.used == N);
    for (uint32_t i = 0; i < N; i++)
        sf_slots_give(&s, i);
    CHECK(s.used == 0);
    free(taken);
    free(s.generation);
    free(s.next_free);
}

int main(void)
{
    test_ready_is_first_in_first_out_while_it_grows();
    test_a_slot_given_back_changes_generation();
    test_slots_are_distinct();
    return 0;
}
