/*
 * Fuzzes the wrappers trace, pcap and fault, which read the frames of another driver. The rest of an input after its first byte is a
 * frame, or a description of faults if the first byte's highest bit is set. The other bits choose the faults and the pieces of the
 * frame. Besides the sanitizers' checks, these must hold:
 *  - a description is accepted, or refused with a message;
 *  - every frame that the driver below lent comes back to it, and every piece lies within its memory.
 */
#define _GNU_SOURCE
#include "drivers/driver_util.h"
#include "drivers/wrappers/fault_description.h"
#include "fuzz_check.h"

enum { PIECES = 16, TIMES = 3, BURST = 64 };

struct sf_driver *sf_driver_pcap_open(struct sf_driver *below, const struct sf_driver_config *, int *error, char *message);
struct sf_driver *sf_driver_trace_open(struct sf_driver *below, const struct sf_driver_config *, int *error, char *message);
struct sf_driver *sf_driver_fault_open(struct sf_driver *below, const struct sf_driver_config *, int *error, char *message);

/* ---- the driver below, which delivers one frame several times, in pieces ---- */

static struct {
    struct sf_driver driver;
    const uint8_t *data;
    uint32_t len, cut; /* cut: length of a piece; 0: the whole frame is one piece */
    int times;         /* deliveries of the frame that are left */
    long lent, reserved;
} below;

static int in_pieces(const uint8_t *data, uint32_t len, struct sf_frame *pieces, int max)
{
    uint32_t cut = below.cut ? below.cut : len;
    int n = 0;

    if (len > cut * (uint32_t)max)
        return 0;
    for (uint32_t at = 0; n == 0 || at < len; at += cut) {
        uint32_t part = len - at < cut ? len - at : cut;
        uint8_t *copy = malloc(part ? part : 1); /* of the exact length, so that AddressSanitizer sees a read beyond it */

        CHECK(copy);
        if (data && part)
            memcpy(copy, data + at, part);
        pieces[n++] = (struct sf_frame){.data = copy, .len = part, .flags = at + cut < len ? SF_FRAME_MORE : 0,
                                        .token = (uint64_t)(uintptr_t)copy};
    }
    return n;
}

static void give_back(struct sf_frame *pieces, int n)
{
    for (int i = 0; i < n; i++)
        free((void *)(uintptr_t)pieces[i].token);
}

static int rx_burst(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    int taken = 0;

    (void)driver;
    while (below.times > 0 && n - taken >= PIECES) {
        int pieces = in_pieces(below.data, below.len, frames + taken, PIECES);

        below.times--;
        taken += pieces;
        below.lent += pieces;
    }
    return taken;
}

static void rx_release(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    (void)driver;
    give_back(frames, n);
    below.lent -= n;
}

static int tx_reserve(struct sf_driver *driver, uint32_t len, struct sf_frame *pieces, int max)
{
    int n;

    (void)driver;
    if (len < SF_ETHERNET_HEADER)
        return -EINVAL;
    n = in_pieces(NULL, len, pieces, max < PIECES ? max : PIECES);
    below.reserved += n;
    return n ? n : -EMSGSIZE;
}

static void tx_end(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    (void)driver;
    give_back(pieces, n);
    below.reserved -= n;
}

static void nothing(struct sf_driver *driver)
{
    (void)driver;
}

static void caps(struct sf_driver *driver, struct sf_driver_caps *out)
{
    (void)driver;
    *out = (struct sf_driver_caps){.mtu = 9000, .rx_lent = 256, .tx_queue = 256, .mode = "in memory"};
}

static void stats(struct sf_driver *driver, struct sf_driver_stats *out)
{
    (void)driver;
    *out = (struct sf_driver_stats){0};
}

static int filter(struct sf_driver *driver, const struct sf_flow *flow)
{
    (void)driver;
    (void)flow;
    return 0;
}

static int arm(struct sf_driver *driver, int *fd)
{
    (void)driver;
    *fd = -1;
    return -EAGAIN;
}

static const struct sf_driver_control control = {.name = "memory", .close = nothing, .caps = caps, .stats = stats,
                                                 .filter_add = filter, .filter_del = filter, .arm = arm, .disarm = nothing};

