/* The drivers that need no network: the contract on each, and what is particular to each. */
#define _GNU_SOURCE
#include "driver_contract.h"

#include "drivers/shm/wire.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>


static char message[SF_DRIVER_ERROR_SIZE];
static char wire[64]; /* a name of this run's own */

static struct sf_driver *open_side(int last_byte, uint32_t frames)
{
    struct sf_driver_config config = {
        .interface = wire, .addr = htonl(0x0a000000u + (uint32_t)last_byte), .rx_frames = frames, .tx_frames = frames};
    int error = 0;
    struct sf_driver *driver = sf_driver_find("shm")(&config, &error, message);

    CHECK(driver || (error < 0 && message[0]));
    return driver;
}

static struct sf_driver *wrap(const char *name, struct sf_driver *below, const struct sf_driver_config *config)
{
    int error = 0;
    struct sf_driver *driver = sf_driver_find_wrapper(name)(below, config, &error, message);

    if (!driver)
        fprintf(stderr, "%s\n", message);
    CHECK(driver);
    return driver;
}

static int burst(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    return driver->fast.rx_burst(driver, frames, n);
}

static void close_driver(struct sf_driver *driver)
{
    driver->fast.control->close(driver);
}

static int send_byte(struct sf_driver *driver, uint8_t byte)
{
    struct sf_frame piece;

    if (driver->fast.tx_reserve(driver, 100, &piece, 1) != 1)
        return 0;
    memset(piece.data, byte, 100);
    driver->fast.tx_commit(driver, &piece, 1);
    driver->fast.tx_flush(driver);
    return 1;
}

/* The first byte of the next frame, or -1. */
static int receive_byte(struct sf_driver *driver)
{
    struct sf_frame frame;
    int byte;

    if (burst(driver, &frame, 1) != 1)
        return -1;
    byte = frame.data[0];
    driver->fast.rx_release(driver, &frame, 1);
    return byte;
}

/* ---- the contract ---- */

struct layers {
    uint32_t frames; /* of the rings below */
    const char *wrapper;
    struct sf_driver_config config;
};

static int open_layers(struct contract_pair *pair, void *context)
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

static void test_contract(const char *name, struct layers layers)
{
    const struct driver_contract contract = {.name = name, .open = open_layers, .context = &layers};

    CHECK(driver_contract(&contract) == 0);
}

/* ---- shm: who comes and who goes ---- */

static uint32_t peer_of(struct sf_driver *driver)
{
    return ntohl(contract_caps(driver).peer_addr);
}

static void expect_peer(struct sf_driver *driver, uint32_t addr, sf_ns patience)
{
    struct sf_frame frames[4];
    sf_ns end = sf_now() + patience;

    while (peer_of(driver) != addr) {
        CHECK(sf_now() < end);
        driver->fast.rx_release(driver, frames, burst(driver, frames, 4));
    }
}

static void test_shm_sides(void)
{
    struct sf_driver *a = open_side(1, 0), *b, *again;
    uint64_t errors;

    CHECK(a && peer_of(a) == 0);
    CHECK(send_byte(a, 1) && contract_stats(a).tx_errors == 1 && contract_stats(a).tx_frames == 0);
    CHECK(!open_side(1, 0) && strstr(message, "10.0.0.1"));
    b = open_side(2, 0);
    CHECK(b && peer_of(a) == 0x0a000002 && peer_of(b) == 0x0a000001);
    CHECK(!open_side(3, 0) && strstr(message, "both sides"));
    CHECK(send_byte(a, 2) && receive_byte(b) == 2 && receive_byte(b) == -1);
    CHECK(send_byte(b, 3) && send_byte(b, 4));
    close_driver(b);
    a->fast.control->disarm(a); /* notices, and leaves what was sent where it is */
    CHECK(peer_of(a) == 0);
    errors = contract_stats(a).tx_errors;
    CHECK(send_byte(a, 5) && contract_stats(a).tx_errors == errors + 1);
    again = open_side(7, 0);
    CHECK(peer_of(a) == 0x0a000007);
    CHECK(receive_byte(a) == 3 && receive_byte(a) == 4); /* what the one before sent */
    CHECK(send_byte(a, 6) && receive_byte(again) == 6 && receive_byte(again) == -1);
    CHECK(send_byte(again, 8) && receive_byte(a) == 8);
    close_driver(a);
    a = open_side(1, 0);
    expect_peer(again, 0x0a000001, 100 * SF_MS);
    CHECK(send_byte(again, 9) && receive_byte(a) == 9);
    close_driver(a);
    close_driver(again);
}

