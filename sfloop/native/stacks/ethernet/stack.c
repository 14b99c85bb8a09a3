/*
 * Raw Ethernet frames: a stack with a frame driver and one socket. A received frame is a datagram without an address. A frame in
 * pieces is joined. Its time is the NIC's or the kernel's if the driver knows it, else that of the poll.
 *
 * While the program does not read, the stack keeps one burst of frames. It drops and counts later ones.
 */
#define _GNU_SOURCE
#include "sf/driver.h"
#include "storage/epoll.h"
#include "sf/stack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BURST 64
#define PIECES 32
#define HEADER 14
#define SMALL 64 /* the frame size for which a writable socket must have room */
#define CAPS_INTERVAL SF_MS
#define FULL_INTERVAL (50 * SF_US)

struct ethernet_stack {
    struct sf_stack base;
    struct sf_sock sock; /* base.stack, and the slot of its events */
    struct sf_driver *driver; /* NULL in a forked child, because the driver is the parent's */
    struct sf_frame frames[BURST];
    int n_frames, n_lent; /* frames received, and those lent by the last recv_batch */
    uint32_t interest;
    bool open, dead, blocked, armed, stamps;
    uint32_t burst;
    sf_ns caps_due;
    int epoll_fd, driver_fd;
    uint64_t dropped;
    struct sf_stamp stamp; /* read from the driver but not yet taken */
    bool has_stamp;
    uint8_t *joined;
    size_t joined_size;
};

static inline struct ethernet_stack *stack_of(struct sf_stack *stack)
{
    return (struct ethernet_stack *)stack;
}

static inline struct ethernet_stack *ethernet_of(struct sf_sock *sock)
{
    return (struct ethernet_stack *)sock->stack;
}

/* ---- the turn ---- */

static sf_ns wall_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (sf_ns)ts.tv_sec * SF_SEC + ts.tv_nsec;
}

static void give_back(struct ethernet_stack *e)
{
    if (!e->n_lent)
        return;
    if (e->driver)
        e->driver->fast.rx_release(e->driver, e->frames, e->n_lent);
    memmove(e->frames, e->frames + e->n_lent, (size_t)(e->n_frames - e->n_lent) * sizeof(e->frames[0]));
    e->n_frames -= e->n_lent;
    e->n_lent = 0;
}

static void stamp(struct sf_frame *frames, int n)
{
    sf_ns now = 0;

    for (int i = 0; i < n; i++) {
        if (frames[i].timestamp)
            continue;
        if (!now)
            now = wall_clock();
        frames[i].timestamp = now;
    }
}

/* Calls rx_burst() even without room for its frames, because only it reclaims sent frames. */
static void drop_burst(struct ethernet_stack *e)
{
    struct sf_frame frames[BURST];
    int n = e->driver->fast.rx_burst(e->driver, frames, (int)e->burst);

    if (n <= 0)
        return;
    e->dropped += (uint64_t)n;
    e->driver->fast.rx_release(e->driver, frames, n);
}

static void receive(struct ethernet_stack *e)
{
    int n;

    give_back(e);
    if (e->n_frames) {
        if (!(e->interest & SF_READABLE))
            drop_burst(e);
        return;
    }
    n = e->driver->fast.rx_burst(e->driver, e->frames, (int)e->burst);
    if (n <= 0)
        return;
    stamp(e->frames, n);
    e->n_frames = n;
}

static bool has_stamps(struct ethernet_stack *e)
{
    if (e->stamps && !e->has_stamp)
        e->has_stamp = e->driver->fast.control->tx_stamps(e->driver, &e->stamp, 1) == 1;
    return e->has_stamp;
}

static void look_at_driver(struct ethernet_stack *e, sf_ns now)
{
    struct sf_driver_caps caps;

    e->caps_due = now + CAPS_INTERVAL;
    e->driver->fast.control->caps(e->driver, &caps);
    if (caps.flags & SF_DRIVER_DEAD)
        e->dead = true;
}

static bool has_room(struct ethernet_stack *e)
{
    struct sf_frame pieces[PIECES];
    int n;

    if (!e->blocked || e->dead)
        return true;
    n = e->driver->fast.tx_reserve(e->driver, SMALL, pieces, PIECES);
    if (n < 0)
        return false;
    e->driver->fast.tx_cancel(e->driver, pieces, n);
    e->blocked = false;
    return true;
}

static uint32_t events_of(struct ethernet_stack *e)
{
    uint32_t what = 0;

    if (e->interest & SF_READABLE && (e->n_frames > e->n_lent || e->dead || has_stamps(e)))
        what |= SF_READABLE;
    if (e->interest & SF_WRITABLE && has_room(e))
        what |= SF_WRITABLE;
    return what;
}

