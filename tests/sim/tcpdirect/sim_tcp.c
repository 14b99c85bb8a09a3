/* Connections. */
#define _GNU_SOURCE
#include "sim.h"
#include "stacks/tcpip/socket.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#define CAPACITY (SIM_QUEUE * SIM_MSS) /* bytes in the send queue */

SIM_API int zft_alloc(struct zf_stack *, const struct zf_attr *, struct zft_handle **);
SIM_API int zft_handle_free(struct zft_handle *);
SIM_API int zft_addr_bind(struct zft_handle *, const struct sockaddr *, socklen_t, int);
SIM_API int zft_connect(struct zft_handle *, const struct sockaddr *, socklen_t, struct zft **);
SIM_API struct zf_waitable *zft_to_waitable(struct zft *);
SIM_API int zft_shutdown_tx(struct zft *);
SIM_API int zft_free(struct zft *);
SIM_API int zft_state(struct zft *);
SIM_API int zft_error(struct zft *);
SIM_API void zft_getname(struct zft *, struct sockaddr *, socklen_t *, struct sockaddr *, socklen_t *);
SIM_API void zft_zc_recv(struct zft *, struct zft_msg *, int);
SIM_API int zft_zc_recv_done(struct zft *, struct zft_msg *);
SIM_API int zft_zc_recv_done_some(struct zft *, struct zft_msg *, size_t);
SIM_API ssize_t zft_send(struct zft *, const struct iovec *, int, int);
SIM_API ssize_t zft_send_single(struct zft *, const void *, size_t, int);
SIM_API int zft_send_space(struct zft *, size_t *);
SIM_API int zft_get_mss(struct zft *);
SIM_API unsigned zf_delegated_send_prepare(struct zft *, int, int, unsigned, struct zf_ds *);
SIM_API int zf_muxer_del(struct zf_waitable *);

static const struct sf_stack_ops *ops_of(const struct zft *ts)
{
    return ts->stack->inner->ops;
}

static bool can_send(const struct zft *ts)
{
    return ts->state == TCP_ESTABLISHED || ts->state == TCP_CLOSE_WAIT;
}

/* ---- zockets ---- */

/* Returns a free zocket, or NULL. Drops the zockets whose time in TIME_WAIT is over. */
struct zft *sim_tcp_take(struct zf_stack *stack)
{
    for (int i = 0; i < stack->max_tcp; i++) {
        struct zft *ts = &stack->tcp[i];

        if (ts->used && ts->freed && sf_now() >= ts->gone_at)
            sim_tcp_drop(ts);
        if (ts->used)
            continue;
        memset(ts, 0, offsetof(struct zft, buffers));
        ts->used = true;
        ts->stack = stack;
        ts->backing = -1;
        ts->slot = UINT32_MAX;
        ts->state = TCP_CLOSE;
        sim_waitable_init(&ts->w, stack);
        return ts;
    }
    return NULL;
}

void sim_tcp_drop(struct zft *ts)
{
    if (ts->backing >= 0)
        close(ts->backing);
    ts->used = false;
    if (ts->parent) {
        ts->parent->children--;
        sim_listener_release(ts->parent);
    }
}

static void empty_queue(struct zft *ts)
{
    ts->count = 0;
}

/* ---- opening ---- */

int zft_alloc(struct zf_stack *stack, const struct zf_attr *attr, struct zft_handle **out)
{
    struct zft *ts;

    (void)attr;
    SIM_FAULT();
    ts = sim_tcp_take(stack);
    if (!ts)
        return -ENOBUFS;
    sim_mark(&ts->w, EPOLLOUT | EPOLLHUP); /* as for an unconnected TCP socket */
    *out = (struct zft_handle *)ts;
    return 0;
}

int zft_handle_free(struct zft_handle *handle)
{
    sim_tcp_drop((struct zft *)handle);
    return 0;
}

int zft_addr_bind(struct zft_handle *handle, const struct sockaddr *addr, socklen_t len, int flags)
{
    struct zft *ts = (struct zft *)handle;
    int rc = sim_check_address(addr, len);

    SIM_FAULT();
    SIM_MUST(flags == 0, "flags must be zero");
    if (rc < 0)
        return rc;
    if (ts->backing >= 0)
        return -EINVAL;
    memcpy(&ts->local, addr, sizeof(ts->local));
    ts->backing = sim_backing(SOCK_STREAM, &ts->local, 0);
    return ts->backing < 0 ? ts->backing : 0;
}

