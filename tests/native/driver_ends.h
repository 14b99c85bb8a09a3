/* Two shm drivers on a wire that is named after the process, and optionally a wrapper around each. */
#ifndef SF_TEST_DRIVER_ENDS_H
#define SF_TEST_DRIVER_ENDS_H

#include "driver_pair.h"

#include <stdio.h>
#include <unistd.h>

static char message[SF_DRIVER_ERROR_SIZE];
static char wire[64]; /* its name */

/* Names the wire after this process. Call it first. */
static inline void name_wire(void)
{
    snprintf(wire, sizeof(wire), "test-%d", (int)getpid());
}

static inline struct sf_driver *open_side(int last_byte, uint32_t frames)
{
    struct sf_driver_config config = {
        .interface = wire, .addr = htonl(0x0a000000u + (uint32_t)last_byte), .rx_frames = frames, .tx_frames = frames};
    int error = 0;
    struct sf_driver *driver = sf_driver_find("shm")(&config, &error, message);

    CHECK(driver || (error < 0 && message[0]));
    return driver;
}

static inline struct sf_driver *wrap(const char *name, struct sf_driver *below, const struct sf_driver_config *config)
{
    int error = 0;
    struct sf_driver *driver = sf_driver_find_wrapper(name)(below, config, &error, message);

    if (!driver)
        fprintf(stderr, "%s\n", message);
    CHECK(driver);
    return driver;
}

static inline int burst(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    return driver->fast.rx_burst(driver, frames, n);
}

static inline void close_driver(struct sf_driver *driver)
{
    driver->fast.control->close(driver);
}

static inline int send_byte(struct sf_driver *driver, uint8_t byte)
{
    struct sf_frame piece;

    if (driver->fast.tx_reserve(driver, 100, &piece, 1) != 1)
        return 0;
    memset(piece.data, byte, 100);
    driver->fast.tx_commit(driver, &piece, 1);
    driver->fast.tx_flush(driver);
    return 1;
}

/* Receives the next frame. Returns its first byte, or -1 if there is no frame. */
static inline int receive_byte(struct sf_driver *driver)
{
    struct sf_frame frame;
    int byte;

    if (burst(driver, &frame, 1) != 1)
        return -1;
    byte = frame.data[0];
    driver->fast.rx_release(driver, &frame, 1);
    return byte;
}

struct layers {
    uint32_t frames; /* of the shm drivers' rings */
    const char *wrapper;
    struct sf_driver_config config;
};

static inline int open_layers(struct contract_pair *pair, void *context)
{
    const struct layers *layers = context;

    pair->a = open_side(1, layers->frames);
    pair->b = open_side(2, layers->frames);
    if (layers->wrapper) {
        pair->a = wrap(layers->wrapper, pair->a, &layers->config);
        pair->b = wrap(layers->wrapper, pair->b, &layers->config);
    }
    pair->addr_a = htonl(0x0a000001);
    pair->addr_b = htonl(0x0a000002);
    memcpy(pair->mac_a, "\2\0\12\0\0\1", 6);
    memcpy(pair->mac_b, "\2\0\12\0\0\2", 6);
    return 0;
}

static inline uint32_t peer_of(struct sf_driver *driver)
{
    return ntohl(contract_caps(driver).peer_addr);
}

static inline void expect_peer(struct sf_driver *driver, uint32_t addr, sf_ns patience)
{
    struct sf_frame frames[4];
    sf_ns end = sf_now() + patience;

    while (peer_of(driver) != addr) {
        CHECK(sf_now() < end);
        driver->fast.rx_release(driver, frames, burst(driver, frames, 4));
    }
}

static inline void wire_path(char *path, size_t size, const char *end)
{
    snprintf(path, size, "/dev/shm/sfloop-%u-%s%s", (unsigned)geteuid(), wire, end);
}

/* The last driver has removed the wire's files in /dev/shm. */
static inline void check_nothing_is_left(void)
{
    const char *ends[] = {"", ".0", ".1"};
    char path[128];

    for (int i = 0; i < 3; i++) {
        wire_path(path, sizeof(path), ends[i]);
        CHECK(access(path, F_OK) < 0);
    }
}

#endif
