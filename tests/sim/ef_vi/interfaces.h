/* Interfaces that only the simulator has: "sim0" and "sim1", with the MACs 02:00:0a:00:00:01 and …:02. */
#ifndef EFSIM_INTERFACES_H
#define EFSIM_INTERFACES_H

#include <stdbool.h>
#include <stdint.h>

#define SIM_INTERFACES 2

struct sim_interface {
    const char *name;
    int ifindex;
    uint32_t mtu;
    bool present;
};

extern struct sim_interface sim_interfaces[SIM_INTERFACES];

#endif
