/*
 * A bad link on a good one: frames are lost, duplicated, damaged, delayed, reordered, or limited in rate, as the description
 * says. The choice depends only on the seed and the order of the frames, so a run can be repeated.
 *
 * A direction with faults works on copies, which wait in a queue of limited length until they are due. While a queue is full,
 * received frames stay in the driver below, and tx_reserve() returns -EAGAIN. A direction without faults is passed through.
 */
#define _GNU_SOURCE
#include "drivers/driver_util.h"
#include "fault_description.h"

#include <errno.h>
#include <stdlib.h>

#define COPIES 512 /* in each direction */
#define BURST 64 /* the most pieces of a frame, which the kernel's merged segments have */
#define PIECES 64
#define HOLD_BACK SF_MS /* a frame to be overtaken waits for this time or for the next frame */

sf_ns (*sf_fault_now)(void) = sf_now;

struct copy {
    struct copy *next, *prev;
    sf_ns due, timestamp;
    uint32_t len, flags;
    uint8_t *data;
};

struct direction {
    struct fault_direction fault;
    uint64_t random;
    sf_ns line_free; /* rate: when the last bit of the previous frame is out */
    struct copy queue; /* a ring of copies, ordered by due time */
    struct copy *held; /* the copy that the next one will overtake */
    struct copy *free;
    int free_count;
    struct copy *copies;
    uint8_t *memory;
};

struct fault_driver {
    struct sf_wrapper base;
    uint32_t frame_max;
    struct direction rx, tx;
    struct sf_driver_stats stats; /* added to the stats of the driver below */
};

static inline struct fault_driver *fault_of(struct sf_driver *driver)
{
    return (struct fault_driver *)driver;
}

/* splitmix64, which accepts any seed, including 0. */
static uint32_t draw(struct direction *d)
{
    uint64_t z = d->random += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 32);
}

/* ---- the queue of copies ---- */

static struct copy *take_copy(struct direction *d)
{
    struct copy *copy = d->free;

    if (copy) {
        d->free = copy->next;
        d->free_count--;
        copy->next = copy->prev = NULL;
    }
    return copy;
}

static void give_copy(struct direction *d, struct copy *copy)
{
    copy->next = d->free;
    d->free = copy;
    d->free_count++;
}

static void unlink_copy(struct direction *d, struct copy *copy)
{
    copy->prev->next = copy->next;
    copy->next->prev = copy->prev;
    if (d->held == copy)
        d->held = NULL;
}

/* Inserts after all copies that are due no later. The search from the end is short, because most copies are due last. */
static void queue_copy(struct direction *d, struct copy *copy)
{
    struct copy *before = d->queue.prev;

    while (before != &d->queue && before->due > copy->due)
        before = before->prev;
    copy->prev = before;
    copy->next = before->next;
    before->next->prev = copy;
    before->next = copy;
}

static struct copy *next_due(struct direction *d, sf_ns now)
{
    struct copy *first = d->queue.next;

    return first != &d->queue && first->due <= now ? first : NULL;
}

/* ---- the fate of a frame ---- */

static sf_ns when_due(struct direction *d, uint32_t len, sf_ns now, uint32_t chance)
{
    sf_ns span = d->fault.delay_max - d->fault.delay_min;

    if (d->fault.rate) {
        sf_ns start = d->line_free > now ? d->line_free : now;

        now = d->line_free = start + (sf_ns)((double)len * 8e9 / (double)d->fault.rate);
    }
    return now + d->fault.delay_min + (sf_ns)((double)span * (double)chance / 4294967296.0);
}

/* Damages a byte. Clears the checksum flags, because a receiver that trusts them would not notice the damage. */
static void corrupt(struct copy *copy, uint32_t chance)
{
    copy->data[(uint64_t)chance * copy->len >> 32] ^= (uint8_t)(1u << (chance & 7));
    copy->flags &= ~(uint32_t)(SF_FRAME_CHECKSUM_GOOD | SF_FRAME_CHECKSUM_PARTIAL | SF_FRAME_CHECKSUM_UNSURE);
}

static void duplicate(struct direction *d, const struct copy *copy)
{
    struct copy *second = take_copy(d);

    if (!second)
        return;
    memcpy(second->data, copy->data, copy->len);
    second->len = copy->len;
    second->flags = copy->flags;
    second->timestamp = copy->timestamp;
    second->due = copy->due;
    queue_copy(d, second);
}

/* Draws the same number of random values for each frame. So the fate of one frame does not change that of the next, and
 * loss=1% loses the same frames with and without a delay. */
static void decide(struct direction *d, struct copy *copy, sf_ns now)
{
    uint32_t lose = draw(d), twice = draw(d), damage = draw(d), where = draw(d), swap = draw(d),
             late = draw(d);
    struct copy *held = d->held;

    copy->due = when_due(d, copy->len, now, late);
    if (lose < d->fault.loss) {
        give_copy(d, copy);
        return;
    }
    if (damage < d->fault.corrupt && copy->len)
        corrupt(copy, where);
    if (!held && swap < d->fault.reorder) {
        copy->due += HOLD_BACK;
        d->held = copy;
    }
    queue_copy(d, copy);
    if (twice < d->fault.duplicate)
        duplicate(d, copy);
    if (held) {
        unlink_copy(d, held);
        held->due = copy->due;
        queue_copy(d, held);
    }
}

