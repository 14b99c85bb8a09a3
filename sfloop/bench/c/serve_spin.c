/*
 * The servers without epoll. They call recv or recvfrom until it succeeds, and the echoes send the answer. They serve one connection
 * at a time. No program can use fewer system calls, or have less code between the socket and the answer, on Linux's sockets.
 */
#include "common.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_SIZE = 256 * 1024, CALLS_TIMED = 256 };

static unsigned char buffer[BUFFER_SIZE];

static int open_socket(const struct sfb_options *o, int type)
{
    struct sockaddr_in address = sfb_address(o);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address))
        sfb_die_errno("bind");
    if (type == SOCK_STREAM && listen(fd, 16))
        sfb_die_errno("listen");
    sfb_announce(fd);
    return fd;
}

/* Sends the whole answer. False: the connection is gone. */
static bool answer(int fd, const unsigned char *data, size_t size)
{
    while (size) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno != EAGAIN)
            return false;
        data += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

int sfb_spin_tcp(const struct sfb_options *o)
{
    int listener = open_socket(o, SOCK_STREAM), fd, on = 1;

    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        ssize_t n;

        if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on))
            sfb_die_errno("TCP_NODELAY");
        do
            n = recv(fd, buffer, BUFFER_SIZE, MSG_DONTWAIT);
        while (n > 0 ? answer(fd, buffer, (size_t)n) : n < 0 && errno == EAGAIN);
        close(fd);
    }
    sfb_die_errno("accept");
}

int sfb_spin_udp(const struct sfb_options *o)
{
    int fd = open_socket(o, SOCK_DGRAM);

    for (;;) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        ssize_t n = recvfrom(fd, buffer, BUFFER_SIZE, MSG_DONTWAIT, (struct sockaddr *)&peer, &length);

        if (n >= 0)
            (void)sendto(fd, buffer, (size_t)n, MSG_DONTWAIT, (struct sockaddr *)&peer, length);
    }
}

static uint64_t cpu_time(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

struct calls {
    uint64_t all, found, bytes;
};

/* Measures the CPU time, in ns, of a recv that finds nothing, until the first bytes arrive. Returns the least, because others were
 * disturbed. */
static double empty_call(int fd)
{
    double least = 0;

    for (;;) {
        uint64_t begin = cpu_time();
        double took;

        for (int i = 0; i < CALLS_TIMED; i++) {
            ssize_t n = recv(fd, buffer, BUFFER_SIZE, MSG_DONTWAIT | MSG_PEEK);

            if (n >= 0 || errno != EAGAIN)
                return least;
            (void)sfb_now();
        }
        took = (double)(cpu_time() - begin) / CALLS_TIMED;
        least = least > 0 && least < took ? least : took;
    }
}

/* Calls recv until `end`. Returns the time after the last call. */
static uint64_t receive_until(int fd, uint64_t end, struct calls *calls)
{
    uint64_t now;
    ssize_t n;

    do {
        n = recv(fd, buffer, BUFFER_SIZE, MSG_DONTWAIT);
        if (!n || (n < 0 && errno != EAGAIN))
            sfb_die(SFB_EXIT_FAILED, "the source ended: %s", n ? strerror(errno) : "it closed the connection");
        calls->all++;
        calls->found += n > 0;
        calls->bytes += n > 0 ? (uint64_t)n : 0;
        now = sfb_now();
    } while (now < end);
    return now;
}

/* Waits for the first bytes, warms up, and then counts the bytes of `seconds`. `busy` is the CPU time without the time of calls that
 * found nothing. The time of such a call is measured before the first bytes. */
int sfb_spin_sink(const struct sfb_options *o)
{
    int listener = open_socket(o, SOCK_STREAM), fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    struct calls warming = {0}, counted = {0};
    uint64_t begin, end, cpu;
    struct rusage usage, usage_before;
    double empty, busy;

    if (fd < 0)
        sfb_die_errno("accept");
    empty = empty_call(fd);
    begin = receive_until(fd, sfb_now() + (uint64_t)(o->warmup * 1e9), &warming);
    cpu = cpu_time();
    getrusage(RUSAGE_SELF, &usage_before);
    end = receive_until(fd, begin + (uint64_t)(o->seconds * 1e9), &counted);
    busy = (double)(cpu_time() - cpu) - (double)(counted.all - counted.found) * empty;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"involuntary_switches\": %ld, ", usage.ru_nivcsw - usage_before.ru_nivcsw);
    printf("\"count\": %" PRIu64 ", \"begin\": %" PRIu64 ", \"end\": %" PRIu64 ", \"seconds\": %.9f, ", counted.bytes, begin,
           end, (double)(end - begin) / 1e9);
    printf("\"turns\": %" PRIu64 ", \"empty_turns\": %" PRIu64 ", \"busy\": %.9f}\n", counted.all,
           counted.all - counted.found, busy > 0 ? busy / 1e9 : 0);
    fflush(stdout);
    for (;;)
        pause();
}
