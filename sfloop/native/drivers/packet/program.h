/*
 * The two programs of the packet driver. The packet socket's filter looks a frame up in the map of flows, and a match enters the
 * ring. The program at the interface's tcx hook drops the same frame before the kernel can answer it. The hook runs after packet
 * sockets of ETH_P_ALL, on the same CPU and with no other frame in between. So the filter leaves its decision in a per-CPU map,
 * and the tcx program obeys it. Two lookups could disagree, because a flow may be added or another program may bind a watched
 * port between them. The frame would then be lost or received twice.
 *
 * The kernel keeps the frames that drivers/kernel/flow_program.h leaves to it. It also keeps a batch of UDP datagrams that a
 * sender on this machine has handed over as one packet (segmentation offload), because only the kernel can split it. It keeps its
 * own multicast looped back to it, because packet sockets never receive that.
 */
#ifndef SF_DRIVERS_PACKET_PROGRAM_H
#define SF_DRIVERS_PACKET_PROGRAM_H

#include "drivers/kernel/flow_program.h"

struct sf_packet_program {
    struct sf_flow_program flow; /* the map, and the program for tcx */
    int filter;                  /* the program for the socket */
    int decisions;               /* the map from the filter to tcx; -1: no tcx */
    /* The filter puts datagrams here if the ring has no warm slot for them. NULL: there is no overflow. */
    const struct sf_overflow *overflow;
    uint32_t mtu;
};

#define SF_PACKET_PROGRAM_NONE ((struct sf_packet_program){SF_FLOW_PROGRAM_NONE, -1, -1, NULL, 0})

struct sf_packet_program_kind {
    bool tcx; /* with the program for it */
    const struct sf_overflow *overflow;
    uint32_t mtu;
};

/*
 * On failure nothing is left, and `message` (SF_DRIVER_ERROR_SIZE bytes) has the reason. If the kernel refuses a filter with an
 * overflow, the filter is loaded without it, and `overflow` is NULL.
 */
int sf_packet_program_open(struct sf_packet_program *program, const struct sf_packet_program_kind *kind, char *message);
/* Makes the socket accept only flows. */
int sf_packet_program_filter(struct sf_packet_program *program, int fd);
/* Makes the socket accept every frame. The tcx program still keeps the flows from the kernel. */
int sf_packet_program_filter_nothing(const struct sf_packet_program *program, int fd);
void sf_packet_program_close(struct sf_packet_program *program);

#endif
