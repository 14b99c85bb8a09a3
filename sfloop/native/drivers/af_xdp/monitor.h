/* Notices changes of network interfaces and their queues, through the kernel's notifications. */
#ifndef SF_DRIVERS_AF_XDP_MONITOR_H
#define SF_DRIVERS_AF_XDP_MONITOR_H

#include "sf/base.h"

#include <stdbool.h>

struct sf_af_xdp_monitor {
    int epoll;    /* readable after a change; contains the other two. -1: not open */
    int links;    /* rtnetlink */
    int channels; /* ethtool's notifications; -1: before Linux 5.7, where the queues are counted at intervals */
    sf_ns due;    /* the time to look although there was no notification */
};

int sf_af_xdp_monitor_open(struct sf_af_xdp_monitor *monitor);
void sf_af_xdp_monitor_close(struct sf_af_xdp_monitor *monitor);

/* Tells whether some interface may have changed since the last call. One system call if nothing has. */
bool sf_af_xdp_monitor_changed(struct sf_af_xdp_monitor *monitor);
/* Reports a change a second from now, because something has to be tried again. */
void sf_af_xdp_monitor_again(struct sf_af_xdp_monitor *monitor);

#endif
