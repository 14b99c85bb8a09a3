#define _GNU_SOURCE 1
#include "send.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* After two bytes, the Ethernet header ends and the IP header begins at a multiple of 16. */
#define ALIGNMENT_GAP 2u

/* A full queue of the NIC or the socket drains within microseconds. If it is still full after this many attempts, the link has
 * probably lost its carrier. Drop and count the waiting frames, because they would be stale when they leave. */
#define REFUSALS_MAX 256

static uint8_t *buffer_at(const struct sf_packet_sender *sender, uint32_t index)
{
    return sender->memory + (size_t)index * sender->stride + ALIGNMENT_GAP;
}

/* ---- buffers ---- */

int sf_packet_sender_open(struct sf_packet_sender *sender, int fd, uint32_t count, uint32_t frame_max)
{
    memset(sender, 0, sizeof(*sender));
    sender->fd = fd;
    sender->count = sender->free_count = count;
    sender->frame_max = frame_max;
    sender->stride = (frame_max + ALIGNMENT_GAP + SF_CACHE_LINE - 1) & ~(SF_CACHE_LINE - 1u);
    sender->memory = aligned_alloc(SF_CACHE_LINE, (size_t)count * sender->stride);
    sender->free = calloc(count, sizeof(*sender->free));
    sender->buffer = calloc(count, sizeof(*sender->buffer));
    sender->iov = calloc(count, sizeof(*sender->iov));
    sender->headers = calloc(count, sizeof(*sender->headers));
    if (!sender->memory || !sender->free || !sender->buffer || !sender->iov || !sender->headers) {
        sf_packet_sender_close(sender);
        return -ENOMEM;
    }
    memset(sender->memory, 0, (size_t)count * sender->stride);
    for (uint32_t i = 0; i < count; i++) {
        sender->free[i] = count - 1 - i;
        sender->headers[i].msg_hdr.msg_iov = &sender->iov[i];
        sender->headers[i].msg_hdr.msg_iovlen = 1;
    }
    return 0;
}

void sf_packet_sender_close(struct sf_packet_sender *sender)
{
    free(sender->memory);
    free(sender->free);
    free(sender->buffer);
    free(sender->iov);
    free(sender->headers);
    memset(sender, 0, sizeof(*sender));
}

int sf_packet_sender_reserve(struct sf_packet_sender *sender, uint32_t len, struct sf_frame *pieces, int max)
{
    uint32_t index;

    if (SF_UNLIKELY(len > sender->frame_max || max < 1))
        return -EMSGSIZE;
    if (SF_UNLIKELY(len < ETH_HLEN))
        return -EINVAL;
    if (SF_UNLIKELY(!sender->free_count))
        sf_packet_sender_flush(sender);
    if (SF_UNLIKELY(!sender->free_count)) {
        sender->full++;
        return -EAGAIN;
    }
    index = sender->free[--sender->free_count];
    pieces[0] = (struct sf_frame){.data = buffer_at(sender, index), .len = len, .token = index};
    return 1;
}

static void give_back(struct sf_packet_sender *sender, uint32_t index)
{
    if (SF_LIKELY(sender->free_count < sender->count)) /* a caller's mistake would return more than there are */
        sender->free[sender->free_count++] = index;
}

void sf_packet_sender_cancel(struct sf_packet_sender *sender, const struct sf_frame *piece)
{
    give_back(sender, (uint32_t)piece->token);
}

void sf_packet_sender_commit(struct sf_packet_sender *sender, const struct sf_frame *piece)
{
    if (SF_UNLIKELY(piece->len < ETH_HLEN || piece->len > sender->frame_max || sender->queued == sender->count)) {
        sender->errors++;
        give_back(sender, (uint32_t)piece->token);
        return;
    }
    sender->buffer[sender->queued] = (uint32_t)piece->token;
    sender->iov[sender->queued++] = (struct iovec){.iov_base = piece->data, .iov_len = piece->len};
}

/* ---- the system call ---- */

/* Removes the first `n` frames from the queue, sent or not. */
static void dequeue(struct sf_packet_sender *sender, uint32_t n)
{
    uint32_t rest = sender->queued - n;

    for (uint32_t i = 0; i < n; i++)
        give_back(sender, sender->buffer[i]);
    if (rest) {
        memmove(sender->buffer, sender->buffer + n, rest * sizeof(*sender->buffer));
        memmove(sender->iov, sender->iov + n, rest * sizeof(*sender->iov));
    }
    sender->queued = rest;
    sender->refusals = 0;
}

static void drop(struct sf_packet_sender *sender, uint32_t n)
{
    sender->errors += n;
    dequeue(sender, n);
}

static void count_sent(struct sf_packet_sender *sender, uint32_t n)
{
    sender->frames += n;
    for (uint32_t i = 0; i < n; i++)
        sender->bytes += sender->iov[i].iov_len;
}

/* Returns the number of frames sent, at least one, or -1. */
static int send_queued(struct sf_packet_sender *sender)
{
    sender->calls++;
    if (SF_LIKELY(sender->queued == 1))
        return send(sender->fd, sender->iov[0].iov_base, sender->iov[0].iov_len, MSG_DONTWAIT) < 0 ? -1 : 1;
    return sendmmsg(sender->fd, sender->headers, sender->queued, MSG_DONTWAIT);
}

/* True: the frames after the first may be tried at once. */
static bool refused(struct sf_packet_sender *sender, int error)
{
    switch (error) {
    case EAGAIN:  /* the socket's send buffer is full */
    case ENOBUFS: /* the NIC's queue is full */
        if (++sender->refusals >= REFUSALS_MAX)
            drop(sender, sender->queued);
        return false;
    case ENXIO: /* the interface is gone */
    case ENODEV:
        sender->gone = true;
        drop(sender, sender->queued);
        return false;
    case ENETDOWN:
        drop(sender, sender->queued);
        return false;
    default: /* for example a frame that is longer than the MTU, which was lowered */
        drop(sender, 1);
        return true;
    }
}

void sf_packet_sender_flush(struct sf_packet_sender *sender)
{
    while (sender->queued) {
        int sent = send_queued(sender);

        if (SF_LIKELY(sent > 0)) {
            count_sent(sender, (uint32_t)sent);
            dequeue(sender, (uint32_t)sent);
        } else if (!refused(sender, errno)) {
            return;
        }
    }
}
