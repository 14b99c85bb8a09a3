#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

void sfb_die(int status, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(status);
}

void sfb_die_errno(const char *what)
{
    sfb_die(SFB_EXIT_FAILED, "%s: %s", what, strerror(errno));
}

void sfb_pin(int cpu)
{
    cpu_set_t set;

    if (cpu < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set))
        sfb_die(SFB_EXIT_FAILED, "cannot run on CPU %d: %s", cpu, strerror(errno));
}

void sfb_raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit))
        sfb_die_errno("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit))
        sfb_die_errno("setrlimit");
}

struct sockaddr_in sfb_address(const struct sfb_options *o)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)o->port)};

    if (inet_pton(AF_INET, o->host, &address.sin_addr) != 1)
        sfb_die(SFB_EXIT_USAGE, "--host is \"%s\"; an IPv4 address such as 127.0.0.1 is needed", o->host);
    return address;
}

void sfb_set_nonblocking(int fd)
{
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK))
        sfb_die_errno("fcntl");
}

int sfb_epoll_new(void)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);

    if (epoll < 0)
        sfb_die_errno("epoll_create1");
    return epoll;
}

static void control(int epoll, int operation, int fd, uint32_t events, void *pointer)
{
    struct epoll_event event = {.events = events, .data.ptr = pointer};

    if (epoll_ctl(epoll, operation, fd, &event))
        sfb_die_errno("epoll_ctl");
}

void sfb_epoll_add(int epoll, int fd, uint32_t events, void *pointer)
{
    control(epoll, EPOLL_CTL_ADD, fd, events, pointer);
}

void sfb_epoll_change(int epoll, int fd, uint32_t events, void *pointer)
{
    control(epoll, EPOLL_CTL_MOD, fd, events, pointer);
}

int sfb_connect_tcp(const struct sfb_options *o, bool nonblocking)
{
    struct sockaddr_in address = sfb_address(o);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    if (fd < 0)
        sfb_die_errno("socket");
    if (connect(fd, (struct sockaddr *)&address, sizeof address))
        sfb_die(SFB_EXIT_FAILED, "connect to %s:%d: %s", o->host, o->port, strerror(errno));
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on))
        sfb_die_errno("TCP_NODELAY");
    if (nonblocking)
        sfb_set_nonblocking(fd);
    return fd;
}

int sfb_listen_tcp(const struct sfb_options *o)
{
    struct sockaddr_in address = sfb_address(o);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        sfb_die_errno("socket");
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096))
        sfb_die_errno("bind");
    return fd;
}

struct sockaddr_in sfb_interface_address(int fd, const char *interface, unsigned char *mac)
{
    struct ifreq request = {0};
    struct sockaddr_in address;

    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", interface);
    if (ioctl(fd, SIOCGIFADDR, &request))
        sfb_die_errno("the interface's address");
    memcpy(&address, &request.ifr_addr, sizeof address);
    if (ioctl(fd, SIOCGIFHWADDR, &request))
        sfb_die_errno("the interface's hardware address");
    memcpy(mac, request.ifr_hwaddr.sa_data, ETHER_ADDR_LEN);
    return address;
}

void sfb_announce(int fd)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;

    if (getsockname(fd, (struct sockaddr *)&address, &length))
        sfb_die_errno("getsockname");
    printf("{\"port\": %d}\n", ntohs(address.sin_port));
    fflush(stdout);
}

void sfb_run_start(struct sfb_run *run, const struct sfb_options *o)
{
    uint64_t now = sfb_now();

    memset(run, 0, sizeof *run);
    run->begin = now + (uint64_t)(o->warmup * 1e9);
    run->end = UINT64_MAX;
    run->length = o->messages ? 0 : (uint64_t)(o->seconds * 1e9);
    run->messages_left = o->messages ? o->messages : -1;
}

bool sfb_run_tick(struct sfb_run *run, uint64_t now)
{
    if (!run->measuring && now >= run->begin) {
        run->measuring = true;
        run->begin = now;
        run->end = run->length ? now + run->length : UINT64_MAX;
        getrusage(RUSAGE_SELF, &run->usage);
    }
    if (now < run->end && run->messages_left != 0)
        return true;
    run->end = now;
    return false;
}

bool sfb_run_count(struct sfb_run *run, uint64_t sent_at, uint64_t answered_at)
{
    if (run->measuring && sent_at >= run->begin) {
        sfb_histogram_record(&run->histogram, answered_at - sent_at);
        run->count++;
        if (run->messages_left > 0)
            run->messages_left--;
    }
    return sfb_run_tick(run, answered_at);
}

void sfb_run_report(struct sfb_run *run)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    printf("{\"count\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"seconds\": %.9f, ", run->count, run->lost,
           (double)(run->end - run->begin) / 1e9);
    printf("\"involuntary_switches\": %ld, \"voluntary_switches\": %ld, ", usage.ru_nivcsw - run->usage.ru_nivcsw,
           usage.ru_nvcsw - run->usage.ru_nvcsw);
    printf("\"histogram\": ");
    sfb_histogram_write(&run->histogram, stdout);
    printf("}\n");
    fflush(stdout);
}

void sfb_fill(unsigned char *message, int size, uint64_t connection, uint64_t sequence)
{
    /* Uses xorshift64*, which is cheap and shows every byte that is out of place, lost or repeated. */
    uint64_t state = (sequence + 1) * UINT64_C(0x9E3779B97F4A7C15) ^ (connection + 1) * UINT64_C(0xD1B54A32D192ED03);
    int at = 0;

    while (at < size) {
        int n = size - at < 8 ? size - at : 8;

        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        memcpy(message + at, &state, (size_t)n);
        at += n;
    }
}

void sfb_renew(unsigned char *message, int size, uint64_t connection, uint64_t sequence)
{
    int head = size < 64 ? size : 64;

    sfb_fill(message, head, connection, sequence);
    if (size > head)
        sfb_fill(message + size - 8, 8, connection, ~sequence);
}

void sfb_verify(const unsigned char *sent, const unsigned char *received, int size, uint64_t connection,
                uint64_t sequence)
{
    if (!memcmp(sent, received, (size_t)size))
        return;
    for (int i = 0; i < size; i++)
        if (sent[i] != received[i])
            sfb_die(SFB_EXIT_CORRUPT,
                    "the echo is wrong: byte %d of message %" PRIu64 " on connection %" PRIu64
                    " is 0x%02x, but 0x%02x was sent",
                    i, sequence, connection, received[i], sent[i]);
    abort();
}
