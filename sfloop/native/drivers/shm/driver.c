/*
 * One side of a wire in shared memory. The two sides are in one process, or in two processes of the same user. Frames are written
 * and read in place: sending lends a slot of our ring, receiving a slot of the peer's. Nothing is copied, and no system call is
 * made while both sides are awake.
 *
 * Nothing read from the shared memory is trusted. Positions, ring sizes and lengths that decide which memory is accessed are our
 * own copies. The peer's words are compared with them. A word that does not fit is counted and skipped. The peer can change the
 * *contents* of a lent frame at any time, so a parser must read each field once.
 *
 * Frames that a dead peer has sent are still delivered. Frames sent while there is no peer are counted in tx_errors.
 */
#define _GNU_SOURCE
#include "drivers/driver_util.h"
#include "wire.h"

#include <errno.h>
#include <stdlib.h>

#define CHECK_EVERY_BURSTS 256 /* between readings of the clock */
#define CHECK_EVERY (20 * SF_MS) /* between checks that the peer lives */
#define NO_SLOT UINT64_MAX
#define LINES_AHEAD 4 /* of a frame; the CPU's prefetcher fetches the lines after them */

struct shm_tx {
    struct shm_ring *ring;
    uint8_t *slots;
    uint32_t mask;
    uint32_t head; /* the next slot to lend */
    uint32_t tail; /* the peer's tail, as last read */
    uint32_t last_len; /* length of the last frame */
    bool unflushed, starved;
    bool first; /* the first frame since the last poll: the peer can read the later ones only after it */
};

struct shm_rx {
    struct shm_ring *ring;
    uint8_t *slots;
    uint32_t mask;
    uint32_t next; /* the next slot to read */
    uint32_t tail; /* the oldest lent slot */
    bool look_for_starved;
};

struct shm_driver {
    struct sf_driver base;
    struct shm_rx rx;
    struct shm_tx tx;
    uint32_t slot_size, frame_max;
    uint32_t until_check;
    bool peer_lives, news;
    bool elsewhere; /* the peer is another process, most likely on another core */
    uint32_t peer_generation, peer_addr;
    sf_ns checked;
    struct sf_driver_stats stats;
    struct shm_wire wire;
    uint32_t addr;
    uint8_t *nowhere;  /* a slot for frames without a peer */
    uint8_t *released; /* one flag for each rx slot: returned, but not the oldest */
};

static inline struct shm_driver *shm_of(struct sf_driver *driver)
{
    return (struct shm_driver *)driver;
}

static inline struct shm_slot *slot_at(const struct shm_driver *d, uint8_t *slots, uint32_t index)
{
    return (struct shm_slot *)(void *)(slots + (size_t)index * d->slot_size);
}

/* Prefetches the lines of a frame after its first, which the peer has written or read last. Fetched one by one, each would
 * take as long as a message between cores. The first line is not prefetched, because a reader has it already, and a writer
 * would lose it again to the peer, which polls it. */
static inline void fetch_rest(const struct shm_slot *slot, uint32_t len, bool to_write)
{
    const uint8_t *first = (const uint8_t *)slot, *end = slot->frame + len;

    for (int i = 1; i < LINES_AHEAD && first + i * SF_CACHE_LINE < end; i++) {
        if (to_write) /* the builtin takes constants only */
            __builtin_prefetch(first + i * SF_CACHE_LINE, 1);
        else
            __builtin_prefetch(first + i * SF_CACHE_LINE, 0);
    }
}

/* Moves a written frame to the cache that both cores share, because another core reads it next. Uses CLDEMOTE (Intel SDM 2A),
 * which is a no-operation on CPUs without it, encoded by hand for assemblers without it. A writer has to wait for it before
 * the next frame, so it is used for the first frame of a turn only. */
static inline void hand_over(const struct shm_slot *slot, uint32_t len)
{
#ifdef __x86_64__
    const uint8_t *at = (const uint8_t *)slot, *end = slot->frame + len;

    if (end - at > LINES_AHEAD * SF_CACHE_LINE)
        return;
    for (; at < end; at += SF_CACHE_LINE)
        __asm__ volatile(".byte 0x0f, 0x1c, 0x00" : : "a"(at), "m"(*(const uint8_t(*)[SF_CACHE_LINE])at));
#else
    (void)slot;
    (void)len;
#endif
}

