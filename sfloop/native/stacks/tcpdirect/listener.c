/*
 * Listeners. zftl_listen() takes one address, so a socket bound to any address becomes a zftl for each address of the interface.
 * zftl_accept() returns the latest connection first, so all are taken at once and reversed.
 *
 * The library holds a listening port by a kernel socket of its own, which conflicts with a listening socket. So ours leaves the
 * port for a moment, and listens again once the two can share it (ports.c).
 */
#define _GNU_SOURCE
#include "stack.h"

#include "storage/kernel_socket.h"

#include <errno.h>

#define WATCHED (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR)

/* ---- accepting ---- */

static struct td_sock *accepted(struct td_stack *t, struct zft *ts)
{
    struct td_sock *s = td_sock_new(t, SF_KIND_STREAM, UINT32_MAX, 0);

    if (!s)
        return NULL;
    s->stream.ts = ts;
    s->stream.state = TD_CONNECTED;
    if (td_watch(t, t->zf.zft_to_waitable(ts), WATCHED, TD_TAG_SOCK, s, &s->tag) == 0)
        return s;
    td_stream_release(s);
    return NULL;
}

/* Takes all connections of a zftl into the queue, in the order of arrival. */
static void drain(struct td_sock *listener, struct zftl *tl)
{
    struct td_stack *t = td_stack_of(listener);
    struct td_listener *l = &listener->listener;
    struct td_sock *newest_first = NULL, *s, **end;
    struct zft *ts;

    while (t->zf.zftl_accept(tl, &ts) == 0) {
        s = accepted(t, ts);
        if (!s) {
            t->zf.zft_free(ts);
            continue;
        }
        s->next = newest_first;
        newest_first = s;
    }
    /* The list is oldest first already, because each was pushed to the front. */
    for (end = &newest_first; *end; end = &(*end)->next)
        ;
    if (!newest_first)
        return;
    *l->last = newest_first;
    l->last = end;
}

void td_listener_event(struct td_sock *s)
{
    for (int i = 0; i < s->listener.n; i++)
        drain(s, s->listener.tl[i]);
    if (s->listener.first)
        td_raise(s, SF_READABLE);
}

int td_accept_stream(struct sf_sock *sock, struct sf_sock **out)
{
    struct td_sock *s = td_sock_of(sock), *next;
    struct td_listener *l = &s->listener;

    if (!l->first)
        td_listener_event(s);
    next = l->first;
    if (!next) {
        td_clear(s, SF_READABLE);
        return -EAGAIN;
    }
    l->first = next->next;
    if (!l->first) {
        l->last = &l->first;
        td_clear(s, SF_READABLE);
    }
    next->next = NULL;
    *out = &next->base;
    return 0;
}

/* ---- life ---- */

static int listen_at(struct td_sock *s, uint32_t addr, in_port_t port)
{
    struct td_stack *t = td_stack_of(s);
    struct td_listener *l = &s->listener;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = addr, .sin_port = port};
    int hint = td_backing_hint();
    int rc = t->zf.zftl_listen(t->zs, (const struct sockaddr *)&at, sizeof(at), t->attr, &l->tl[l->n]);

    if (rc < 0)
        return rc;
    l->tag[l->n] = UINT32_MAX;
    rc = td_watch(t, t->zf.zftl_to_waitable(l->tl[l->n]), EPOLLIN, TD_TAG_SOCK, s, &l->tag[l->n]);
    l->n++;
    td_backing_share(td_backing_find(hint, -1, SOCK_STREAM, &at));
    return rc;
}

static int listen_everywhere(struct td_sock *s, const struct sockaddr_in *at)
{
    struct td_stack *t = td_stack_of(s);
    int rc = 0;

    if (at->sin_addr.s_addr)
        return listen_at(s, at->sin_addr.s_addr, at->sin_port);
    for (int i = 0; i < t->n_addrs && rc == 0; i++)
        rc = listen_at(s, t->addrs[i], at->sin_port);
    return rc;
}

int td_listen(struct sf_stack *stack, int fd, int backlog, uint32_t slot, uint32_t generation, struct sf_sock **out)
{
    struct td_stack *t = td_of(stack);
    struct sockaddr_in at;
    struct td_sock *s;
    int rc, back;

    if (t->dead || !td_is_ipv4(fd, SOCK_STREAM) || td_port_is_shared(fd))
        return -EOPNOTSUPP;
    rc = sf_kernel_socket_name(fd, &at);
    if (rc < 0)
        return rc;
    if (!at.sin_port || (at.sin_addr.s_addr ? !td_owns(t, at.sin_addr.s_addr) : !t->n_addrs))
        return -EOPNOTSUPP;
    s = td_sock_new(t, SF_KIND_LISTENER, slot, generation);
    if (!s)
        return -ENOMEM;
    s->listener.last = &s->listener.first;
    rc = td_port_leave(fd);
    if (rc == 0) {
        rc = listen_everywhere(s, &at);
        back = td_port_return(fd, &at, backlog);
        if (rc == 0)
            rc = back;
    }
    if (rc == 0) {
        *out = &s->base;
        return 0;
    }
    td_listener_release(s);
    if (rc != -ENOBUFS)
        return rc;
    td_count(t, TD_COUNT_ZOCKETS_FULL);
    return t->overflow ? -EOPNOTSUPP : rc;
}

/* Resets the connections that were not accepted, as the kernel does. zftl_free() resets its own. */
void td_listener_release(struct td_sock *s)
{
    struct td_stack *t = td_stack_of(s);
    struct td_listener *l = &s->listener;

    while (l->first) {
        struct td_sock *next = l->first;

        l->first = next->next;
        td_abort(&next->base);
    }
    for (int i = 0; i < l->n; i++) {
        td_unwatch(t, l->tag[i]);
        if (!t->dead)
            t->zf.zftl_free(l->tl[i]);
    }
    td_sock_free(s);
}
