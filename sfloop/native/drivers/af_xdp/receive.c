/* Receiving: from the queues' sockets, and from the overflow. */
#define _GNU_SOURCE 1
#include "driver.h"

#include <sys/socket.h>

/* A received frame's token: the address in the memory, and above it the index of the socket. */
#define TOKEN_SHIFT 48
#define TOKEN_ADDRESS ((UINT64_C(1) << TOKEN_SHIFT) - 1)
#define TOKEN_OVERFLOW (UINT64_C(0xffff) << TOKEN_SHIFT) /* a frame of the overflow buffer */

static void wake_receiver(struct af_xdp *x, const struct sf_xsk *xsk)
{
    x->stats.wakeups++;
    (void)recvfrom(xsk->fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

static inline void recycle(struct sf_xsk *xsk, uint64_t address)
{
    if (SF_LIKELY(xsk->recycled_count < xsk->sizes.rx_frames)) /* a caller's mistake would return more than there are */
        xsk->recycled[xsk->recycled_count++] = address & xsk->frame_mask;
}

static void refill(struct af_xdp *x, struct sf_xsk *xsk)
{
    if (sf_xsk_refill(xsk))
        wake_receiver(x, xsk);
}

static inline void lend(struct af_xdp *x, const struct sf_xsk *xsk, const struct xdp_desc *desc, struct sf_frame *frame)
{
    frame->data = xsk->memory + desc->addr;
    frame->len = desc->len;
    frame->flags = SF_FRAME_CHECKSUM_UNSURE | (desc->options & XDP_PKT_CONTD ? SF_FRAME_MORE : 0);
    frame->timestamp = 0;
    frame->token = (uint64_t)(xsk - x->xsk) << TOKEN_SHIFT | desc->addr;
}

/* Counts a whole frame without reading it. The kernel does not tell AF_XDP which checksums were left to hardware. */
static inline void count_frame(struct af_xdp *x, const struct sf_frame *first, const struct sf_frame *last)
{
    x->stats.rx_frames++;
    for (; first <= last; first++)
        x->stats.rx_bytes += first->len;
}

/* Tells the program, which counts the frames that it sends to the socket. */
static inline void tell_taken(const struct sf_xsk *xsk, int whole)
{
    if (xsk->overflow)
        sf_overflow_taken(xsk->overflow, (uint32_t)whole);
}

/* Drops a frame without an end, or with more pieces than the kernel makes, because it would block the ring. */
static void drop_oversized(struct af_xdp *x, struct sf_xsk *xsk, uint32_t ready)
{
    struct sf_xsk_ring *rx = &xsk->rx;
    const struct xdp_desc *ring = rx->entries, *desc;

    x->stats.rx_invalid++;
    do {
        desc = &ring[rx->position++ & rx->mask];
        recycle(xsk, desc->addr);
    } while (--ready && (desc->options & XDP_PKT_CONTD));
    tell_taken(xsk, 1);
}

/* Takes whole frames. The kernel publishes a frame's pieces together, so only n can cut a frame. */
static int take(struct af_xdp *x, struct sf_xsk *xsk, uint32_t ready, struct sf_frame *frames, int n)
{
    struct sf_xsk_ring *rx = &xsk->rx;
    const struct xdp_desc *ring = rx->entries;
    int whole = 0, count = 0;
    uint64_t before = x->stats.rx_frames;

    for (uint32_t i = 0; i < ready && count < n; i++) {
        const struct xdp_desc *desc = &ring[(rx->position + i) & rx->mask];

        lend(x, xsk, desc, &frames[count++]);
        if (desc->options & XDP_PKT_CONTD)
            continue;
        count_frame(x, &frames[whole], &frames[count - 1]);
        whole = count;
    }
    rx->position += (uint32_t)whole;
    tell_taken(xsk, (int)(x->stats.rx_frames - before));
    if (SF_UNLIKELY(!whole) && (count < n || n >= x->whole_burst)) /* else the frame waits for a larger burst */
        drop_oversized(x, xsk, ready);
    sf_xsk_publish(rx->consumer, rx->position);
    return whole;
}

/* Inline, because an idle turn is little more than this. */
__attribute__((always_inline)) static inline int receive(struct af_xdp *x, struct sf_xsk *xsk, struct sf_frame *frames, int n)
{
    uint32_t ready = sf_xsk_load(xsk->rx.producer) - xsk->rx.position;
    int taken = 0;

    if (ready)
        taken = take(x, xsk, ready, frames, n);
    else if (x->zero_copy && sf_xsk_needs_wakeup(&xsk->fill)) /* the NIC had no memory left before the last refill */
        wake_receiver(x, xsk);
    if (xsk->recycled_count >= xsk->recycle_batch)
        refill(x, xsk);
    return taken;
}

static inline int receive_all(struct af_xdp *x, struct sf_frame *frames, int n)
{
    int taken = 0;

    if (SF_LIKELY(x->queues == 1))
        return receive(x, x->xsk, frames, n);
    for (uint32_t i = 0; i < x->queues && taken < n; i++) {
        taken += receive(x, &x->xsk[x->turn], frames + taken, n - taken);
        x->turn = x->turn + 1 < x->queues ? x->turn + 1 : 0;
    }
    return taken;
}

/* Gives the overflow a share of the burst only, because TCP still arrives at the sockets. */
__attribute__((noinline)) static int receive_overflow(struct af_xdp *x, struct sf_frame *frames, int n)
{
    int share = n > x->whole_burst ? n - x->whole_burst : n / 2;
    int taken = receive_all(x, frames, n - share);
    int kept = sf_overflow_take(&x->place.overflow, frames + taken, n - taken);

    for (struct sf_frame *frame = frames + taken; frame < frames + taken + kept; frame++) {
        frame->flags = SF_FRAME_CHECKSUM_UNSURE;
        frame->token = TOKEN_OVERFLOW;
        count_frame(x, frame, frame);
    }
    return taken + kept;
}

int sf_af_xdp_rx_burst(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    struct af_xdp *x = sf_af_xdp_of(driver);

    if (x->in_flight)
        sf_af_xdp_take_back_sent(x);
    if (SF_UNLIKELY(sf_overflow_waits(&x->place.overflow)) && n > 0)
        return receive_overflow(x, frames, n);
    return receive_all(x, frames, n);
}

void sf_af_xdp_rx_release(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    struct af_xdp *x = sf_af_xdp_of(driver);

    for (int i = 0; i < n; i++) {
        if (SF_UNLIKELY(frames[i].token == TOKEN_OVERFLOW))
            sf_overflow_release(&x->place.overflow);
        else
            recycle(&x->xsk[frames[i].token >> TOKEN_SHIFT], frames[i].token & TOKEN_ADDRESS);
    }
}
