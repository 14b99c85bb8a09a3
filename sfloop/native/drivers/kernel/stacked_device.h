/* Refuses devices on which a frame driver would open and then receive nothing. The message names the device to use instead. */
#ifndef SF_DRIVERS_KERNEL_STACKED_DEVICE_H
#define SF_DRIVERS_KERNEL_STACKED_DEVICE_H

/* The place where a driver takes frames. */
enum sf_tap_point {
    SF_TAP_NATIVE, /* XDP: the NIC's driver, or the kernel's receive path */
    SF_TAP_KERNEL, /* generic XDP, packet sockets, tc: the kernel's receive path only */
};

/* Returns 0 if frames can be taken there, else a negative errno and a sentence in `message` (SF_DRIVER_ERROR_SIZE bytes). */
int sf_stacked_device_check(const char *name, int ifindex, enum sf_tap_point tap, char *message);

#endif