static int ethernet_poll(struct sf_stack *stack, sf_ns now, struct sf_event *out, int max)
{
    struct ethernet_stack *e = stack_of(stack);
    uint32_t what;

    stack->stats.polls++;
    if (SF_LIKELY(e->driver != NULL && !e->dead)) {
        receive(e);
        if (SF_UNLIKELY(now >= e->caps_due))
            look_at_driver(e, now);
    }
    what = e->open && max > 0 ? events_of(e) : 0;
    if (SF_LIKELY(!what)) {
        stack->stats.empty_polls++;
        return 0;
    }
    out[0] = (struct sf_event){.slot = e->sock.slot, .generation = e->sock.generation, .what = what};
    stack->stats.events++;
    return 1;
}

/* ---- sleep ---- */

static sf_ns ethernet_poll_at(struct sf_stack *stack, sf_ns now)
{
    struct ethernet_stack *e = stack_of(stack);

    if (e->interest & SF_WRITABLE && e->blocked)
        return now + FULL_INTERVAL;
    return e->driver ? sf_driver_due(e->driver) : SF_NEVER;
}

static int ethernet_arm(struct sf_stack *stack, int *fd)
{
    struct ethernet_stack *e = stack_of(stack);
    int driver_fd = -1, rc;

    *fd = e->epoll_fd;
    if (!e->driver || e->dead)
        return e->open && events_of(e) ? -EAGAIN : 0;
    give_back(e);
    if (events_of(e))
        return -EAGAIN;
    rc = e->driver->fast.control->arm(e->driver, &driver_fd);
    if (rc < 0) {
        e->caps_due = 0; /* the driver's state may have changed */
        return rc;
    }
    e->armed = true;
    if (e->driver_fd >= 0 || driver_fd < 0)
        return 0;
    e->driver_fd = driver_fd;
    return sf_epoll_add(e->epoll_fd, driver_fd, EPOLLIN, 0);
}

static void ethernet_disarm(struct sf_stack *stack)
{
    struct ethernet_stack *e = stack_of(stack);

    if (e->armed && e->driver)
        e->driver->fast.control->disarm(e->driver);
    e->armed = false;
    e->caps_due = 0;
}

/* ---- the socket ---- */

static int ethernet_adopt(struct sf_stack *stack, int fd, enum sf_sock_kind kind, uint32_t slot, uint32_t generation,
                          struct sf_sock **out)
{
    (void)stack;
    (void)fd;
    (void)kind;
    (void)slot;
    (void)generation;
    (void)out;
    return -EOPNOTSUPP; /* the stack serves no kernel sockets */
}

static void ethernet_release(struct sf_sock *sock)
{
    struct ethernet_stack *e = ethernet_of(sock);

    e->open = false;
    e->interest = 0;
}

static int ethernet_interest(struct sf_sock *sock, uint32_t what)
{
    ethernet_of(sock)->interest = what;
    return 0;
}

/* Returns the bytes of the frame at *i, and moves *i past it. NULL: too long to be joined. */
static const uint8_t *take_frame(struct ethernet_stack *e, int *i, size_t *used, uint32_t *len)
{
    const struct sf_frame *frame = &e->frames[*i];
    uint8_t *start = e->joined ? e->joined + *used : NULL;
    size_t size = 0;
    bool fits = true;

    if (SF_LIKELY(!(frame->flags & SF_FRAME_MORE))) {
        ++*i;
        *len = frame->len;
        return frame->data;
    }
    for (;; frame++) {
        fits = fits && start && frame->len <= e->joined_size - *used - size;
        if (fits)
            memcpy(start + size, frame->data, frame->len);
        size += frame->len;
        ++*i;
        if (!(frame->flags & SF_FRAME_MORE) || *i == e->n_frames)
            break;
    }
    if (!fits)
        return NULL;
    *used += size;
    *len = (uint32_t)size;
    return start;
}

/* Makes room for all frames of the burst that are in pieces. */
static void make_room(struct ethernet_stack *e)
{
    size_t size = 0;
    uint8_t *bigger;

    for (int i = 0; i < e->n_frames; i++)
        if (e->frames[i].flags & SF_FRAME_MORE || (i && e->frames[i - 1].flags & SF_FRAME_MORE))
            size += e->frames[i].len;
    if (size <= e->joined_size)
        return;
    bigger = realloc(e->joined, size);
    if (!bigger)
        return;
    e->joined = bigger;
    e->joined_size = size;
}

static int ethernet_recv_batch(struct sf_sock *sock, struct sf_datagram *out, int max)
{
    struct ethernet_stack *e = ethernet_of(sock);
    size_t used = 0;
    int i = 0, n = 0;

    if (e->dead || !e->driver)
        return -ENETDOWN;
    give_back(e);
    if (!e->n_frames)
        return -EAGAIN;
    make_room(e);
    while (i < e->n_frames && n < max) {
        sf_ns timestamp = e->frames[i].timestamp;
        uint32_t len;
        const uint8_t *data = take_frame(e, &i, &used, &len);

        if (!data) {
            e->dropped++;
            continue;
        }
        out[n++] = (struct sf_datagram){.data = data, .len = len, .timestamp = timestamp};
        e->base.stats.rx_bytes += len;
    }
    e->n_lent = i;
    e->base.stats.rx_messages += (uint64_t)n;
    return n;
}

