/* Containers of storage/ by themselves: the order of the ready ring, and the search in sorted lists. */
#include "check.h"

#include "storage/ready_ring.h"
#include "storage/sorted_list.h"

enum { MEMBERS = 5 };

static struct sf_ready_link anchor, member[MEMBERS];

/* The ring has the members from `first` on, each once, in both directions. */
static void expect_order(int first)
{
    struct sf_ready_link *link = anchor.next;

    for (int i = 0; i < MEMBERS; i++, link = link->next) {
        CHECK(link == &member[(first + i) % MEMBERS]);
        CHECK(link->prev->next == link && link->next->prev == link);
    }
    CHECK(link == &anchor);
}

static void test_ring_begins_with_a_member(void)
{
    for (int first = 0; first < MEMBERS; first++) {
        memset(member, 0, sizeof(member));
        sf_ready_init(&anchor);
        for (int i = 0; i < MEMBERS; i++)
            sf_ready_set(&anchor, &member[i], true);
        sf_ready_begin_with(&anchor, &member[first]);
        expect_order(first);
        sf_ready_begin_with(&anchor, &anchor); /* the end of a walk that left nothing out */
        expect_order(first);
    }
}

static void test_ring_of_one(void)
{
    memset(member, 0, sizeof(member));
    sf_ready_init(&anchor);
    sf_ready_begin_with(&anchor, &anchor);
    CHECK(sf_ready_empty(&anchor));
    sf_ready_set(&anchor, &member[0], true);
    sf_ready_set(&anchor, &member[0], true);
    sf_ready_begin_with(&anchor, &member[0]);
    CHECK(anchor.next == &member[0] && anchor.prev == &member[0] && member[0].next == &anchor && member[0].prev == &anchor);
    sf_ready_set(&anchor, &member[0], false);
    CHECK(sf_ready_empty(&anchor) && !member[0].next);
}

/* Entries that begin with a number, and have more. */
struct entry {
    uint32_t number;
    uint8_t more[8];
};

static void test_place_in_a_sorted_list(void)
{
    struct entry list[40];
    uint64_t seed = 19;

    for (uint32_t n = 0; n < sizeof(list) / sizeof(list[0]); n++) {
        uint32_t number = 0, most;

        for (uint32_t i = 0; i < n; i++)
            list[i].number = number += (uint32_t)(next_random(&seed) % 4);
        most = number + 2;
        for (uint32_t sought = 0; sought <= most; sought++) {
            uint32_t at = 0;

            while (at < n && list[at].number < sought)
                at++;
            CHECK(sf_sorted_place(list, n, sizeof(list[0]), sought) == at);
        }
    }
    CHECK(sf_sorted_place(NULL, 0, sizeof(uint32_t), 1) == 0);
    CHECK(sf_sorted_place(&(uint32_t){UINT32_MAX}, 1, sizeof(uint32_t), UINT32_MAX) == 0);
}

int main(void)
{
    test_ring_begins_with_a_member();
    test_ring_of_one();
    test_place_in_a_sorted_list();
    return 0;
}
