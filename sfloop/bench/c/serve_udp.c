/* The UDP reference servers: an echo of one datagram at a time, and a counter that receives in batches. */
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DATAGRAM_SIZE = 65536, BATCH = 64, BATCH_DATAGRAM_SIZE = 2048 };

/* Joins the group, and makes its address the one to bind to, so that only the group's datagrams arrive. */
static void join(const struct sfb_options *o, int fd, struct sockaddr_in *address)
{
    struct ip_mreq membership = {.imr_interface = address->sin_addr};

    if (inet_pton(AF_INET, o->group, &membership.imr_multiaddr) != 1)
        sfb_die(SFB_EXIT_USAGE, "--group is \"%s\"; an IPv4 multicast address is needed", o->group);
    if (setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &membership, sizeof membership))
        sfb_die_errno("IP_ADD_MEMBERSHIP");
    address->sin_addr = membership.imr_multiaddr;
}

static int open_socket(const struct sfb_options *o, int *epoll)
{
    struct sockaddr_in address = sfb_address(o);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd >= 0 && o->group)
        join(o, fd, &address);
    *epoll = sfb_epoll_new();
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address))
        sfb_die_errno("UDP socket");
    sfb_epoll_add(*epoll, fd, EPOLLIN, NULL);
    return fd;
}

int sfb_serve_udp(const struct sfb_options *o)
{
    static unsigned char datagram[DATAGRAM_SIZE];
    struct epoll_event event;
    int epoll, fd = open_socket(o, &epoll);

    sfb_announce(fd);
    for (;;) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        ssize_t n;

        if (epoll_wait(epoll, &event, 1, o->spin ? 0 : -1) <= 0)
            continue;
        n = recvfrom(fd, datagram, DATAGRAM_SIZE, 0, (struct sockaddr *)&peer, &length);
        /* Ignores an answer that is refused or dropped, because the client counts the loss. */
        if (n >= 0)
            (void)!sendto(fd, datagram, (size_t)n, 0, (struct sockaddr *)&peer, length);
    }
}

static uint64_t receive_batch(int fd, struct mmsghdr *messages)
{
    int n = recvmmsg(fd, messages, BATCH, 0, NULL);

    return n > 0 ? (uint64_t)n : 0;
}

/* Waits for the first datagram, warms up, counts for `seconds`, and reports the counts. */
int sfb_serve_flood(const struct sfb_options *o)
{
    static unsigned char datagrams[BATCH][BATCH_DATAGRAM_SIZE];
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    struct epoll_event event;
    int epoll, fd = open_socket(o, &epoll);
    uint64_t begin = 0, end = UINT64_MAX, now, count = 0;
    struct rusage before = {0}, after;

    memset(messages, 0, sizeof messages);
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){.iov_base = datagrams[i], .iov_len = BATCH_DATAGRAM_SIZE};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    sfb_announce(fd);
    do {
        if (epoll_wait(epoll, &event, 1, o->spin ? 0 : 10) > 0) {
            uint64_t n = receive_batch(fd, messages);

            now = sfb_now();
            if (!begin && n) {
                begin = now + (uint64_t)(o->warmup * 1e9);
                end = begin + (uint64_t)(o->seconds * 1e9);
            }
            if (begin && now >= begin && !count)
                getrusage(RUSAGE_SELF, &before);
            count += begin && now >= begin ? n : 0;
        }
        now = sfb_now();
    } while (now < end);
    getrusage(RUSAGE_SELF, &after);
    printf("{\"count\": %" PRIu64 ", \"seconds\": %.9f, \"begin\": %" PRIu64 ", \"end\": %" PRIu64
           ", \"involuntary_switches\": %ld}\n",
           count, (double)(now - begin) / 1e9, begin, now, after.ru_nivcsw - before.ru_nivcsw);
    return 0;
}
