/* The call `import` on Linux: a socket in repair mode (TCP_REPAIR) takes the image. The kernel has no other states than ESTABLISHED. */
#ifndef SF_TEST_SEGMENT_REPAIR_H
#define SF_TEST_SEGMENT_REPAIR_H

#include "check.h"
#include "segment_script.h"
#include "sf/tcp_image.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static inline int repair_set(int fd, int name, int value)
{
    return setsockopt(fd, IPPROTO_TCP, name, &value, sizeof value) < 0 ? -errno : 0;
}

/* Without scaling the scales are 0, because otherwise the kernel's own stays. */
static inline void repair_options(int fd, const struct sf_tcp_image *i)
{
    struct tcp_repair_opt options[4] = {{TCPOPT_MAXSEG, i->mss}, {TCPOPT_WINDOW, i->snd_scale | (uint32_t)i->rcv_scale << 16}};
    int n = 2;

    if (i->sack)
        options[n++] = (struct tcp_repair_opt){TCPOPT_SACK_PERMITTED, 0};
    if (i->timestamps)
        options[n++] = (struct tcp_repair_opt){TCPOPT_TIMESTAMP, 0};
    CHECK(setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS, options, (socklen_t)n * sizeof *options) == 0);
    if (i->timestamps)
        CHECK(repair_set(fd, TCP_TIMESTAMP, (int)i->ts_clock) == 0);
}

static inline void repair_bytes(int fd, int queue, const uint8_t *bytes, uint32_t n)
{
    CHECK(repair_set(fd, TCP_REPAIR_QUEUE, queue) == 0);
    for (uint32_t done = 0; done < n;) {
        ssize_t sent = send(fd, bytes + done, n - done, 0);

        CHECK(sent > 0);
        done += (uint32_t)sent;
    }
}

static inline int repair_window(int fd, const struct sf_tcp_image *i)
{
    struct tcp_repair_window window = {i->snd_wl1, i->snd_wnd, i->max_window, i->rcv_wnd, i->rcv_wup};

    return setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &window, sizeof window) < 0 ? -errno : 0;
}

/* The socket is new and not bound. Bytes that were not sent are written afterwards, as a program writes them. */
static inline int repair_import(int fd, const struct sf_tcp_image *i)
{
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_port = i->local_port, .sin_addr.s_addr = i->local_addr};
    struct sockaddr_in remote = {.sin_family = AF_INET, .sin_port = i->remote_port, .sin_addr.s_addr = i->remote_addr};
    uint32_t sent = i->snd_nxt - i->snd_una;
    int on = 1;

    if (i->state != TCP_ESTABLISHED)
        return -EOPNOTSUPP;
    CHECK(repair_set(fd, TCP_REPAIR, TCP_REPAIR_ON) == 0);
    CHECK(repair_set(fd, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE) == 0 && repair_set(fd, TCP_QUEUE_SEQ, (int)i->snd_una) == 0);
    CHECK(repair_set(fd, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE) == 0);
    CHECK(repair_set(fd, TCP_QUEUE_SEQ, (int)(i->rcv_nxt - i->n_unread)) == 0);
    CHECK(bind(fd, (struct sockaddr *)&local, sizeof local) == 0);
    CHECK(repair_set(fd, TCP_MAXSEG, (int)i->mss) == 0); /* connect() fixes the size of segments */
    CHECK(connect(fd, (struct sockaddr *)&remote, sizeof remote) == 0);
    repair_options(fd, i);
    repair_bytes(fd, TCP_RECV_QUEUE, i->unread, i->n_unread);
    repair_bytes(fd, TCP_SEND_QUEUE, i->unacked, sent);
    CHECK(repair_window(fd, i) == 0);
    CHECK(repair_set(fd, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP) == 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (i->snd_end != i->snd_nxt)
        CHECK(send(fd, i->unacked + sent, i->n_unacked - sent, MSG_NOSIGNAL) == (ssize_t)(i->n_unacked - sent));
    return 0;
}

#endif
