/*
 * The ef_vi driver over the simulator of its API (tests/sim/ef_vi): the contract in each mode, filters, and NICs that are reset
 * or removed. The simulator ends the process if the driver misuses the API.
 */
#define _GNU_SOURCE
#include "driver_contract.h"
#include "ef_vi_pair.h"

int sf_driver_ef_vi_probe(char *message);

static void test_contract(const char *name, struct setup setup)
{
    const struct driver_contract contract = {.name = name, .open = open_pair, .context = &setup, .flags = CONTRACT_LOSSY};

    CHECK(driver_contract(&contract) == 0);
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

/* A receive queue that is shared with other programs delivers their frames, too. */
static void test_shared_queue(void)
{
    const struct setup setup = {.options = {.arch = EF_VI_ARCH_EFCT, .shared = true}};
    struct contract_pair pair;

    begin(&pair, &setup);
    passes(&pair, 100, 1);
    CHECK(pair.b->fast.control->filter_del(pair.b, contract_flow(&pair)) == 0);
    for (uint32_t i = 0; i < 4000; i++) { /* more frames than all superbufs hold; the driver keeps none */
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
    nic[1]->faults.reset = true; /* sniffing is still on after the reset */
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
        CHECK(nic[1]->counts.opened == (unsigned)life); /* the VI is not opened anew while a frame is lent */
        CHECK(lent[0].len == 200 && lent[0].data[34 + 2] == CONTRACT_PORT_B >> 8); /* the frame is still readable */
        pair.b->fast.tx_commit(pair.b, &piece, 1);
        CHECK(contract_stats(pair.b).tx_errors > 0);
        CHECK(pair.b->fast.tx_reserve(pair.b, 100, &piece, 1) == -ENETDOWN);
        CHECK(pair.b->fast.control->arm(pair.b, &fd) == -EAGAIN); /* the driver's state has changed */
        pair.b->fast.rx_release(pair.b, lent, n);
        settle(&pair);
        CHECK(nic[1]->counts.opened == (unsigned)life + 1);
    }
    CHECK(strstr(contract_caps(pair.b).mode, "back 20 times") && !(contract_caps(pair.b).flags & SF_DRIVER_DEAD));
    passes(&pair, 200, 5);
    end(&pair);
}

/* The descriptor is not readable after a sleep. The VI's own descriptor would stay readable until the next sleep. */
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

/* While a NIC is absent after a reset, sleeps end now and then, so that the driver tries again to open the NIC. */
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
    CHECK(pair.b->fast.control->filter_add(pair.b, contract_flow(&pair)) == -EEXIST); /* the driver has restored the filter */
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
    CHECK(pair.b->fast.control->arm(pair.b, &fd) == -EAGAIN); /* once, because the state has changed */
    CHECK(pair.b->fast.control->arm(pair.b, &fd) == 0 && !contract_readable(fd, 10));
    CHECK(pair.b->fast.control->filter_del(pair.b, contract_flow(&pair)) == 0);
    end(&pair);

    begin(&pair, &efct); /* no event reports it, but the driver checks the interface now and then */
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
    name_wire();
    test_contract("EF10", ef10);
    test_contract("EF10, the simulator's fast path", ef10_quick);
    test_contract("EF10, timestamps both ways", (struct setup){.options = {.arch = EF_VI_ARCH_EF10}, .stamp_tx = true});
    test_contract("EF10, events merged", (struct setup){.options = {.arch = EF_VI_ARCH_EF10, .force_merge = true}});
    test_contract("EF10, DMA, small rings", (struct setup){.options = {.arch = EF_VI_ARCH_EF10}, .mode = "dma", .frames = 64,
                                                           .expected = "DMA"});
    test_contract("EF10, jumbo frames", (struct setup){.options = {.arch = EF_VI_ARCH_EF10}, .mtu = 9000});
    test_contract("EF10, jumbo frames, events merged", jumbo_merged);
    test_contract("EF10, PIO", (struct setup){.options = {.arch = EF_VI_ARCH_EF10}, .mode = "pio", .expected = "PIO"});
    test_contract("EF100", (struct setup){.options = {.arch = EF_VI_ARCH_EF100, .no_ctpio = true, .no_pio = true}});
    test_contract("EFCT", (struct setup){.options = {.arch = EF_VI_ARCH_EFCT}, .expected = "EFCT, sends by CTPIO"});
    test_contract("EFCT, shared queue", (struct setup){.options = {.arch = EF_VI_ARCH_EFCT, .shared = true}, .stamp_tx = true});
    test_contract("EF10CT", (struct setup){.options = {.arch = EF_VI_ARCH_EF10CT}, .mode = "express,cut-through"});
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