/* ---- receiving ---- */

static void copy_received(struct fault_driver *f, const struct sf_frame *pieces, int n, sf_ns now)
{
    struct copy *copy = take_copy(&f->rx);

    if (!copy) {
        f->stats.rx_dropped++;
        return;
    }
    copy->len = 0;
    copy->flags = pieces[0].flags & ~(uint32_t)SF_FRAME_MORE;
    copy->timestamp = pieces[0].timestamp;
    for (int i = 0; i < n; i++) {
        if (pieces[i].len > f->frame_max - copy->len) {
            f->stats.rx_invalid++;
            give_copy(&f->rx, copy);
            return;
        }
        memcpy(copy->data + copy->len, pieces[i].data, pieces[i].len);
        copy->len += pieces[i].len;
    }
    decide(&f->rx, copy, now);
}

static void take_from_below(struct fault_driver *f, sf_ns now)
{
    struct sf_frame frames[BURST];
    int n = sf_pass_rx_burst(&f->base.driver, frames, f->rx.free_count < BURST ? f->rx.free_count : BURST);

    for (int i = 0; i < n;) {
        int first = i;

        while (i < n - 1 && frames[i].flags & SF_FRAME_MORE)
            i++;
        i++;
        copy_received(f, frames + first, i - first, now);
    }
    if (n > 0)
        sf_pass_rx_release(&f->base.driver, frames, n);
}

/* ---- sending ---- */

/* False: the driver below is full, and the copy stays first in the queue. */
static bool send_below(struct fault_driver *f, struct copy *copy)
{
    struct sf_frame pieces[PIECES];
    uint32_t done = 0;
    int n = sf_pass_tx_reserve(&f->base.driver, copy->len, pieces, PIECES);

    if (n == -EAGAIN)
        return false;
    if (n < 0) {
        f->stats.tx_errors++;
        return true;
    }
    for (int i = 0; i < n; i++) {
        memcpy(pieces[i].data, copy->data + done, pieces[i].len);
        done += pieces[i].len;
    }
    sf_pass_tx_commit(&f->base.driver, pieces, n);
    return true;
}

static void send_due(struct fault_driver *f, sf_ns now)
{
    struct copy *copy;

    while ((copy = next_due(&f->tx, now)) && send_below(f, copy)) {
        unlink_copy(&f->tx, copy);
        give_copy(&f->tx, copy);
    }
}

static int fault_rx_burst(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    struct fault_driver *f = fault_of(driver);
    struct copy *copy;
    sf_ns now = sf_fault_now();
    int taken = 0;

    if (f->tx.queue.next != &f->tx.queue) {
        send_due(f, now);
        sf_pass_tx_flush(driver);
    }
    if (!f->rx.fault.active)
        return sf_pass_rx_burst(driver, frames, n);
    take_from_below(f, now);
    while (taken < n && (copy = next_due(&f->rx, now))) {
        unlink_copy(&f->rx, copy);
        frames[taken++] = (struct sf_frame){.data = copy->data, .len = copy->len, .flags = copy->flags,
                                            .timestamp = copy->timestamp, .token = (uint64_t)(copy - f->rx.copies)};
    }
    return taken;
}

static void fault_rx_release(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    struct fault_driver *f = fault_of(driver);

    if (!f->rx.fault.active) {
        sf_pass_rx_release(driver, frames, n);
        return;
    }
    for (int i = 0; i < n; i++)
        give_copy(&f->rx, &f->rx.copies[frames[i].token]);
}

static int fault_tx_reserve(struct sf_driver *driver, uint32_t len, struct sf_frame *pieces, int max)
{
    struct fault_driver *f = fault_of(driver);
    struct copy *copy;

    if (!f->tx.fault.active)
        return sf_pass_tx_reserve(driver, len, pieces, max);
    if (len > f->frame_max || max < 1)
        return -EMSGSIZE;
    copy = take_copy(&f->tx);
    if (!copy) {
        f->stats.tx_full++;
        return -EAGAIN;
    }
    pieces[0] = (struct sf_frame){.data = copy->data, .len = len, .token = (uint64_t)(copy - f->tx.copies)};
    return 1;
}

static void fault_tx_cancel(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    struct fault_driver *f = fault_of(driver);

    if (!f->tx.fault.active)
        sf_pass_tx_cancel(driver, pieces, n);
    else if (n > 0)
        give_copy(&f->tx, &f->tx.copies[pieces[0].token]);
}

static void fault_tx_commit(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    struct fault_driver *f = fault_of(driver);
    struct copy *copy;

    if (!f->tx.fault.active) {
        sf_pass_tx_commit(driver, pieces, n);
        return;
    }
    copy = &f->tx.copies[pieces[0].token];
    copy->len = pieces[0].len;
    copy->flags = 0;
    copy->timestamp = 0;
    decide(&f->tx, copy, sf_fault_now());
}

