/* Where an interface leaves the VLAN tags of the frames that it receives: an XDP program sees only those in the frame. */
#ifndef SF_DRIVERS_VLAN_TAGS_H
#define SF_DRIVERS_VLAN_TAGS_H

#include <stdbool.h>

struct sf_vlan_tags {
    bool told;   /* in native mode the interface's driver tells an XDP program the tag that it keeps aside (Linux 6.8) */
    bool hidden; /* a NIC that takes tags out of frames; where they are not told, a frame of a VLAN looks like one without */
};

/* A virtual interface is never `hidden`: whether it takes tags out depends on the sender. */
void sf_vlan_tags_read(struct sf_vlan_tags *tags, const char *name, int ifindex);

#endif