int zft_connect(struct zft_handle *handle, const struct sockaddr *addr, socklen_t len, struct zft **out)
{
    struct zft *ts = (struct zft *)handle;
    int rc = sim_check_address(addr, len);

    SIM_FAULT();
    if (rc < 0)
        return rc;
    SIM_MUST(ts->backing >= 0, "bind first, because an emulator has no source address of its own");
    memcpy(&ts->remote, addr, sizeof(ts->remote));
    ts->slot = sim_slot_take(ts->stack, SIM_TCP, ts);
    rc = ops_of(ts)->connect(ts->stack->inner, ts->backing, addr, len, ts->slot, ts->stack->slots[ts->slot].generation,
                             &ts->inner);
    if (rc < 0) {
        ts->inner = NULL;
        sim_slot_give(ts->stack, ts->slot);
        return rc == -EOPNOTSUPP ? -EHOSTUNREACH : rc;
    }
    ops_of(ts)->interest(ts->inner, SF_WRITABLE);
    ts->state = TCP_SYN_SENT;
    *out = ts;
    return 0;
}

/* ---- events ---- */

static void read_inner(struct zft *ts, bool on)
{
    if (ts->reading == on)
        return;
    ts->reading = on;
    ops_of(ts)->interest(ts->inner, on ? SF_READABLE : 0);
}

static void closed(struct zft *ts, int error)
{
    ts->error = error;
    ts->state = TCP_CLOSE;
    if (!ts->ended) {
        ts->ended = true;
        ts->queue[(ts->first + ts->count++) % (SIM_QUEUE + 1)] = (struct sim_packet){0};
    }
    ts->reading = false;
    ops_of(ts)->interest(ts->inner, 0);
    sim_mark(&ts->w, EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLERR | EPOLLRDHUP);
}

static void at_end(struct zft *ts)
{
    ts->ended = true;
    ts->queue[(ts->first + ts->count++) % (SIM_QUEUE + 1)] = (struct sim_packet){0};
    ts->state = ts->shut ? TCP_TIME_WAIT : TCP_CLOSE_WAIT;
    sim_mark(&ts->w, EPOLLIN | EPOLLRDHUP | (ts->shut ? EPOLLHUP | EPOLLOUT : 0));
    read_inner(ts, false);
}

/* Takes as many packets as the queue has room for. The marker of the end has a place of its own. */
static int pull(struct zft *ts)
{
    const void *data;
    int got = 0;

    while (!ts->ended && ts->count < SIM_QUEUE) {
        ssize_t n = ops_of(ts)->recv_borrow(ts->inner, &data);
        struct sim_packet *packet = &ts->queue[(ts->first + ts->count) % (SIM_QUEUE + 1)];

        if (n == -EAGAIN)
            break;
        if (n < 0) {
            closed(ts, (int)-n);
            return 1;
        }
        if (n == 0) {
            at_end(ts);
            return 1;
        }
        if (n > SIM_MSS)
            n = SIM_MSS;
        *packet = (struct sim_packet){.data = ts->buffers[(ts->first + ts->count) % (SIM_QUEUE + 1)], .len = (size_t)n};
        sim_copy(packet->data, data, (size_t)n);
        ops_of(ts)->recv_done(ts->inner, (size_t)n);
        ts->count++;
        got = 1;
    }
    if (ts->count == SIM_QUEUE && !ts->ended)
        read_inner(ts, false); /* the inner stack's window closes */
    if (got)
        sim_mark(&ts->w, EPOLLIN);
    return got;
}

static int connected(struct zft *ts)
{
    int rc = ops_of(ts)->connect_result(ts->inner);

    if (rc == -EINPROGRESS)
        return 0;
    sim_unmark(&ts->w, EPOLLHUP);
    if (rc < 0) {
        closed(ts, rc == -EOPNOTSUPP ? EHOSTUNREACH : -rc);
        return 1;
    }
    ts->state = TCP_ESTABLISHED;
    read_inner(ts, true);
    sim_mark(&ts->w, EPOLLOUT);
    return 1;
}

int sim_tcp_event(struct zft *ts, uint32_t what)
{
    if (ts->state == TCP_SYN_SENT)
        return connected(ts);
    return what & SF_READABLE ? pull(ts) : 0;
}

