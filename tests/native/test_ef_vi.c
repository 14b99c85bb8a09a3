/*
 * The ef_vi driver over the simulator of its API (tests/sim/ef_vi): the contract in all its modes, and everything that a NIC does
 * wrong. The simulator ends the process when the driver misuses the API.
 */
#define _GNU_SOURCE
#include "driver_contract.h"

#include "../sim/ef_vi/efsim.h"
#include "../sim/ef_vi/interfaces.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct sf_driver *sf_driver_ef_vi_open(const struct sf_driver_config *config, int *error, char *message);
int sf_driver_ef_vi_probe(char *message);

static char message[SF_DRIVER_ERROR_SIZE];
static char wire[64];
static struct efsim_nic *nic[2];

struct setup {
    const char *mode, *expected; /* expected: in caps.mode */
    struct efsim_options options;
    uint32_t mtu, frames;
    bool stamp_tx;
    bool quick; /* the simulator's shortest way, which looks after nobody */
};

static void prepare(const struct setup *setup)
{
    for (int side = 0; side < 2; side++) {
        struct efsim_nic *n = efsim_nic(sim_interfaces[side].ifindex);

        n->options = setup->options;
        n->options.strict = !setup->quick;
        snprintf(n->options.wire, sizeof(n->options.wire), "%s", wire);
        n->wire_addr = htonl(0x0a000001u + (uint32_t)side);
        memset(&n->faults, 0, sizeof(n->faults));
        memset(&n->counts, 0, sizeof(n->counts));
        sim_interfaces[side].mtu = setup->mtu ? setup->mtu : 1500;
        sim_interfaces[side].present = true;
        nic[side] = n;
    }
}

static struct sf_driver *open_side(const struct setup *setup, int side)
{
    struct sf_driver_config config = {.interface = sim_interfaces[side].name, .queue = -1, .mode = setup->mode,
                                      .rx_frames = setup->frames, .tx_frames = setup->frames, .stamp_tx = setup->stamp_tx};
    int error = 0;
    struct sf_driver *driver = sf_driver_ef_vi_open(&config, &error, message);

    CHECK(driver || (error < 0 && message[0]));
    return driver;
}

static int open_pair(struct contract_pair *pair, void *context)
{
    const struct setup *setup = context;

    prepare(setup);
    pair->a = open_side(setup, 0);
    pair->b = open_side(setup, 1);
    if (!pair->a || !pair->b)
        fprintf(stderr, "%s\n", message);
    CHECK(pair->a && pair->b);
    pair->addr_a = htonl(0x0a000001);
    pair->addr_b = htonl(0x0a000002);
    memcpy(pair->mac_a, "\2\0\12\0\0\1", 6);
    memcpy(pair->mac_b, "\2\0\12\0\0\2", 6);
    CHECK(!setup->expected || strstr(contract_caps(pair->a).mode, setup->expected));
    return 0;
}

static void test_contract(const char *name, struct setup setup)
{
    const struct driver_contract contract = {.name = name, .open = open_pair, .context = &setup, .flags = CONTRACT_LOSSY};

    CHECK(driver_contract(&contract) == 0);
}

/* ---- helpers ---- */

static const struct setup ef10 = {.options = {.arch = EF_VI_ARCH_EF10}};
static const struct setup ef10_quick = {.options = {.arch = EF_VI_ARCH_EF10}, .quick = true};
static const struct setup ef10_merged = {.options = {.arch = EF_VI_ARCH_EF10, .force_merge = true}};
static const struct setup efct = {.options = {.arch = EF_VI_ARCH_EFCT}};
static const struct setup jumbo = {.options = {.arch = EF_VI_ARCH_EF10}, .mtu = 9000};
static const struct setup jumbo_merged = {.options = {.arch = EF_VI_ARCH_EF10, .force_merge = true}, .mtu = 9000};

static void begin(struct contract_pair *pair, const struct setup *setup)
{
    memset(&contract_inbox, 0, sizeof(contract_inbox));
    open_pair(pair, (void *)(uintptr_t)setup);
    CHECK(pair->b->fast.control->filter_add(pair->b, contract_flow(pair)) == 0);
}

