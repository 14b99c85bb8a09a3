/*
 * Two drivers that are joined, and the frames that the tests send between them.
 *
 * The frames are UDP over IPv4, from port 7001 of a's address to port 7002 of b's, so that a driver's filters match them. Other
 * frames in between are skipped. One reservation is open at a time, because a driver need not offer more.
 */
#ifndef SF_TEST_DRIVER_PAIR_H
#define SF_TEST_DRIVER_PAIR_H

#include "sf/driver.h"

#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>

struct contract_pair {
    struct sf_driver *a, *b;
    uint8_t mac_a[6], mac_b[6];
    uint32_t addr_a, addr_b; /* network byte order */
    sf_ns patience, quiet;   /* the contract's; 0: the defaults */
};

#define CONTRACT_PORT_A 7001
#define CONTRACT_PORT_B 7002
#define CONTRACT_HEADERS 42 /* Ethernet, IPv4, UDP */
#define CONTRACT_MAGIC 0x5fc0ffeeu
#define CONTRACT_SMALLEST 60
#define CONTRACT_LARGEST 65600
#define CONTRACT_PIECES 32
#define CONTRACT_PATIENCE (2 * SF_SEC)
#define CONTRACT_QUIET (50 * SF_MS)

static inline sf_ns contract_patience(const struct contract_pair *pair)
{
    return pair->patience ? pair->patience : CONTRACT_PATIENCE;
}

static inline sf_ns contract_quiet(const struct contract_pair *pair)
{
    return pair->quiet ? pair->quiet : CONTRACT_QUIET;
}

/* ---- frames: the headers, a magic number, the frame's number, then bytes derived from the number ---- */

static uint8_t contract_sent[CONTRACT_LARGEST], contract_received[CONTRACT_LARGEST];

static inline void contract_put(uint8_t *at, uint64_t value, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--, value >>= 8)
        at[i] = (uint8_t)value;
}

static inline uint32_t contract_number(const uint8_t *frame)
{
    return (uint32_t)frame[46] << 24 | (uint32_t)frame[47] << 16 | (uint32_t)frame[48] << 8 | frame[49];
}

static inline void contract_ip_checksum(uint8_t *ip)
{
    uint32_t sum = 0;

    for (int i = 0; i < 20; i += 2)
        sum += (uint32_t)(ip[i] << 8 | ip[i + 1]);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    contract_put(ip + 10, ~sum & 0xffff, 2);
}

/* The UDP checksum stays zero, which means none. */
static inline void contract_build(uint8_t *f, const struct contract_pair *pair, uint32_t len, uint32_t number)
{
    memset(f, 0, CONTRACT_HEADERS);
    memcpy(f, pair->mac_b, 6);
    memcpy(f + 6, pair->mac_a, 6);
    contract_put(f + 12, 0x0800, 2);
    contract_put(f + 14, 0x4500, 2);
    contract_put(f + 16, len - 14, 2);
    contract_put(f + 22, 64 << 8 | IPPROTO_UDP, 2);
    memcpy(f + 26, &pair->addr_a, 4);
    memcpy(f + 30, &pair->addr_b, 4);
    contract_ip_checksum(f + 14);
    contract_put(f + 34, CONTRACT_PORT_A, 2);
    contract_put(f + 36, CONTRACT_PORT_B, 2);
    contract_put(f + 38, len - 34, 2);
    contract_put(f + 42, CONTRACT_MAGIC, 4);
    contract_put(f + 46, number, 4);
    for (uint32_t i = 50; i < len; i++)
        f[i] = (uint8_t)(number * 31 + i * 7);
}

/* Sends one frame, without a flush. Returns 1, or 0 if the driver is full. */
static inline int contract_send(const struct contract_pair *pair, uint32_t len, uint32_t number)
{
    struct sf_frame pieces[CONTRACT_PIECES];
    uint32_t done = 0;
    int n = pair->a->fast.tx_reserve(pair->a, len, pieces, CONTRACT_PIECES);

    if (n == -EAGAIN)
        return 0;
    CHECK(n >= 1 && n <= CONTRACT_PIECES);
    contract_build(contract_sent, pair, len, number);
    for (int i = 0; i < n; i++) {
        CHECK(pieces[i].len > 0 && done + pieces[i].len <= len);
        memcpy(pieces[i].data, contract_sent + done, pieces[i].len);
        done += pieces[i].len;
    }
    CHECK(done == len);
    pair->a->fast.tx_commit(pair->a, pieces, n);
    return 1;
}

static inline void contract_send_surely(const struct contract_pair *pair, uint32_t len, uint32_t number)
{
    struct sf_frame frames[8];
    sf_ns end = sf_now() + contract_patience(pair);

    while (!contract_send(pair, len, number)) {
        int n;

        CHECK(sf_now() < end);
        pair->a->fast.tx_flush(pair->a);
        n = pair->a->fast.rx_burst(pair->a, frames, 8); /* takes back the buffers of sent frames */
        pair->a->fast.rx_release(pair->a, frames, n);
    }
    pair->a->fast.tx_flush(pair->a);
}