static void fault_tx_flush(struct sf_driver *driver)
{
    struct fault_driver *f = fault_of(driver);

    if (f->tx.queue.next != &f->tx.queue)
        send_due(f, sf_fault_now());
    sf_pass_tx_flush(driver);
}

/* ---- control ---- */

static sf_ns first_due(const struct direction *d)
{
    return d->queue.next != &d->queue ? d->queue.next->due : SF_NEVER;
}

static sf_ns fault_due(struct sf_driver *driver)
{
    struct fault_driver *f = fault_of(driver);
    sf_ns rx = first_due(&f->rx), tx = first_due(&f->tx), below = sf_pass_due(driver), first = rx < tx ? rx : tx;

    return below < first ? below : first;
}

/* Frames that are not due yet end a sleep through fault_due(). */
static int fault_arm(struct sf_driver *driver, int *fd)
{
    int rc = sf_pass_arm(driver, fd);

    if (rc == 0 && fault_due(driver) <= sf_fault_now()) {
        sf_pass_disarm(driver);
        return -EAGAIN;
    }
    return rc;
}

static void fault_caps(struct sf_driver *driver, struct sf_driver_caps *caps)
{
    struct fault_driver *f = fault_of(driver);

    sf_pass_caps(driver, caps);
    caps->flags &= ~(uint32_t)SF_DRIVER_STAMPS_TX; /* some frames are never sent, and others twice */
    if (f->rx.fault.active)
        caps->rx_lent = COPIES;
    if (f->tx.fault.active)
        caps->tx_queue = COPIES;
    sf_mode_add(caps, "; faults injected");
}

/* In a direction with faults, waiting frames count neither as sent nor as received. */
static void fault_stats(struct sf_driver *driver, struct sf_driver_stats *stats)
{
    struct fault_driver *f = fault_of(driver);

    sf_pass_stats(driver, stats);
    stats->rx_dropped += f->stats.rx_dropped;
    stats->rx_invalid += f->stats.rx_invalid;
    stats->tx_full += f->stats.tx_full;
    stats->tx_errors += f->stats.tx_errors;
}

static void free_direction(struct direction *d)
{
    free(d->copies);
    free(d->memory);
}

static void fault_close(struct sf_driver *driver)
{
    struct fault_driver *f = fault_of(driver);

    f->base.below->fast.control->close(f->base.below);
    free_direction(&f->rx);
    free_direction(&f->tx);
    free(f);
}

/* Copies of received frames stay in memory, because they may be lent. */
static void fault_abandon(struct sf_driver *driver)
{
    struct fault_driver *f = fault_of(driver);

    sf_driver_abandon(f->base.below);
    free(f->rx.copies);
    free_direction(&f->tx);
    free(f);
}

static const struct sf_driver_control fault_control = {
    .name = "fault",
    .close = fault_close,
    .abandon = fault_abandon,
    .caps = fault_caps,
    .stats = fault_stats,
    .arm = fault_arm,
    .due = fault_due,
    SF_PASS_CONTROL,
};

static const struct sf_driver_fast fault_fast = {
    .rx_burst = fault_rx_burst,
    .rx_release = fault_rx_release,
    .tx_reserve = fault_tx_reserve,
    .tx_cancel = fault_tx_cancel,
    .tx_commit = fault_tx_commit,
    .tx_flush = fault_tx_flush,
    .control = &fault_control,
};

static int make_direction(struct direction *d, const struct fault_direction *fault, uint64_t seed, uint32_t frame_max)
{
    d->fault = *fault;
    d->random = seed;
    d->queue.next = d->queue.prev = &d->queue;
    if (!fault->active)
        return 0;
    d->copies = calloc(COPIES, sizeof(*d->copies));
    d->memory = malloc((size_t)COPIES * frame_max);
    if (!d->copies || !d->memory)
        return -ENOMEM;
    for (size_t i = 0; i < COPIES; i++) {
        d->copies[i].data = d->memory + i * frame_max;
        give_copy(d, &d->copies[i]);
    }
    return 0;
}

struct sf_driver *sf_driver_fault_open(struct sf_driver *below, const struct sf_driver_config *config, int *error,
                                       char *message)
{
    struct fault_description description;
    struct sf_driver_caps caps;
    struct fault_driver *f;
    uint64_t seed;

    *error = sf_fault_describe(config->faults, &description, message);
    if (*error)
        return NULL;
    f = calloc(1, sizeof(*f));
    if (!f)
        return sf_driver_fail(error, message, -ENOMEM, "fault: out of memory");
    below->fast.control->caps(below, &caps);
    seed = description.seed ? description.seed : config->seed;
    f->base.driver.fast = fault_fast;
    f->base.below = below;
    f->frame_max = caps.mtu + SF_ETHERNET_HEADER + SF_VLAN_TAG;
    if (make_direction(&f->rx, &description.rx, seed, f->frame_max) < 0 ||
        make_direction(&f->tx, &description.tx, seed ^ 0x7478u << 16, f->frame_max) < 0) {
        free_direction(&f->rx);
        free_direction(&f->tx);
        free(f);
        return sf_driver_fail(error, message, -ENOMEM, "fault: out of memory");
    }
    return &f->base.driver;
}