static void end(struct contract_pair *pair)
{
    pair->a->fast.control->close(pair->a);
    pair->b->fast.control->close(pair->b);
}

static void passes(const struct contract_pair *pair, uint32_t len, uint32_t number)
{
    uint32_t got = 0;

    contract_send_surely(pair, len, number);
    CHECK(contract_receive(pair, &got, CONTRACT_PATIENCE) == len && got == number);
}

static void is_lost(const struct contract_pair *pair, uint32_t len, uint32_t number)
{
    uint32_t got = 0;

    contract_send_surely(pair, len, number);
    CHECK(contract_receive(pair, &got, 5 * SF_MS) == 0);
}

static void turn(struct sf_driver *driver)
{
    struct sf_frame frames[8];

    driver->fast.rx_release(driver, frames, driver->fast.rx_burst(driver, frames, 8));
}

/* ---- discards: each kind, many of them, between good frames; every buffer comes back ---- */

static void test_discards(const struct setup *setup, uint32_t len)
{
    struct contract_pair pair;
    uint64_t invalid;
    int bad = len > 2000 ? 60 : 700; /* more than a ring has descriptors for */

    begin(&pair, setup);
    for (unsigned subtype = 0; subtype < EF_EVENT_RX_DISCARD_MAX; subtype++) {
        invalid = contract_stats(pair.b).rx_invalid;
        nic[1]->faults.subtype = subtype;
        for (int i = 0; i < bad; i++) {
            nic[1]->faults.discards = 1;
            contract_send_surely(&pair, len, 7);
            for (int look = 0; nic[1]->faults.discards && look < 1000; look++)
                turn(pair.b);
            if (i % 50 == 0)
                passes(&pair, len, (uint32_t)i + 1);
        }
        turn(pair.b);
        CHECK(contract_stats(pair.b).rx_invalid == invalid + (uint64_t)bad);
        passes(&pair, len, 10000 + subtype);
    }
    CHECK(nic[1]->counts.no_descriptor == 0 && nic[1]->counts.no_superbuf == 0);
    end(&pair);
}

/* The NIC runs out of buffers in a frame of several. */
static void test_truncated(const struct setup *setup)
{
    struct contract_pair pair;

    begin(&pair, setup);
    for (int i = 0; i < 200; i++) {
        nic[1]->faults.trunc = 1;
        is_lost(&pair, 9000, 5);
        passes(&pair, 9000, (uint32_t)i);
    }
    CHECK(contract_stats(pair.b).rx_dropped == 200 && nic[1]->counts.truncated == 200);
    end(&pair);
}

/* Nothing comes back for a while: the ring runs dry, the NIC drops, and goes on when it has buffers again. */
static void test_starved(const struct setup *setup)
{
    struct contract_pair pair;
    static struct sf_frame lent[4096];
    int held = 0;

    begin(&pair, setup);
    for (uint32_t i = 0; i < 3000; i++) {
        contract_send_surely(&pair, 100, i);
        held += pair.b->fast.rx_burst(pair.b, lent + held, 8);
        turn(pair.a);
    }
    CHECK(held > 100 && held < 3000);
    if (setup->options.arch == EF_VI_ARCH_EF10)
        CHECK(contract_stats(pair.b).rx_dropped == nic[1]->counts.no_descriptor && nic[1]->counts.no_descriptor > 0);
    else
        CHECK(nic[1]->counts.no_superbuf > 0);
    pair.b->fast.rx_release(pair.b, lent, held);
    turn(pair.b);
    for (uint32_t i = 0; i < 2000; i++)
        passes(&pair, 100, i);
    end(&pair);
}

/* A NIC that is never found idle is given buffers too: not in eights, but long before it has none. */
static void test_never_idle(const struct setup *setup)
{
    struct contract_pair pair;
    struct sf_frame frames[8];
    const struct efsim_vi *v;
    uint32_t posted, enough;

    begin(&pair, setup);
    v = nic[1]->vi;
    posted = v->rx_posted - v->rx_filled;
    enough = posted / 4 < 32 ? posted / 4 : 32;
    for (uint32_t i = 0; i < 5000; i++) {
        contract_send_surely(&pair, 100, i);
        CHECK(pair.b->fast.rx_burst(pair.b, frames, 8) == 1);
        pair.b->fast.rx_release(pair.b, frames, 1);
        CHECK(v->rx_posted - v->rx_filled >= posted - enough - 8);
        turn(pair.a);
    }
    turn(pair.b); /* idle */
    CHECK(v->rx_posted - v->rx_filled > posted - 8 && nic[1]->counts.no_descriptor == 0);
    end(&pair);
}

