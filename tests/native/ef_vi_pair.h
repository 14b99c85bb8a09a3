/* Pairs of ef_vi drivers over the simulator of the vendor's API (tests/sim/ef_vi), on simulated NICs that the test controls. */
#ifndef SF_TEST_EF_VI_PAIR_H
#define SF_TEST_EF_VI_PAIR_H

#include "driver_pair.h"

#include "../sim/ef_vi/efsim.h"
#include "../sim/ef_vi/interfaces.h"

#include <stdio.h>
#include <unistd.h>

struct sf_driver *sf_driver_ef_vi_open(const struct sf_driver_config *config, int *error, char *message);

static char message[SF_DRIVER_ERROR_SIZE];
static char wire[64];
static struct efsim_nic *nic[2];

struct setup {
    const char *mode, *expected; /* expected: a part of caps.mode */
    struct efsim_options options;
    uint32_t mtu, frames;
    bool stamp_tx;
    bool quick; /* the simulator's fast path, which does not check who touches its buffers */
};

static const struct setup ef10 = {.options = {.arch = EF_VI_ARCH_EF10}};
static const struct setup ef10_quick = {.options = {.arch = EF_VI_ARCH_EF10}, .quick = true};
static const struct setup efct = {.options = {.arch = EF_VI_ARCH_EFCT}};
static const struct setup jumbo_merged = {.options = {.arch = EF_VI_ARCH_EF10, .force_merge = true}, .mtu = 9000};

/* Names the wire after this process. Call it first. */
static inline void name_wire(void)
{
    snprintf(wire, sizeof(wire), "efsim-%d", (int)getpid());
}

static inline void prepare(const struct setup *setup)
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

static inline struct sf_driver *open_side(const struct setup *setup, int side)
{
    struct sf_driver_config config = {.interface = sim_interfaces[side].name, .queue = -1, .mode = setup->mode,
                                      .rx_frames = setup->frames, .tx_frames = setup->frames, .stamp_tx = setup->stamp_tx};
    int error = 0;
    struct sf_driver *driver = sf_driver_ef_vi_open(&config, &error, message);

    CHECK(driver || (error < 0 && message[0]));
    return driver;
}

static inline int open_pair(struct contract_pair *pair, void *context)
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

static inline void begin(struct contract_pair *pair, const struct setup *setup)
{
    memset(pair, 0, sizeof(*pair));
    memset(&contract_inbox, 0, sizeof(contract_inbox));
    open_pair(pair, (void *)(uintptr_t)setup);
    CHECK(pair->b->fast.control->filter_add(pair->b, contract_flow(pair)) == 0);
}

static inline void end(struct contract_pair *pair)
{
    pair->a->fast.control->close(pair->a);
    pair->b->fast.control->close(pair->b);
}

static inline void passes(const struct contract_pair *pair, uint32_t len, uint32_t number)
{
    uint32_t got = 0;

    contract_send_surely(pair, len, number);
    CHECK(contract_receive(pair, &got, CONTRACT_PATIENCE) == len && got == number);
}

static inline void is_lost(const struct contract_pair *pair, uint32_t len, uint32_t number)
{
    uint32_t got = 0;

    contract_send_surely(pair, len, number);
    CHECK(contract_receive(pair, &got, 5 * SF_MS) == 0);
}

static inline void turn(struct sf_driver *driver)
{
    struct sf_frame frames[8];

    driver->fast.rx_release(driver, frames, driver->fast.rx_burst(driver, frames, 8));
}

static inline void settle(const struct contract_pair *pair)
{
    for (int i = 0; i < 10; i++) {
        turn(pair->b);
        turn(pair->a);
    }
}

#endif
