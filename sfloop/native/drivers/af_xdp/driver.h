/* The state of the af_xdp driver, shared by its files: driver.c sends and controls, receive.c receives. */
#ifndef SF_DRIVERS_AF_XDP_DRIVER_H
#define SF_DRIVERS_AF_XDP_DRIVER_H

#include "monitor.h"
#include "setup.h"

#define SF_AF_XDP_PIECES_MAX 40 /* of a received frame: 64 KiB of merged segments in buffers of 2048 bytes, less their headroom */

struct af_xdp {
    struct sf_driver base;
    struct sf_xsk *xsk;
    uint32_t queues, turn; /* the queue to read first */
    int whole_burst;       /* the size of a burst that has room for any frame */
    uint32_t in_flight;    /* frames committed and not yet returned */
    bool zero_copy;
    bool stalled; /* the kernel has not taken all published frames */
    bool down;    /* the interface, at the last send */
    bool dead;
    bool told_dead;
    uint32_t *free_frames; /* frames to send from: a stack, so that the warmest is used first */
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

/* Reclaims the frames that the NIC has sent (driver.c). */
void sf_af_xdp_take_back_sent(struct af_xdp *x);

/* rx_burst and rx_release of sf/driver.h (receive.c). */
int sf_af_xdp_rx_burst(struct sf_driver *driver, struct sf_frame *frames, int n);
void sf_af_xdp_rx_release(struct sf_driver *driver, struct sf_frame *frames, int n);

#endif
