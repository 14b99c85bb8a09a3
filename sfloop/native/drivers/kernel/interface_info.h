/* The properties of a kernel network interface that drivers need. Read with ioctl(2); needs no privilege. */
#ifndef SF_DRIVERS_KERNEL_INTERFACE_INFO_H
#define SF_DRIVERS_KERNEL_INTERFACE_INFO_H

#include <stdbool.h>
#include <stdint.h>

struct sf_interface_info {
    int ifindex;
    uint32_t mtu;
    uint32_t queues;      /* receive queues in use, from ethtool; 1 if unknown */
    uint32_t queues_most; /* the most that ethtool can configure */
    uint8_t mac[6];
    bool up;
};

/* Returns 0 or a negative errno. -ENODEV: no interface has this name. */
int sf_interface_read(const char *name, struct sf_interface_info *info);
/* Reads in the network namespace of the socket `fd`, which may be of any kind. */
int sf_interface_read_by(int fd, const char *name, struct sf_interface_info *info);

#endif
