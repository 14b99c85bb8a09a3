/* Interfaces that only the simulator has, for tests in C. Replaces drivers/kernel/interface_info.c. */
#define _GNU_SOURCE
#include "interfaces.h"

#include "efsim.h"
#include "drivers/kernel/interface_info.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct sim_interface sim_interfaces[SIM_INTERFACES] = {
    {.name = "sim0", .ifindex = 9001, .mtu = 1500, .present = true},
    {.name = "sim1", .ifindex = 9002, .mtu = 1500, .present = true},
};

int sf_interface_read(const char *name, struct sf_interface_info *info)
{
    memset(info, 0, sizeof(*info));
    for (int i = 0; i < SIM_INTERFACES; i++) {
        const struct sim_interface *s = &sim_interfaces[i];

        if (!s->present || strcmp(s->name, name) != 0)
            continue;
        *info = (struct sf_interface_info){.ifindex = s->ifindex, .mtu = s->mtu, .queues = 1, .up = true};
        memcpy(info->mac, "\2\0\12\0\0", 5);
        info->mac[5] = (uint8_t)(i + 1);
        return 0;
    }
    return -ENODEV;
}
