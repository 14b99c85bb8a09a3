/* A network device and its relation to others: its kind, its carrier, and the devices that are its ports. */
#ifndef SF_DRIVERS_KERNEL_LINK_INFO_H
#define SF_DRIVERS_KERNEL_LINK_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sf_link_info {
    char kind[16];            /* as in `ip -d link`: "bond", "vlan", "veth"; empty: a NIC, or lo */
    uint16_t hardware;        /* ARPHRD_… */
    uint32_t rx_queues_most;  /* the most receive queues of the device; 0: unknown */
    bool carrier, running;    /* the cable's state, and the state that the kernel derives from it */
};

/* Returns 0 or a negative errno. */
int sf_link_read(int ifindex, struct sf_link_info *info);
/* Writes the names of the device's ports: "eth0, eth1". Omits names that do not fit. */
void sf_link_ports(int ifindex, char *names, size_t size);

#endif
