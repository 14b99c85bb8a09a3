/* The wire: in shared memory with another stack at its other end, or a loop back to the stack itself. */
#define _GNU_SOURCE
#include "sf/driver.h"
#include "sim.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { FRAMES = 1024, FRAME = 2048, MTU = 1500 };

struct loop_driver {
    struct sf_driver base;
    uint32_t head, tail, released; /* counts of frames sent, received, given back */
    uint32_t addr;
    int fd; /* never readable, because only the stack itself sends */
    struct sf_driver_stats stats;
    uint32_t len[FRAMES];
    uint8_t back[FRAMES];
    uint8_t frame[FRAMES][FRAME];
};

static struct loop_driver *loop_of(struct sf_driver *driver)
{
    return (struct loop_driver *)driver;
}

static int loop_rx_burst(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    struct loop_driver *d = loop_of(driver);
    int taken = 0;

    for (; taken < n && d->tail != d->head; d->tail++) {
        uint32_t i = d->tail % FRAMES;

        frames[taken++] = (struct sf_frame){.data = d->frame[i], .len = d->len[i], .token = d->tail};
        d->stats.rx_frames++;
        d->stats.rx_bytes += d->len[i];
    }
    return taken;
}

static void loop_rx_release(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    struct loop_driver *d = loop_of(driver);

    for (int i = 0; i < n; i++)
        d->back[frames[i].token % FRAMES] = 1;
    while (d->released != d->tail && d->back[d->released % FRAMES])
        d->back[d->released++ % FRAMES] = 0;
}

static int loop_tx_reserve(struct sf_driver *driver, uint32_t len, struct sf_frame *pieces, int max)
{
    struct loop_driver *d = loop_of(driver);

    if (len > MTU + 14 + 4 || max < 1)
        return -EMSGSIZE;
    if (d->head - d->released == FRAMES) {
        d->stats.tx_full++;
        return -EAGAIN;
    }
    pieces[0] = (struct sf_frame){.data = d->frame[d->head % FRAMES], .len = len, .token = d->head};
    return 1;
}

static void loop_tx_cancel(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    (void)driver;
    (void)pieces;
    (void)n;
}

static void loop_tx_commit(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    struct loop_driver *d = loop_of(driver);

    (void)n;
    d->len[d->head++ % FRAMES] = pieces[0].len;
    d->stats.tx_frames++;
    d->stats.tx_bytes += pieces[0].len;
}

static void loop_tx_flush(struct sf_driver *driver)
{
    (void)driver;
}

static void loop_close(struct sf_driver *driver)
{
    close(loop_of(driver)->fd);
    free(driver);
}

static void loop_caps(struct sf_driver *driver, struct sf_driver_caps *caps)
{
    struct loop_driver *d = loop_of(driver);

    *caps = (struct sf_driver_caps){.flags = SF_DRIVER_POINT_TO_POINT | SF_DRIVER_UNFILTERED, .mtu = MTU, .rx_lent = FRAMES,
                                    .tx_queue = FRAMES, .mac = {2, 0, 0, 0, 0, 1}, .peer_mac = {2, 0, 0, 0, 0, 1},
                                    .addr = d->addr, .peer_addr = d->addr, .mode = "loop"};
}

static void loop_stats(struct sf_driver *driver, struct sf_driver_stats *stats)
{
    *stats = loop_of(driver)->stats;
}

static int loop_filter(struct sf_driver *driver, const struct sf_flow *flow)
{
    (void)driver;
    (void)flow;
    return 0;
}

static int loop_arm(struct sf_driver *driver, int *fd)
{
    *fd = loop_of(driver)->fd;
    return loop_of(driver)->head == loop_of(driver)->tail ? 0 : -EAGAIN;
}

static void loop_disarm(struct sf_driver *driver)
{
    (void)driver;
}

static const struct sf_driver_control control = {
    .name = "loop", .close = loop_close, .caps = loop_caps, .stats = loop_stats, .filter_add = loop_filter,
    .filter_del = loop_filter, .arm = loop_arm, .disarm = loop_disarm,
};

struct sf_driver *sim_wire_open(const char *wire, uint32_t addr, int *error, char *message)
{
    struct sf_driver_config config = {.interface = wire, .queue = -1, .addr = addr};
    struct loop_driver *d;

    if (wire)
        return sf_driver_find("shm")(&config, error, message);
    d = calloc(1, sizeof(*d));
    d->base.fast = (struct sf_driver_fast){.rx_burst = loop_rx_burst, .rx_release = loop_rx_release,
                                           .tx_reserve = loop_tx_reserve, .tx_cancel = loop_tx_cancel,
                                           .tx_commit = loop_tx_commit, .tx_flush = loop_tx_flush, .control = &control};
    d->addr = addr;
    d->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return &d->base;
}
