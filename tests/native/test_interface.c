/* The interface's address sets, compared with a list that is searched from end to end. */
#include "tcpip/net/interface.h"

#include "check.h"

#include <arpa/inet.h>
#include <string.h>

enum { INDEX = 3, OTHER = 4, MOST = 300 };

static struct sf_interface_addr all[MOST];
static bool there[MOST];

static struct sf_interface_addr random_addr(uint64_t *seed)
{
    uint32_t n = (uint32_t)next_random(seed);
    uint8_t bytes[4] = {10, (uint8_t)(n & 3), (uint8_t)(n >> 8 & 3), (uint8_t)(1 + (n >> 16 & 15))};
    struct sf_interface_addr addr = {.index = n >> 24 & 1 ? INDEX : OTHER, .prefix_len = n >> 25 & 1 ? 24 : 32};

    memcpy(&addr.addr, bytes, 4);
    addr.subnet_addr = addr.addr;
    return addr;
}

static bool is_there(uint32_t addr, int index)
{
    for (int i = 0; i < MOST; i++)
        if (there[i] && all[i].addr == addr && (!index || all[i].index == index))
            return true;
    return false;
}

static bool is_highest(uint32_t addr)
{
    for (int i = 0; i < MOST; i++)
        if (there[i] && all[i].index == INDEX && all[i].prefix_len == 24 && (all[i].addr | htonl(255)) == addr)
            return true;
    return false;
}

static void compare(const struct sf_interface *interface)
{
    for (uint32_t n = 0; n < 4 * 4 * 17; n++) {
        uint32_t addr = htonl(10u << 24 | n / 68 << 16 | n / 17 % 4 << 8 | (n % 17 ? n % 17 : 255));

        CHECK(sf_interface_owns(interface, addr) == is_there(addr, INDEX));
        CHECK(sf_addr_set_has(&interface->host, addr) == is_there(addr, 0));
        CHECK(sf_interface_is_broadcast(interface, addr) == is_highest(addr));
    }
    CHECK(!sf_interface_owns(interface, 0) && !sf_interface_owns(interface, UINT32_MAX));
    CHECK(sf_interface_is_broadcast(interface, UINT32_MAX) && !sf_interface_is_broadcast(interface, 0));
}

static int find(const struct sf_interface_addr *addr)
{
    int free_one = -1;

    for (int i = 0; i < MOST; i++) {
        if (!there[i])
            free_one = i;
        else if (all[i].addr == addr->addr && all[i].index == addr->index && all[i].prefix_len == addr->prefix_len)
            return i;
    }
    return free_one;
}

static void test_any_order_of_changes(void)
{
    struct sf_interface interface = {.index = INDEX};
    uint64_t seed = 0x5f10095eed;

    for (int step = 0; step < 4000; step++) {
        struct sf_interface_addr addr = random_addr(&seed);
        int at = find(&addr);
        bool owned = is_there(addr.addr, INDEX), add = next_random(&seed) % 100 < (step / 500 % 2 ? 30u : 70u);
        int change;

        if (at < 0)
            continue;
        change = add ? sf_interface_add(&interface, &addr) : sf_interface_remove(&interface, &addr);
        all[at] = addr;
        there[at] = add;
        if (owned != is_there(addr.addr, INDEX))
            CHECK(change & SF_INTERFACE_CHANGED);
        if (step % 50 == 0)
            compare(&interface);
    }
    compare(&interface);
    sf_interface_free(&interface);
    memset(there, 0, sizeof(there));
}

static void test_a_dump_takes_away_what_it_does_not_name(void)
{
    struct sf_interface interface = {.index = INDEX};
    struct sf_interface_addr one = {.index = INDEX, .addr = htonl(0x0a000001), .subnet_addr = htonl(0x0a000001), .prefix_len = 24};
    struct sf_interface_addr two = one;

    two.addr = two.subnet_addr = htonl(0x0a000101);
    CHECK(sf_interface_add(&interface, &one) & SF_INTERFACE_CHANGED);
    CHECK(sf_interface_add(&interface, &two) & SF_INTERFACE_CHANGED);
    sf_interface_dump_begins(&interface);
    CHECK(sf_interface_add(&interface, &two) == SF_INTERFACE_SAME);
    CHECK(sf_interface_dump_ends(&interface) & SF_INTERFACE_CHANGED);
    CHECK(!sf_interface_owns(&interface, one.addr) && sf_interface_owns(&interface, two.addr));
    two.broadcast = htonl(0x0a00017f);
    CHECK(sf_interface_add(&interface, &two) & SF_INTERFACE_CHANGED);
    CHECK(sf_interface_is_broadcast(&interface, two.broadcast) && sf_interface_owns(&interface, two.addr));
    sf_interface_dump_begins(&interface);
    CHECK(sf_interface_dump_ends(&interface) & SF_INTERFACE_CHANGED);
    CHECK(!interface.own.used && !interface.broadcasts.used && !interface.host.used && !interface.n_addrs);
    sf_interface_free(&interface);
}

int main(void)
{
    test_any_order_of_changes();
    test_a_dump_takes_away_what_it_does_not_name();
    return 0;
}
