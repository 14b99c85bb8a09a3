/*
 * The two programs of the packet driver. The packet socket's filter looks a frame up in the map of flows: a match enters the ring.
 * The program at the interface's tcx hook drops the same frame, before the kernel can answer it. The hook comes after packet
 * sockets of ETH_P_ALL, on the same CPU and with no other frame in between. So the filter leaves its decision in a map with an
 * entry for each CPU, and the tcx program obeys it. Looking the frame up twice would not do: when a flow is added, or another
 * program binds a watched port, between the two, the frame would be lost or received twice.
 *
 * The frames that drivers/kernel/flow_program.h leaves to the kernel are the kernel's here, too. So are several UDP datagrams that a sender on
 * this machine has handed over as one (segmentation offload), because only the kernel can take them apart, and the kernel's own
 * multicast looped back to it, because packet sockets never see it.
 */
#ifndef SF_DRIVERS_PACKET_PROGRAM_H
#define SF_DRIVERS_PACKET_PROGRAM_H

#include "drivers/kernel/flow_program.h"

struct sf_packet_program {
    struct sf_flow_program flow; /* the map, and the program for tcx */
    int filter;                  /* the program for the socket */
    int decisions;               /* the map from the filter to tcx; -1: no tcx */
    /* Where the filter puts datagrams that the ring has no warm slot for. NULL: nowhere. */
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
 * On failure nothing is left, and `message` (SF_DRIVER_ERROR_SIZE bytes) says what is missing. Where the kernel refuses a filter with
 * an overflow, it is loaded without, and `overflow` is NULL.
 */
int sf_packet_program_open(struct sf_packet_program *program, const struct sf_packet_program_kind *kind, char *message);
/* Has the socket take nothing but flows. */
int sf_packet_program_filter(struct sf_packet_program *program, int fd);
/* Has the socket take everything. The tcx program still keeps the flows from the kernel. */
int sf_packet_program_filter_nothing(const struct sf_packet_program *program, int fd);
void sf_packet_program_close(struct sf_packet_program *program);

#endif
