/* Checks, reads and ends a connection of the kernel. */
#define _GNU_SOURCE
#include "repair_options.h"

#include "storage/kernel_socket.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>

#define TRIES 16 /* of two readings that agree */
#define OFF_WITHOUT_PROBE (-1)
#define ULP_NAME 16
#define MOST_SEGMENT 65536u  /* bytes */
#define AO_INFO 40         /* TCP_AO_INFO of linux/tcp.h, Linux 6.7 */
#define USEC_TIMESTAMPS 64 /* TCPI_OPT_USEC_TS of linux/tcp.h, Linux 6.7 */

/* The numbers that change with a segment. */
struct numbers {
    uint32_t received, written;
    int unread, unacked, unsent;
    struct tcp_repair_window window;
};

/* ---- checking ---- */

static bool has_option(int fd, int name)
{
    return sf_kernel_socket_number(fd, SOL_SOCKET, name) > 0;
}

/* A classic filter tells its length. An eBPF program is refused with EACCES. */
static bool has_filter(int fd)
{
    socklen_t len = 0;

    return getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, NULL, &len) < 0 ? errno == EACCES : len > 0;
}

static bool has_upper_protocol(int fd)
{
    char name[ULP_NAME] = {0};
    socklen_t len = sizeof(name);

    return getsockopt(fd, IPPROTO_TCP, TCP_ULP, name, &len) == 0 && len && name[0];
}

/* The option of TCP-AO (RFC 5925) fails without a key, and on kernels that do not know it. */
static bool has_ao_keys(int fd)
{
    uint64_t info[8] = {0};
    socklen_t len = sizeof(info);

    return getsockopt(fd, IPPROTO_TCP, AO_INFO, info, &len) == 0;
}

static const char urgent[] = "it has urgent data";

/* An urgent byte that was read leaves a mark. read_unread() finds a mark behind unread bytes. */
static const char *refuse_events(int fd, uint8_t state)
{
    struct pollfd events = {.fd = fd, .events = POLLPRI | POLLRDHUP};
    int at_mark = 0;

    if (poll(&events, 1, 0) < 0 || events.revents & (POLLERR | POLLNVAL))
        return "it has an error to report";
    if (events.revents & POLLPRI || ioctl(fd, SIOCATMARK, &at_mark) < 0 || at_mark)
        return urgent;
    return events.revents & POLLRDHUP && state != CLOSE_WAIT ? "it is shut down for reading" : NULL;
}

static const char *refuse_socket(int fd)
{
    if (has_option(fd, SO_ZEROCOPY))
        return "it has SO_ZEROCOPY";
    if (has_filter(fd))
        return "it has a filter";
    if (has_upper_protocol(fd))
        return "it has an upper-layer protocol (TCP_ULP), such as the kernel's TLS";
    if (has_ao_keys(fd))
        return SF_REPAIR_KEYS;
    return sf_kernel_socket_number(fd, SOL_SOCKET, SO_PEEK_OFF) >= 0 ? "it has a peek offset (SO_PEEK_OFF)" : NULL;
}

static const char *refuse_state(const struct tcp_info *info)
{
    if (info->tcpi_state != ESTABLISHED && info->tcpi_state != CLOSE_WAIT && info->tcpi_state != FIN_WAIT1 && info->tcpi_state != FIN_WAIT2)
        return "it is not connected";
    if (info->tcpi_options & USEC_TIMESTAMPS)
        return "its timestamps count microseconds";
    return info->tcpi_options & (TCPI_OPT_ECN | TCPI_OPT_ECN_SEEN) ? "it has ECN" : NULL;
}

int sf_repair_names(int fd, struct sf_tcp_image *image, const char **why)
{
    struct sockaddr_in peer, own;

    *image = (struct sf_tcp_image){0};
    *why = "it is not an IPv4 socket of TCP";
    if (!sf_kernel_socket_is(fd, IPPROTO_TCP) || sf_kernel_socket_name(fd, &own) < 0)
        return -EOPNOTSUPP;
    *why = "it is not connected";
    if (sf_kernel_socket_peer(fd, &peer) < 0)
        return -EOPNOTSUPP;
    *why = NULL;
    image->local_addr = own.sin_addr.s_addr;
    image->local_port = own.sin_port;
    image->remote_addr = peer.sin_addr.s_addr;
    image->remote_port = peer.sin_port;
    return 0;
}

