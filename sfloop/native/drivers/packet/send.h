/*
 * Sending through a packet socket: a pool of buffers, and one system call for all frames committed since the last. A buffer is
 * free again at once, because the kernel copies it.
 */
#ifndef SF_DRIVERS_PACKET_SEND_H
#define SF_DRIVERS_PACKET_SEND_H

#include "sf/driver.h"

#include <sys/socket.h>

struct sf_packet_sender {
    int fd;
    uint32_t count, stride;
    uint32_t frame_max; /* Ethernet header included */
    uint32_t free_count, queued;
    uint32_t refusals; /* times in a row that the kernel had no room for the first queued frame */
    bool gone;         /* the interface was deleted */
    uint8_t *memory;
    uint32_t *free;   /* free buffers: a stack, so that the warmest is used first */
    uint32_t *buffer; /* the buffer of each queued frame, in order */
    struct iovec *iov;
    struct mmsghdr *headers;
    uint64_t frames, bytes, errors, full, calls;
};

/* Returns 0 or -ENOMEM. The sender does not own the descriptor. */
int sf_packet_sender_open(struct sf_packet_sender *sender, int fd, uint32_t count, uint32_t frame_max);
void sf_packet_sender_close(struct sf_packet_sender *sender);

/* As in sf/driver.h. */
int sf_packet_sender_reserve(struct sf_packet_sender *sender, uint32_t len, struct sf_frame *pieces, int max);
void sf_packet_sender_cancel(struct sf_packet_sender *sender, const struct sf_frame *piece);
void sf_packet_sender_commit(struct sf_packet_sender *sender, const struct sf_frame *piece);
void sf_packet_sender_flush(struct sf_packet_sender *sender);

#endif