/* ---- the peer ---- */

static bool has_news(struct shm_driver *d)
{
    const struct shm_side *peer = &d->wire.map->side[1 - d->wire.side];

    return atomic_load_explicit(&peer->generation, memory_order_acquire) != d->peer_generation;
}

/* A new peer uses the FIFO of the one before it, and its positions are in our own words. So only the address changes. */
static void check_peer(struct shm_driver *d)
{
    const struct shm_side *peer = &d->wire.map->side[1 - d->wire.side];
    /* In this order, because a peer that arrives in between increments the generation last, and is then found by the next
     * check. */
    uint32_t generation = atomic_load_explicit(&peer->generation, memory_order_acquire);
    bool lives = sf_shm_peer_lives(&d->wire);

    if (lives != d->peer_lives || generation != d->peer_generation) {
        d->news = true;
        d->peer_lives = lives;
        d->peer_generation = generation;
        d->peer_addr = lives ? atomic_load_explicit(&peer->addr, memory_order_relaxed) : 0;
        d->elsewhere = atomic_load_explicit(&peer->pid, memory_order_relaxed) != (uint32_t)d->wire.owner;
    }
    d->checked = sf_now();
}

/* Writes our words in the shared memory again, so that the wire recovers if they were overwritten. */
static void repeat_words(struct shm_driver *d)
{
    atomic_store_explicit(&d->tx.ring->head.value, d->tx.head, memory_order_release);
    atomic_store_explicit(&d->rx.ring->tail.value, d->rx.tail, memory_order_release);
}

static void check_now_and_then(struct shm_driver *d)
{
    d->until_check = CHECK_EVERY_BURSTS;
    if (sf_now() - d->checked < CHECK_EVERY)
        return;
    repeat_words(d);
    check_peer(d);
}

/* ---- receiving ---- */

/* Wakes a starved sender once after slots have become free. The fence orders our `tail` before the read of `starved`. The
 * sender does the reverse, so one of the two sees the other's word. */
static void wake_starved_sender(struct shm_driver *d)
{
    d->rx.look_for_starved = false;
    atomic_thread_fence(memory_order_seq_cst);
    if (!atomic_load_explicit(&d->rx.ring->starved.value, memory_order_relaxed))
        return;
    atomic_store_explicit(&d->rx.ring->starved.value, 0, memory_order_relaxed);
    d->stats.wakeups++;
    sf_shm_wake_peer(&d->wire);
}

static inline bool rx_pending(const struct shm_driver *d)
{
    const struct shm_slot *slot = slot_at(d, d->rx.slots, d->rx.next & d->rx.mask);

    return atomic_load_explicit(&slot->seq, memory_order_acquire) == d->rx.next + 1 && d->rx.next - d->rx.tail <= d->rx.mask;
}

static void free_slot(struct shm_rx *rx, uint8_t *released, uint32_t position)
{
    if (position - rx->tail >= rx->next - rx->tail)
        return; /* not a lent slot */
    released[position & rx->mask] = 1;
    while (rx->tail != rx->next && released[rx->tail & rx->mask])
        released[rx->tail++ & rx->mask] = 0;
}

static void publish_tail(struct shm_driver *d)
{
    atomic_store_explicit(&d->rx.ring->tail.value, d->rx.tail, memory_order_release);
    d->rx.look_for_starved = true;
}