int sf_repair_check(int fd, const char **why)
{
    struct tcp_info info = {0};
    const char *reason;

    if (get(fd, TCP_INFO, &info, sizeof(info)) < 0)
        return refused(why, "the kernel does not tell its state");
    reason = refuse_state(&info);
    if (!reason)
        reason = refuse_events(fd, info.tcpi_state);
    return refused(why, reason ? reason : refuse_socket(fd));
}

/* ---- reading ---- */

static int read_sequence(int fd, int queue, uint32_t *out)
{
    int rc = set_int(fd, TCP_REPAIR_QUEUE, queue);

    return rc < 0 ? rc : get(fd, TCP_QUEUE_SEQ, out, sizeof(*out));
}

static int read_numbers(int fd, struct numbers *out)
{
    int rc;

    memset(out, 0, sizeof(*out)); /* they are compared whole */
    rc = read_sequence(fd, RECEIVED, &out->received);
    if (rc == 0)
        rc = read_sequence(fd, SENT, &out->written);
    if (rc == 0)
        rc = get(fd, TCP_REPAIR_WINDOW, &out->window, sizeof(out->window));
    if (rc == 0 && (ioctl(fd, SIOCINQ, &out->unread) < 0 || ioctl(fd, SIOCOUTQ, &out->unacked) < 0 ||
                    ioctl(fd, SIOCOUTQNSD, &out->unsent) < 0))
        rc = -errno;
    return rc < 0 ? rc : out->unread < 0 || out->unacked < 0 || out->unsent < 0 ? -EINVAL : 0;
}

/* Peeks at the bytes that were sent. Those of a segment of which the peer has acknowledged a part come first. -EAGAIN: the queue has
 * changed. */
static int read_unacked(int fd, struct sf_tcp_image *image)
{
    size_t n = image->n_unacked, room = n + MOST_SEGMENT;
    uint8_t *bytes;
    ssize_t got;
    int rc;

    free(image->unacked);
    image->unacked = NULL;
    if (!n)
        return 0;
    image->unacked = bytes = malloc(room);
    rc = bytes ? set_int(fd, TCP_REPAIR_QUEUE, SENT) : -ENOMEM;
    if (rc < 0)
        return rc;
    got = recv(fd, bytes, room, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0)
        return -errno;
    if ((size_t)got < n)
        return -EAGAIN;
    memmove(bytes, bytes + ((size_t)got - n), n);
    return 0;
}

/* Peeks, and stores the distance from the next unread byte to RCV.NXT (TCP_INQ). */
static ssize_t peek_unread(int fd, uint8_t *bytes, size_t len, uint32_t *distance)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int)) + 256]; /* also for timestamps that the program has asked for */
    } control = {0};
    struct iovec iov = {bytes, len};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t got = recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);

    if (got < 0)
        return -errno;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
        if (c->cmsg_level == IPPROTO_TCP && c->cmsg_type == TCP_CM_INQ)
            memcpy(distance, CMSG_DATA(c), sizeof(*distance));
    return got;
}

/* Returns -EAGAIN: the queue has changed. -EBUSY: bytes follow an urgent byte, which SIOCINQ does not count. */
static int read_unread(int fd, struct sf_tcp_image *image)
{
    uint32_t distance = 0;
    int before = 0, rc;
    ssize_t got;

    free(image->unread);
    image->unread = NULL;
    if (!image->n_unread)
        return 0;
    image->unread = malloc(image->n_unread);
    rc = image->unread ? get(fd, TCP_INQ, &before, sizeof(before)) : -ENOMEM;
    if (rc == 0)
        rc = set_int(fd, TCP_INQ, 1);
    if (rc == 0)
        rc = set_int(fd, TCP_REPAIR_QUEUE, RECEIVED);
    if (rc < 0)
        return rc;
    got = peek_unread(fd, image->unread, image->n_unread, &distance);
    rc = set_int(fd, TCP_INQ, before);
    if (rc < 0 || got < 0)
        return rc < 0 ? rc : (int)got;
    if (got != (ssize_t)image->n_unread)
        return -EAGAIN;
    return distance == image->n_unread + (image->state == CLOSE_WAIT) ? 0 : -EBUSY;
}

