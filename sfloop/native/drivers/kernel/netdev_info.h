/* A device's XDP features and queues, from the netdev family of generic netlink (Linux 6.3). */
#ifndef SF_DRIVERS_KERNEL_NETDEV_INFO_H
#define SF_DRIVERS_KERNEL_NETDEV_INFO_H

#include <stdint.h>

enum sf_zero_copy {
    SF_ZERO_COPY_UNKNOWN, /* before Linux 6.3 only an attempt tells */
    SF_ZERO_COPY_NONE,
    SF_ZERO_COPY_POSSIBLE, /* the driver supports it, but binding a socket may still fail */
};

enum sf_zero_copy sf_netdev_zero_copy(int ifindex);

/* The number of receive queues in use. 0: this kernel does not tell (before Linux 6.8), or the device is down. */
uint32_t sf_netdev_rx_queues(int ifindex);

#endif