static ssize_t ethernet_send_to(struct sf_sock *sock, const void *data, size_t len, const struct sockaddr *addr,
                                socklen_t addr_len)
{
    struct ethernet_stack *e = ethernet_of(sock);
    struct sf_frame pieces[PIECES];
    const uint8_t *from = data;
    int n;

    (void)addr;
    (void)addr_len;
    if (e->dead || !e->driver)
        return -ENETDOWN;
    if (len > UINT32_MAX)
        return -EMSGSIZE;
    n = len < HEADER ? -EINVAL : e->driver->fast.tx_reserve(e->driver, (uint32_t)len, pieces, PIECES);
    if (n == -EAGAIN || n == -ENETDOWN) { /* the NIC comes back, or the driver is dead soon */
        n = -EAGAIN;
        e->blocked = true;
        e->base.stats.tx_would_block++;
    }
    if (n < 0)
        return n;
    for (int i = 0; i < n; i++) {
        memcpy(pieces[i].data, from, pieces[i].len);
        from += pieces[i].len;
    }
    e->driver->fast.tx_commit(e->driver, pieces, n);
    e->driver->fast.tx_flush(e->driver);
    e->base.touched = true;
    e->base.stats.tx_bytes += len;
    e->base.stats.tx_messages++;
    return (ssize_t)len;
}

static int ethernet_tx_stamps(struct sf_sock *sock, struct sf_stamp *stamps, int max)
{
    struct ethernet_stack *e = ethernet_of(sock);
    int n = 0;

    if (!e->stamps || !e->driver || max < 1)
        return 0;
    if (e->has_stamp)
        stamps[n++] = e->stamp;
    e->has_stamp = false;
    return n + e->driver->fast.control->tx_stamps(e->driver, stamps + n, max - n);
}

/* ---- life ---- */

static void ethernet_destroy(struct sf_stack *stack)
{
    struct ethernet_stack *e = stack_of(stack);

    if (e->driver) {
        if (e->n_frames)
            e->driver->fast.rx_release(e->driver, e->frames, e->n_frames);
        e->driver->fast.control->close(e->driver);
    }
    if (e->epoll_fd >= 0)
        close(e->epoll_fd);
    free(e->joined);
    free(e);
}

/* For a forked child: the driver and the frames that it has lent are the parent's. */
static int ethernet_rebuild(struct sf_stack *stack)
{
    struct ethernet_stack *e = stack_of(stack);

    if (e->driver)
        sf_driver_abandon(e->driver);
    e->driver = NULL;
    e->driver_fd = -1;
    e->n_frames = e->n_lent = 0;
    e->dead = true;
    e->stamps = e->has_stamp = e->blocked = false;
    close(e->epoll_fd);
    e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return e->epoll_fd < 0 ? -errno : 0;
}

static const struct sf_stack_ops ethernet_ops = {
    .name = "ethernet",
    .poll = ethernet_poll,
    .poll_at = ethernet_poll_at,
    .arm = ethernet_arm,
    .disarm = ethernet_disarm,
    .rebuild = ethernet_rebuild,
    .destroy = ethernet_destroy,
    .adopt = ethernet_adopt,
    .release = ethernet_release,
    .interest = ethernet_interest,
    .recv_batch = ethernet_recv_batch,
    .send_to = ethernet_send_to,
    .tx_stamps = ethernet_tx_stamps,
};

struct sf_stack *sf_stack_ethernet_create(struct sf_driver *driver, uint32_t slot, uint32_t generation, struct sf_sock **sock,
                                          int *error)
{
    struct ethernet_stack *e = calloc(1, sizeof(*e));
    struct sf_driver_caps caps;

    *error = -ENOMEM;
    if (!e)
        return NULL;
    e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (e->epoll_fd < 0) {
        *error = -errno;
        free(e);
        return NULL;
    }
    driver->fast.control->caps(driver, &caps);
    e->base.ops = &ethernet_ops;
    e->sock = (struct sf_sock){.stack = &e->base, .slot = slot, .generation = generation};
    e->driver = driver;
    e->driver_fd = -1;
    e->burst = caps.rx_lent && caps.rx_lent < BURST ? caps.rx_lent : BURST;
    e->stamps = caps.flags & SF_DRIVER_STAMPS_TX && driver->fast.control->tx_stamps;
    e->open = true;
    sf_driver_rx_stamps(driver, true);
    *sock = &e->sock;
    *error = 0;
    return &e->base;
}
