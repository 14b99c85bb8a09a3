/* Hears of changes of network interfaces and of their queues, from the kernel's notifications. */
#ifndef SF_DRIVERS_AF_XDP_MONITOR_H
#define SF_DRIVERS_AF_XDP_MONITOR_H

#include "sf/base.h"

#include <stdbool.h>

struct sf_af_xdp_monitor {
    int epoll;    /* readable when something has changed; holds the two others. -1: not open */
    int links;    /* rtnetlink */
    int channels; /* ethtool's notifications; -1: before Linux 5.7, so that the queues are counted now and then */
    sf_ns due;    /* when it is time to look although nothing was heard */
};

int sf_af_xdp_monitor_open(struct sf_af_xdp_monitor *monitor);
void sf_af_xdp_monitor_close(struct sf_af_xdp_monitor *monitor);

/* True if some interface may have changed since the last call. One system call when nothing has. */
bool sf_af_xdp_monitor_changed(struct sf_af_xdp_monitor *monitor);
/* Something has to be tried again: in a second it is as if there were a change. */
void sf_af_xdp_monitor_again(struct sf_af_xdp_monitor *monitor);

#endif