static int shm_rx_burst(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    struct shm_driver *d = shm_of(driver);
    struct shm_rx *rx = &d->rx;
    int taken = 0;

    d->tx.first = true;
    if (SF_UNLIKELY(--d->until_check == 0))
        check_now_and_then(d);
    for (int looked = 0; looked < n && rx_pending(d); looked++) {
        struct shm_slot *slot = slot_at(d, rx->slots, rx->next & rx->mask);
        uint32_t len = atomic_load_explicit(&slot->len, memory_order_relaxed);
        uint32_t position = rx->next++;

        if (SF_UNLIKELY(len < SF_ETHERNET_HEADER || len > d->frame_max)) {
            d->stats.rx_invalid += len != 0;
            free_slot(rx, d->released, position);
            publish_tail(d);
            continue;
        }
        if (d->elsewhere)
            fetch_rest(slot, len, false);
        frames[taken++] = (struct sf_frame){.data = slot->frame, .len = len, .token = position};
        d->stats.rx_bytes += len;
    }
    d->stats.rx_frames += (uint64_t)taken;
    if (taken == 0 && SF_UNLIKELY(rx->look_for_starved))
        wake_starved_sender(d);
    return taken;
}

static void shm_rx_release(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    struct shm_driver *d = shm_of(driver);

    for (int i = 0; i < n; i++)
        free_slot(&d->rx, d->released, (uint32_t)frames[i].token);
    publish_tail(d);
}

/* ---- sending ---- */

/* A tail outside the ring's length before our head makes the ring look full until the peer repeats it. */
static bool tx_has_room(struct shm_driver *d)
{
    uint32_t tail;

    if (SF_LIKELY(d->tx.head - d->tx.tail <= d->tx.mask))
        return true;
    tail = atomic_load_explicit(&d->tx.ring->tail.value, memory_order_acquire);
    if (d->tx.head - tail > d->tx.mask)
        return false;
    d->tx.tail = tail;
    return true;
}

static int shm_tx_reserve(struct sf_driver *driver, uint32_t len, struct sf_frame *pieces, int max)
{
    struct shm_driver *d = shm_of(driver);

    if (SF_UNLIKELY(len > d->frame_max || max < 1))
        return -EMSGSIZE;
    if (SF_UNLIKELY(!d->peer_lives) && has_news(d))
        check_peer(d);
    if (SF_UNLIKELY(!d->peer_lives)) {
        pieces[0] = (struct sf_frame){.data = d->nowhere, .len = len, .token = NO_SLOT};
        return 1;
    }
    if (SF_UNLIKELY(!tx_has_room(d))) {
        d->stats.tx_full++;
        d->tx.starved = true;
        return -EAGAIN;
    }
    pieces[0] = (struct sf_frame){
        .data = slot_at(d, d->tx.slots, d->tx.head & d->tx.mask)->frame, .len = len, .token = d->tx.head};
    d->tx.head++;
    d->tx.starved = false;
    return 1;
}

static void fill_slot(struct shm_driver *d, uint32_t position, uint32_t len)
{
    struct shm_slot *slot = slot_at(d, d->tx.slots, position & d->tx.mask);

    atomic_store_explicit(&slot->len, len, memory_order_relaxed);
    atomic_store_explicit(&slot->seq, position + 1, memory_order_release);
    if (d->tx.first && d->elsewhere && !d->tx.unflushed)
        hand_over(slot, len);
    d->tx.unflushed = true;
}

static void shm_tx_cancel(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    struct shm_driver *d = shm_of(driver);
    uint32_t position;

    if (n < 1 || pieces[0].token == NO_SLOT)
        return;
    position = (uint32_t)pieces[0].token;
    if (position == d->tx.head - 1)
        d->tx.head--;
    else
        fill_slot(d, position, 0); /* later frames are out already, so send it as an empty one */
}

static void shm_tx_commit(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    struct shm_driver *d = shm_of(driver);

    if (n != 1 || pieces[0].len > d->frame_max || pieces[0].token == NO_SLOT) {
        d->stats.tx_errors++;
        if (n != 1 || pieces[0].token != NO_SLOT)
            shm_tx_cancel(driver, pieces, n);
        return;
    }
    fill_slot(d, (uint32_t)pieces[0].token, pieces[0].len);
    d->tx.last_len = pieces[0].len;
    d->stats.tx_frames++;
    d->stats.tx_bytes += pieces[0].len;
}

