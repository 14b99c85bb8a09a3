/*
 * The receive queues of an interface, and an AF_XDP socket for each. Their number is not constant: a NIC may add queues when
 * an XDP program is attached (virtio-net), and `ethtool -L` changes it while the loop runs.
 */
#ifndef SF_DRIVERS_AF_XDP_QUEUES_H
#define SF_DRIVERS_AF_XDP_QUEUES_H

#include "setup.h"

/* The network namespace of the thread; 0: not known. Interfaces and new sockets are those of the thread's namespace. */
uint64_t sf_af_xdp_namespace(void);
/* Receive queues of the interface now. */
uint32_t sf_af_xdp_count_queues(const struct sf_af_xdp_place *place);
/* How many it may come to have: there is a place in the map and in the array for each. */
uint32_t sf_af_xdp_most_queues(const struct sf_af_xdp_place *place);

/* Opens and binds sockets until `count` queues have one. On failure, a socket that could not be bound stays open. */
int sf_af_xdp_open_queues(struct sf_af_xdp_place *place, uint32_t count, const struct sf_af_xdp_mode *mode, char *message);
/*
 * Closes the bound sockets. One that could not be bound serves the next mode. To make another one would need twice the locked
 * memory, because the kernel counts a closed socket's memory for a while yet.
 */
void sf_af_xdp_unbind_queues(struct sf_af_xdp_place *place);
void sf_af_xdp_close_queues(struct sf_af_xdp_place *place);

/* Waits a little for something that is busy. False: it has been waited for long enough. */
bool sf_af_xdp_pause(const struct sf_af_xdp_place *place);

#endif