static void test_shm_refuses(void)
{
    struct sf_driver_config config = {.addr = htonl(1)};
    sf_driver_open open_shm = sf_driver_find("shm");
    int error;

    CHECK(!open_shm(&config, &error, message) && error == -EINVAL && strstr(message, "no name"));
    config.interface = "a/b";
    CHECK(!open_shm(&config, &error, message) && error == -EINVAL && strstr(message, "'/'"));
    config.interface = "/nowhere/at/all";
    CHECK(!open_shm(&config, &error, message) && error == -ENOENT && strstr(message, "/nowhere/at/all"));
    config.interface = "/dev/null";
    CHECK(!open_shm(&config, &error, message) && error == -EPERM && strstr(message, "/dev/null"));
    config.interface = wire;
    config.rx_frames = 1000;
    CHECK(!open_shm(&config, &error, message) && error == -EINVAL && strstr(message, "powers of two"));
    config.rx_frames = 65536;
    config.frame_size = 65000;
    CHECK(!open_shm(&config, &error, message) && error == -EINVAL && strstr(message, "MiB"));
    config.rx_frames = 0;
    config.frame_size = 20;
    CHECK(!open_shm(&config, &error, message) && error == -EINVAL && strstr(message, "frame size"));
    config.frame_size = 0;
    config.addr = 0;
    CHECK(!open_shm(&config, &error, message) && error == -EINVAL && strstr(message, "address"));
    CHECK(!sf_driver_find("nothing") && !sf_driver_find_wrapper("shm"));
}

static void wire_path(char *path, size_t size, const char *end)
{
    snprintf(path, size, "/dev/shm/sfloop-%u-%s%s", (unsigned)geteuid(), wire, end);
}

static void test_shm_leaves_nothing(void)
{
    const char *ends[] = {"", ".0", ".1"};
    char path[128];

    for (int i = 0; i < 3; i++) {
        wire_path(path, sizeof(path), ends[i]);
        CHECK(access(path, F_OK) < 0);
    }
}

/* A peer that is killed while it sends and receives as fast as it can: what it runs until then. */
static void run_peer(void)
{
    struct sf_driver *driver = open_side(2, 0);
    uint8_t byte = 0;

    if (!driver)
        _exit(1);
    for (;;) {
        send_byte(driver, byte++);
        receive_byte(driver);
    }
}

/* Twenty lives of the other side, each ended by SIGKILL anywhere in its work. */
static void test_shm_killed_peers(void)
{
    struct sf_driver *a = open_side(1, 64);
    uint64_t seed = 99;

    for (int life = 0; life < 20; life++) {
        sf_ns end;
        pid_t peer = fork();

        CHECK(peer >= 0);
        if (peer == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            a->fast.control->abandon(a); /* an inherited side would keep it taken */
            run_peer();
        }
        expect_peer(a, 0x0a000002, SF_SEC);
        end = sf_now() + (sf_ns)(next_random(&seed) % (uint64_t)(20 * SF_MS)) + 2 * SF_MS;
        while (sf_now() < end) {
            send_byte(a, 1);
            receive_byte(a);
        }
        CHECK(kill(peer, SIGKILL) == 0 && waitpid(peer, NULL, 0) == peer);
        expect_peer(a, 0, 100 * SF_MS);
    }
    CHECK(contract_stats(a).rx_frames > 20 && contract_stats(a).tx_frames > 20 && contract_stats(a).rx_invalid == 0);
    close_driver(a);
}

/* Who does nothing but send notices the other side's coming, at whatever point of it the next frame is sent. */
static void test_shm_sender_notices(void)
{
    for (int life = 0; life < 60; life++) {
        sf_ns give_up = sf_now() + 2 * SF_SEC;
        pid_t peer = fork();
        struct sf_driver *driver;

        CHECK(peer >= 0);
        if (peer == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            driver = open_side(2, 0);
            while (driver && receive_byte(driver) < 0)
                ;
            _exit(!driver);
        }
        driver = open_side(1, 0); /* at the same time: either may be first */
        CHECK(driver);
        while (contract_stats(driver).tx_frames == 0) {
            CHECK(sf_now() < give_up);
            send_byte(driver, 1);
        }
        CHECK(waitpid(peer, NULL, 0) == peer);
        close_driver(driver);
    }
}

/* A sleeper hears of a peer's coming and of its death. */
static void test_shm_death_wakes(void)
{
    int go[2];
    char byte;
    pid_t peer;
    struct sf_driver *a;
    int fd;

    CHECK(pipe(go) == 0);
    peer = fork();
    CHECK(peer >= 0);
    if (peer == 0) {
        struct sf_driver *driver;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (read(go[0], &byte, 1) != 1 || !(driver = open_side(2, 0)))
            _exit(1);
        pause();
    }
    a = open_side(1, 0);
    fd = contract_arm_idle(a);
    CHECK(!contract_readable(fd, 20));
    CHECK(write(go[1], "", 1) == 1);
    CHECK(contract_readable(fd, 1000));
    a->fast.control->disarm(a);
    CHECK(peer_of(a) == 0x0a000002);
    fd = contract_arm_idle(a);
    CHECK(!contract_readable(fd, 20));
    kill(peer, SIGKILL);
    CHECK(contract_readable(fd, 1000));
    waitpid(peer, NULL, 0);
    a->fast.control->disarm(a);
    CHECK(peer_of(a) == 0);
    CHECK(contract_arm_idle(a) == fd && !contract_readable(fd, 20));
    close_driver(a);
    close(go[0]);
    close(go[1]);
}

