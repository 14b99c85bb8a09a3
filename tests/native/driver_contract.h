/*
 * The contract of driver.h, as checks on two drivers that a shared-memory wire, a veth pair or a cable joins. A driver's own test
 * says how to make a pair, and calls driver_contract(). All else is here, in driver_pair.h and in driver_fork.h.
 */
#ifndef SF_TEST_DRIVER_CONTRACT_H
#define SF_TEST_DRIVER_CONTRACT_H

#include "driver_pair.h"

#include <dirent.h>
#include <pthread.h>

#define CONTRACT_WAKEUPS 10000

enum contract_flags {
    CONTRACT_LOSSY = 1, /* a slow receiver loses frames; without this flag, the sender is held back */
};

struct driver_contract {
    const char *name;
    /* Makes a new pair. Returns 0, or -1 if that is impossible here, with the reason on stderr. Called several times. */
    int (*open)(struct contract_pair *pair, void *context);
    /* Called after the contract has closed both drivers. NULL: nothing to do. */
    void (*closed)(struct contract_pair *pair, void *context);
    void *context;
    uint32_t flags; /* CONTRACT_… */
    sf_ns patience; /* how long a frame may take; 0: CONTRACT_PATIENCE */
    sf_ns quiet;    /* a frame that has not come by then is lost; 0: CONTRACT_QUIET */
};

/* ---- pairs ---- */