/* ---- frames ---- */

static struct sf_driver *open_all(uint8_t how)
{
    static const char *faults[] = {"", "loss=50%,seed=1", "corrupt=100%,seed=2", "duplicate=100%,reorder=50%,seed=3",
                                   "delay=1us..1ms,seed=4", "rate=1mbit,corrupt=50%"};
    struct sf_driver_config config = {.interface = "memory", .file = "/dev/null", .faults = faults[how % 6], .seed = 1};
    char message[SF_DRIVER_ERROR_SIZE];
    struct sf_driver *driver = &below.driver;
    int error = 0;

    driver->fast = (struct sf_driver_fast){.rx_burst = rx_burst, .rx_release = rx_release, .tx_reserve = tx_reserve,
                                           .tx_cancel = tx_end, .tx_commit = tx_end, .tx_flush = nothing, .control = &control};
    driver = sf_driver_trace_open(driver, &config, &error, message);
    CHECK(driver);
    driver = sf_driver_pcap_open(driver, &config, &error, message);
    CHECK(driver);
    driver = sf_driver_fault_open(driver, &config, &error, message);
    CHECK(driver);
    return driver;
}

static void receive(struct sf_driver *driver)
{
    struct sf_frame frames[BURST];
    int n = driver->fast.rx_burst(driver, frames, BURST);

    CHECK(n >= 0 && n <= BURST);
    for (int i = 0; i < n; i++)
        for (uint32_t at = 0; at < frames[i].len; at++)
            ((volatile uint8_t *)frames[i].data)[at] ^= 0; /* reads and writes the byte */
    driver->fast.rx_release(driver, frames, n);
}

static void send_one(struct sf_driver *driver, const uint8_t *data, uint32_t len)
{
    struct sf_frame pieces[PIECES];
    int n = driver->fast.tx_reserve(driver, len, pieces, PIECES);

    if (n <= 0)
        return;
    for (int i = 0; i < n; i++) {
        CHECK(pieces[i].len <= len);
        memcpy(pieces[i].data, data, pieces[i].len);
        data += pieces[i].len;
        len -= pieces[i].len;
    }
    if (len)
        driver->fast.tx_cancel(driver, pieces, n);
    else
        driver->fast.tx_commit(driver, pieces, n);
    driver->fast.tx_flush(driver);
}

static void frame(uint8_t how, const uint8_t *data, uint32_t len)
{
    static const uint32_t cuts[] = {0, 14, 60, 512};
    struct sf_driver *driver;
    struct sf_driver_caps found;
    uint8_t *copy = malloc(len ? len : 1);

    CHECK(copy);
    memcpy(copy, data, len);
    below.data = copy;
    below.len = len;
    below.cut = cuts[how >> 4 & 3];
    below.times = TIMES;
    driver = open_all(how & 15);
    for (int i = 0; i < TIMES + 2; i++) {
        receive(driver);
        send_one(driver, copy, len);
    }
    driver->fast.control->caps(driver, &found);
    CHECK(memchr(found.mode, 0, sizeof found.mode));
    driver->fast.control->close(driver);
    CHECK(below.lent == 0 && below.reserved == 0);
    free(copy);
}

/* ---- descriptions of faults ---- */

static void words(const uint8_t *data, size_t len)
{
    struct fault_description description;
    char *text = malloc(len + 1), *message = malloc(SF_DRIVER_ERROR_SIZE);
    int rc;

    CHECK(text && message);
    memcpy(text, data, len);
    text[len] = 0;
    message[0] = 0;
    rc = sf_fault_describe(text, &description, message);
    CHECK(rc == 0 || (rc == -EINVAL && message[0] && memchr(message, 0, SF_DRIVER_ERROR_SIZE)));
    if (rc == 0) {
        CHECK(description.rx.delay_min >= 0 && description.rx.delay_min <= description.rx.delay_max);
        CHECK(description.rx.loss <= 1ull << 32 && description.tx.corrupt <= 1ull << 32);
    }
    free(text);
    free(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    if (data[0] & 0x80)
        words(data + 1, size - 1);
    else
        frame(data[0], data + 1, (uint32_t)(size - 1));
    return 0;
}
