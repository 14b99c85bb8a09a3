/* The wrappers pcap, trace and fault: the driver contract on each, and the features of each. */
#define _GNU_SOURCE
#include "driver_contract.h"
#include "driver_ends.h"

#include <fcntl.h>
#include <stdlib.h>

static void test_contract(const char *name, struct layers layers)
{
    const struct driver_contract contract = {.name = name, .open = open_layers, .context = &layers};

    CHECK(driver_contract(&contract) == 0);
}

/* ---- pcap and trace ---- */

static size_t read_file(const char *path, uint8_t *buffer, size_t size)
{
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, buffer, size);

    CHECK(n >= 0);
    close(fd);
    return (size_t)n;
}

static void test_pcap_file(void)
{
    char path[128] = "/tmp/sfloop-test-XXXXXX";
    int fd = mkstemp(path);
    const struct sf_driver_config config = {.file = path};
    struct sf_driver *a = wrap("pcap", open_side(1, 0), &config), *b = open_side(2, 0);
    uint8_t file[1024];
    uint32_t word[4];

    CHECK(send_byte(a, 0x11) && send_byte(b, 0x22) && receive_byte(a) == 0x22 && receive_byte(b) == 0x11);
    CHECK(strstr(contract_caps(a).mode, "pcap to /tmp/"));
    close_driver(a);
    close_driver(b);
    CHECK(read_file(path, file, sizeof(file)) == 24 + 2 * (16 + 100));
    memcpy(word, file, sizeof(word));
    CHECK(word[0] == 0xa1b23c4d && file[20] == 1 && file[4] == 2 && file[6] == 4);
    memcpy(word, file + 24, sizeof(word));
    CHECK(word[0] > 1700000000 && word[1] < 1000000000 && word[2] == 100 && word[3] == 100 && file[40] == 0x11);
    CHECK(file[24 + 116 + 16] == 0x22);
    close(fd);
    unlink(path);
}

static void test_pcap_disk_full(void)
{
    const struct sf_driver_config config = {.file = "/dev/full"};
    struct sf_driver *a = wrap("pcap", open_side(1, 0), &config), *b = open_side(2, 0);

    for (int i = 0; i < 5000; i++)
        CHECK(send_byte(a, 1) && receive_byte(b) == 1);
    CHECK(strstr(contract_caps(a).mode, "pcap stopped: No space left"));
    close_driver(a);
    close_driver(b);
}

static void test_trace_lines(void)
{
    char path[128] = "/tmp/sfloop-test-XXXXXX";
    int fd = mkstemp(path);
    struct layers layers = {.wrapper = "trace", .config = {.file = path}};
    struct contract_pair pair = {0};
    uint8_t text[1024] = {0};

    CHECK(open_layers(&pair, &layers) == 0);
    contract_send_surely(&pair, 106, 1);
    CHECK(read_file(path, text, sizeof(text) - 1) > 0);
    CHECK(strncmp((char *)text, "tx ", 3) == 0);
    CHECK(strstr((char *)text, " 106 02:00:0a:00:00:01 > 02:00:0a:00:00:02 UDP 10.0.0.1:7001 > 10.0.0.2:7002 64\n"));
    close_driver(pair.a);
    close_driver(pair.b);
    close(fd);
    unlink(path);
}

/* ---- fault ---- */

static sf_ns fake_time;

static sf_ns fake_now(void)
{
    return fake_time;
}

static struct sf_driver *faulty(const char *faults)
{
    const struct sf_driver_config config = {.faults = faults, .seed = 3};

    return wrap("fault", open_side(1, 0), &config);
}

/* Sends 200 numbered frames, 10 us apart. Writes the numbers that arrive into `got`, and returns how many arrived. */
static int through(const char *faults, uint8_t *got)
{
    struct sf_driver *a = faulty(faults), *b = open_side(2, 0);
    struct sf_frame frame;
    int n = 0;

    fake_time = SF_SEC;
    expect_peer(a, 0x0a000002, SF_SEC);
    for (int i = 0; i < 600; i++, fake_time += 10 * SF_US) {
        if (i < 200)
            CHECK(send_byte(a, (uint8_t)i));
        CHECK(burst(a, &frame, 1) == 0);
        while (burst(b, &frame, 1) == 1) {
            got[n++] = frame.data[0];
            b->fast.rx_release(b, &frame, 1);
        }
    }
    close_driver(a);
    close_driver(b);
    return n;
}