/* ---- sending ---- */

static void test_ctpio(void)
{
    struct contract_pair pair;

    begin(&pair, &ef10);
    for (uint32_t i = 0; i < 2000; i++) {
        if (i % 3 == 0)
            nic[0]->faults.ctpio_failures = 1;
        passes(&pair, 60 + i % 1400, i);
        if (i % 5)
            turn(pair.a);
    }
    CHECK(nic[0]->counts.ctpio > 100 && nic[0]->counts.fallbacks > 100 && nic[0]->counts.dma > 500);
    CHECK(contract_stats(pair.a).tx_errors == 0 && contract_stats(pair.a).tx_frames == 2000);
    end(&pair);
}

/* A frame that is shorter than the wire carries is filled up, and not with what the buffer held. */
static void test_short_frames(const struct setup *setup)
{
    struct contract_pair pair;
    struct sf_frame piece, got[2];

    begin(&pair, setup);
    for (uint32_t i = 0; i < 600; i++)
        passes(&pair, 200, i), turn(pair.a);
    CHECK(pair.a->fast.tx_reserve(pair.a, 43, &piece, 1) == 1);
    contract_build(piece.data, &pair, 50, 1);
    memset(piece.data + 42, 0, 1);
    contract_put(piece.data + 16, 29, 2);
    contract_put(piece.data + 38, 9, 2);
    contract_put(piece.data + 24, 0, 2);
    contract_ip_checksum(piece.data + 14);
    pair.a->fast.tx_commit(pair.a, &piece, 1);
    pair.a->fast.tx_flush(pair.a);
    for (int look = 0; pair.b->fast.rx_burst(pair.b, got, 1) != 1; look++)
        CHECK(look < 1000000);
    CHECK(got[0].len == 60);
    for (int i = 43; i < 60; i++)
        CHECK(got[0].data[i] == 0);
    pair.b->fast.rx_release(pair.b, got, 1);
    CHECK(pair.a->fast.tx_reserve(pair.a, 13, &piece, 1) == -EINVAL);
    end(&pair);
}

static void test_tx_errors(const struct setup *setup)
{
    struct contract_pair pair;
    uint32_t sent = 0;

    begin(&pair, setup);
    for (int i = 0; i < 50; i++) {
        passes(&pair, 300, (uint32_t)i);
        turn(pair.a);
        nic[0]->faults.tx_error = true;
        for (int k = 0; k < 3; k++)
            sent += (uint32_t)contract_send(&pair, 300, 99);
        pair.a->fast.tx_flush(pair.a);
        turn(pair.a);
        turn(pair.b);
    }
    CHECK(nic[0]->counts.tx_errors == 50 && contract_stats(pair.a).tx_errors >= 50 && contract_stats(pair.a).tx_errors <= sent);
    nic[0]->faults.tx_error = nic[0]->faults.tx_stays = true; /* a queue that does not start again: all anew */
    CHECK(contract_send(&pair, 300, 1));
    pair.a->fast.tx_flush(pair.a);
    for (int i = 0; i < 20; i++)
        turn(pair.a), turn(pair.b);
    passes(&pair, 300, 77);
    CHECK(strstr(contract_caps(pair.a).mode, "back 1 times") && nic[0]->counts.opened == 2);
    end(&pair);
}

