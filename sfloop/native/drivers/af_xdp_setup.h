/* Opening and closing of what the af_xdp driver runs on: the program on the interface, and a socket for each of its queues. */
#ifndef SF_DRIVERS_AF_XDP_SETUP_H
#define SF_DRIVERS_AF_XDP_SETUP_H

#include "af_xdp_rings.h"
#include "flow_program.h"
#include "interface_info.h"
#include "vlan_tags.h"

#include <net/if.h>

struct sf_af_xdp_place {
    char name[IFNAMSIZ];
    struct sf_interface_info interface;
    uint32_t first_queue, queues;
    bool native, zero_copy;
    bool may_reduce; /* nobody has asked for that many frames */
    bool reduced; /* there was no memory for as many frames as usual */
    bool pieces; /* the MTU is so large that a frame may take several buffers */
    /* So may one that the kernel has put together of several, or has not taken apart yet: a virtual peer's. */
    bool merged;
    struct sf_vlan_tags tags;
    struct sf_flow_limits limits;
    uint32_t hook_flags; /* how the program is attached; 0: it is not */
    sf_ns deadline;      /* until when something that is busy is tried again */
    struct sf_xsk_sizes sizes;
    struct sf_flow_program program;
    struct sf_xsk *xsk; /* one for each queue; the first one sends */
};

/* 0, or a negative errno with a sentence in `message`, and nothing is left. Takes up to 200 ms when the interface is busy. */
int sf_af_xdp_set_up(struct sf_af_xdp_place *place, const struct sf_driver_config *config, char *message);
void sf_af_xdp_tear_down(struct sf_af_xdp_place *place);
/* In a forked child: closes its copies of the descriptors. */
void sf_af_xdp_abandon(struct sf_af_xdp_place *place);

#endif