static int contract_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    CHECK(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void contract_close(const struct driver_contract *contract, struct contract_pair *pair)
{
    pair->a->fast.control->close(pair->a);
    pair->b->fast.control->close(pair->b);
    if (contract->closed)
        contract->closed(pair, contract->context);
}

static void contract_open(const struct driver_contract *contract, struct contract_pair *pair)
{
    memset(pair, 0, sizeof(*pair));
    memset(&contract_inbox, 0, sizeof(contract_inbox));
    CHECK(contract->open(pair, contract->context) == 0);
    pair->patience = contract->patience;
    pair->quiet = contract->quiet;
    CHECK(pair->b->fast.control->filter_add(pair->b, contract_flow(pair)) == 0);
}

/* ---- the checks ---- */

static void contract_check_caps(const struct contract_pair *pair)
{
    struct sf_driver_caps caps = contract_caps(pair->a);
    static const uint8_t no_mac[6];

    CHECK(caps.mtu >= 68 && caps.mtu + 14 <= CONTRACT_LARGEST);
    CHECK(caps.rx_lent > 0 && caps.tx_queue > 0);
    CHECK(memcmp(caps.mac, no_mac, 6) != 0);
    CHECK(memchr(caps.mode, 0, sizeof(caps.mode)) && caps.mode[0]);
    CHECK(!(caps.flags & SF_DRIVER_DEAD));
    if (caps.flags & SF_DRIVER_POINT_TO_POINT)
        CHECK(caps.addr == pair->addr_a && caps.peer_addr == pair->addr_b && !memcmp(caps.peer_mac, pair->mac_b, 6));
    CHECK(pair->a->fast.control->name[0]);
}

static void contract_check_reserve(const struct contract_pair *pair)
{
    struct sf_frame pieces[CONTRACT_PIECES];
    struct sf_driver *a = pair->a;
    uint32_t mtu = contract_caps(a).mtu, number;
    int n;

    CHECK(a->fast.tx_reserve(a, mtu + 14 + 4 + 1, pieces, CONTRACT_PIECES) == -EMSGSIZE);
    CHECK(a->fast.tx_reserve(a, UINT32_MAX, pieces, CONTRACT_PIECES) == -EMSGSIZE);
    n = a->fast.tx_reserve(a, mtu + 14, pieces, CONTRACT_PIECES);
    CHECK(n >= 1);
    a->fast.tx_cancel(a, pieces, n);
    if (n > 1)
        CHECK(a->fast.tx_reserve(a, mtu + 14, pieces, n - 1) == -EMSGSIZE);
    for (uint32_t i = 0; i < 2 * contract_caps(a).tx_queue; i++) { /* a cancelled reservation uses nothing up */
        n = a->fast.tx_reserve(a, CONTRACT_SMALLEST, pieces, CONTRACT_PIECES);
        CHECK(n >= 1);
        a->fast.tx_cancel(a, pieces, n);
    }
    a->fast.tx_flush(a);
    CHECK(contract_receive(pair, &number, 5 * SF_MS) == 0);
    CHECK(contract_stats(a).tx_frames == 0);
}

/* Sends frames of each size if the MTU is small. Otherwise of each seventh size, and of the smallest and the largest. */
static void contract_check_sizes(const struct contract_pair *pair)
{
    struct sf_driver_stats before = contract_stats(pair->b), after;
    uint32_t largest = contract_caps(pair->a).mtu + 14, number = 0, frames = 0;
    uint64_t bytes = 0;

    for (uint32_t len = CONTRACT_SMALLEST;; len += largest > 2000 ? 7 : 1) {
        uint32_t sent = len < largest ? len : largest;

        contract_send_surely(pair, sent, len);
        CHECK(contract_receive(pair, &number, contract_patience(pair)) == sent && number == len);
        frames++;
        bytes += sent;
        if (sent == largest)
            break;
    }
    after = contract_stats(pair->a);
    CHECK(after.tx_frames == frames && after.tx_bytes == bytes && after.tx_errors == 0);
    after = contract_stats(pair->b);
    CHECK(after.rx_frames - before.rx_frames >= frames && after.rx_bytes - before.rx_bytes >= bytes);
    CHECK(after.rx_invalid == 0 && after.rx_dropped == 0);
}

/* Up to 24 frames are lent at a time and released in random order, for several times the length of a ring. */
static void contract_check_release_order(const struct contract_pair *pair)
{
    uint32_t total = 4 * contract_caps(pair->a).tx_queue, sent = 0, received = 0;
    struct sf_frame lent[24], burst[8];
    uint64_t seed = 20240229;
    int held = 0;
    sf_ns end = sf_now() + 5 * contract_patience(pair);

    if (total > 8192)
        total = 8192;
    while (received < total) {
        int n, at = 0;

        CHECK(sf_now() < end);
        while (sent < total && sent - received < 16 && contract_send(pair, CONTRACT_SMALLEST, sent))
            sent++;
        pair->a->fast.tx_flush(pair->a);
        n = pair->a->fast.rx_burst(pair->a, burst, 8);
        pair->a->fast.rx_release(pair->a, burst, n);
        n = pair->b->fast.rx_burst(pair->b, burst, 8);
        CHECK(n >= 0 && n <= 8);
        while (at < n) {
            if (contract_join(burst, n, &at)) {
                contract_check_content(pair, CONTRACT_SMALLEST);
                CHECK(contract_number(contract_received) == received);
                received++;
            }
        }
        memcpy(lent + held, burst, (size_t)n * sizeof(burst[0]));
        for (held += n; held > 16 || (held > 0 && next_random(&seed) % 4 == 0);) {
            int which = (int)(next_random(&seed) % (uint64_t)held);

            pair->b->fast.rx_release(pair->b, &lent[which], 1);
            lent[which] = lent[--held];
        }
    }
    pair->b->fast.rx_release(pair->b, lent, held);
}

static void contract_check_full(const struct driver_contract *contract, const struct contract_pair *pair)
{
    uint32_t limit = 8 * contract_caps(pair->a).tx_queue, sent = 0, received = 0, number, last = 0;
    uint64_t full = contract_stats(pair->a).tx_full;

    while (sent < limit && contract_send(pair, 200, sent))
        sent++;
    CHECK(sent > 0);
    if (sent < limit)
        CHECK(contract_stats(pair->a).tx_full == full + 1);
    else
        CHECK(contract->flags & CONTRACT_LOSSY); /* the driver sends without a flush, and frames were lost on the way */
    pair->a->fast.tx_flush(pair->a);
    while (received < sent &&
           contract_receive(pair, &number, contract->flags & CONTRACT_LOSSY ? contract_quiet(pair) : contract_patience(pair))) {
        CHECK(received == 0 || number > last);
        last = number;
        received++;
        pair->a->fast.tx_flush(pair->a);
    }
    CHECK(received == sent || contract->flags & CONTRACT_LOSSY);
    contract_send_surely(pair, 300, limit + 1);
    CHECK(contract_receive(pair, &number, contract_patience(pair)) == 300 && number == limit + 1);
}

static void contract_check_filters(const struct contract_pair *pair)
{
    struct sf_driver *b = pair->b;
    struct sf_flow flow = *contract_flow(pair), other = flow;
    uint32_t number;

    if (contract_caps(b).flags & SF_DRIVER_UNFILTERED) {
        CHECK(b->fast.control->filter_del(b, &flow) == 0 && b->fast.control->filter_add(b, &flow) == 0);
        return;
    }
    CHECK(b->fast.control->filter_add(b, &flow) == -EEXIST);
    other.local_port = htons(CONTRACT_PORT_B + 1);
    CHECK(b->fast.control->filter_add(b, &other) == 0);
    CHECK(b->fast.control->filter_del(b, &flow) == 0);
    contract_send_surely(pair, 100, 1);
    CHECK(contract_receive(pair, &number, contract_quiet(pair)) == 0);
    CHECK(b->fast.control->filter_del(b, &flow) < 0);
    CHECK(b->fast.control->filter_del(b, &other) == 0);
    CHECK(b->fast.control->filter_add(b, &flow) == 0);
    contract_send_surely(pair, 100, 2);
    CHECK(contract_receive(pair, &number, contract_patience(pair)) == 100 && number == 2);
}

static void contract_check_arm(const struct contract_pair *pair)
{
    struct sf_driver *b = pair->b;
    int fd = contract_arm_idle(b), again;
    uint32_t number;

    CHECK(fd >= 0 && !contract_readable(fd, 20));
    contract_send_surely(pair, 100, 1);
    CHECK(contract_readable(fd, 2000));
    b->fast.control->disarm(b);
    CHECK(b->fast.control->arm(b, &again) == -EAGAIN); /* the frame has not been read yet */
    CHECK(contract_receive(pair, &number, contract_patience(pair)) == 100 && number == 1);
    CHECK(contract_arm_idle(b) == fd);
    CHECK(!contract_readable(fd, 20)); /* the driver has read the wake-up from the descriptor */
    b->fast.control->disarm(b);
    b->fast.control->disarm(b); /* a second disarm() does no harm */
    contract_send_surely(pair, 100, 2);
    CHECK(contract_receive(pair, &number, contract_patience(pair)) == 100 && number == 2);
}

/* ---- no wake-up is lost: a thread sends after random pauses, and the receiver sleeps whenever no frame is there ---- */

struct contract_wakeups {
    const struct contract_pair *pair;
    _Atomic uint32_t seen;
};

static void contract_pause(uint64_t *seed)
{
    uint64_t turns = next_random(seed) % 64 == 0 ? next_random(seed) % 20000 : next_random(seed) % 1000;

    for (uint64_t i = 0; i < turns; i++)
        sf_relax();
}

static void *contract_sender(void *argument)
{
    struct contract_wakeups *w = argument;
    uint64_t seed = 4711;

    for (uint32_t number = 1; number <= CONTRACT_WAKEUPS; number++) {
        sf_ns end = sf_now() + contract_patience(w->pair);

        contract_pause(&seed);
        contract_send_surely(w->pair, CONTRACT_SMALLEST, number);
        while (w->seen != number) {
            if (sf_now() > end)
                fprintf(stderr, "frame %u did not wake the receiver\n", number);
            CHECK(sf_now() < end);
            sched_yield();
        }
    }
    return NULL;
}

static uint32_t contract_take_number(struct sf_driver *b)
{
    struct sf_frame frames[8];
    uint32_t number = 0;
    int n = b->fast.rx_burst(b, frames, 8);

    for (int i = 0; i < n; i++) {
        uint8_t head[50];

        if (frames[i].len < sizeof(head))
            continue;
        memcpy(head, frames[i].data, sizeof(head));
        if (ntohl(*(uint32_t *)memcpy(&(uint32_t){0}, head + 42, 4)) == CONTRACT_MAGIC)
            number = contract_number(head);
    }
    b->fast.rx_release(b, frames, n);
    return number;
}

static void contract_check_wakeups(const struct contract_pair *pair)
{
    struct contract_wakeups w = {.pair = pair};
    struct sf_driver *b = pair->b;
    uint64_t seed = 815;
    pthread_t sender;
    int fd;

    CHECK(pthread_create(&sender, NULL, contract_sender, &w) == 0);
    while (w.seen < CONTRACT_WAKEUPS) {
        uint32_t number = contract_take_number(b);

        if (number) {
            CHECK(number == w.seen + 1);
            w.seen = number;
            continue;
        }
        if (next_random(&seed) % 2)
            contract_pause(&seed);
        if (b->fast.control->arm(b, &fd) == 0) {
            contract_readable(fd, contract_sleep(b));
            b->fast.control->disarm(b);
        }
    }
    pthread_join(sender, NULL);
}

static void contract_check_close_with_lent(const struct driver_contract *contract, bool receiver_first)
{
    struct sf_frame frames[4], pieces[CONTRACT_PIECES];
    struct contract_pair pair;
    sf_ns end;

    contract_open(contract, &pair);
    end = sf_now() + contract_patience(&pair);
    for (uint32_t i = 0; i < 8; i++)
        contract_send_surely(&pair, 100, i);
    while (pair.b->fast.rx_burst(pair.b, frames, 4) == 0)
        CHECK(sf_now() < end);
    CHECK(pair.a->fast.tx_reserve(pair.a, 100, pieces, CONTRACT_PIECES) >= 1);
    if (receiver_first) {
        pair.b->fast.control->close(pair.b);
        pair.a->fast.control->close(pair.a);
        if (contract->closed)
            contract->closed(&pair, contract->context);
    } else {
        contract_close(contract, &pair);
    }
}

#include "driver_fork.h"

/* Returns 0, or -1 if the first pair could not be made. Ends the process if a check fails. */
static int driver_contract(const struct driver_contract *contract)
{
    int descriptors = contract_descriptors();
    struct contract_pair pair;

    memset(&pair, 0, sizeof(pair));
    if (contract->open(&pair, contract->context) < 0)
        return -1;
    contract_close(contract, &pair);
    CHECK(contract_descriptors() == descriptors);

    contract_open(contract, &pair);
    contract_check_caps(&pair);
    contract_check_reserve(&pair);
    contract_check_sizes(&pair);
    contract_check_release_order(&pair);
    contract_check_filters(&pair);
    contract_check_arm(&pair);
    contract_check_full(contract, &pair);
    contract_check_wakeups(&pair);
    contract_close(contract, &pair);

    contract_check_close_with_lent(contract, false);
    contract_check_close_with_lent(contract, true);
    contract_check_abandon(contract, descriptors);
    CHECK(contract_descriptors() == descriptors);
    printf("%s: keeps the driver contract\n", contract->name);
    return 0;
}

#endif
