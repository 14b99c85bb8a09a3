/* A connection's data in both directions, and its end. */
#define _GNU_SOURCE
#include "stack.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>

#define SEND_MAX ((size_t)1 << 20) /* of one call, because the library counts in 32 bits without checking */
#define IOVECS 64

/* ---- events ---- */

void td_stream_event(struct td_sock *s, uint32_t events)
{
    uint32_t what = 0;

    if (SF_UNLIKELY(s->stream.state == TD_CONNECTING)) {
        td_stream_settle(s);
        if (s->stream.state != TD_CONNECTED)
            return;
    }
    if (events & (EPOLLIN | EPOLLRDHUP))
        what |= SF_READABLE;
    if (events & EPOLLOUT)
        what |= SF_WRITABLE;
    /* Also WRITABLE, because the next send must report the error. EPOLLERR alone only means that transmit timestamps are
     * available. */
    if (SF_UNLIKELY(events & EPOLLHUP))
        what |= SF_READABLE | SF_WRITABLE;
    if (what & SF_WRITABLE && s->retry && !s->stream.shut_queued)
        td_retry(s, false);
    td_raise(s, what);
}

static bool has_room(struct td_sock *s)
{
    struct td_stack *t = td_stack_of(s);
    size_t space = 0;

    return t->zf.zft_send_space(s->stream.ts, &space) < 0 || space > 0;
}

/* Retries a send that found no packet buffers, or took part of the queue, because it gets no edge. */
void td_stream_tick(struct td_sock *s)
{
    struct td_stack *t = td_stack_of(s);

    if (s->stream.state == TD_RESOLVING) {
        td_connect_again(s);
        return;
    }
    if (s->stream.shut_queued) {
        int rc = t->zf.zft_shutdown_tx(s->stream.ts);

        s->stream.shut_queued = rc == -EAGAIN || rc == -ENOMEM;
    }
    if (!(s->level & SF_WRITABLE) && has_room(s)) {
        td_count(t, TD_COUNT_SEND_RETRIED);
        td_raise(s, SF_WRITABLE);
    }
    if (!s->stream.shut_queued && s->level & SF_WRITABLE)
        td_retry(s, false);
}

/* ---- sending ---- */

static ssize_t send_failed(struct td_sock *s, ssize_t rc)
{
    struct td_stack *t = td_stack_of(s);
    int error;

    if (rc == -EAGAIN || rc == -ENOMEM || rc == -EBUSY) {
        t->base.stats.tx_would_block++;
        td_clear(s, SF_WRITABLE);
        td_retry(s, true);
        return -EAGAIN;
    }
    error = s->stream.ts ? t->zf.zft_error(s->stream.ts) : -s->stream.error;
    if (rc == -ENOTCONN)
        return error ? -error : -EPIPE;
    return rc;
}

/* Removes empty pieces, which the library does not permit and does not check for. */
static int without_empty(const struct iovec *iov, int n, struct iovec *out, size_t *len)
{
    int kept = 0;

    *len = 0;
    for (int i = 0; i < n && kept < IOVECS && *len < SEND_MAX; i++) {
        size_t take = iov[i].iov_len < SEND_MAX - *len ? iov[i].iov_len : SEND_MAX - *len;

        if (!take)
            continue;
        out[kept++] = (struct iovec){.iov_base = iov[i].iov_base, .iov_len = take};
        *len += take;
    }
    return kept;
}

ssize_t td_sendv(struct sf_sock *sock, const struct iovec *iov, int n)
{
    struct td_sock *s = td_sock_of(sock);
    struct td_stack *t = td_stack_of(s);
    struct sf_stack_stats *stats = &t->base.stats;
    struct iovec pieces[IOVECS];
    size_t len;
    ssize_t rc;

    if (SF_UNLIKELY(s->stream.state != TD_CONNECTED || s->stream.shut || t->dead))
        return s->stream.state == TD_FAILED ? s->stream.error : s->stream.shut || t->dead ? -EPIPE : -EAGAIN;
    if (SF_LIKELY(n == 1 && iov->iov_len && iov->iov_len <= SEND_MAX)) {
        len = iov->iov_len;
        rc = t->zf.zft_send_single(s->stream.ts, iov->iov_base, len, 0);
    } else {
        n = without_empty(iov, n, pieces, &len);
        if (!n)
            return 0;
        rc = t->zf.zft_send(s->stream.ts, pieces, n, 0);
    }
    if (SF_UNLIKELY(rc <= 0))
        return send_failed(s, rc ? rc : -EAGAIN);
    stats->tx_messages++;
    stats->tx_bytes += (uint64_t)rc;
    if (SF_UNLIKELY((size_t)rc < len)) { /* its tail waits with MSG_MORE for more data */
        td_clear(s, SF_WRITABLE);
        td_retry(s, true);
    }
    return rc;
}

/* ---- receiving ---- */

/* Ends the loan. Returns the library's state of the connection: 1 open, 0 at the end, or a negative errno. */
static int give_back(struct td_stack *t, size_t used)
{
    struct td_sock *s = t->loan;
    bool all = used == t->loan_len;
    int left = t->msg->pkts_left, rc;

    t->loan = NULL;
    if (SF_LIKELY(all))
        rc = t->zf.zft_zc_recv_done(s->stream.ts, t->msg);
    else
        rc = t->zf.zft_zc_recv_done_some(s->stream.ts, t->msg, used);
    if (SF_LIKELY(all && left == 0 && rc == 1))
        td_clear(s, SF_READABLE); /* the next packet makes an edge */
    return rc;
}

