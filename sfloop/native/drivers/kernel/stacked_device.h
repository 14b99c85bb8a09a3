/* Devices on which a frame driver would open and then receive nothing: they are refused, with the name of what to use. */
#ifndef SF_DRIVERS_KERNEL_STACKED_DEVICE_H
#define SF_DRIVERS_KERNEL_STACKED_DEVICE_H

/* Where a driver takes the frames from. */
enum sf_tap_point {
    SF_TAP_NATIVE, /* the NIC's driver or the kernel's receive path, whichever is faster: XDP */
    SF_TAP_KERNEL, /* the kernel's receive path only: generic XDP, packet sockets, tc */
};

/* 0 if frames can be taken there; else a negative errno and a sentence in `message` (SF_DRIVER_ERROR_SIZE bytes). */
int sf_stacked_device_check(const char *name, int ifindex, enum sf_tap_point tap, char *message);

#endif
