/* AF_PACKET: frames of registered flows by a memory-mapped ring, while a tcx program keeps them from the kernel.
 * Linux 6.6. */
#ifndef SF_DRIVERS_PACKET_DRIVER_H
#define SF_DRIVERS_PACKET_DRIVER_H

#include "sf/driver.h"

/* Of the configuration: interface; rx_frames, tx_frames, frame_size (of a slot of the ring); mode, which is NULL or
 * "auto", or "shared" to do without tcx: then the kernel gets the frames too, and answers them unless something else
 * prevents it. */
struct sf_driver *sf_driver_packet_open(const struct sf_driver_config *config, int *error, char *message);

#endif
