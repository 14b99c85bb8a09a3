/*
 * Opens one frame driver and obeys commands from standard input. The tests in tests/python/drivers compile and run it.
 *
 *     driver_tool DRIVER INTERFACE [--queue N] [--mode MODE] [--rx-frames N] [--tx-frames N] [--frame-size N]
 *                 [--spin] [--count] [--flow FLOW]...
 *
 * It prints "ready MODE". If it fails, it prints "error ERRNO SENTENCE" and ends with status 1. Then it returns each UDP datagram
 * that the driver delivers to the datagram's sender (with --count, it only counts them). A command is one line. All commands but
 * quit are answered by one line:
 *
 *     add FLOW | del FLOW | renew FLOW         ok, or error ERRNO
 *     watch PROTOCOL PORT | unwatch PROTOCOL PORT   ok, or error ERRNO
 *     changes PROTOCOL               ok COUNT
 *     send MAC FROM:PORT TO:PORT SIZE COUNT   ok FRAMES
 *     caps | stats | counts          NAME=VALUE pairs
 *     user UID                       ok: root and all capabilities are given up; or error ERRNO
 *     quit                           closes the driver and ends, as does the end of the input
 *
 * A FLOW is udp:LOCAL:PORT or udp:LOCAL:PORT:REMOTE:PORT, or the same with tcp. 0.0.0.0 stands for any address. The suffixes
 * ,broadcast and ,watched=CHANGES and ,kernel set the flow's flags. A PROTOCOL is udp or tcp.
 */
#define _GNU_SOURCE 1
#include "sf/driver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BURST 64
#define FRAME_MAX 65600
#define PIECES_MAX 32
#define HEADERS (14 + 20 + 8)
#define SEND_PATIENCE (2 * SF_SEC)
#define IDLE_TURNS 64 /* with --spin: the idle turns between two checks for input */

/* NULL if the driver's source file was not linked. */
struct sf_driver *sf_driver_af_xdp_open(const struct sf_driver_config *, int *, char *) __attribute__((weak));
struct sf_driver *sf_driver_packet_open(const struct sf_driver_config *, int *, char *) __attribute__((weak));

struct counts {
    unsigned long frames, full, partial, none, bad, other, tagged, options, returned, refused;
};

struct tool {
    struct sf_driver *driver;
    struct counts counts;
    bool spin, count_only;
    char input[4096];
    size_t input_size;
};

static uint8_t gathered[FRAME_MAX];

/* ---- headers ---- */