static void test_tx_stamps(const struct setup *setup)
{
    struct setup stamped = *setup;
    struct contract_pair pair;
    struct sf_stamp stamps[8];
    struct timespec now;
    uint64_t seen = 0;

    stamped.stamp_tx = true;
    stamped.expected = "timestamps of rx tx";
    begin(&pair, &stamped);
    CHECK(contract_caps(pair.a).flags & SF_DRIVER_STAMPS_TX);
    for (uint32_t i = 0; i < 1500; i++) {
        int n;

        passes(&pair, 100 + i % 900, i);
        turn(pair.a);
        n = pair.a->fast.control->tx_stamps(pair.a, stamps, 8);
        clock_gettime(CLOCK_REALTIME, &now);
        for (int k = 0; k < n; k++) {
            CHECK(stamps[k].number == ++seen);
            CHECK(llabs(stamps[k].timestamp - ((sf_ns)now.tv_sec * SF_SEC + now.tv_nsec)) < SF_SEC);
        }
    }
    CHECK(seen == 1500);
    nic[0]->faults.clock_unset = true;
    passes(&pair, 100, 1);
    turn(pair.a);
    CHECK(pair.a->fast.control->tx_stamps(pair.a, stamps, 8) == 0);
    for (uint32_t i = 0; i < 700; i++) { /* nobody takes them: the oldest go */
        nic[0]->faults.clock_unset = false;
        passes(&pair, 100, i);
        turn(pair.a);
    }
    CHECK(pair.a->fast.control->tx_stamps(pair.a, stamps, 1) == 1 && stamps[0].number == 1501 + 700 - 256 + 1);
    end(&pair);
}

static void test_pio(void)
{
    const struct setup setup = {.options = {.arch = EF_VI_ARCH_EF10, .no_ctpio = true}, .expected = "PIO"};
    struct contract_pair pair;

    begin(&pair, &setup);
    for (uint32_t i = 0; i < 2000; i++) {
        passes(&pair, 60 + i % 700, i);
        if (i % 7 == 0)
            turn(pair.a);
    }
    CHECK(nic[0]->counts.pio > 300 && nic[0]->counts.dma > 100 && nic[0]->counts.ctpio == 0);
    end(&pair);
    prepare(&setup);
    nic[0]->faults.pio_taken = true;
    pair.a = open_side(&setup, 0);
    CHECK(pair.a && strstr(contract_caps(pair.a).mode, "DMA"));
    pair.a->fast.control->close(pair.a);
}

/* ---- timestamps of reception ---- */

static sf_ns receive_timestamp(const struct contract_pair *pair)
{
    struct sf_frame frame;
    sf_ns timestamp;

    contract_send_surely(pair, 100, 1);
    for (int look = 0; pair->b->fast.rx_burst(pair->b, &frame, 1) != 1; look++)
        CHECK(look < 1000000);
    timestamp = frame.timestamp;
    pair->b->fast.rx_release(pair->b, &frame, 1);
    return timestamp;
}

static void test_rx_timestamps(const struct setup *setup)
{
    struct setup none = *setup;
    struct contract_pair pair;
    struct timespec now;
    sf_ns timestamp;

    begin(&pair, setup);
    CHECK(receive_timestamp(&pair) == 0); /* nobody has asked */
    sf_driver_rx_stamps(pair.b, true);
    timestamp = receive_timestamp(&pair);
    clock_gettime(CLOCK_REALTIME, &now);
    CHECK(llabs(timestamp - ((sf_ns)now.tv_sec * SF_SEC + now.tv_nsec)) < SF_SEC);
    nic[1]->faults.unsynchronised = true;
    CHECK(receive_timestamp(&pair) == 0);
    nic[1]->faults.unsynchronised = false;
    nic[1]->faults.clock_unset = true;
    CHECK(receive_timestamp(&pair) == 0);
    nic[1]->faults.clock_unset = false;
    CHECK(receive_timestamp(&pair) > 0);
    sf_driver_rx_stamps(pair.b, false);
    CHECK(receive_timestamp(&pair) == 0);
    end(&pair);
    none.options.no_timestamps = true;
    begin(&pair, &none);
    sf_driver_rx_stamps(pair.b, true);
    CHECK(receive_timestamp(&pair) == 0 && !strstr(contract_caps(pair.a).mode, "timestamps"));
    end(&pair);
}

/* ---- checksums: a bad one does not arrive, a good one is marked as verified where it was ---- */