/* ---- receiving ---- */

void zft_zc_recv(struct zft *ts, struct zft_msg *msg, int flags)
{
    int capacity = msg->iovcnt, n = 0;

    SIM_MUST(!flags && capacity > 0, "flags must be zero, with room for a packet");
    SIM_MUST(!ts->lent, "the packets of the last call are not done");
    for (; n < capacity && n < ts->count; n++) {
        struct sim_packet *packet = &ts->queue[(ts->first + n) % (SIM_QUEUE + 1)];

        msg->iov[n] = (struct iovec){.iov_base = packet->data + packet->at, .iov_len = packet->len - packet->at};
    }
    msg->iovcnt = ts->lent = n;
    msg->pkts_left = ts->count - n;
    memcpy(ts->lent_iov, msg->iov, (size_t)n * sizeof(*msg->iov));
}

static int done(struct zft *ts, struct zft_msg *msg, size_t len)
{
    int rc = 1;

    SIM_MUST(ts->lent, "nothing is lent");
    SIM_MUST(msg->iovcnt == ts->lent && !memcmp(ts->lent_iov, msg->iov, (size_t)ts->lent * sizeof(*msg->iov)),
             "msg was changed");
    if (!ts->lent_iov[ts->lent - 1].iov_len) /* the batch ends with the end's marker, which stays */
        rc = ts->state == TCP_CLOSE ? -ts->error : 0;
    ts->lent = 0;
    while (ts->count) {
        struct sim_packet *packet = &ts->queue[ts->first];
        size_t left = packet->len - packet->at;

        if (!packet->data || len < left) {
            packet->at += packet->data ? len : 0;
            break;
        }
        len -= left;
        ts->first = (ts->first + 1) % (SIM_QUEUE + 1);
        ts->count--;
    }
    if (!ts->count)
        sim_unmark(&ts->w, EPOLLIN);
    if (!ts->ended && (can_send(ts) || ts->shut))
        read_inner(ts, true);
    return rc;
}

int zft_zc_recv_done(struct zft *ts, struct zft_msg *msg)
{
    size_t len = 0;

    for (int i = 0; i < ts->lent; i++)
        len += ts->lent_iov[i].iov_len;
    return done(ts, msg, len);
}

int zft_zc_recv_done_some(struct zft *ts, struct zft_msg *msg, size_t len)
{
    size_t most = 0;

    for (int i = 0; i < ts->lent; i++)
        most += ts->lent_iov[i].iov_len;
    SIM_MUST(len <= most, "len exceeds the lent bytes");
    return done(ts, msg, len);
}

/* ---- sending ---- */

static size_t space_of(struct zft *ts)
{
    const struct sf_tcp_conn *c = ((const struct tcpip_stream *)ts->inner)->conn;
    size_t queued = sf_tcp_unacked(&c->snd, &c->loss);

    return queued < CAPACITY ? CAPACITY - queued : 0;
}

static void advertise(struct zft *ts, size_t space)
{
    if (space >= CAPACITY / 4 || !(ts->w.ready & EPOLLOUT))
        return;
    sim_unmark(&ts->w, EPOLLOUT);
    ts->stack->waiting++;
}

int sim_tcp_look(struct zf_stack *stack)
{
    int visible = 0;

    for (int i = 0; i < stack->max_tcp; i++) {
        struct zft *ts = &stack->tcp[i];

        if (!ts->used || ts->freed || !can_send(ts) || ts->w.ready & EPOLLOUT || space_of(ts) < CAPACITY / 4)
            continue;
        stack->waiting--;
        sim_mark(&ts->w, EPOLLOUT);
        visible = 1;
    }
    return visible;
}

static ssize_t send_some(struct zft *ts, const struct iovec *iov, int n, size_t room)
{
    struct iovec pieces[SIM_QUEUE];
    size_t len = 0;
    int kept = 0;

    for (int i = 0; i < n && kept < SIM_QUEUE && len < room; i++) {
        size_t take = iov[i].iov_len < room - len ? iov[i].iov_len : room - len;

        pieces[kept++] = (struct iovec){.iov_base = iov[i].iov_base, .iov_len = take};
        len += take;
    }
    return kept ? ops_of(ts)->sendv(ts->inner, pieces, kept) : -EAGAIN;
}