static uint32_t read16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static void write16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static uint32_t sum_of(const uint8_t *data, uint32_t len, uint32_t sum)
{
    for (; len > 1; data += 2, len -= 2)
        sum += read16(data);
    if (len)
        sum += (uint32_t)data[0] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

static uint32_t udp_sum(const uint8_t *ip, const uint8_t *udp, uint32_t len)
{
    return sum_of(udp, len, sum_of(ip + 12, 8, IPPROTO_UDP + len));
}

static void swap(uint8_t *a, uint8_t *b, size_t size)
{
    uint8_t kept[6];

    memcpy(kept, a, size);
    memcpy(a, b, size);
    memcpy(b, kept, size);
}

/* Counts a received datagram by its checksum, and by the checksum flags that the driver gave its frame. */
static void count_checksum(struct counts *counts, const uint8_t *ip, const uint8_t *udp, uint32_t len, uint32_t flags)
{
    if (!read16(udp + 6))
        counts->none++;
    else if (udp_sum(ip, udp, len) == 0xffff)
        counts->full++;
    else if (flags & SF_FRAME_CHECKSUM_PARTIAL)
        counts->partial++;
    else if (flags & SF_FRAME_CHECKSUM_UNSURE && read16(udp + 6) == sum_of(ip + 12, 8, IPPROTO_UDP + len))
        counts->partial++;
    else
        counts->bad++;
}

/* Turns a UDP datagram into an answer to its sender. Returns false for any other frame. */
static bool answer(struct tool *tool, uint8_t *frame, uint32_t len, uint32_t flags)
{
    bool tagged = len > 18 && read16(frame + 12) == 0x8100;
    uint8_t *ip = frame + (tagged ? 18 : 14), *udp;
    uint32_t header, size;

    if (len < HEADERS + (tagged ? 4u : 0) || read16(ip - 2) != 0x0800 || ip[9] != IPPROTO_UDP)
        return false;
    header = (ip[0] & 15u) * 4;
    size = read16(ip + 2) - header;
    udp = ip + header;
    if (size < 8 || udp + size > frame + len || size != read16(udp + 4))
        return false;
    tool->counts.tagged += tagged;
    tool->counts.options += header > 20;
    count_checksum(&tool->counts, ip, udp, size, flags);
    swap(frame, frame + 6, 6);
    swap(ip + 12, ip + 16, 4);
    swap(udp, udp + 2, 2);
    write16(udp + 6, 0);
    write16(udp + 6, 0xffff ^ udp_sum(ip, udp, size));
    return true;
}

/* ---- frames ---- */

/* Returns 0, or the error of tx_reserve(). */
static int transmit(struct tool *tool, const uint8_t *frame, uint32_t len)
{
    const struct sf_driver_fast *fast = &tool->driver->fast;
    struct sf_frame pieces[PIECES_MAX];
    int count = fast->tx_reserve(tool->driver, len, pieces, PIECES_MAX);

    if (count < 0)
        return count;
    for (int i = 0; i < count; i++) {
        memcpy(pieces[i].data, frame, pieces[i].len);
        frame += pieces[i].len;
    }
    fast->tx_commit(tool->driver, pieces, count);
    return 0;
}

static void handle(struct tool *tool, uint32_t len, uint32_t flags)
{
    tool->counts.frames++;
    if (flags & SF_FRAME_OWN)
        return;
    if (!answer(tool, gathered, len, flags))
        tool->counts.other++;
    else if (!tool->count_only && transmit(tool, gathered, len) == 0)
        tool->counts.returned++;
    else if (!tool->count_only)
        tool->counts.refused++;
}

static int turn(struct tool *tool)
{
    const struct sf_driver_fast *fast = &tool->driver->fast;
    struct sf_frame frames[BURST];
    uint32_t len = 0, flags = 0;
    int n = fast->rx_burst(tool->driver, frames, BURST);

    for (int i = 0; i < n; i++) {
        if (len + frames[i].len <= FRAME_MAX) {
            memcpy(gathered + len, frames[i].data, frames[i].len);
            len += frames[i].len;
        }
        flags |= frames[i].flags;
        if (frames[i].flags & SF_FRAME_MORE)
            continue;
        handle(tool, len, flags);
        len = flags = 0;
    }
    fast->rx_release(tool->driver, frames, n);
    fast->tx_flush(tool->driver);
    return n;
}

/* ---- commands ---- */

static uint8_t parse_protocol(const char *text)
{
    return strcmp(text, "tcp") == 0 ? IPPROTO_TCP : strcmp(text, "udp") == 0 ? IPPROTO_UDP : 0;
}

static void parse_flags(const char *text, struct sf_flow *flow)
{
    const char *watched = strstr(text, ",watched=");

    if (strstr(text, ",broadcast"))
        flow->flags |= SF_FLOW_BROADCAST;
    if (strstr(text, ",kernel"))
        flow->flags |= SF_FLOW_KERNEL;
    if (watched) {
        flow->flags |= SF_FLOW_WATCHED;
        flow->changes = (uint32_t)strtoul(watched + strlen(",watched="), NULL, 10);
    }
}

static bool parse_flow(const char *text, struct sf_flow *flow)
{
    char protocol[4], local[16], remote[16] = "0.0.0.0";
    unsigned local_port, remote_port = 0;
    int n = sscanf(text, "%3[a-z]:%15[0-9.]:%u:%15[0-9.]:%u", protocol, local, &local_port, remote, &remote_port);

    if (n != 3 && n != 5)
        return false;
    *flow = (struct sf_flow){
        .local_addr = inet_addr(local),
        .remote_addr = inet_addr(remote),
        .local_port = htons((uint16_t)local_port),
        .remote_port = htons((uint16_t)remote_port),
        .protocol = parse_protocol(protocol),
    };
    parse_flags(text, flow);
    return true;
}

static void print_result(int error)
{
    if (error)
        printf("error %d\n", -error);
    else
        printf("ok\n");
}

/* `what` is the first letter of the command: add, del or renew. */
static void change_filter(struct tool *tool, const char *text, char what)
{
    const struct sf_driver_control *control = tool->driver->fast.control;
    struct sf_flow flow;
    int error = -EINVAL;

    if (parse_flow(text, &flow))
        error = (what == 'a' ? control->filter_add : what == 'd' ? control->filter_del : control->filter_renew)(tool->driver, &flow);
    print_result(error);
}

static void watch_port(struct tool *tool, const char *text, bool on)
{
    char protocol[4];
    unsigned port;
    int error = -EINVAL;

    if (sscanf(text, "%3[a-z] %u", protocol, &port) == 2)
        error = tool->driver->fast.control->watch_port(tool->driver, parse_protocol(protocol), htons((uint16_t)port), on);
    print_result(error);
}

static void build(uint8_t *frame, const uint8_t mac[6], const uint8_t own[6], const char *from, unsigned from_port,
                  const char *to, unsigned to_port, uint32_t size)
{
    uint8_t *ip = frame + 14, *udp = ip + 20;
    uint32_t source = inet_addr(from), destination = inet_addr(to);

    memset(frame, 0, HEADERS);
    memcpy(frame, mac, 6);
    memcpy(frame + 6, own, 6);
    write16(frame + 12, 0x0800);
    ip[0] = 0x45;
    write16(ip + 2, 28 + size);
    ip[8] = 64;
    ip[9] = IPPROTO_UDP;
    memcpy(ip + 12, &source, 4);
    memcpy(ip + 16, &destination, 4);
    write16(ip + 10, 0xffff ^ sum_of(ip, 20, 0));
    write16(udp, from_port);
    write16(udp + 2, to_port);
    write16(udp + 4, 8 + size);
}

/* Fills the datagram. It begins with its number in network byte order, unless it is shorter than 4 bytes. */
static void number(uint8_t *frame, uint32_t size, uint32_t index)
{
    uint8_t *ip = frame + 14, *udp = ip + 20;

    for (uint32_t i = 0; i < size; i++)
        udp[8 + i] = (uint8_t)(i < 4 && size >= 4 ? index >> (24 - 8 * i) : i);
    write16(udp + 6, 0);
    write16(udp + 6, 0xffff ^ udp_sum(ip, udp, 8 + size));
}

static void send_frames(struct tool *tool, const char *text)
{
    char from[16], to[16];
    unsigned from_port, to_port, size, count, sent = 0, mac[6];
    struct sf_driver_caps caps;
    uint8_t frame[FRAME_MAX], peer[6];
    sf_ns deadline = sf_now() + SEND_PATIENCE;

    if (sscanf(text, "%x:%x:%x:%x:%x:%x %15[0-9.]:%u %15[0-9.]:%u %u %u", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
               &mac[5], from, &from_port, to, &to_port, &size, &count) != 12 || size > 65507) {
        printf("error %d\n", EINVAL);
        return;
    }
    for (int i = 0; i < 6; i++)
        peer[i] = (uint8_t)mac[i];
    tool->driver->fast.control->caps(tool->driver, &caps);
    build(frame, peer, caps.mac, from, from_port, to, to_port, size);
    while (sent < count && sf_now() < deadline) {
        int error;

        number(frame, size, sent);
        error = transmit(tool, frame, HEADERS + size);
        if (error == 0)
            sent++;
        else if (error == -EAGAIN)
            turn(tool);
        else
            break;
        if (sent % BURST == 0)
            tool->driver->fast.tx_flush(tool->driver);
    }
    tool->driver->fast.tx_flush(tool->driver);
    printf("ok %u\n", sent);
}

static void print_caps(struct tool *tool)
{
    struct sf_driver_caps caps;

    tool->driver->fast.control->caps(tool->driver, &caps);
    printf("flags=%u mtu=%u rx_lent=%u tx_queue=%u queue=%d ifindex=%d mac=%02x:%02x:%02x:%02x:%02x:%02x mode=%s\n", caps.flags,
           caps.mtu, caps.rx_lent, caps.tx_queue, caps.queue, caps.ifindex, caps.mac[0], caps.mac[1], caps.mac[2], caps.mac[3],
           caps.mac[4], caps.mac[5], caps.mode);
}

static void print_stats(struct tool *tool)
{
    struct sf_driver_stats stats;

    tool->driver->fast.control->stats(tool->driver, &stats);
    printf("rx_frames=%lu rx_bytes=%lu tx_frames=%lu tx_bytes=%lu rx_dropped=%lu rx_invalid=%lu tx_full=%lu tx_errors=%lu "
           "wakeups=%lu\n",
           (unsigned long)stats.rx_frames, (unsigned long)stats.rx_bytes, (unsigned long)stats.tx_frames,
           (unsigned long)stats.tx_bytes, (unsigned long)stats.rx_dropped, (unsigned long)stats.rx_invalid,
           (unsigned long)stats.tx_full, (unsigned long)stats.tx_errors, (unsigned long)stats.wakeups);
}

static void print_counts(const struct counts *c)
{
    printf("frames=%lu full=%lu partial=%lu none=%lu bad=%lu other=%lu tagged=%lu options=%lu returned=%lu refused=%lu\n",
           c->frames, c->full, c->partial, c->none, c->bad, c->other, c->tagged, c->options, c->returned, c->refused);
}

/* Returns false for the command quit. */
static bool obey(struct tool *tool, char *line)
{
    char *rest = strchr(line, ' ');

    if (rest)
        *rest++ = 0;
    else
        rest = line + strlen(line);
    if (strcmp(line, "quit") == 0)
        return false;
    if (strcmp(line, "add") == 0 || strcmp(line, "del") == 0 || strcmp(line, "renew") == 0)
        change_filter(tool, rest, line[0]);
    else if (strcmp(line, "watch") == 0 || strcmp(line, "unwatch") == 0)
        watch_port(tool, rest, line[0] == 'w');
    else if (strcmp(line, "changes") == 0)
        printf("ok %u\n", tool->driver->fast.control->port_changes(tool->driver, parse_protocol(rest)));
    else if (strcmp(line, "send") == 0)
        send_frames(tool, rest);
    else if (strcmp(line, "caps") == 0)
        print_caps(tool);
    else if (strcmp(line, "stats") == 0)
        print_stats(tool);
    else if (strcmp(line, "counts") == 0)
        print_counts(&tool->counts);
    else if (strcmp(line, "user") == 0 && setresuid((uid_t)atoi(rest), (uid_t)atoi(rest), (uid_t)atoi(rest)) == 0)
        printf("ok\n");
    else
        printf("error %d\n", EINVAL);
    fflush(stdout);
    return true;
}

static bool read_commands(struct tool *tool)
{
    ssize_t size = read(0, tool->input + tool->input_size, sizeof(tool->input) - tool->input_size - 1);
    char *line = tool->input, *end;

    if (size <= 0)
        return false;
    tool->input_size += (size_t)size;
    tool->input[tool->input_size] = 0;
    while ((end = strchr(line, '\n'))) {
        *end = 0;
        if (!obey(tool, line))
            return false;
        line = end + 1;
    }
    tool->input_size -= (size_t)(line - tool->input);
    memmove(tool->input, line, tool->input_size);
    return true;
}

/* Sleeps until there are frames or commands, but not with --spin. Obeys the commands. Returns false if the tool must end. */
static bool wait_for_more(struct tool *tool)
{
    const struct sf_driver_control *control = tool->driver->fast.control;
    struct pollfd fds[2] = {{.fd = 0, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
    int timeout = 0, armed = tool->spin ? -EAGAIN : control->arm(tool->driver, &fds[1].fd);

    if (armed == 0)
        timeout = -1;
    else
        fds[1].fd = -1;
    poll(fds, 2, timeout);
    if (!tool->spin)
        control->disarm(tool->driver);
    return fds[0].revents ? read_commands(tool) : true;
}

static void run(struct tool *tool)
{
    for (int idle = 0;;) {
        idle = turn(tool) ? 0 : idle + 1;
        if (tool->spin && idle % IDLE_TURNS != 0)
            continue;
        if (idle && !wait_for_more(tool))
            return;
    }
}

/* ---- the command line ---- */

static sf_driver_open find(const char *name)
{
    if (strcmp(name, "af_xdp") == 0)
        return sf_driver_af_xdp_open;
    if (strcmp(name, "packet") == 0)
        return sf_driver_packet_open;
    return NULL;
}

static const char *take_options(struct tool *tool, struct sf_driver_config *config, char **argv, char **flows)
{
    for (; *argv; argv++) {
        const char *name = *argv;

        if (strcmp(name, "--spin") == 0) {
            tool->spin = true;
            continue;
        } else if (strcmp(name, "--count") == 0) {
            tool->count_only = true;
            continue;
        }
        if (!*++argv)
            return name;
        if (strcmp(name, "--flow") == 0)
            *flows++ = *argv;
        else if (strcmp(name, "--mode") == 0)
            config->mode = *argv;
        else if (strcmp(name, "--queue") == 0)
            config->queue = atoi(*argv);
        else if (strcmp(name, "--rx-frames") == 0)
            config->rx_frames = (uint32_t)atoi(*argv);
        else if (strcmp(name, "--tx-frames") == 0)
            config->tx_frames = (uint32_t)atoi(*argv);
        else if (strcmp(name, "--frame-size") == 0)
            config->frame_size = (uint32_t)atoi(*argv);
        else
            return name;
    }
    *flows = NULL;
    return NULL;
}

static int add_flows(struct tool *tool, char **flows)
{
    struct sf_flow flow;
    int error = 0;

    for (; *flows && !error; flows++)
        error = parse_flow(*flows, &flow) ? tool->driver->fast.control->filter_add(tool->driver, &flow) : -EINVAL;
    if (error)
        printf("error %d cannot add a flow\n", -error);
    return error;
}

int main(int argc, char **argv)
{
    static struct tool tool;
    struct sf_driver_config config = {.queue = -1};
    char message[SF_DRIVER_ERROR_SIZE], *flows[64];
    sf_driver_open open_driver = argc > 2 ? find(argv[1]) : NULL;
    const char *unknown = argc > 2 && argc < 128 ? take_options(&tool, &config, argv + 3, flows) : "the command line";
    struct sf_driver_caps caps;
    int error;

    if (!open_driver || unknown) {
        fprintf(stderr, "driver_tool: %s is invalid\n", unknown ? unknown : "the driver's name");
        return 2;
    }
    config.interface = argv[2];
    tool.driver = open_driver(&config, &error, message);
    if (!tool.driver) {
        printf("error %d %s\n", -error, message);
        return 1;
    }
    error = add_flows(&tool, flows);
    if (!error) {
        tool.driver->fast.control->caps(tool.driver, &caps);
        printf("ready %s\n", caps.mode);
        fflush(stdout);
        run(&tool);
    }
    tool.driver->fast.control->close(tool.driver);
    return error ? 1 : 0;
}