static void finish_udp_sum(uint8_t *f, uint32_t len, bool good)
{
    uint32_t sum = IPPROTO_UDP + len - 34;

    for (uint32_t i = 26; i < len; i += 2)
        sum += (uint32_t)f[i] << 8 | (i + 1 < len ? f[i + 1] : 0);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    contract_put(f + 40, ~sum & 0xffff, 2);
    f[41] = (uint8_t)(f[41] ^ !good);
}

static int send_summed(const struct contract_pair *pair, bool good, uint8_t protocol)
{
    struct sf_frame piece, got;
    int flags = -1;

    CHECK(pair->a->fast.tx_reserve(pair->a, 100, &piece, 1) == 1);
    contract_build(piece.data, pair, 100, 3);
    finish_udp_sum(piece.data, 100, good);
    if (protocol != IPPROTO_UDP) {
        piece.data[23] = protocol;
        contract_put(piece.data + 24, 0, 2);
        contract_ip_checksum(piece.data + 14);
    }
    pair->a->fast.tx_commit(pair->a, &piece, 1);
    pair->a->fast.tx_flush(pair->a);
    for (int look = 0; look < 100; look++) {
        if (pair->b->fast.rx_burst(pair->b, &got, 1) != 1)
            continue;
        flags = (int)got.flags;
        pair->b->fast.rx_release(pair->b, &got, 1);
        break;
    }
    turn(pair->a);
    return flags;
}

static void test_checksums(const struct setup *setup)
{
    struct contract_pair pair;

    begin(&pair, setup);
    CHECK(send_summed(&pair, true, IPPROTO_UDP) == SF_FRAME_CHECKSUM_GOOD);
    CHECK(send_summed(&pair, false, IPPROTO_UDP) == -1 && contract_stats(pair.b).rx_invalid == 1);
    CHECK(send_summed(&pair, true, 132) == -1); /* of no flow */
    if (pair.b->fast.control->sniff(pair.b, true) == 0)
        CHECK(send_summed(&pair, true, 132) == 0); /* of a kind that nobody has verified */
    end(&pair);
}

/* ---- filters ---- */

static void test_filters(void)
{
    struct contract_pair pair;
    struct sf_flow full = {.local_addr = htonl(0x0a000002), .local_port = htons(CONTRACT_PORT_B), .remote_addr = htonl(0x0a000001),
                           .remote_port = htons(CONTRACT_PORT_A), .protocol = IPPROTO_UDP};
    struct sf_flow odd = {.local_addr = htonl(0x0a000002), .local_port = 5, .protocol = 1};

    begin(&pair, &ef10);
    CHECK(pair.b->fast.control->filter_add(pair.b, &full) == 0);
    CHECK(pair.b->fast.control->filter_add(pair.b, &odd) == -EOPNOTSUPP);
    odd.protocol = IPPROTO_TCP;
    odd.remote_addr = 1;
    CHECK(pair.b->fast.control->filter_add(pair.b, &odd) == -EOPNOTSUPP);
    full.flags = SF_FLOW_KERNEL;
    CHECK(pair.b->fast.control->filter_add(pair.b, &full) == -EOPNOTSUPP);
    full.flags = 0;
    CHECK(pair.b->fast.control->filter_del(pair.b, contract_flow(&pair)) == 0);
    passes(&pair, 100, 1);
    full.remote_port = htons(1);
    CHECK(pair.b->fast.control->filter_add(pair.b, &full) == 0);
    nic[1]->faults.no_filters = true;
    CHECK(pair.b->fast.control->filter_add(pair.b, contract_flow(&pair)) == -ENOSPC);
    nic[1]->faults.no_filters = false;
    CHECK(pair.b->fast.control->filter_del(pair.b, contract_flow(&pair)) == -ENOENT);
    for (uint16_t port = 1; port < 1000; port++) {
        odd = (struct sf_flow){.local_addr = 7, .local_port = port, .protocol = IPPROTO_UDP};
        CHECK(pair.b->fast.control->filter_add(pair.b, &odd) == 0);
    }
    CHECK(nic[1]->n_filters == 1001);
    for (uint16_t port = 1; port < 1000; port++) {
        odd.local_port = port;
        CHECK(pair.b->fast.control->filter_del(pair.b, &odd) == 0);
    }
    CHECK(nic[1]->n_filters == 2);
    end(&pair);
}

