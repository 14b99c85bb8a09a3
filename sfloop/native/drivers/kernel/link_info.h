/* A network device as a part of others, as the kernel describes it: its kind, its carrier, the device it is a port of. */
#ifndef SF_DRIVERS_KERNEL_LINK_INFO_H
#define SF_DRIVERS_KERNEL_LINK_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sf_link_info {
    char kind[16];            /* as `ip -d link` names it: "bond", "vlan", "veth"; empty: a NIC, or lo */
    uint16_t hardware;        /* ARPHRD_… */
    uint32_t rx_queues_most;  /* the device can never have more receive queues; 0: not known */
    bool carrier, running;    /* the cable's state, and the state that the kernel has derived from it */
};

/* 0 or a negative errno. */
int sf_link_read(int ifindex, struct sf_link_info *info);
/* Writes the names of the devices that are ports of this one: "eth0, eth1". Those that do not fit are left out. */
void sf_link_ports(int ifindex, char *names, size_t size);

#endif
