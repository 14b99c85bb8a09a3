#include "interface.h"

#include "storage/kernel_socket.h"
#include "wire/bytes.h"

#include <stdlib.h>

#define LEAST_ROOM 4

bool sf_interface_is_broadcast(const struct sf_interface *interface, uint32_t addr)
{
    return addr == UINT32_MAX || sf_addr_set_has(&interface->broadcasts, addr);
}

/* ---- the sets derived from addresses ---- */

/* The highest address of a subnet, which is a broadcast address even if none was given, as in Linux since 5.14
 * (fib_add_ifaddr). 0: the subnet has none. */
static uint32_t highest_of(const struct sf_interface_addr *addr)
{
    if (addr->prefix_len >= 31 || !addr->prefix_len)
        return 0;
    return addr->subnet_addr | sf_be32(UINT32_MAX >> addr->prefix_len);
}

static void remember_latest(struct sf_interface *interface)
{
    int n = 0;

    interface->latest[0] = interface->latest[1] = 0;
    for (uint32_t i = 0; i < interface->own.size && n < 2; i++)
        if (interface->own.slot[i].addr)
            interface->latest[n++] = interface->own.slot[i].addr;
}

static int put_into_sets(struct sf_interface *interface, const struct sf_interface_addr *addr)
{
    uint32_t highest = highest_of(addr), given = addr->broadcast == UINT32_MAX ? 0 : addr->broadcast;
    int change = SF_INTERFACE_SAME;

    if (sf_addr_set_add(&interface->host, addr->addr) > 0)
        change |= SF_INTERFACE_HOST_CHANGED;
    if (addr->index != interface->index)
        return change;
    if (sf_addr_set_add(&interface->own, addr->addr) > 0)
        change |= SF_INTERFACE_CHANGED;
    if (highest && sf_addr_set_add(&interface->broadcasts, highest) > 0)
        change |= SF_INTERFACE_CHANGED;
    if (given && given != highest && sf_addr_set_add(&interface->broadcasts, given) > 0)
        change |= SF_INTERFACE_CHANGED;
    remember_latest(interface);
    return change;
}

static int take_from_sets(struct sf_interface *interface, const struct sf_interface_addr *addr)
{
    uint32_t highest = highest_of(addr), given = addr->broadcast == UINT32_MAX ? 0 : addr->broadcast;
    int change = SF_INTERFACE_SAME;

    if (sf_addr_set_remove(&interface->host, addr->addr))
        change |= SF_INTERFACE_HOST_CHANGED;
    if (addr->index != interface->index)
        return change;
    if (sf_addr_set_remove(&interface->own, addr->addr))
        change |= SF_INTERFACE_CHANGED;
    if (highest && sf_addr_set_remove(&interface->broadcasts, highest))
        change |= SF_INTERFACE_CHANGED;
    if (given && given != highest && sf_addr_set_remove(&interface->broadcasts, given))
        change |= SF_INTERFACE_CHANGED;
    remember_latest(interface);
    return change;
}

/* ---- the table ---- */

static struct sf_interface_addr *find(const struct sf_interface *interface, const struct sf_interface_addr *addr)
{
    for (uint32_t i = 0; i < interface->n_addrs; i++) {
        struct sf_interface_addr *each = &interface->addrs[i];

        if (each->addr == addr->addr && each->index == addr->index && each->subnet_addr == addr->subnet_addr &&
            each->prefix_len == addr->prefix_len)
            return each;
    }
    return NULL;
}

static bool make_room(struct sf_interface *interface)
{
    uint32_t bigger = interface->room ? interface->room * 2 : LEAST_ROOM;
    struct sf_interface_addr *addrs;

    if (interface->n_addrs < interface->room)
        return true;
    addrs = realloc(interface->addrs, bigger * sizeof(*addrs));
    if (!addrs)
        return false;
    interface->addrs = addrs;
    interface->room = bigger;
    return true;
}

int sf_interface_add(struct sf_interface *interface, const struct sf_interface_addr *addr)
{
    struct sf_interface_addr *known = find(interface, addr);
    int change = SF_INTERFACE_SAME;

    if (!known) {
        if (!make_room(interface))
            return SF_INTERFACE_SAME;
        interface->addrs[interface->n_addrs] = *addr;
        interface->addrs[interface->n_addrs++].seen = true;
        return put_into_sets(interface, addr);
    }
    known->seen = true;
    if (known->broadcast == addr->broadcast)
        return SF_INTERFACE_SAME;
    change = put_into_sets(interface, addr); /* first, so that the address itself never goes */
    change |= take_from_sets(interface, known);
    known->broadcast = addr->broadcast;
    return change;
}

static int remove_at(struct sf_interface *interface, struct sf_interface_addr *known)
{
    struct sf_interface_addr gone = *known;

    *known = interface->addrs[--interface->n_addrs];
    return take_from_sets(interface, &gone);
}

int sf_interface_remove(struct sf_interface *interface, const struct sf_interface_addr *addr)
{
    struct sf_interface_addr *known = find(interface, addr);

    return known ? remove_at(interface, known) : SF_INTERFACE_SAME;
}

void sf_interface_dump_begins(struct sf_interface *interface)
{
    for (uint32_t i = 0; i < interface->n_addrs; i++)
        interface->addrs[i].seen = false;
}

int sf_interface_dump_ends(struct sf_interface *interface)
{
    int change = SF_INTERFACE_SAME;

    for (uint32_t i = 0; i < interface->n_addrs;) {
        if (interface->addrs[i].seen)
            i++;
        else
            change |= remove_at(interface, &interface->addrs[i]);
    }
    return change;
}

void sf_interface_free(struct sf_interface *interface)
{
    sf_addr_set_free(&interface->own);
    sf_addr_set_free(&interface->broadcasts);
    sf_addr_set_free(&interface->host);
    free(interface->addrs);
    interface->addrs = NULL;
    interface->n_addrs = interface->room = 0;
    interface->latest[0] = interface->latest[1] = 0;
}

bool sf_interface_is_not_of(const struct sf_interface *interface, int fd)
{
    char name[IF_NAMESIZE];

    return sf_kernel_socket_device(fd, name) && (!interface->index || (int)if_nametoindex(name) != interface->index);
}
