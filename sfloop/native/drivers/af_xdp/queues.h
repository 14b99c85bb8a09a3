/*
 * The receive queues of an interface, with an AF_XDP socket for each. Their number may change: a NIC may add queues when an XDP
 * program is attached (virtio-net), and `ethtool -L` changes it while the loop runs.
 */
#ifndef SF_DRIVERS_AF_XDP_QUEUES_H
#define SF_DRIVERS_AF_XDP_QUEUES_H

#include "setup.h"

/* The inode of the thread's network namespace; 0: unknown. The thread's namespace determines its interfaces and new sockets. */
uint64_t sf_af_xdp_namespace(void);
/* The number of receive queues that the interface has now. */
uint32_t sf_af_xdp_count_queues(const struct sf_af_xdp_place *place);
/* The most receive queues that it may get. The map and the array have a place for each. */
uint32_t sf_af_xdp_most_queues(const struct sf_af_xdp_place *place);

/* Opens and binds sockets until `count` queues have one. On failure, a socket that could not be bound stays open. */
int sf_af_xdp_open_queues(struct sf_af_xdp_place *place, uint32_t count, const struct sf_af_xdp_mode *mode, char *message);
/*
 * Closes the bound sockets. A socket that could not be bound stays open for the next mode. A new one would need twice the locked
 * memory, because the kernel counts a closed socket's memory for a while.
 */
void sf_af_xdp_unbind_queues(struct sf_af_xdp_place *place);
void sf_af_xdp_close_queues(struct sf_af_xdp_place *place);

/* Waits a little for a busy resource. False: the deadline has passed. */
bool sf_af_xdp_pause(const struct sf_af_xdp_place *place);

#endif
