/* The place of the VLAN tags of received frames. An XDP program sees only tags in the frame. */
#ifndef SF_DRIVERS_KERNEL_VLAN_TAGS_H
#define SF_DRIVERS_KERNEL_VLAN_TAGS_H

#include <stdbool.h>

/* The place of VLAN tags. A frame whose tag was removed looks untagged, unless the tag is reported separately. */
enum sf_tags_aside {
    SF_TAGS_IN_FRAMES,
    SF_TAGS_BY_NIC,    /* removed by the NIC, while its offload rx-vlan-hw-parse is on */
    SF_TAGS_BY_KERNEL, /* removed by the kernel, before the interface gets the frame (vlan_tags.c) */
};

struct sf_vlan_tags {
    bool told; /* native mode: the driver reports the removed tag to an XDP program (Linux 6.8) */
    enum sf_tags_aside aside;
};

void sf_vlan_tags_read(struct sf_vlan_tags *tags, const char *name, int ifindex);

#endif