/* Room in a full ring wakes the sender that was refused. */
static void test_shm_room_wakes(void)
{
    struct sf_driver *a = open_side(1, 16), *b = open_side(2, 16);
    int fd = -1;

    CHECK(peer_of(a));
    while (send_byte(a, 1)) {
    }
    CHECK(contract_arm_idle(a) >= 0);
    CHECK(a->fast.control->arm(a, &fd) == 0 && !contract_readable(fd, 10));
    while (receive_byte(b) != -1) {
    }
    CHECK(contract_readable(fd, 1000));
    a->fast.control->disarm(a);
    CHECK(send_byte(a, 2) && receive_byte(b) == 2);
    close_driver(a);
    close_driver(b);
}

/* ---- shm: a peer that writes anything anywhere ---- */

static uint32_t *map_wire(size_t *size)
{
    char path[128];
    struct stat st;
    void *map;
    int fd;

    wire_path(path, sizeof(path), "");
    fd = open(path, O_RDWR);
    CHECK(fd >= 0 && fstat(fd, &st) == 0);
    *size = (size_t)st.st_size;
    map = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED);
    close(fd);
    return map;
}

static void read_all_bytes(struct sf_driver *driver, uint32_t longest)
{
    struct sf_frame frames[8];
    volatile uint8_t sum = 0;
    int n = burst(driver, frames, 8);

    for (int i = 0; i < n; i++) {
        CHECK(frames[i].len >= 14 && frames[i].len <= longest);
        for (uint32_t at = 0; at < frames[i].len; at++)
            sum = (uint8_t)(sum + frames[i].data[at]);
    }
    driver->fast.rx_release(driver, frames, n);
}

static uint32_t evil_word(uint64_t *seed, uint32_t old)
{
    static const uint32_t values[] = {0, 1, 13, 14, 9018, 9019, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffff0};
    uint64_t choice = next_random(seed);

    if (choice % 3 == 0)
        return values[choice / 3 % 10];
    return choice % 3 == 1 ? old + (uint32_t)(choice >> 60) : (uint32_t)(choice >> 32);
}

static void test_shm_scribbled(void)
{
    struct sf_driver *a = open_side(1, 16), *b = open_side(2, 16);
    uint64_t seed = 5;
    size_t size;
    uint32_t *words = map_wire(&size);
    size_t control = sizeof(struct shm_file) / 4, slot = (size - sizeof(struct shm_file)) / 32 / 4;

    for (int round = 0; round < 20000; round++) {
        uint64_t choice = next_random(&seed);
        size_t at = choice % 2 ? (choice >> 8) % control : control + (choice >> 8) % 32 * slot + (choice >> 40) % 2;

        words[at] = evil_word(&seed, words[at]);
        send_byte(choice & 4 ? a : b, 1);
        read_all_bytes(choice & 8 ? a : b, contract_caps(a).mtu + 18);
        if (choice % 64 == 0) {
            int fd;

            a->fast.control->arm(a, &fd);
            a->fast.control->disarm(a);
        }
        if (choice % 1024 == 0) { /* one who comes anew believes it no more than the one before */
            close_driver(b);
            while (!(b = open_side(2, 16)))
                words[0] = 0x5f6c7332, words[1] = 9018, words[2] = words[3] = 16, memset(words + 16, 0, 128);
        }
    }
    CHECK(contract_stats(a).rx_invalid > 0);
    munmap(words, size);
    close_driver(a);
    close_driver(b);
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
    struct contract_pair pair;
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

/* Sends 200 numbered frames, 10 us apart, and writes what arrives into `got`. */
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
    CHECK(sf_driver_due(a) == fake_time + SF_MS && contract_arm_idle(a) >= 0); /* a sleep ends by then */
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
    snprintf(wire, sizeof(wire), "test-%d", (int)getpid());
    test_contract("shm", (struct layers){0});
    test_contract("shm, small rings", (struct layers){.frames = 32});
    test_contract("pcap", (struct layers){.frames = 64, .wrapper = "pcap", .config = {.file = "/dev/null"}});
    test_contract("trace", (struct layers){.frames = 64, .wrapper = "trace", .config = {.file = "/dev/null"}});
    test_contract("fault, none", (struct layers){.frames = 64, .wrapper = "fault"});
    test_contract("fault", (struct layers){.frames = 64, .wrapper = "fault", .config = {.faults = "rx.delay=5us,tx.loss=0%"}});
    test_shm_leaves_nothing();
    test_shm_sides();
    test_shm_refuses();
    test_shm_killed_peers();
    test_shm_sender_notices();
    test_shm_death_wakes();
    test_shm_room_wakes();
    test_shm_scribbled();
    test_pcap_file();
    test_pcap_disk_full();
    test_trace_lines();
    sf_fault_now = fake_now;
    test_fault_choices();
    test_fault_time();
    test_fault_corrupts_one_bit();
    test_fault_errors();
    test_shm_leaves_nothing();
    return 0;
}
