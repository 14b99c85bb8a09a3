/* Opens and closes the af_xdp driver's program on the interface and the sockets of its queues. */
#ifndef SF_DRIVERS_AF_XDP_SETUP_H
#define SF_DRIVERS_AF_XDP_SETUP_H

#include "rings.h"
#include "drivers/kernel/flow_program.h"
#include "drivers/kernel/interface_info.h"
#include "drivers/kernel/reset_guard.h"
#include "drivers/kernel/vlan_tags.h"

#include <net/if.h>

struct sf_af_xdp_mode {
    const char *name;
    uint32_t hook_flags;
    uint16_t bind_flags;
};

struct sf_af_xdp_place {
    char name[IFNAMSIZ];
    struct sf_interface_info interface;
    uint32_t first_queue, queues;
    bool all_queues;  /* of the interface, including queues that it gets later */
    uint32_t places;  /* for sockets: in the array, and from first_queue on in the program's map */
    uint32_t copied;  /* queues in copy mode although the first has zero copy */
    uint32_t missing; /* queues without a socket, whose frames the kernel has */
    uint64_t namespace; /* inode of the thread's network namespace at open */
    bool reopened;    /* sockets were closed and reopened with another frame size */
    const struct sf_af_xdp_mode *mode;
    bool native, zero_copy;
    uint32_t rx_frames; /* as configured; 0: the usual number, or as memory permits */
    struct sf_overflow overflow; /* holds frames for which the sockets have no room */
    bool reduced; /* there was no memory for the usual number of frames */
    bool pieces; /* the MTU is so large that a frame may take several buffers */
    /* A frame may take several buffers because the kernel has merged several, or a virtual peer has not split it. */
    bool merged;
    struct sf_vlan_tags tags;
    bool tags_unseen; /* the program takes frames of a VLAN for untagged ones */
    bool automatic;   /* the configuration names no mode */
    struct sf_flow_limits limits;
    uint32_t hook_flags; /* how the program is attached; 0: not attached */
    sf_ns deadline;      /* end of the attempts for a busy resource */
    uint32_t frame_size; /* as configured; 0: the mode's choice */
    struct sf_xsk_sizes sizes;
    struct sf_flow_program program;
    struct sf_reset_guard guard;
    struct sf_xsk *xsk; /* one for each queue; the first one sends */
};

/* Returns 0, or a negative errno with a sentence in `message`, and leaves nothing open. Takes up to 200 ms on a busy
 * interface, and up to 6 s if attaching takes the link down. */
int sf_af_xdp_set_up(struct sf_af_xdp_place *place, const struct sf_driver_config *config, char *message);
/*
 * Opens sockets for new queues after their number may have changed, as far as the process is permitted to. Does not wait. False:
 * some sockets could not be opened, so call again later.
 */
bool sf_af_xdp_follow_queues(struct sf_af_xdp_place *place);
/* The number of frames of a queue's ring if there are `queues` queues. */
uint32_t sf_af_xdp_ring_size(const struct sf_af_xdp_place *place, uint32_t frame_size, uint32_t queues);
/* Writes the choices made into caps->mode. */
void sf_af_xdp_describe(const struct sf_af_xdp_place *place, struct sf_driver_caps *caps);
void sf_af_xdp_tear_down(struct sf_af_xdp_place *place);
/* For a forked child: closes its copies of the descriptors. */
void sf_af_xdp_abandon(struct sf_af_xdp_place *place);

#endif
