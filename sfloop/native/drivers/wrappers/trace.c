/*
 * Prints a line for each frame to a file or to standard error:
 *
 *   rx 1732406400.123456789 106 02:00:0a:00:00:01 > 02:00:0a:00:00:02 UDP 10.0.0.1:7001 > 10.0.0.2:7002 64
 *
 * The lengths are those of the frame and of the UDP or TCP payload. Do not measure with it, because writing may block.
 */
#define _GNU_SOURCE
#include "drivers/driver_util.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio_ext.h>
#include <stdlib.h>

#define HEAD 128 /* bytes of a frame that are parsed: Ethernet, VLAN, IPv4 with all options, TCP's fixed part */

struct trace_driver {
    struct sf_wrapper base;
    FILE *out;
    bool owned;
};

static inline struct trace_driver *trace_of(struct sf_driver *driver)
{
    return (struct trace_driver *)driver;
}

static uint32_t read16(const uint8_t *at)
{
    return (uint32_t)(at[0] << 8 | at[1]);
}

static void print_ports(FILE *out, const uint8_t *ip, const uint8_t *transport, uint32_t left, const char *name)
{
    uint32_t header = 8, payload = read16(ip + 2) - (uint32_t)(transport - ip);

    if (name[0] == 'T')
        header = left > 12 ? (uint32_t)(transport[12] >> 4) * 4 : 20;
    fprintf(out, " %s %u.%u.%u.%u:%u > %u.%u.%u.%u:%u %d", name, ip[12], ip[13], ip[14], ip[15], read16(transport), ip[16],
            ip[17], ip[18], ip[19], read16(transport + 2), (int)(payload - header));
    if (name[0] == 'T' && left > 13)
        fprintf(out, " [%s%s%s%s]", transport[13] & 2 ? "S" : "", transport[13] & 16 ? "." : "", transport[13] & 1 ? "F" : "",
                transport[13] & 4 ? "R" : "");
}

static void print_ipv4(FILE *out, const uint8_t *ip, uint32_t left)
{
    uint32_t header = left ? (ip[0] & 15u) * 4 : 0;
    const char *name;

    if (left < 20 || header < 20) {
        fprintf(out, " IPv4, torn");
        return;
    }
    name = ip[9] == IPPROTO_UDP ? "UDP" : ip[9] == IPPROTO_TCP ? "TCP" : NULL;
    if (name && !(read16(ip + 6) & 0x1fff) && left >= header + 4) {
        print_ports(out, ip, ip + header, left - header, name);
        return;
    }
    fprintf(out, " IPv4 protocol %u %u.%u.%u.%u > %u.%u.%u.%u%s", ip[9], ip[12], ip[13], ip[14], ip[15], ip[16], ip[17], ip[18],
            ip[19], read16(ip + 6) & 0x1fff ? " fragment" : "");
}

static void print_frame(FILE *out, const uint8_t *f, uint32_t left)
{
    uint32_t type, at = 12;

    if (left < SF_ETHERNET_HEADER) {
        fprintf(out, " torn");
        return;
    }
    fprintf(out, " %02x:%02x:%02x:%02x:%02x:%02x > %02x:%02x:%02x:%02x:%02x:%02x", f[6], f[7], f[8], f[9], f[10], f[11], f[0],
            f[1], f[2], f[3], f[4], f[5]);
    type = read16(f + at);
    if (type == 0x8100 && left >= SF_ETHERNET_HEADER + SF_VLAN_TAG) {
        fprintf(out, " VLAN %u", read16(f + 14) & 0xfff);
        at += SF_VLAN_TAG;
        type = read16(f + at);
    }
    if (type == 0x0800)
        print_ipv4(out, f + at + 2, left - at - 2);
    else
        fprintf(out, " type %04x", type);
}

/* Prints a frame of n pieces. Copies the first bytes, because a piece may end anywhere. */
static void print_line(struct trace_driver *t, const char *direction, const struct sf_frame *pieces, int n)
{
    struct timespec now;
    uint8_t head[HEAD];
    uint32_t have = 0, len = 0;

    for (int i = 0; i < n; i++) {
        uint32_t part = pieces[i].len < HEAD - have ? pieces[i].len : HEAD - have;

        memcpy(head + have, pieces[i].data, part);
        have += part;
        len += pieces[i].len;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    fprintf(t->out, "%s %lld.%09ld %u", direction, (long long)now.tv_sec, now.tv_nsec, len);
    print_frame(t->out, head, have);
    fputc('\n', t->out);
}

static int trace_rx_burst(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    struct trace_driver *t = trace_of(driver);
    int taken = sf_pass_rx_burst(driver, frames, n);

    for (int i = 0; i < taken;) {
        int first = i;

        while (i < taken - 1 && frames[i].flags & SF_FRAME_MORE)
            i++;
        i++;
        print_line(t, "rx", frames + first, i - first);
    }
    if (taken > 0)
        fflush(t->out);
    return taken;
}

static void trace_tx_commit(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    print_line(trace_of(driver), "tx", pieces, n);
    sf_pass_tx_commit(driver, pieces, n);
}

static void trace_tx_flush(struct sf_driver *driver)
{
    sf_pass_tx_flush(driver);
    fflush(trace_of(driver)->out);
}

static void trace_caps(struct sf_driver *driver, struct sf_driver_caps *caps)
{
    sf_pass_caps(driver, caps);
    sf_mode_add(caps, "; traced");
}

static void trace_close(struct sf_driver *driver)
{
    struct trace_driver *t = trace_of(driver);

    if (t->owned)
        fclose(t->out);
    t->base.below->fast.control->close(t->base.below);
    free(t);
}

/* The parent writes the buffered lines. */
static void trace_abandon(struct sf_driver *driver)
{
    struct trace_driver *t = trace_of(driver);

    sf_driver_abandon(t->base.below);
    if (t->owned) {
        __fpurge(t->out);
        fclose(t->out);
    }
    free(t);
}

static const struct sf_driver_control trace_control = {
    .name = "trace",
    .close = trace_close,
    .abandon = trace_abandon,
    .caps = trace_caps,
    .stats = sf_pass_stats,
    .arm = sf_pass_arm,
    .tx_stamps = sf_pass_tx_stamps,
    .due = sf_pass_due,
    SF_PASS_CONTROL,
};

static const struct sf_driver_fast trace_fast = {
    .rx_burst = trace_rx_burst,
    .rx_release = sf_pass_rx_release,
    .tx_reserve = sf_pass_tx_reserve,
    .tx_cancel = sf_pass_tx_cancel,
    .tx_commit = trace_tx_commit,
    .tx_flush = trace_tx_flush,
    .control = &trace_control,
};

struct sf_driver *sf_driver_trace_open(struct sf_driver *below, const struct sf_driver_config *config, int *error,
                                       char *message)
{
    struct trace_driver *t = calloc(1, sizeof(*t));

    if (!t)
        return sf_driver_fail(error, message, -ENOMEM, "trace: out of memory");
    t->base.driver.fast = trace_fast;
    t->base.below = below;
    t->owned = config->file && *config->file;
    t->out = t->owned ? fopen(config->file, "we") : stderr;
    if (!t->out) {
        int code = -errno;

        free(t);
        return sf_driver_fail(error, message, code, "trace: cannot write to %.150s: %s", config->file, strerror(-code));
    }
    return &t->base.driver;
}
