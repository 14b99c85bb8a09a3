/* The packet driver receives frames of added flows through a mapped ring. A tcx program keeps them from the kernel. Linux 6.6. */
#ifndef SF_DRIVERS_PACKET_DRIVER_H
#define SF_DRIVERS_PACKET_DRIVER_H

#include "sf/driver.h"

/* Reads from the configuration: interface; rx_frames, tx_frames; frame_size (of a slot of the ring); mode. Mode NULL or "auto"
 * uses tcx. Mode "shared" does not: the kernel gets the frames too, and answers them unless something prevents it. */
struct sf_driver *sf_driver_packet_open(const struct sf_driver_config *config, int *error, char *message);

#endif
