#include "interface.h"

bool sf_interface_is_broadcast(const struct sf_interface *interface, uint32_t addr)
{
    if (addr == UINT32_MAX)
        return true;
    for (int i = 0; i < interface->n_addrs; i++)
        if (interface->addrs[i].broadcast == addr && addr)
            return true;
    return false;
}

bool sf_interface_add(struct sf_interface *interface, uint32_t addr, uint32_t broadcast)
{
    struct sf_interface_addr entry = {.addr = addr, .broadcast = broadcast, .seen = true};

    for (int i = 0; i < interface->n_addrs; i++) {
        if (interface->addrs[i].addr != addr)
            continue;
        interface->addrs[i].seen = true;
        if (interface->addrs[i].broadcast == broadcast)
            return false;
        interface->addrs[i] = entry;
        return true;
    }
    if (interface->n_addrs == SF_INTERFACE_ADDRS)
        return false;
    interface->addrs[interface->n_addrs++] = entry;
    return true;
}

bool sf_interface_remove(struct sf_interface *interface, uint32_t addr)
{
    for (int i = 0; i < interface->n_addrs; i++) {
        if (interface->addrs[i].addr != addr)
            continue;
        interface->addrs[i] = interface->addrs[--interface->n_addrs];
        return true;
    }
    return false;
}