/* Joins the pieces of the frame at frames[*at] and moves *at behind them. Returns the length, or 0 for a frame of others. */
static inline uint32_t contract_join(const struct sf_frame *frames, int n, int *at)
{
    uint32_t len = 0;

    for (;; (*at)++) {
        CHECK(*at < n); /* a burst never ends in the middle of a frame */
        CHECK(frames[*at].len > 0 && len + frames[*at].len <= CONTRACT_LARGEST);
        memcpy(contract_received + len, frames[*at].data, frames[*at].len);
        len += frames[*at].len;
        if (!(frames[*at].flags & SF_FRAME_MORE))
            break;
    }
    (*at)++;
    if (len < 50 || ntohl(*(uint32_t *)memcpy(&(uint32_t){0}, contract_received + 42, 4)) != CONTRACT_MAGIC)
        return 0;
    return len;
}

static inline void contract_check_content(const struct contract_pair *pair, uint32_t len)
{
    contract_build(contract_sent, pair, len, contract_number(contract_received));
    CHECK(memcmp(contract_sent + 34, contract_received + 34, len - 34) == 0); /* from UDP on, because routers may be in between */
}

static struct {
    struct sf_frame frames[CONTRACT_PIECES];
    int n, at, turn;
} contract_inbox;

/* Bursts of one piece and of many alternate. A frame of several pieces does not fit into a burst of one, and waits. */
static inline bool contract_fill_inbox(struct sf_driver *driver)
{
    int max = contract_inbox.turn++ % 2 ? CONTRACT_PIECES : 1;

    contract_inbox.at = 0;
    contract_inbox.n = driver->fast.rx_burst(driver, contract_inbox.frames, max);
    CHECK(contract_inbox.n >= 0 && contract_inbox.n <= max);
    return contract_inbox.n > 0;
}

/* Receives the next of our frames and releases it at once. Returns its length, or 0 after `patience`. */
static inline uint32_t contract_receive(const struct contract_pair *pair, uint32_t *number, sf_ns patience)
{
    sf_ns end = sf_now() + patience;

    do {
        int first = contract_inbox.at;
        uint32_t len;

        if (first == contract_inbox.n) {
            contract_fill_inbox(pair->b);
            continue;
        }
        len = contract_join(contract_inbox.frames, contract_inbox.n, &contract_inbox.at);
        if (len)
            contract_check_content(pair, len);
        pair->b->fast.rx_release(pair->b, contract_inbox.frames + first, contract_inbox.at - first);
        *number = contract_number(contract_received);
        if (len)
            return len;
    } while (sf_now() < end);
    return 0;
}

static inline struct sf_driver_stats contract_stats(struct sf_driver *driver)
{
    struct sf_driver_stats stats;

    memset(&stats, 0xff, sizeof(stats));
    driver->fast.control->stats(driver, &stats);
    return stats;
}

static inline struct sf_driver_caps contract_caps(struct sf_driver *driver)
{
    struct sf_driver_caps caps;

    memset(&caps, 0xff, sizeof(caps));
    driver->fast.control->caps(driver, &caps);
    return caps;
}

/* ---- filters and sleep ---- */

static const struct sf_flow *contract_flow(const struct contract_pair *pair)
{
    static struct sf_flow flow;

    flow = (struct sf_flow){.local_addr = pair->addr_b, .local_port = htons(CONTRACT_PORT_B), .protocol = IPPROTO_UDP};
    return &flow;
}

static inline bool contract_readable(int fd, int ms)
{
    struct pollfd state = {.fd = fd, .events = POLLIN};

    return poll(&state, 1, ms) == 1 && state.revents & POLLIN;
}

/* The milliseconds for which an armed driver need not be polled. -1: no limit. */
static inline int contract_sleep(struct sf_driver *driver)
{
    sf_ns due = sf_driver_due(driver), now = sf_fault_now();

    if (due == SF_NEVER)
        return -1;
    return due > now ? (int)((due - now) / SF_MS) + 1 : 0;
}

/* Arms an idle driver. Tries several times, because frames of others and a change of state may each make one arm() fail. */
static inline int contract_arm_idle(struct sf_driver *driver)
{
    struct sf_frame frames[8];
    int fd = -1;

    for (int attempt = 0; attempt < 100; attempt++) {
        int n = driver->fast.rx_burst(driver, frames, 8);

        driver->fast.rx_release(driver, frames, n);
        if (n == 0 && driver->fast.control->arm(driver, &fd) == 0)
            return fd;
    }
    CHECK(!"an idle driver cannot be armed");
    return -1;
}

#endif
