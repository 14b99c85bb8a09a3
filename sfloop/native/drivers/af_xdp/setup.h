/* Opening and closing of what the af_xdp driver runs on: the program on the interface, and a socket for each of its queues. */
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
    bool all_queues;  /* of the interface, those that it gets later, too */
    uint32_t places;  /* of sockets: in the array, and from first_queue on in the program's map */
    uint32_t copied;  /* queues that copy although the first one does not */
    uint32_t missing; /* queues that have no socket: the kernel has their frames */
    uint64_t namespace; /* of the network: the inode of the thread's when the driver was opened */
    bool reopened;    /* sockets were closed for others with another frame size */
    const struct sf_af_xdp_mode *mode;
    bool native, zero_copy;
    uint32_t rx_frames; /* that were asked for; 0: as many as usual, or as there is memory for */
    struct sf_overflow overflow; /* holds the frames that are more than the sockets have */
    bool reduced; /* there was no memory for as many frames as usual */
    bool pieces; /* the MTU is so large that a frame may take several buffers */
    /* So may one that the kernel has put together of several, or has not taken apart yet: a virtual peer's. */
    bool merged;
    struct sf_vlan_tags tags;
    bool tags_unseen; /* a VLAN's frames look like untagged ones to the program, if there are any */
    bool automatic;   /* nobody has named a mode */
    struct sf_flow_limits limits;
    uint32_t hook_flags; /* how the program is attached; 0: it is not */
    sf_ns deadline;      /* until when something that is busy is tried again */
    uint32_t frame_size; /* that was asked for; 0: as the mode wants it */
    struct sf_xsk_sizes sizes;
    struct sf_flow_program program;
    struct sf_reset_guard guard;
    struct sf_xsk *xsk; /* one for each queue; the first one sends */
};

/* 0, or a negative errno with a sentence in `message`, and nothing is left. Takes up to 200 ms when the interface is busy, and up
 * to 6 s when attaching has taken the link down. */
int sf_af_xdp_set_up(struct sf_af_xdp_place *place, const struct sf_driver_config *config, char *message);
/*
 * The number of queues may have changed: opens sockets for new ones, as far as the process may. It does not wait. False: some could
 * not be had now, so call it again in a while.
 */
bool sf_af_xdp_follow_queues(struct sf_af_xdp_place *place);
/* How many frames a queue's ring has, where there are so many queues. */
uint32_t sf_af_xdp_ring_size(const struct sf_af_xdp_place *place, uint32_t frame_size, uint32_t queues);
/* Writes what was chosen into caps->mode. */
void sf_af_xdp_describe(const struct sf_af_xdp_place *place, struct sf_driver_caps *caps);
void sf_af_xdp_tear_down(struct sf_af_xdp_place *place);
/* In a forked child: closes its copies of the descriptors. */
void sf_af_xdp_abandon(struct sf_af_xdp_place *place);

#endif