/* A receive queue that others share brings their frames too. */
static void test_shared_queue(void)
{
    const struct setup setup = {.options = {.arch = EF_VI_ARCH_EFCT, .shared = true}};
    struct contract_pair pair;

    begin(&pair, &setup);
    passes(&pair, 100, 1);
    CHECK(pair.b->fast.control->filter_del(pair.b, contract_flow(&pair)) == 0);
    for (uint32_t i = 0; i < 4000; i++) { /* more than all superbufs hold: none is kept */
        contract_send_surely(&pair, 100, i);
        turn(pair.b);
        turn(pair.a);
    }
    CHECK(contract_stats(pair.b).rx_frames == 1 && nic[1]->counts.received > 3900 && nic[1]->counts.no_superbuf == 0);
    CHECK(pair.b->fast.control->filter_add(pair.b, contract_flow(&pair)) == 0);
    passes(&pair, 100, 2);
    end(&pair);
}

static void test_sniffing(const struct setup *setup)
{
    struct contract_pair pair;

    begin(&pair, setup);
    CHECK(pair.b->fast.control->filter_del(pair.b, contract_flow(&pair)) == 0);
    is_lost(&pair, 100, 1);
    nic[1]->faults.unprivileged = true;
    CHECK(pair.b->fast.control->sniff(pair.b, true) == -EPERM);
    nic[1]->faults.unprivileged = false;
    CHECK(pair.b->fast.control->sniff(pair.b, true) == 0 && pair.b->fast.control->sniff(pair.b, true) == 0);
    passes(&pair, 100, 2);
    nic[1]->faults.reset = true; /* and it is still on afterwards */
    for (int i = 0; i < 10; i++)
        turn(pair.b);
    for (int i = 0; i < 10; i++)
        turn(pair.a);
    passes(&pair, 100, 3);
    CHECK(pair.b->fast.control->sniff(pair.b, false) == 0);
    is_lost(&pair, 100, 4);
    end(&pair);
}

/* ---- resets and overflows ---- */

static void settle(const struct contract_pair *pair)
{
    for (int i = 0; i < 10; i++) {
        turn(pair->b);
        turn(pair->a);
    }
}

static void test_reset(const struct setup *setup, bool overflow)
{
    struct contract_pair pair;
    struct sf_frame lent[4], piece;
    int n = 0, fd;

    begin(&pair, setup);
    for (int life = 1; life <= 20; life++) {
        passes(&pair, 200, (uint32_t)life);
        contract_send_surely(&pair, 200, 1000);
        for (int look = 0; (n = pair.b->fast.rx_burst(pair.b, lent, 4)) == 0; look++)
            CHECK(look < 1000000);
        nic[1]->faults.reset = !overflow;
        nic[1]->faults.overflow = overflow;
        CHECK(pair.b->fast.tx_reserve(pair.b, 100, &piece, 1) == 1);
        CHECK(pair.b->fast.rx_burst(pair.b, lent + n, 4 - n) == 0);
        CHECK(pair.b->fast.rx_burst(pair.b, lent + n, 4 - n) == 0);
        CHECK(nic[1]->counts.opened == (unsigned)life); /* not as long as a frame is out */
        CHECK(lent[0].len == 200 && lent[0].data[34 + 2] == CONTRACT_PORT_B >> 8); /* and that one is still good */
        pair.b->fast.tx_commit(pair.b, &piece, 1);
        CHECK(contract_stats(pair.b).tx_errors > 0);
        CHECK(pair.b->fast.tx_reserve(pair.b, 100, &piece, 1) == -ENETDOWN);
        CHECK(pair.b->fast.control->arm(pair.b, &fd) == -EAGAIN); /* its state has changed */
        pair.b->fast.rx_release(pair.b, lent, n);
        settle(&pair);
        CHECK(nic[1]->counts.opened == (unsigned)life + 1);
    }
    CHECK(strstr(contract_caps(pair.b).mode, "back 20 times") && !(contract_caps(pair.b).flags & SF_DRIVER_DEAD));
    passes(&pair, 200, 5);
    end(&pair);
}