static void shm_tx_flush(struct sf_driver *driver)
{
    struct shm_driver *d = shm_of(driver);
    struct shm_ring *ring = d->tx.ring;

    if (!d->tx.unflushed)
        return;
    d->tx.unflushed = false;
    atomic_store_explicit(&ring->head.value, d->tx.head, memory_order_release);
    atomic_thread_fence(memory_order_seq_cst); /* orders the frames before the read of `sleeping`; the peer does the reverse */
    if (d->tx.first && d->elsewhere)
        fetch_rest(slot_at(d, d->tx.slots, d->tx.head & d->tx.mask), d->tx.last_len, true); /* probably as long */
    d->tx.first = false;
    if (SF_LIKELY(!atomic_load_explicit(&ring->sleeping.value, memory_order_relaxed)))
        return;
    atomic_store_explicit(&ring->sleeping.value, 0, memory_order_relaxed);
    d->stats.wakeups++;
    sf_shm_wake_peer(&d->wire);
}

/* ---- control ---- */

static void shm_disarm(struct sf_driver *driver)
{
    struct shm_driver *d = shm_of(driver);

    atomic_store_explicit(&d->rx.ring->sleeping.value, 0, memory_order_relaxed);
    atomic_store_explicit(&d->tx.ring->starved.value, 0, memory_order_relaxed);
    check_peer(d);
}

/* Empties the FIFO first, so that only later news wakes us. A sender that was told that the ring is full is also woken when
 * there is room. */
static int shm_arm(struct sf_driver *driver, int *fd)
{
    struct shm_driver *d = shm_of(driver);
    bool ready;

    *fd = d->wire.epoll;
    check_peer(d);
    atomic_store_explicit(&d->rx.ring->sleeping.value, 1, memory_order_relaxed);
    atomic_store_explicit(&d->tx.ring->starved.value, d->tx.starved, memory_order_relaxed);
    if (d->rx.look_for_starved)
        wake_starved_sender(d);
    atomic_thread_fence(memory_order_seq_cst);
    ready = d->news || has_news(d) || rx_pending(d);
    if (d->tx.starved && (!d->peer_lives || tx_has_room(d))) {
        d->tx.starved = false;
        ready = true;
    }
    d->news = false;
    if (!ready)
        return 0;
    atomic_store_explicit(&d->rx.ring->sleeping.value, 0, memory_order_relaxed);
    atomic_store_explicit(&d->tx.ring->starved.value, 0, memory_order_relaxed);
    return -EAGAIN;
}

/* A locally administered address that contains the IPv4 address: 02:00:10.0.0.1. */
static void mac_of(uint8_t mac[6], uint32_t addr)
{
    mac[0] = 2;
    mac[1] = 0;
    memcpy(mac + 2, &addr, sizeof(addr));
}

static void shm_caps(struct sf_driver *driver, struct sf_driver_caps *caps)
{
    struct shm_driver *d = shm_of(driver);

    if (has_news(d))
        check_peer(d);
    *caps = (struct sf_driver_caps){
        .flags = SF_DRIVER_POINT_TO_POINT | SF_DRIVER_UNFILTERED,
        .mtu = d->frame_max - SF_ETHERNET_HEADER - SF_VLAN_TAG,
        .rx_lent = d->rx.mask + 1,
        .tx_queue = d->tx.mask + 1,
        .addr = d->addr,
        .peer_addr = d->peer_addr,
    };
    mac_of(caps->mac, d->addr);
    if (d->peer_addr)
        mac_of(caps->peer_mac, d->peer_addr);
    sf_mode_add(caps, "shared memory, %u + %u frames of %u bytes, %zu KiB", d->rx.mask + 1, d->tx.mask + 1,
                d->frame_max, (d->wire.size + 1023) >> 10);
}

static void shm_stats(struct sf_driver *driver, struct sf_driver_stats *stats)
{
    *stats = shm_of(driver)->stats;
}

/* No filter is needed, because the wire carries frames to us only. */
static int shm_filter(struct sf_driver *driver, const struct sf_flow *flow)
{
    (void)driver;
    (void)flow;
    return 0;
}

static int shm_sniff(struct sf_driver *driver, bool on)
{
    (void)driver;
    (void)on;
    return 0;
}

