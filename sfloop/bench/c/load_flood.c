/*
 * Sends datagrams to a port at a rate, or as fast as the kernel takes them, and never listens.
 *
 * As fast as possible means by generic segmentation (UDP_SEGMENT, Linux 4.18): the kernel cuts one send into datagrams. A sender
 * of single datagrams is slower than a good receiver, so the bench would measure the sender.
 */
#include "common.h"
#include "history.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

/* SEGMENTS: every kernel with UDP_SEGMENT takes 64. Together they must fit into one IP packet. */
enum { BATCH = 32, SEGMENTS = 64, LARGEST = 65507 };

int sfb_load_flood(const struct sfb_options *o)
{
    struct sockaddr_in address = sfb_address(o);
    struct mmsghdr messages[BATCH];
    int segments = o->rate > 0 || o->size * SEGMENTS > LARGEST ? 1 : SEGMENTS;
    unsigned char *payload = calloc((size_t)segments, (size_t)o->size);
    struct iovec part = {.iov_base = payload, .iov_len = (size_t)o->size};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    static struct sfb_history history;
    struct rusage usage;
    uint64_t begin, end, now, sent = 0, refused = 0;

    if (fd < 0 || !payload || connect(fd, (struct sockaddr *)&address, sizeof address))
        sfb_die_errno("UDP socket");
    sfb_fill(payload, o->size, 0, 0);
    /* A kernel without UDP_SEGMENT sends the datagrams one by one. */
    if (segments > 1 && setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &(int){(int)o->size}, sizeof(int)))
        segments = 1;
    part.iov_len = (size_t)segments * (size_t)o->size;
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < BATCH; i++) {
        messages[i].msg_hdr.msg_iov = &part;
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    history.shift = sfb_history_shift(o->seconds);
    begin = now = sfb_now();
    end = begin + (uint64_t)(o->seconds * 1e9);
    while (now < end) {
        double due = o->rate > 0 ? (double)(now - begin) / 1e9 * o->rate - (double)sent : BATCH;
        int n = due < 1 ? 0 : sendmmsg(fd, messages, due < BATCH ? (unsigned)due : BATCH, 0);

        if (n < 0 && errno != ECONNREFUSED && errno != ENOBUFS && errno != EAGAIN)
            sfb_die_errno("sendmmsg");
        refused += n < 0;
        sent += n > 0 ? (uint64_t)n * (uint64_t)segments : 0;
        now = sfb_now();
        sfb_history_note(&history, now, sent, 0);
    }
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"sent\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"involuntary_switches\": %ld, \"seconds\": %.9f, ",
           sent, refused, usage.ru_nivcsw, (double)(now - begin) / 1e9);
    printf("\"history\": ");
    sfb_history_write(&history, stdout);
    printf("}\n");
    free(payload);
    close(fd);
    return 0;
}