/* What has ended a sleep is over with it: the VI's descriptor alone would stay readable until the next one. */
static void test_quiet_after_sleep(const struct setup *setup)
{
    struct contract_pair pair;
    uint32_t number;
    int fd = -1;

    begin(&pair, setup);
    for (uint32_t i = 0; i < 20; i++) {
        for (int look = 0; pair.b->fast.control->arm(pair.b, &fd) < 0; look++) {
            turn(pair.b);
            CHECK(look < 1000);
        }
        CHECK(!contract_readable(fd, 0));
        contract_send_surely(&pair, 200, i);
        CHECK(contract_readable(fd, 1000));
        pair.b->fast.control->disarm(pair.b);
        CHECK(!contract_readable(fd, 0));
        CHECK(contract_receive(&pair, &number, CONTRACT_PATIENCE) == 200 && number == i);
        CHECK(!contract_readable(fd, 0));
    }
    end(&pair);
}

/* A NIC that is away for a while: a sleeper is woken to try again. */
static void test_reset_with_absence(void)
{
    struct contract_pair pair;
    int fd = -1, wakeups = 0;
    sf_ns limit = sf_now() + 5 * SF_SEC;

    begin(&pair, &ef10);
    passes(&pair, 200, 1);
    nic[1]->faults.reset = true;
    nic[1]->faults.absent = 3;
    turn(pair.b);
    while (nic[1]->counts.opened == 1) {
        CHECK(sf_now() < limit);
        turn(pair.b);
        if (pair.b->fast.control->arm(pair.b, &fd) == 0) {
            CHECK(contract_readable(fd, 1000));
            wakeups++;
            pair.b->fast.control->disarm(pair.b);
        }
    }
    CHECK(wakeups >= 2);
    settle(&pair);
    passes(&pair, 200, 2);
    CHECK(pair.b->fast.control->filter_add(pair.b, contract_flow(&pair)) == -EEXIST); /* it was restored */
    end(&pair);
}

static void test_death(void)
{
    struct contract_pair pair;
    struct sf_frame piece;
    int fd = -1;

    begin(&pair, &ef10);
    passes(&pair, 200, 1);
    sim_interfaces[1].present = false;
    nic[1]->faults.reset = true;
    settle(&pair);
    CHECK(contract_caps(pair.b).flags & SF_DRIVER_DEAD);
    CHECK(pair.b->fast.tx_reserve(pair.b, 100, &piece, 1) == -ENETDOWN);
    CHECK(pair.b->fast.control->arm(pair.b, &fd) == -EAGAIN); /* once, for the news */
    CHECK(pair.b->fast.control->arm(pair.b, &fd) == 0 && !contract_readable(fd, 10));
    CHECK(pair.b->fast.control->filter_del(pair.b, contract_flow(&pair)) == 0);
    end(&pair);

    begin(&pair, &efct); /* without an event: the interface is looked at now and then */
    sim_interfaces[1].present = false;
    usleep(110000);
    CHECK(contract_caps(pair.b).flags & SF_DRIVER_DEAD);
    end(&pair);
}

/* ---- opening ---- */

static void refused(const struct setup *setup, int expected, const char *words)
{
    struct sf_driver_config config = {.interface = sim_interfaces[0].name, .mode = setup->mode};
    int error = 0;

    CHECK(!sf_driver_ef_vi_open(&config, &error, message));
    if (error != expected || !strstr(message, words))
        fprintf(stderr, "%d: %s\n", error, message);
    CHECK(error == expected && strstr(message, words));
}

