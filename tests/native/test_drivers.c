/* The shm driver, which needs no network: the contract, peers that come and go, and a peer that writes anything anywhere. */
#define _GNU_SOURCE
#include "driver_contract.h"
#include "driver_ends.h"

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

static void test_contract(const char *name, struct layers layers)
{
    const struct driver_contract contract = {.name = name, .open = open_layers, .context = &layers};

    CHECK(driver_contract(&contract) == 0);
}

/* ---- shm: peers that come and go ---- */

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
    a->fast.control->disarm(a); /* notices that the peer has left; its frames stay in the ring */
    CHECK(peer_of(a) == 0);
    errors = contract_stats(a).tx_errors;
    CHECK(send_byte(a, 5) && contract_stats(a).tx_errors == errors + 1);
    again = open_side(7, 0);
    CHECK(peer_of(a) == 0x0a000007);
    CHECK(receive_byte(a) == 3 && receive_byte(a) == 4); /* frames of the former peer */
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

/* The peer's process: sends and receives as fast as it can, until it is killed. */
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

/* Twenty peers, one after the other, each ended by SIGKILL at a random point of its work. */
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
            a->fast.control->abandon(a); /* otherwise this process would keep the side taken */
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

/* A driver that never receives still notices that a peer has come, at whatever step of the peer's opening it sends. */
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
        driver = open_side(1, 0); /* at the same time as the peer; either may be first */
        CHECK(driver);
        while (contract_stats(driver).tx_frames == 0) {
            CHECK(sf_now() < give_up);
            send_byte(driver, 1);
        }
        CHECK(waitpid(peer, NULL, 0) == peer);
        close_driver(driver);
    }
}

/* A peer that comes wakes a sleeping driver, and so does a peer that dies. */
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

/* Room in a full ring wakes a sender whose frame was refused. */
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
        if (choice % 1024 == 0) { /* a driver that is opened anew trusts the file no more */
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

int main(void)
{
    name_wire();
    test_contract("shm", (struct layers){0});
    test_contract("shm, small rings", (struct layers){.frames = 32});
    check_nothing_is_left();
    test_shm_sides();
    test_shm_refuses();
    test_shm_killed_peers();
    test_shm_sender_notices();
    test_shm_death_wakes();
    test_shm_room_wakes();
    test_shm_scribbled();
    check_nothing_is_left();
    return 0;
}
