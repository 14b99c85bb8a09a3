/* Where an interface leaves the VLAN tags of the frames that it receives: an XDP program sees only those in the frame. */
#ifndef SF_DRIVERS_KERNEL_VLAN_TAGS_H
#define SF_DRIVERS_KERNEL_VLAN_TAGS_H

#include <stdbool.h>

/* Who takes tags out of frames. A frame of a VLAN then looks like one without, wherever the tag is not told. */
enum sf_tags_aside {
    SF_TAGS_IN_FRAMES,
    SF_TAGS_BY_NIC,    /* the NIC, as long as its offload rx-vlan-hw-parse is on */
    SF_TAGS_BY_KERNEL, /* the kernel, before the interface gets the frame: see vlan_tags.c */
};

struct sf_vlan_tags {
    bool told; /* in native mode the interface's driver tells an XDP program the tag that is kept aside (Linux 6.8) */
    enum sf_tags_aside aside;
};

void sf_vlan_tags_read(struct sf_vlan_tags *tags, const char *name, int ifindex);

#endif
