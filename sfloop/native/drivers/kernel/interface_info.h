/* What a driver has to know of a network interface of the kernel's, read with ioctl(2); no privilege is needed. */
#ifndef SF_DRIVERS_KERNEL_INTERFACE_INFO_H
#define SF_DRIVERS_KERNEL_INTERFACE_INFO_H

#include <stdbool.h>
#include <stdint.h>

struct sf_interface_info {
    int ifindex;
    uint32_t mtu;
    uint32_t queues;      /* receive queues in use, by ethtool; 1 if the interface does not say */
    uint32_t queues_most; /* it can be told to have so many */
    uint8_t mac[6];
    bool up;
};

/* 0 or a negative errno: -ENODEV when there is no interface of that name. */
int sf_interface_read(const char *name, struct sf_interface_info *info);
/* In the network namespace of the socket `fd`, which may be of any kind. */
int sf_interface_read_by(int fd, const char *name, struct sf_interface_info *info);

#endif