static void shm_close(struct sf_driver *driver)
{
    struct shm_driver *d = shm_of(driver);

    sf_shm_detach(&d->wire);
    free(d->nowhere);
    free(d->released);
    free(d);
}

static void shm_abandon(struct sf_driver *driver)
{
    struct shm_driver *d = shm_of(driver);

    sf_shm_abandon(&d->wire);
    free(d->nowhere);
    free(d->released);
    free(d);
}

static const struct sf_driver_control shm_control = {
    .name = "shm",
    .close = shm_close,
    .abandon = shm_abandon,
    .caps = shm_caps,
    .stats = shm_stats,
    .filter_add = shm_filter,
    .filter_del = shm_filter,
    .arm = shm_arm,
    .disarm = shm_disarm,
    .sniff = shm_sniff,
};

static const struct sf_driver_fast shm_fast = {
    .rx_burst = shm_rx_burst,
    .rx_release = shm_rx_release,
    .tx_reserve = shm_tx_reserve,
    .tx_cancel = shm_tx_cancel,
    .tx_commit = shm_tx_commit,
    .tx_flush = shm_tx_flush,
    .control = &shm_control,
};

/* ---- opening ---- */

/* Finds the positions on a wire that the peer has been using. Receiving starts after the frames sent so far, which were sent
 * to no one. Sending starts after our predecessor's frames that the peer has not taken yet. The slots themselves show where
 * these end, because the predecessor may have been killed between filling slots and writing `head`. */
static void find_positions(struct shm_driver *d)
{
    uint32_t head = atomic_load(&d->tx.ring->tail.value);

    d->tx.tail = head;
    for (uint32_t i = 0; i <= d->tx.mask; i++, head++)
        if (atomic_load(&slot_at(d, d->tx.slots, head & d->tx.mask)->seq) != head + 1)
            break;
    d->tx.head = head;
    d->rx.next = d->rx.tail = atomic_load(&d->rx.ring->head.value);
    atomic_store(&d->rx.ring->sleeping.value, 0);
    atomic_store(&d->tx.ring->starved.value, 0);
    repeat_words(d);
}

static void attach_rings(struct shm_driver *d)
{
    int own = d->wire.side, peer = 1 - own;

    d->slot_size = d->wire.slot_size;
    d->frame_max = d->wire.frame_size;
    d->tx.ring = &d->wire.map->ring[own];
    d->tx.slots = sf_shm_slots(&d->wire, own);
    d->tx.mask = d->wire.frames[own] - 1;
    d->rx.ring = &d->wire.map->ring[peer];
    d->rx.slots = sf_shm_slots(&d->wire, peer);
    d->rx.mask = d->wire.frames[peer] - 1;
    find_positions(d);
}

struct sf_driver *sf_driver_shm_open(const struct sf_driver_config *config, int *error, char *message)
{
    struct shm_driver *d = aligned_alloc(SF_CACHE_LINE, (sizeof(*d) + SF_CACHE_LINE - 1) / SF_CACHE_LINE * SF_CACHE_LINE);
    int rc;

    if (!d)
        return sf_driver_fail(error, message, -ENOMEM, "shm: out of memory");
    memset(d, 0, sizeof(*d));
    d->base.fast = shm_fast;
    d->addr = config->addr;
    rc = sf_shm_attach(&d->wire, config, message);
    if (rc) {
        free(d);
        *error = rc;
        return NULL;
    }
    attach_rings(d);
    d->nowhere = malloc(d->slot_size);
    d->released = calloc(d->rx.mask + 1, 1);
    if (!d->nowhere || !d->released)
        snprintf(message, SF_DRIVER_ERROR_SIZE, "shm: out of memory");
    else
        rc = sf_shm_announce(&d->wire, d->addr, message);
    if (rc || !d->released || !d->nowhere) {
        *error = rc ? rc : -ENOMEM;
        shm_close(&d->base);
        return NULL;
    }
    d->until_check = CHECK_EVERY_BURSTS;
    check_peer(d);
    d->news = false;
    sf_shm_wake_peer(&d->wire); /* the peer may sleep, and our arrival is news */
    return &d->base;
}
