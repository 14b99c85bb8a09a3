/* The ef_vi driver over the simulator of its API: frames sent and received, and the errors that a NIC reports about them. */
#define _GNU_SOURCE
#include "ef_vi_pair.h"

#include <stdlib.h>

static const struct setup ef10_merged = {.options = {.arch = EF_VI_ARCH_EF10, .force_merge = true}};
static const struct setup jumbo = {.options = {.arch = EF_VI_ARCH_EF10}, .mtu = 9000};

/* ---- discards: many of each kind between good frames; each buffer comes back ---- */

static void test_discards(const struct setup *setup, uint32_t len)
{
    struct contract_pair pair;
    uint64_t invalid;
    int bad = len > 2000 ? 60 : 700; /* more than a ring has descriptors */

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

/* The NIC runs out of buffers in the middle of a frame that needs several. */
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

/* No frame is released for a while, so the ring runs empty and the NIC drops frames. It goes on when it has buffers again. */
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

/* A driver that never finds the NIC idle posts buffers, too: in larger batches than 8, but long before the NIC has none. */
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
    turn(pair.b); /* the driver finds the NIC idle */
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

/* A frame below Ethernet's minimum is padded with zeros, and not with the buffer's old contents. */
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
    nic[0]->faults.tx_error = nic[0]->faults.tx_stays = true; /* the queue does not restart, so the driver opens the NIC anew */
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
    for (uint32_t i = 0; i < 700; i++) { /* the test does not take them, so the oldest are dropped */
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

/* ---- receive timestamps ---- */

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
    CHECK(receive_timestamp(&pair) == 0); /* they are off */
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

/* ---- checksums: a frame with a bad one is discarded; a frame is flagged as good if the NIC has verified it ---- */

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
    CHECK(send_summed(&pair, true, 132) == -1); /* no flow matches */
    if (pair.b->fast.control->sniff(pair.b, true) == 0)
        CHECK(send_summed(&pair, true, 132) == 0); /* the NIC does not verify this protocol */
    end(&pair);
}

int main(void)
{
    name_wire();
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
    return 0;
}
