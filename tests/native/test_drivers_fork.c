/* Wrappers in a forked child: their buffered output belongs to the parent, and is written once. */
#define _GNU_SOURCE
#include "check.h"
#include "sf/driver.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char message[SF_DRIVER_ERROR_SIZE];

static struct sf_driver *open_side(const char *wire, uint32_t addr)
{
    const struct sf_driver_config config = {.interface = wire, .addr = htonl(addr)};
    int error = 0;
    struct sf_driver *driver = sf_driver_find("shm")(&config, &error, message);

    CHECK(driver);
    return driver;
}

/* Forks a child that abandons the driver and ends by exit(), which flushes the buffers of stdio. */
static void abandon_in_child(struct sf_driver *driver)
{
    pid_t child;
    int status;

    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        driver->fast.control->abandon(driver);
        exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static size_t read_file(const char *path, char *buffer, size_t size)
{
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, buffer, size - 1);

    CHECK(n >= 0);
    close(fd);
    buffer[n] = 0;
    return (size_t)n;
}

static void commit(struct sf_driver *driver)
{
    struct sf_frame piece;

    CHECK(driver->fast.tx_reserve(driver, 100, &piece, 1) == 1);
    memset(piece.data, 1, 100);
    driver->fast.tx_commit(driver, &piece, 1);
}

static void test_buffered(const char *wrapper)
{
    char path[] = "/tmp/sfloop-test-XXXXXX", wire[64], file[1024];
    const struct sf_driver_config config = {.file = path};
    struct sf_driver *a, *b;
    int fd = mkstemp(path), error = 0;
    size_t size;

    CHECK(fd >= 0);
    snprintf(wire, sizeof(wire), "fork-%d", (int)getpid());
    a = sf_driver_find_wrapper(wrapper)(open_side(wire, 0x0a000001), &config, &error, message);
    b = open_side(wire, 0x0a000002);
    CHECK(a);
    commit(a);
    CHECK(read_file(path, file, sizeof(file)) == 0);
    abandon_in_child(a);
    CHECK(read_file(path, file, sizeof(file)) == 0);
    a->fast.control->close(a);
    b->fast.control->close(b);
    size = read_file(path, file, sizeof(file));
    if (strcmp(wrapper, "pcap") == 0)
        CHECK(size == 24 + 16 + 100);
    else
        CHECK(size > 0 && strchr(file, '\n') == file + size - 1); /* the trace has one line */
    close(fd);
    unlink(path);
}

int main(void)
{
    test_buffered("pcap");
    test_buffered("trace");
    return 0;
}
