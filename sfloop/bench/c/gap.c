/*
 * A preload library that measures the time of an event loop's own work between its system calls.
 *
 * It wraps libc's polling, receiving and sending functions, and reads the clock when each is entered and when it
 * returns. A call succeeds if it returns events or bytes, or accepts bytes to send. The time from the return of such
 * a call to the entry of the next call is the loop's own work: dispatch, taking and releasing the GIL, the
 * protocol's callback, the transport. The time after a call without a result is idle time and is not counted. The
 * sum from one finished send to the next is the loop's own cost of a message.
 *
 * The results are in a file that the bench maps too (SFLOOP_BENCH_GAP names it), so the bench may kill the server.
 * The library shares only histogram.h with the other programs.
 */
#include "histogram.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct gap_file {
    uint64_t clock_ns; /* the time of two clock readings, already subtracted from every interval */
    struct sfb_histogram cost;
};

static struct gap_file *file;

/* The state of a thread. */
static _Thread_local struct {
    uint64_t since;   /* the time of the last call's return */
    uint64_t cost;    /* own work since the last finished message */
    bool busy;        /* the last call had a result */
    bool sent;        /* the last call was a send */
    bool received;    /* bytes were received since the last finished message */
} gap;

static uint64_t clock_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static void enter(void)
{
    uint64_t now;

    if (!file)
        return;
    now = clock_now();
    if (gap.busy && gap.since) {
        uint64_t interval = now - gap.since;

        gap.cost += interval > file->clock_ns ? interval - file->clock_ns : 0;
    }
    if (gap.sent && gap.received) {
        sfb_histogram_record(&file->cost, gap.cost);
        gap.received = false;
        gap.cost = 0;
    } else if (gap.sent) {
        gap.cost = 0;
    }
}

static void leave(bool busy, bool sent, bool received)
{
    if (!file)
        return;
    gap.busy = busy;
    gap.sent = sent && busy;
    gap.received |= received && busy;
    gap.since = clock_now();
}

/* Returns the time between two readings of the clock. It is the least of many, because others were disturbed. */
static uint64_t clock_cost(void)
{
    uint64_t least = UINT64_MAX;

    for (int i = 0; i < 10000; i++) {
        uint64_t first = clock_now(), second = clock_now();

        if (second - first < least)
            least = second - first;
    }
    return least;
}

__attribute__((constructor)) static void open_file(void)
{
    const char *name = getenv("SFLOOP_BENCH_GAP");
    int fd = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    void *mapped;

    if (fd < 0 || ftruncate(fd, sizeof *file))
        return;
    mapped = mmap(NULL, sizeof *file, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED)
        return;
    file = mapped;
    file->clock_ns = clock_cost();
}

/* Looks the real function up at the first call. Stores dlsym()'s result through a void pointer, because ISO C has no cast to a function
 * pointer. */
#define REAL(type, name, parameters)                                                                                \
    static type(*real) parameters;                                                                                  \
    if (!real)                                                                                                      \
    *(void **)&real = dlsym(RTLD_NEXT, #name)

#define WRAP(type, name, parameters, arguments, sends, receives)                                                    \
    type name parameters                                                                                            \
    {                                                                                                               \
        type result;                                                                                                \
        REAL(type, name, parameters);                                                                               \
        enter();                                                                                                    \
        result = real arguments;                                                                                    \
        leave(result > 0, sends, receives);                                                                         \
        return result;                                                                                              \
    }

WRAP(ssize_t, recv, (int fd, void *b, size_t n, int f), (fd, b, n, f), false, true)
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *m, int f), (fd, m, f), false, true)
WRAP(ssize_t, read, (int fd, void *b, size_t n), (fd, b, n), false, true)
WRAP(ssize_t, readv, (int fd, const struct iovec *v, int n), (fd, v, n), false, true)
WRAP(ssize_t, send, (int fd, const void *b, size_t n, int f), (fd, b, n, f), true, false)
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *m, int f), (fd, m, f), true, false)
WRAP(ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n), true, false)
WRAP(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n), true, false)
WRAP(ssize_t, recvfrom, (int fd, void *restrict b, size_t n, int f, struct sockaddr *restrict a, socklen_t *restrict l),
     (fd, b, n, f, a, l), false, true)
WRAP(ssize_t, sendto, (int fd, const void *b, size_t n, int f, const struct sockaddr *a, socklen_t l),
     (fd, b, n, f, a, l), true, false)
WRAP(int, recvmmsg, (int fd, struct mmsghdr *m, unsigned n, int f, struct timespec *t), (fd, m, n, f, t), false, true)
WRAP(int, sendmmsg, (int fd, struct mmsghdr *m, unsigned n, int f), (fd, m, n, f), true, false)
WRAP(int, poll, (struct pollfd * p, nfds_t n, int t), (p, n, t), false, false)
WRAP(int, ppoll, (struct pollfd * p, nfds_t n, const struct timespec *t, const sigset_t *s), (p, n, t, s), false, false)
WRAP(int, epoll_wait, (int fd, struct epoll_event *e, int n, int t), (fd, e, n, t), false, false)
WRAP(int, epoll_pwait, (int fd, struct epoll_event *e, int n, int t, const sigset_t *s), (fd, e, n, t, s), false, false)
WRAP(int, epoll_pwait2, (int fd, struct epoll_event *e, int n, const struct timespec *t, const sigset_t *s),
     (fd, e, n, t, s), false, false)

/* A program that was compiled with _FORTIFY_SOURCE calls these functions instead. */
ssize_t __read_chk(int fd, void *b, size_t n, size_t room)
{
    (void)room;
    return read(fd, b, n);
}

ssize_t __recv_chk(int fd, void *b, size_t n, size_t room, int f)
{
    (void)room;
    return recv(fd, b, n, f);
}

ssize_t __recvfrom_chk(int fd, void *restrict b, size_t n, size_t room, int f, struct sockaddr *restrict a,
                       socklen_t *restrict l)
{
    (void)room;
    return recvfrom(fd, b, n, f, a, l);
}

int __poll_chk(struct pollfd *p, nfds_t n, int t, size_t room)
{
    (void)room;
    return poll(p, n, t);
}

/*
 * Programs call epoll_pwait2 by its number, because some versions of libc lack it. This function always reads six
 * arguments, even if fewer were passed. On the machines that sfloop supports, they are in registers or on the stack.
 */
long syscall(long number, ...)
{
    va_list list;
    long a[6], result;
    bool polls = number == SYS_epoll_pwait;

    REAL(long, syscall, (long, ...));
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
#ifdef SYS_epoll_pwait2
    polls |= number == SYS_epoll_pwait2;
#endif
    if (polls)
        enter();
    result = real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (polls)
        leave(result > 0, false, false);
    return result;
}
