/*
 * Writes the frames of both directions to a file for tcpdump and Wireshark: pcap with nanoseconds. The file is at most a second
 * behind the traffic, and is complete when the loop sleeps. If writing fails (the disk is full, the reader of a FIFO too slow),
 * the file ends with the last whole frame, caps.mode reports it, and the traffic continues.
 */
#define _GNU_SOURCE
#include "drivers/driver_util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define MAGIC_NANOSECONDS 0xa1b23c4du
#define LINKTYPE_ETHERNET 1
#define LONGEST_FRAME (65536 + SF_ETHERNET_HEADER + SF_VLAN_TAG)
#define BUFFER (256 * 1024)
#define CHECK_EVERY_BURSTS 256
#define WRITE_EVERY SF_SEC

struct file_header {
    uint32_t magic;
    uint16_t major, minor;
    int32_t zone;
    uint32_t precision, longest, linktype;
};

struct record_header {
    uint32_t seconds, nanoseconds, captured, len;
};

struct pcap_driver {
    struct sf_wrapper base;
    int fd;
    int error; /* errno with which writing stopped; 0: it has not */
    off_t whole; /* end of the last whole record in the file */
    size_t used;
    uint32_t until_check;
    sf_ns oldest; /* when the first byte entered the empty buffer */
    char name[48];
    uint8_t buffer[BUFFER];
};

static inline struct pcap_driver *pcap_of(struct sf_driver *driver)
{
    return (struct pcap_driver *)driver;
}

static void stop(struct pcap_driver *p, int error)
{
    int ignored = ftruncate(p->fd, p->whole); /* fails for a FIFO, whose reader copes */

    (void)ignored;
    p->error = error;
    p->used = 0;
}

static void write_out(struct pcap_driver *p)
{
    size_t done = 0;

    while (done < p->used) {
        ssize_t n = write(p->fd, p->buffer + done, p->used - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            stop(p, n < 0 ? errno : EIO);
            return;
        }
        done += (size_t)n;
    }
    p->whole += (off_t)done;
    p->used = 0;
}

static void append(struct pcap_driver *p, const void *bytes, size_t len)
{
    if (p->used == 0)
        p->oldest = sf_now();
    memcpy(p->buffer + p->used, bytes, len);
    p->used += len;
}

static sf_ns real_time(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (sf_ns)ts.tv_sec * SF_SEC + ts.tv_nsec;
}

/* Records one frame of n pieces. */
static void record(struct pcap_driver *p, const struct sf_frame *pieces, int n, sf_ns when)
{
    struct record_header header = {(uint32_t)(when / SF_SEC), (uint32_t)(when % SF_SEC), 0, 0};

    for (int i = 0; i < n; i++)
        header.len += pieces[i].len;
    header.captured = header.len < LONGEST_FRAME ? header.len : LONGEST_FRAME;
    if (p->used + sizeof(header) + header.captured > BUFFER)
        write_out(p);
    if (p->error)
        return;
    append(p, &header, sizeof(header));
    for (int i = 0; i < n; i++) {
        uint32_t part = pieces[i].len < header.captured ? pieces[i].len : header.captured;

        append(p, pieces[i].data, part);
        header.captured -= part;
    }
}

static void record_burst(struct pcap_driver *p, const struct sf_frame *frames, int n)
{
    sf_ns now = real_time();

    for (int i = 0; i < n;) {
        int first = i;

        while (i < n - 1 && frames[i].flags & SF_FRAME_MORE)
            i++;
        i++;
        record(p, frames + first, i - first, frames[first].timestamp ? frames[first].timestamp : now);
    }
}

static int pcap_rx_burst(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    struct pcap_driver *p = pcap_of(driver);
    int taken = sf_pass_rx_burst(driver, frames, n);

    if (taken > 0 && !p->error)
        record_burst(p, frames, taken);
    if (SF_UNLIKELY(--p->until_check == 0)) {
        p->until_check = CHECK_EVERY_BURSTS;
        if (p->used && sf_now() - p->oldest > WRITE_EVERY)
            write_out(p);
    }
    return taken;
}

static void pcap_tx_commit(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    struct pcap_driver *p = pcap_of(driver);

    if (!p->error)
        record(p, pieces, n, real_time());
    sf_pass_tx_commit(driver, pieces, n);
}

/* Writes the buffer before a sleep, because its length is unknown. */
static int pcap_arm(struct sf_driver *driver, int *fd)
{
    int rc = sf_pass_arm(driver, fd);

    if (rc == 0)
        write_out(pcap_of(driver));
    return rc;
}

static void pcap_caps(struct sf_driver *driver, struct sf_driver_caps *caps)
{
    struct pcap_driver *p = pcap_of(driver);

    sf_pass_caps(driver, caps);
    if (p->error)
        sf_mode_add(caps, "; pcap stopped: %s", strerror(p->error));
    else
        sf_mode_add(caps, "; pcap to %s", p->name);
}

static void pcap_close(struct sf_driver *driver)
{
    struct pcap_driver *p = pcap_of(driver);

    write_out(p);
    close(p->fd);
    p->base.below->fast.control->close(p->base.below);
    free(p);
}

/* The parent writes the buffered frames. */
static void pcap_abandon(struct sf_driver *driver)
{
    struct pcap_driver *p = pcap_of(driver);

    sf_driver_abandon(p->base.below);
    close(p->fd);
    free(p);
}

static const struct sf_driver_control pcap_control = {
    .name = "pcap",
    .close = pcap_close,
    .abandon = pcap_abandon,
    .caps = pcap_caps,
    .stats = sf_pass_stats,
    .arm = pcap_arm,
    .tx_stamps = sf_pass_tx_stamps,
    .due = sf_pass_due,
    SF_PASS_CONTROL,
};

static const struct sf_driver_fast pcap_fast = {
    .rx_burst = pcap_rx_burst,
    .rx_release = sf_pass_rx_release,
    .tx_reserve = sf_pass_tx_reserve,
    .tx_cancel = sf_pass_tx_cancel,
    .tx_commit = pcap_tx_commit,
    .tx_flush = sf_pass_tx_flush,
    .control = &pcap_control,
};

struct sf_driver *sf_driver_pcap_open(struct sf_driver *below, const struct sf_driver_config *config, int *error,
                                      char *message)
{
    static const struct file_header header = {MAGIC_NANOSECONDS, 2, 4, 0, 0, LONGEST_FRAME, LINKTYPE_ETHERNET};
    struct pcap_driver *p;
    int fd;

    if (!config->file || !*config->file)
        return sf_driver_fail(error, message, -EINVAL, "pcap: there is no file name; set the file for the frames");
    fd = open(config->file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0600);
    if (fd < 0)
        return sf_driver_fail(error, message, -errno, "pcap: cannot write to %.150s: %s", config->file, strerror(errno));
    p = calloc(1, sizeof(*p));
    if (!p) {
        close(fd);
        return sf_driver_fail(error, message, -ENOMEM, "pcap: out of memory");
    }
    p->base.driver.fast = pcap_fast;
    p->base.below = below;
    p->fd = fd;
    p->until_check = CHECK_EVERY_BURSTS;
    snprintf(p->name, sizeof(p->name), "%s", config->file);
    append(p, &header, sizeof(header));
    sf_driver_rx_stamps(below, true);
    return &p->base.driver;
}
