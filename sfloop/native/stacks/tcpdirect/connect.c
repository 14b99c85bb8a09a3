/*
 * Active opens. zft_connect() does not wait for the connection, but waits up to a millisecond (attribute arp_reply_timeout) for
 * the neighbour's address. If there is none yet, it fails after asking for it, and is tried again until it succeeds.
 */
#define _GNU_SOURCE
#include "stack.h"

#include "storage/kernel_socket.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>

#define RESOLVE_FOR (3 * SF_SEC) /* as long as the kernel asks for a neighbour: mcast_solicit times retrans_time */
#define RESOLVE_AGAIN (5 * SF_MS)

#define WATCHED (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR) /* the muxer reports HUP and ERR only on request */

static int start(struct td_sock *s)
{
    struct td_stack *t = td_stack_of(s);
    struct td_stream *c = &s->stream;
    int rc = t->zf.zft_connect(c->handle, (const struct sockaddr *)&c->peer, sizeof(c->peer), &c->ts);

    if (rc < 0)
        return rc;
    c->handle = NULL;
    c->state = TD_CONNECTING;
    return td_watch(t, t->zf.zft_to_waitable(c->ts), WATCHED, TD_TAG_SOCK, s, &s->tag);
}

static void fail(struct td_sock *s, int error)
{
    s->stream.state = TD_FAILED;
    s->stream.error = error;
    td_retry(s, false);
    td_raise(s, SF_READABLE | SF_WRITABLE);
}

void td_connect_again(struct td_sock *s)
{
    struct td_stack *t = td_stack_of(s);
    struct td_stream *c = &s->stream;
    int rc;

    if (t->now < c->again)
        return;
    td_count(t, TD_COUNT_CONNECT_RETRIED);
    c->again = t->now + RESOLVE_AGAIN;
    rc = start(s);
    if (rc == 0)
        td_retry(s, false);
    else if (rc != -EHOSTUNREACH || t->now >= c->give_up)
        fail(s, rc);
}

/* Finds out whether and how the handshake has ended. Readiness before that is an artefact of the muxer. */
void td_stream_settle(struct td_sock *s)
{
    struct td_stack *t = td_stack_of(s);
    int state = t->zf.zft_state(s->stream.ts), error;

    if (state == TCP_SYN_SENT || state == TCP_SYN_RECV)
        return;
    error = t->zf.zft_error(s->stream.ts);
    if (state == TCP_CLOSE)
        fail(s, error ? -error : -ECONNREFUSED);
    else
        s->stream.state = TD_CONNECTED;
}

static int full(struct td_stack *t)
{
    td_count(t, TD_COUNT_ZOCKETS_FULL);
    if (!t->overflow)
        return -ENOBUFS;
    td_count(t, TD_COUNT_TO_KERNEL_FULL);
    return -EOPNOTSUPP;
}

/* Always binds the source address, because an emulator needs it. It is the address that the route prefers anyway. */
static int bind_source(struct td_stack *t, int fd, struct zft_handle *handle, const struct sockaddr_in *bound, uint32_t src)
{
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr.s_addr = src, .sin_port = bound->sin_port};
    int rc = bound->sin_port ? td_port_leave(fd) : 0;

    if (rc == 0)
        rc = t->zf.zft_addr_bind(handle, (const struct sockaddr *)&local, sizeof(local), 0);
    if (rc < 0 && bound->sin_port)
        td_port_return(fd, bound, -1);
    return rc;
}

static int begin(struct td_stack *t, struct td_sock *s, int fd, const struct sockaddr_in *bound, uint32_t src)
{
    struct td_stream *c = &s->stream;
    int rc = t->zf.zft_alloc(t->zs, t->attr, &c->handle);

    if (rc < 0) {
        c->handle = NULL;
        return rc == -ENOBUFS ? full(t) : rc;
    }
    rc = bind_source(t, fd, c->handle, bound, src);
    if (rc < 0)
        return rc;
    rc = start(s);
    if (rc == -EHOSTUNREACH) {
        c->state = TD_RESOLVING;
        c->again = t->now + RESOLVE_AGAIN;
        c->give_up = t->now + RESOLVE_FOR;
        td_retry(s, true);
        return 0;
    }
    if (rc < 0 && bound->sin_port)
        td_port_return(fd, bound, -1);
    return rc;
}

int td_connect(struct sf_stack *stack, int fd, const struct sockaddr *to, socklen_t len, uint32_t slot, uint32_t generation,
               struct sf_sock **out)
{
    struct td_stack *t = td_of(stack);
    struct sockaddr_in bound;
    struct td_sock *s;
    uint32_t src;
    int rc;

    if (t->dead || len < sizeof(struct sockaddr_in) || to->sa_family != AF_INET || !td_is_ipv4(fd, SOCK_STREAM))
        return -EOPNOTSUPP;
    rc = sf_kernel_socket_name(fd, &bound);
    if (rc < 0)
        return rc;
    src = bound.sin_addr.s_addr;
    if ((src && !td_owns(t, src)) || !td_reaches(t, ((const struct sockaddr_in *)to)->sin_addr.s_addr, &src))
        return -EOPNOTSUPP;
    s = td_sock_new(t, SF_KIND_STREAM, slot, generation);
    if (!s)
        return -ENOMEM;
    memcpy(&s->stream.peer, to, sizeof(s->stream.peer));
    rc = begin(t, s, fd, &bound, src);
    if (rc < 0) {
        td_stream_release(s);
        return rc;
    }
    *out = &s->base;
    return 0;
}

int td_connect_result(struct sf_sock *sock)
{
    struct td_sock *s = td_sock_of(sock);

    switch (s->stream.state) {
    case TD_CONNECTED:
        return 0;
    case TD_FAILED:
        return s->stream.error;
    default:
        return -EINPROGRESS;
    }
}