static void test_fault_choices(void)
{
    static uint8_t got[1000], again[1000];
    int n = through("loss=20%,seed=7", got), swapped = 0;

    CHECK(n > 120 && n < 190);
    CHECK(through("tx.loss=20%,seed=7,delay=100us", again) == n && memcmp(got, again, (size_t)n) == 0);
    CHECK(through("loss=20%,seed=8", again) != n || memcmp(got, again, (size_t)n) != 0);
    CHECK(through("rx.loss=100%", got) == 200);
    CHECK(through("loss=100%", got) == 0);
    CHECK(through("duplicate=100%", got) == 400 && got[0] == 0 && got[1] == 0 && got[399] == 199);
    CHECK(through("reorder=10%", got) == 200);
    for (int i = 1; i < 200; i++)
        swapped += got[i] == got[i - 1] - 1;
    CHECK(swapped > 5 && swapped < 40);
    CHECK(through("delay=50us..2ms", got) == 200);
}

static void test_fault_time(void)
{
    struct sf_driver *a = faulty("rx.delay=1ms,tx.rate=8mbit"), *b = open_side(2, 0);
    int fd;

    fake_time = SF_SEC;
    expect_peer(a, 0x0a000002, SF_SEC);
    CHECK(sf_driver_due(a) == SF_NEVER && send_byte(b, 1) && receive_byte(a) == -1);
    CHECK(sf_driver_due(a) == fake_time + SF_MS && contract_arm_idle(a) >= 0); /* a sleep must end by then */
    fake_time += SF_MS - 1;
    CHECK(receive_byte(a) == -1);
    fake_time += 1;
    CHECK(a->fast.control->arm(a, &fd) == -EAGAIN && receive_byte(a) == 1 && sf_driver_due(a) == SF_NEVER);
    CHECK(send_byte(a, 2) && send_byte(a, 3)); /* 100 bytes at a megabyte per second: 100 us each */
    fake_time += 100 * SF_US;
    CHECK(receive_byte(a) == -1 && receive_byte(b) == 2 && receive_byte(b) == -1);
    fake_time += 100 * SF_US;
    CHECK(receive_byte(a) == -1 && receive_byte(b) == 3);
    close_driver(a);
    close_driver(b);
}

static void test_fault_corrupts_one_bit(void)
{
    struct sf_driver *a = faulty("corrupt=100%"), *b = open_side(2, 0);
    struct sf_frame frame;
    int bits = 0;

    expect_peer(a, 0x0a000002, SF_SEC);
    CHECK(send_byte(a, 0) && burst(b, &frame, 1) == 1);
    for (int i = 0; i < 100; i++)
        bits += __builtin_popcount(frame.data[i]);
    CHECK(bits == 1);
    close_driver(a);
    close_driver(b);
}

static void test_fault_errors(void)
{
    static const char *wrong[] = {"los=1%", "loss=1", "loss=101%", "loss", "delay=2ms..1ms", "delay=5", "delay=1s..", "rate=5",
                                  "rx.seed=1", "seed=x", "tx.=1%", "delay=99s", "loss=..%", "loss=1%,,=", "=", "xx.loss=1%"};
    struct sf_driver *a = open_side(1, 0);
    int error;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const struct sf_driver_config config = {.faults = wrong[i]};

        CHECK(!sf_driver_find_wrapper("fault")(a, &config, &error, message) && error == -EINVAL);
        CHECK(strstr(message, "allowed"));
    }
    CHECK(strstr(message, "\"xx.loss=1%\""));
    close_driver(a);
}

int main(void)
{
    name_wire();
    test_contract("pcap", (struct layers){.frames = 64, .wrapper = "pcap", .config = {.file = "/dev/null"}});
    test_contract("trace", (struct layers){.frames = 64, .wrapper = "trace", .config = {.file = "/dev/null"}});
    test_contract("fault, none", (struct layers){.frames = 64, .wrapper = "fault"});
    test_contract("fault", (struct layers){.frames = 64, .wrapper = "fault", .config = {.faults = "rx.delay=5us,tx.loss=0%"}});
    test_pcap_file();
    test_pcap_disk_full();
    test_trace_lines();
    sf_fault_now = fake_now;
    test_fault_choices();
    test_fault_time();
    test_fault_corrupts_one_bit();
    test_fault_errors();
    check_nothing_is_left();
    return 0;
}