ssize_t zft_send(struct zft *ts, const struct iovec *iov, int n, int flags)
{
    size_t space;
    ssize_t rc;

    SIM_FAULT();
    SIM_MUST(!(flags & ~MSG_MORE) && n > 0, "flags must be 0 or MSG_MORE, with at least one piece");
    for (int i = 0; i < n; i++)
        SIM_MUST(iov[i].iov_len > 0, "a piece is empty");
    if (ts->delegated)
        return -EBUSY;
    if (ts->state == TCP_SYN_SENT)
        return -EAGAIN;
    if (!can_send(ts))
        return -ENOTCONN;
    space = space_of(ts);
    rc = send_some(ts, iov, n, space);
    advertise(ts, rc > 0 ? space - (size_t)rc : space);
    return rc == -EPIPE || rc == -ECONNRESET ? -ENOTCONN : rc;
}

ssize_t zft_send_single(struct zft *ts, const void *data, size_t len, int flags)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};

    SIM_FAULT();
    return zft_send(ts, &iov, 1, flags);
}

int zft_send_space(struct zft *ts, size_t *space)
{
    if (!can_send(ts))
        return -ENOTCONN;
    *space = space_of(ts);
    return 0;
}

int zft_get_mss(struct zft *ts)
{
    return can_send(ts) ? SIM_MSS : -ENOTCONN;
}

/* Does only the reservation, because sfloop sends nothing by it. */
unsigned zf_delegated_send_prepare(struct zft *ts, int window, int cwnd, unsigned flags, struct zf_ds *ds)
{
    struct sf_stream_info info;

    (void)window;
    (void)cwnd;
    (void)flags;
    if (!can_send(ts))
        return 0x83; /* BAD_SOCKET */
    if (ds->headers_size < 54)
        return 0x84; /* SMALL_HEADER */
    if (ops_of(ts)->stream_info(ts->inner, &info) < 0 || info.unsent)
        return 0x85; /* SENDQ_BUSY */
    ds->headers_len = 54;
    ts->delegated = true;
    return 0;
}

/* ---- the end ---- */

int zft_shutdown_tx(struct zft *ts)
{
    int rc;

    SIM_FAULT();
    if (ts->delegated)
        return -EBUSY;
    if (!can_send(ts))
        return -ENOTCONN;
    rc = ops_of(ts)->shutdown_tx(ts->inner);
    ts->shut = true;
    ts->state = ts->state == TCP_CLOSE_WAIT ? TCP_LAST_ACK : TCP_FIN_WAIT1;
    return rc;
}

/* Sends RST if there is unread data, a batch that is not done, or a delegated send. Otherwise sends FIN, and waits in TIME_WAIT if it
 * closes before the peer. */
int zft_free(struct zft *ts)
{
    bool unread = ts->lent || (ts->count && ts->queue[ts->first].data) || ts->delegated;
    bool first = !ts->ended && !unread && ts->state != TCP_SYN_SENT;

    SIM_MUST(ts->used && !ts->freed, "freed twice");
    if (ts->w.ready & EPOLLOUT || !can_send(ts))
        ;
    else
        ts->stack->waiting--;
    zf_muxer_del(&ts->w);
    empty_queue(ts);
    if (ts->inner) {
        sim_slot_give(ts->stack, ts->slot);
        if (unread)
            ops_of(ts)->abort(ts->inner);
        else
            ops_of(ts)->release(ts->inner);
        ts->inner = NULL;
    }
    ts->freed = true;
    ts->gone_at = first ? sf_now() + ts->stack->time_wait : 0;
    if (!first)
        sim_tcp_drop(ts);
    return 0;
}

int zft_state(struct zft *ts)
{
    return ts->state;
}

int zft_error(struct zft *ts)
{
    return ts->error;
}

struct zf_waitable *zft_to_waitable(struct zft *ts)
{
    return &ts->w;
}

static void put(const struct sockaddr_in *name, struct sockaddr *out, socklen_t *len)
{
    if (!out)
        return;
    memcpy(out, name, *len < sizeof(*name) ? *len : sizeof(*name));
    *len = sizeof(*name);
}

void zft_getname(struct zft *ts, struct sockaddr *local, socklen_t *local_len, struct sockaddr *remote, socklen_t *remote_len)
{
    put(&ts->local, local, local_len);
    put(&ts->remote, remote, remote_len);
}
