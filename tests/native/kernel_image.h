/* Reads the image of a kernel's connection in repair mode, and how a connection goes back to the kernel. Needs CAP_NET_ADMIN. */
#ifndef SF_TEST_KERNEL_IMAGE_H
#define SF_TEST_KERNEL_IMAGE_H

#include "segment_repair.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

static inline int repair_number(int fd, int name)
{
    int value = 0;
    socklen_t len = sizeof value;

    CHECK(getsockopt(fd, IPPROTO_TCP, name, &value, &len) == 0);
    return value;
}

static inline uint8_t *repair_peek(int fd, int queue, uint32_t n)
{
    uint8_t *bytes = n ? malloc(n) : NULL;

    CHECK(repair_set(fd, TCP_REPAIR_QUEUE, queue) == 0);
    if (n)
        CHECK(recv(fd, bytes, n, MSG_PEEK | MSG_DONTWAIT) == (ssize_t)n);
    return bytes;
}

static inline void repair_read_info(int fd, struct sf_tcp_image *i)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;

    CHECK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0);
    i->state = info.tcpi_state;
    i->timestamps = info.tcpi_options & TCPI_OPT_TIMESTAMPS;
    i->sack = info.tcpi_options & TCPI_OPT_SACK;
    i->scaling = info.tcpi_options & TCPI_OPT_WSCALE;
    i->snd_scale = info.tcpi_snd_wscale;
    i->rcv_scale = info.tcpi_rcv_wscale;
    i->rtt = info.tcpi_rtt * SF_US;
    i->rtt_var = info.tcpi_rttvar * SF_US;
    i->cwnd = info.tcpi_snd_cwnd * info.tcpi_snd_mss;
    i->ssthresh = info.tcpi_snd_ssthresh < 1 << 20 ? info.tcpi_snd_ssthresh * info.tcpi_snd_mss : 0;
}

static inline void repair_read_names(int fd, struct sf_tcp_image *i)
{
    struct sockaddr_in local, remote;
    socklen_t len = sizeof local;

    CHECK(getsockname(fd, (struct sockaddr *)&local, &len) == 0);
    len = sizeof remote;
    CHECK(getpeername(fd, (struct sockaddr *)&remote, &len) == 0);
    i->local_addr = local.sin_addr.s_addr;
    i->local_port = local.sin_port;
    i->remote_addr = remote.sin_addr.s_addr;
    i->remote_port = remote.sin_port;
}

static inline void repair_read_numbers(int fd, struct sf_tcp_image *i)
{
    struct tcp_repair_window window;
    socklen_t len = sizeof window;
    int unacked = 0, unsent = 0, unread = 0;
    bool fin = i->state == TCP_FIN_WAIT1 || i->state == TCP_FIN_WAIT2;

    CHECK(ioctl(fd, SIOCOUTQ, &unacked) == 0 && ioctl(fd, SIOCOUTQNSD, &unsent) == 0 && ioctl(fd, SIOCINQ, &unread) == 0);
    CHECK(repair_set(fd, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE) == 0);
    i->snd_end = (uint32_t)repair_number(fd, TCP_QUEUE_SEQ);
    i->snd_una = i->snd_end - (uint32_t)unacked;
    i->snd_nxt = i->snd_end - (uint32_t)unsent;
    i->snd_end -= fin;
    CHECK(repair_set(fd, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE) == 0);
    i->rcv_nxt = (uint32_t)repair_number(fd, TCP_QUEUE_SEQ);
    i->n_unread = (uint32_t)unread;
    i->n_unacked = i->state == TCP_FIN_WAIT2 ? 0 : i->snd_end - i->snd_una;
    CHECK(getsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &window, &len) == 0);
    i->snd_wl1 = window.snd_wl1;
    i->snd_wnd = window.snd_wnd;
    i->max_window = window.max_window;
    i->rcv_wnd = window.rcv_wnd;
    i->rcv_wup = window.rcv_wup;
}

/* No frame may reach the kernel meanwhile. The socket stays in repair mode, so that its close() sends nothing. */
static inline struct sf_tcp_image repair_read(int fd)
{
    struct sf_tcp_image image = {0};

    CHECK(repair_set(fd, TCP_REPAIR, TCP_REPAIR_ON) == 0);
    repair_read_names(fd, &image);
    repair_read_info(fd, &image);
    repair_read_numbers(fd, &image);
    image.mss = (uint32_t)repair_number(fd, TCP_MAXSEG);
    image.ts_clock = (uint32_t)repair_number(fd, TCP_TIMESTAMP);
    image.read_at = sf_now();
    image.unread = repair_peek(fd, TCP_RECV_QUEUE, image.n_unread);
    image.unacked = repair_peek(fd, TCP_SEND_QUEUE, image.n_unacked);
    return image;
}

#endif
