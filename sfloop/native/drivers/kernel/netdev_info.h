/* A device's XDP features and its queues, by the netdev family of generic netlink (Linux 6.3 and later). */
#ifndef SF_DRIVERS_KERNEL_NETDEV_INFO_H
#define SF_DRIVERS_KERNEL_NETDEV_INFO_H

#include <stdint.h>

enum sf_zero_copy {
    SF_ZERO_COPY_UNKNOWN, /* before Linux 6.3 only trying tells */
    SF_ZERO_COPY_NONE,
    SF_ZERO_COPY_POSSIBLE, /* the driver has it; binding a socket may still be refused */
};

enum sf_zero_copy sf_netdev_zero_copy(int ifindex);

/* Receive queues in use; 0: this kernel does not say (before Linux 6.8), or the device is down. */
uint32_t sf_netdev_rx_queues(int ifindex);

#endif