/* Linux clears the lowest bit of the clock since 6.7, and the value must not be less than one that was sent. */
static int read_options(int fd, struct sf_tcp_image *image)
{
    struct tcp_info info = {0};
    int mss = 0, rc = get(fd, TCP_INFO, &info, sizeof(info));

    if (rc == 0)
        rc = get(fd, TCP_MAXSEG, &mss, sizeof(mss));
    if (rc == 0)
        rc = get(fd, TCP_TIMESTAMP, &image->ts_clock, sizeof(image->ts_clock));
    if (rc < 0)
        return rc;
    image->ts_clock |= 1;
    image->read_at = sf_now();
    image->state = info.tcpi_state;
    image->mss = (uint32_t)mss;
    image->scaling = info.tcpi_options & TCPI_OPT_WSCALE;
    image->sack = info.tcpi_options & TCPI_OPT_SACK;
    image->timestamps = info.tcpi_options & TCPI_OPT_TIMESTAMPS;
    image->snd_scale = image->scaling ? info.tcpi_snd_wscale : 0;
    image->rcv_scale = image->scaling ? info.tcpi_rcv_wscale : 0;
    image->rtt = (sf_ns)info.tcpi_rtt * SF_US;
    image->rtt_var = (sf_ns)info.tcpi_rttvar * SF_US;
    image->cwnd = info.tcpi_snd_cwnd < UINT16_MAX ? info.tcpi_snd_cwnd * image->mss : UINT16_MAX * image->mss;
    image->ssthresh = info.tcpi_snd_ssthresh < UINT16_MAX ? info.tcpi_snd_ssthresh * image->mss : 0;
    return 0;
}

static void take_numbers(struct sf_tcp_image *image, const struct numbers *n)
{
    bool fin = image->state == FIN_WAIT1 || image->state == FIN_WAIT2;

    image->snd_end = n->written - fin;
    image->snd_una = n->written - (uint32_t)n->unacked;
    image->snd_nxt = n->written - (uint32_t)n->unsent;
    image->n_unacked = (uint32_t)n->unacked - (fin && n->unacked);
    image->n_unread = (uint32_t)n->unread;
    image->rcv_nxt = n->received;
    image->snd_wl1 = n->window.snd_wl1;
    image->snd_wnd = n->window.snd_wnd;
    image->max_window = n->window.max_window;
    image->rcv_wnd = n->window.rcv_wnd;
    image->rcv_wup = n->window.rcv_wup;
}

/* 1: the state has changed meanwhile. */
static int read_once(int fd, struct sf_tcp_image *image)
{
    struct numbers before, after;
    int rc = read_numbers(fd, &before), read;

    if (rc == 0)
        rc = read_options(fd, image);
    if (rc < 0)
        return rc;
    take_numbers(image, &before);
    read = read_unread(fd, image);
    if (read == 0)
        read = read_unacked(fd, image);
    if (read == -EAGAIN)
        return 1;
    rc = read_numbers(fd, &after);
    if (rc < 0)
        return rc;
    return memcmp(&before, &after, sizeof(before)) != 0 ? 1 : read; /* a segment may look like an urgent byte */
}

int sf_repair_read(struct sf_repair *repair, int fd, struct sf_tcp_image *image, const char **why)
{
    int rc;

    *repair = (struct sf_repair){.fd = fd, .reuse_address = has_option(fd, SO_REUSEADDR)};
    rc = set_int(fd, TCP_REPAIR, 1);
    if (rc < 0)
        return failed(why, rc);
    rc = 1;
    for (int i = 0; i < TRIES && rc == 1; i++)
        rc = read_once(fd, image);
    if (rc == 0)
        return 0;
    sf_tcp_image_free(image);
    sf_repair_leave(repair);
    if (rc == -EBUSY)
        return refused(why, urgent);
    return rc == 1 ? refused(why, "its state changes while it is read") : failed(why, rc);
}

/* ---- ending ---- */

void sf_repair_leave(const struct sf_repair *repair)
{
    const int on = 1;

    set_int(repair->fd, TCP_REPAIR_QUEUE, NO_QUEUE);
    set_int(repair->fd, TCP_REPAIR, OFF_WITHOUT_PROBE);
    if (repair->reuse_address)
        (void)setsockopt(repair->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
}

void sf_repair_end(const struct sf_repair *repair)
{
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

    (void)connect(repair->fd, &nobody, sizeof(nobody));
}
