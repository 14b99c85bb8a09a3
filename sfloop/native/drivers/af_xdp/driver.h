/* The af_xdp driver's state, and what its files share: driver.c sends and controls, receive.c receives. */
#ifndef SF_DRIVERS_AF_XDP_DRIVER_H
#define SF_DRIVERS_AF_XDP_DRIVER_H

#include "monitor.h"
#include "setup.h"

#define SF_AF_XDP_PIECES_MAX 40 /* of a received frame: merged segments of 64 KiB in buffers of 2048 bytes, less their headroom */

struct af_xdp {
    struct sf_driver base;
    struct sf_xsk *xsk;
    uint32_t queues, turn; /* which queue is read first */
    int whole_burst;       /* a burst that has room for any frame, or is as large as bursts are */
    uint32_t in_flight;    /* frames committed that have not come back */
    bool zero_copy;
    bool stalled; /* the kernel has not taken all that was published */
    bool down;    /* the interface, the last time we sent */
    bool dead;
    bool told_dead;
    uint32_t *free_frames; /* of those to send from: a stack, so that the warmest is used first */
    uint32_t free_count;
    uint32_t tx_max, piece_max, mtu_at_open;
    struct sf_driver_stats stats;
    int epoll;
    struct sf_af_xdp_monitor monitor;
    struct sf_af_xdp_place place;
};

static inline struct af_xdp *sf_af_xdp_of(struct sf_driver *driver)
{
    return (struct af_xdp *)driver;
}

/* driver.c: takes back the frames that the NIC has sent. */
void sf_af_xdp_take_back_sent(struct af_xdp *x);

/* receive.c: rx_burst and rx_release of sf/driver.h. */
int sf_af_xdp_rx_burst(struct sf_driver *driver, struct sf_frame *frames, int n);
void sf_af_xdp_rx_release(struct sf_driver *driver, struct sf_frame *frames, int n);

#endif
