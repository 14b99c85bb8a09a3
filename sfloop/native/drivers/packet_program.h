/*
 * The two programs of the packet driver, which are one text over one map of flows and so agree about every frame: on
 * the packet socket what matches enters the ring and nothing else does; at the interface's tcx hook, which comes after
 * packet sockets of ETH_P_ALL, what matches is dropped before the kernel can answer it.
 *
 * The frames that flow_program.h leaves to the kernel are the kernel's here, too. So are several UDP datagrams that a sender on
 * this machine has handed over as one (segmentation offload), because only the kernel can take them apart, and the kernel's own
 * multicast looped back to it, because packet sockets never see it.
 */
#ifndef SF_DRIVERS_PACKET_PROGRAM_H
#define SF_DRIVERS_PACKET_PROGRAM_H

#include "flow_program.h"

struct sf_packet_program {
    struct sf_flow_program flow; /* the map, and the program for tcx */
    int filter;                  /* the program for the socket */
};

#define SF_PACKET_PROGRAM_NONE ((struct sf_packet_program){SF_FLOW_PROGRAM_NONE, -1})

/* `tcx`: with the program for it. On failure nothing is left, and `message` (SF_DRIVER_ERROR_SIZE bytes) says what
 * is missing. */
int sf_packet_program_open(struct sf_packet_program *program, bool tcx, char *message);
/* Has the socket take nothing but flows. */
int sf_packet_program_filter(struct sf_packet_program *program, int fd);
void sf_packet_program_close(struct sf_packet_program *program);

#endif
