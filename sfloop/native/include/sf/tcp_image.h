/*
 * The whole state of an established TCP connection, apart from any stack: as the kernel tells it of a socket in repair mode (TCP_REPAIR,
 * linux/tcp.h), as a new socket in repair mode takes it, and as a stack of sfloop imports and exports it.
 *
 * Sequence numbers are in host byte order, addresses and ports in network byte order. Windows are in bytes, already scaled.
 */
#ifndef SF_TCP_IMAGE_H
#define SF_TCP_IMAGE_H

#include "sf/base.h"

#include <stdbool.h>
#include <stdlib.h>

struct sf_tcp_image {
    uint32_t local_addr, remote_addr;
    uint16_t local_port, remote_port;
    uint8_t state; /* TCP_ESTABLISHED, TCP_CLOSE_WAIT, TCP_FIN_WAIT1 or TCP_FIN_WAIT2 of netinet/tcp.h */
    /* Agreed by the SYNs. */
    bool scaling, sack, timestamps;
    uint8_t snd_scale, rcv_scale; /* of the windows that we receive, and that we advertise */
    uint32_t mss;                 /* the peer's MSS option, which does not count our options (TCP_MAXSEG in repair mode) */
    /* Sending. A FIN has a sequence number, and is no byte of `unacked`: it lies at snd_end, if the state says that it was sent. */
    uint32_t snd_una, snd_nxt, snd_end; /* oldest byte not acknowledged, next to send, end of the bytes written */
    uint32_t snd_wl1, snd_wnd, max_window;
    /* Receiving. rcv_nxt is behind a FIN that has arrived (TCP_CLOSE_WAIT). */
    uint32_t rcv_nxt, rcv_wnd, rcv_wup;
    /* Timestamps (RFC 7323): the value of our clock at the time `read_at`, in ms; the latest value of the peer. 0: not known. */
    uint32_t ts_clock, ts_recent;
    sf_ns read_at; /* sf_now() */
    /* Estimates. 0: not known. */
    sf_ns rtt, rtt_var;
    uint32_t cwnd, ssthresh; /* bytes */
    /* Owned by the image: bytes received and not read, in order, and bytes from snd_una up to snd_end. */
    uint8_t *unread, *unacked;
    uint32_t n_unread, n_unacked;
};

static inline void sf_tcp_image_free(struct sf_tcp_image *image)
{
    free(image->unread);
    free(image->unacked);
    image->unread = image->unacked = NULL;
    image->n_unread = image->n_unacked = 0;
}

#endif