/* Borrows packets. Returns their bytes in all, 0 at the end of the stream, -EAGAIN, or an error. */
static ssize_t borrow(struct td_sock *s, int max)
{
    struct td_stack *t = td_stack_of(s);
    struct zft_msg *msg = t->msg;
    size_t len = 0;
    int rc;

    if (SF_UNLIKELY(s->stream.state != TD_CONNECTED || t->dead))
        return s->stream.state == TD_FAILED ? s->stream.error : t->dead ? -ECONNRESET : -EAGAIN;
    if (SF_UNLIKELY(t->loan))
        give_back(t, 0);
    msg->iovcnt = max;
    t->zf.zft_zc_recv(s->stream.ts, msg, 0);
    if (SF_UNLIKELY(msg->iovcnt == 0)) {
        td_clear(s, SF_READABLE);
        return -EAGAIN;
    }
    for (int i = 0; i < msg->iovcnt; i++)
        len += msg->iov[i].iov_len;
    t->loan = s;
    t->loan_len = len;
    if (SF_LIKELY(len))
        return (ssize_t)len;
    /* This is only the marker of the end. Every later call finds it again. */
    rc = give_back(t, 0);
    s->stream.ended = true;
    return rc < 0 ? rc : 0;
}

static size_t copy_out(const struct zft_msg *msg, char *to, size_t room)
{
    size_t done = 0;

    for (int i = 0; i < msg->iovcnt && done < room; i++) {
        size_t n = msg->iov[i].iov_len < room - done ? msg->iov[i].iov_len : room - done;

        if (SF_LIKELY(n)) /* the marker of the end has no bytes */
            memcpy(to + done, msg->iov[i].iov_base, n);
        done += n;
    }
    return done;
}

/* Lends one packet in place. Joins several packets, so that they are one message to the caller. */
ssize_t td_recv_borrow(struct sf_sock *sock, const void **data)
{
    struct td_sock *s = td_sock_of(sock);
    struct td_stack *t = td_stack_of(s);
    ssize_t n = borrow(s, TD_PACKETS);

    if (SF_UNLIKELY(n <= 0))
        return n;
    if (SF_LIKELY((size_t)n == t->msg->iov[0].iov_len)) {
        *data = t->msg->iov[0].iov_base;
    } else {
        n = (ssize_t)copy_out(t->msg, t->scratch, sizeof(t->scratch));
        *data = t->scratch;
        td_count(t, TD_COUNT_COPIED);
    }
    t->base.stats.rx_messages++;
    t->base.stats.rx_bytes += (uint64_t)n;
    return n;
}

void td_recv_done(struct sf_sock *sock, size_t used)
{
    struct td_stack *t = td_of(sock->stack);

    if (SF_LIKELY(t->loan == td_sock_of(sock)))
        give_back(t, used);
}

uint32_t td_levels(struct sf_sock *sock)
{
    return td_sock_of(sock)->level;
}

ssize_t td_recv_into(struct sf_sock *sock, void *buf, size_t len)
{
    struct td_sock *s = td_sock_of(sock);
    struct td_stack *t = td_stack_of(s);
    ssize_t n;

    if (!len)
        return 0;
    n = borrow(s, TD_PACKETS);
    if (SF_UNLIKELY(n <= 0))
        return n;
    n = (ssize_t)copy_out(t->msg, buf, len);
    give_back(t, (size_t)n);
    t->base.stats.rx_messages++;
    t->base.stats.rx_bytes += (uint64_t)n;
    return n;
}

/* ---- the end ---- */

int td_shutdown_tx(struct sf_sock *sock)
{
    struct td_sock *s = td_sock_of(sock);
    struct td_stack *t = td_stack_of(s);
    int rc;

    if (s->stream.state != TD_CONNECTED || t->dead)
        return -ENOTCONN;
    if (s->stream.shut)
        return 0;
    rc = t->zf.zft_shutdown_tx(s->stream.ts);
    if (rc == -EAGAIN || rc == -ENOMEM) {
        s->stream.shut_queued = true;
        td_retry(s, true);
        rc = 0;
    }
    s->stream.shut = rc == 0;
    return rc;
}

/* Returns lent packets first, because unread data and lent packets make zft_free() reset the connection. */
void td_stream_release(struct td_sock *s)
{
    struct td_stack *t = td_stack_of(s);

    if (t->loan == s)
        give_back(t, t->loan_len);
    td_unwatch(t, s->tag);
    if (!t->dead && s->stream.handle)
        t->zf.zft_handle_free(s->stream.handle);
    if (!t->dead && s->stream.ts) {
        t->zf.zft_free(s->stream.ts);
        t->released++;
        t->released_at = t->now;
    }
    t->base.touched = true;
    td_sock_free(s);
}

/* Resets a connection. The library has no such call, but it resets a connection that has lent its sequence space to the
 * application (zf_ds.h) when it is freed. It cannot lend it while data is unsent or the peer's window is closed. Then a FIN
 * has to do. */
void td_abort(struct sf_sock *sock)
{
    struct td_sock *s = td_sock_of(sock);
    struct td_stack *t = td_stack_of(s);
    char headers[128];
    struct zf_ds ds = {.headers = headers, .headers_size = sizeof(headers)};

    if (s->stream.state == TD_CONNECTED && !t->dead && t->loan != s && !(s->stream.shut || s->stream.shut_queued) &&
        t->zf.zf_delegated_send_prepare(s->stream.ts, 1, 0, 0, &ds) != 0)
        td_count(t, TD_COUNT_ABORT_AS_FIN);
    td_stream_release(s);
}
