/* Makes a connection on a new socket of the kernel. */
#define _GNU_SOURCE
#include "repair_options.h"

#include <unistd.h>

#define LEAST_MSS 88      /* that TCP_MAXSEG takes (TCP_MIN_MSS) */
#define MOST_MSS 32767    /* MAX_TCP_WINDOW */
#define PIECE 16384u         /* bytes written at a time */
#define USUAL_BUFFER 65536u  /* bytes that every socket's buffers take */
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* Linux 5.14 */
#endif

/* A FIN that the peer has acknowledged is sent again, with the same number. */
static int name_socket(int fd, const struct sf_tcp_image *image)
{
    const uint32_t first_sent = image->state == FIN_WAIT2 ? image->snd_end : image->snd_una;
    const struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = image->local_port, .sin_addr.s_addr = image->local_addr};
    const struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = image->remote_port, .sin_addr.s_addr = image->remote_addr};
    int rc = bind(fd, (const struct sockaddr *)&own, sizeof(own)) < 0 ? -errno : 0;

    if (rc == 0)
        rc = set_int(fd, TCP_REPAIR_QUEUE, SENT);
    if (rc == 0)
        rc = set(fd, TCP_QUEUE_SEQ, &first_sent, sizeof(first_sent));
    if (rc == 0)
        rc = set_int(fd, TCP_REPAIR_QUEUE, RECEIVED);
    if (rc == 0) {
        uint32_t first = image->rcv_nxt - image->n_unread;

        rc = set(fd, TCP_QUEUE_SEQ, &first, sizeof(first));
    }
    return rc < 0 ? rc : connect(fd, (const struct sockaddr *)&peer, sizeof(peer)) < 0 ? -errno : 0;
}

static int write_options(int fd, const struct sf_tcp_image *image)
{
    enum { MAXSEG = 2, WINDOW = 3, SACK_PERMITTED = 4, TIMESTAMP = 8 }; /* RFC 9293, 7323, 2018 */
    /* Without scaling, too, because the kernel would keep the scale of the SYN that it did not send. */
    struct tcp_repair_opt options[4] = {{MAXSEG, image->mss}, {WINDOW, image->snd_scale | (uint32_t)image->rcv_scale << 16}};
    socklen_t n = 2;
    uint32_t clock = (image->ts_clock + 1) & ~UINT32_C(1); /* the lowest bit would turn microseconds on */

    if (image->sack)
        options[n++] = (struct tcp_repair_opt){SACK_PERMITTED, 0};
    if (image->timestamps)
        options[n++] = (struct tcp_repair_opt){TIMESTAMP, 0};
    if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS, options, n * (socklen_t)sizeof(options[0])) < 0)
        return -errno;
    return image->timestamps ? set(fd, TCP_TIMESTAMP, &clock, sizeof(clock)) : 0;
}

/* Writes to a queue of a socket in repair mode, or to an ordinary socket. */
static int write_bytes(int fd, const uint8_t *data, uint32_t n)
{
    while (n) {
        uint32_t some = n < PIECE ? n : PIECE; /* one allocation of the kernel each */
        ssize_t sent = send(fd, data, some, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent <= 0)
            return sent < 0 ? -errno : -EIO;
        data += sent;
        n -= (uint32_t)sent;
    }
    return 0;
}

static int write_queues(int fd, const struct sf_tcp_image *image, uint32_t sent)
{
    int rc = set_int(fd, TCP_REPAIR_QUEUE, RECEIVED);

    if (rc == 0)
        rc = write_bytes(fd, image->unread, image->n_unread);
    if (rc == 0)
        rc = set_int(fd, TCP_REPAIR_QUEUE, SENT);
    return rc < 0 ? rc : write_bytes(fd, image->unacked, sent);
}

static int write_window(int fd, const struct sf_tcp_image *image)
{
    const struct tcp_repair_window window = {
        .snd_wl1 = image->snd_wl1,
        .snd_wnd = image->snd_wnd,
        .max_window = image->max_window,
        .rcv_wnd = image->rcv_wnd,
        .rcv_wup = image->rcv_wup,
    };

    return set(fd, TCP_REPAIR_WINDOW, &window, sizeof(window));
}

/* The kernel's buffers have to take both queues at once, whatever their usual limits are. Setting a size ends its tuning by the kernel,
 * until unlock(). */
static int widen(int fd, int name, uint32_t bytes)
{
    const int room = (int)(bytes < INT32_MAX / 4 ? bytes * 2 : INT32_MAX / 2);

    if (bytes <= USUAL_BUFFER)
        return 0;
    return setsockopt(fd, SOL_SOCKET, name, &room, sizeof(room)) < 0 ? -errno : 0;
}

/* From here on the connection is the kernel's, and cannot fail but as every connection. The probe that ends repair mode makes the peer tell
 * its state. A FIN that the peer has already is only a repetition. */
static int write_rest(int fd, const struct sf_tcp_image *image, uint32_t sent)
{
    int rc = set_int(fd, TCP_REPAIR, 0);

    if (rc == 0)
        rc = write_bytes(fd, image->unacked + sent, image->n_unacked - sent);
    if (rc == 0 && (image->state == FIN_WAIT1 || image->state == FIN_WAIT2) && shutdown(fd, SHUT_WR) < 0)
        rc = -errno;
    return rc;
}

static int make(int fd, const struct sf_tcp_image *image)
{
    const int on = 1;
    uint32_t sent = image->snd_nxt - image->snd_una;
    int rc = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ? -errno : set_int(fd, TCP_REPAIR, 1);

    /* connect() decides the size of segments, and the options after it do not raise the size. */
    if (rc == 0 && image->mss >= LEAST_MSS && image->mss <= MOST_MSS)
        rc = set_int(fd, TCP_MAXSEG, (int)image->mss);
    if (sent > image->n_unacked)
        sent = image->n_unacked; /* the rest is the FIN */
    if (rc == 0)
        rc = name_socket(fd, image);
    if (rc == 0)
        rc = write_options(fd, image);
    if (rc == 0)
        rc = widen(fd, SO_SNDBUFFORCE, image->n_unacked);
    if (rc == 0)
        rc = widen(fd, SO_RCVBUFFORCE, image->n_unread);
    if (rc == 0)
        rc = write_queues(fd, image, sent);
    if (rc == 0)
        rc = write_window(fd, image);
    if (rc == 0)
        rc = set_int(fd, TCP_REPAIR_QUEUE, NO_QUEUE);
    return rc < 0 ? rc : write_rest(fd, image, sent);
}

static void unlock(int fd)
{
    const int none = 0;

    (void)setsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &none, sizeof(none));
}

int sf_repair_write(const struct sf_tcp_image *image, const char **why)
{
    int fd, rc;

    if (image->state == CLOSE_WAIT)
        return refused(why, "the peer has ended its direction");
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return failed(why, -errno);
    rc = make(fd, image);
    unlock(fd);
    if (rc == 0)
        return fd;
    close(fd); /* in repair mode, so nothing is sent */
    return failed(why, rc);
}