static void test_refusals(void)
{
    struct setup setup = ef10;
    int error;

    CHECK(sf_driver_ef_vi_probe(message) == 0);
    prepare(&setup);
    nic[0]->faults.absent = 2;
    CHECK(sf_driver_ef_vi_probe(message) == -ENOENT && strstr(message, "/dev/sfc_char"));
    refused(&setup, -ENOENT, "sfc_char");
    nic[0]->faults.gone = true;
    refused(&setup, -ENODEV, "physical interface");
    prepare(&setup);
    sim_interfaces[0].present = false;
    refused(&setup, -ENODEV, "ip link");
    prepare(&setup);
    setup.mode = "fast";
    refused(&setup, -EINVAL, "\"fast\"");
    setup.mode = "dma,,merge";
    refused(&setup, -EINVAL, "\"\"");
    setup.mode = "express";
    refused(&setup, -EOPNOTSUPP, "protection domain");
    setup.mode = NULL;
    setup.options.arch = EF_VI_ARCH_AF_XDP;
    prepare(&setup);
    refused(&setup, -EOPNOTSUPP, "af_xdp");
    CHECK(!sf_driver_ef_vi_open(&(struct sf_driver_config){0}, &error, message) && error == -EINVAL);
    CHECK(!sf_driver_ef_vi_open(&(struct sf_driver_config){.interface = "a-name-that-is-too-long"}, &error, message));
}

int main(void)
{
    snprintf(wire, sizeof(wire), "efsim-%d", (int)getpid());
    test_contract("EF10", ef10);
    test_contract("EF10, the simulator's shortest way", ef10_quick);
    test_contract("EF10, timestamps both ways", (struct setup){.options = {.arch = EF_VI_ARCH_EF10}, .stamp_tx = true});
    test_contract("EF10, events merged", ef10_merged);
    test_contract("EF10, DMA, small rings", (struct setup){.options = {.arch = EF_VI_ARCH_EF10}, .mode = "dma", .frames = 64,
                                                           .expected = "DMA"});
    test_contract("EF10, jumbo frames", jumbo);
    test_contract("EF10, jumbo frames, events merged", jumbo_merged);
    test_contract("EF10, PIO", (struct setup){.options = {.arch = EF_VI_ARCH_EF10}, .mode = "pio", .expected = "PIO"});
    test_contract("EF100", (struct setup){.options = {.arch = EF_VI_ARCH_EF100, .no_ctpio = true, .no_pio = true}});
    test_contract("EFCT", (struct setup){.options = {.arch = EF_VI_ARCH_EFCT}, .expected = "EFCT, sends by CTPIO"});
    test_contract("EFCT, shared queue", (struct setup){.options = {.arch = EF_VI_ARCH_EFCT, .shared = true}, .stamp_tx = true});
    test_contract("EF10CT", (struct setup){.options = {.arch = EF_VI_ARCH_EF10CT}, .mode = "express,cut-through"});
    test_discards(&ef10, 100);
    test_discards(&ef10_quick, 100);
    test_discards(&ef10_merged, 100);
    test_discards(&jumbo, 9000);
    test_discards(&jumbo_merged, 9000);
    test_discards(&efct, 100);
    test_truncated(&jumbo);
    test_truncated(&jumbo_merged);
    test_starved(&ef10);
    test_starved(&ef10_quick);
    test_starved(&efct);
    test_never_idle(&ef10);
    test_never_idle(&ef10_quick);
    test_never_idle(&(struct setup){.options = {.arch = EF_VI_ARCH_EF10}, .frames = 64});
    test_ctpio();
    test_short_frames(&ef10);
    test_short_frames(&ef10_quick);
    test_short_frames(&efct);
    test_tx_errors(&ef10);
    test_tx_errors(&ef10_quick);
    test_tx_errors(&(struct setup){.options = {.arch = EF_VI_ARCH_EF10, .no_ctpio = true}});
    test_tx_stamps(&ef10);
    test_tx_stamps(&efct);
    test_pio();
    test_rx_timestamps(&ef10);
    test_rx_timestamps(&ef10_quick);
    test_rx_timestamps(&ef10_merged);
    test_rx_timestamps(&efct);
    test_checksums(&ef10);
    test_checksums(&ef10_quick);
    test_checksums(&efct);
    test_filters();
    test_shared_queue();
    test_sniffing(&ef10);
    test_sniffing(&ef10_quick);
    test_sniffing(&efct);
    test_reset(&ef10, false);
    test_reset(&ef10, true);
    test_reset(&ef10_quick, false);
    test_reset(&efct, false);
    test_reset(&jumbo_merged, true);
    test_quiet_after_sleep(&ef10);
    test_quiet_after_sleep(&efct);
    test_reset_with_absence();
    test_death();
    test_refusals();
    return 0;
}
