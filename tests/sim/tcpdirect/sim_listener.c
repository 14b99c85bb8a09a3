/* Listeners. The latest connection is accepted first. The port stays in use until the last connection is gone. */
#define _GNU_SOURCE
#include "sim.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

SIM_API int zftl_listen(struct zf_stack *, const struct sockaddr *, socklen_t, const struct zf_attr *, struct zftl **);
SIM_API int zftl_accept(struct zftl *, struct zft **);
SIM_API struct zf_waitable *zftl_to_waitable(struct zftl *);
SIM_API void zftl_getname(struct zftl *, struct sockaddr *, socklen_t *);
SIM_API int zftl_free(struct zftl *);
SIM_API int zft_free(struct zft *);
SIM_API int zf_muxer_del(struct zf_waitable *);

int zftl_listen(struct zf_stack *stack, const struct sockaddr *addr, socklen_t len, const struct zf_attr *attr,
                struct zftl **out)
{
    struct zftl *tl = NULL;
    int rc = sim_check_address(addr, len);

    (void)attr;
    SIM_FAULT();
    if (rc < 0)
        return rc;
    if (!((const struct sockaddr_in *)addr)->sin_addr.s_addr)
        return -EOPNOTSUPP;
    for (int i = 0; i < stack->max_listen && !tl; i++)
        if (!stack->listener[i].used)
            tl = &stack->listener[i];
    if (!tl)
        return -ENOBUFS;
    *tl = (struct zftl){.used = true, .stack = stack};
    sim_waitable_init(&tl->w, stack);
    memcpy(&tl->local, addr, sizeof(tl->local));
    tl->backing = sim_backing(SOCK_STREAM, &tl->local, 0);
    if (tl->backing < 0) {
        tl->used = false;
        return tl->backing;
    }
    tl->slot = sim_slot_take(stack, SIM_LISTENER, tl);
    rc = stack->inner->ops->listen(stack->inner, tl->backing, 128, tl->slot, stack->slots[tl->slot].generation, &tl->inner);
    if (rc == 0)
        rc = stack->inner->ops->interest(tl->inner, SF_READABLE);
    if (rc < 0) {
        sim_slot_give(stack, tl->slot);
        close(tl->backing);
        tl->used = false;
        return rc == -EOPNOTSUPP ? -EADDRNOTAVAIL : rc;
    }
    *out = tl;
    return 0;
}

/* Takes a zocket for each new connection at once. Without a free zocket the connection stays unseen in the inner stack. The vendor's
 * library would drop its SYN. */
int sim_listener_event(struct zftl *tl)
{
    const struct sf_stack_ops *ops = tl->stack->inner->ops;
    struct sf_sock *inner;
    struct zft *ts;
    int visible = 0;

    while ((ts = sim_tcp_take(tl->stack))) {
        socklen_t len = sizeof(ts->local);

        if (ops->accept_stream(tl->inner, &inner) < 0) {
            ts->used = false;
            break;
        }
        ts->inner = inner;
        ts->slot = sim_slot_take(tl->stack, SIM_TCP, ts);
        inner->slot = ts->slot;
        inner->generation = tl->stack->slots[ts->slot].generation;
        ts->state = TCP_ESTABLISHED;
        ts->accepted = ts->reading = true;
        ts->parent = tl;
        tl->children++;
        ops->name_of(inner, false, (struct sockaddr *)&ts->local, &len);
        len = sizeof(ts->remote);
        ops->name_of(inner, true, (struct sockaddr *)&ts->remote, &len);
        ops->interest(inner, SF_READABLE);
        sim_mark(&ts->w, EPOLLOUT);
        ts->accept_next = tl->newest;
        tl->newest = ts;
        sim_mark(&tl->w, EPOLLIN);
        visible = 1;
    }
    return visible;
}

int zftl_accept(struct zftl *tl, struct zft **out)
{
    SIM_FAULT();
    if (!tl->newest)
        return -EAGAIN;
    *out = tl->newest;
    tl->newest = tl->newest->accept_next;
    if (!tl->newest)
        sim_unmark(&tl->w, EPOLLIN);
    return 0;
}

struct zf_waitable *zftl_to_waitable(struct zftl *tl)
{
    return &tl->w;
}

void zftl_getname(struct zftl *tl, struct sockaddr *name, socklen_t *len)
{
    memcpy(name, &tl->local, *len < sizeof(tl->local) ? *len : sizeof(tl->local));
    *len = sizeof(tl->local);
}

void sim_listener_release(struct zftl *tl)
{
    if (!tl->freed || tl->children)
        return;
    close(tl->backing);
    tl->used = false;
}

int zftl_free(struct zftl *tl)
{
    SIM_MUST(tl->used && !tl->freed, "freed twice");
    zf_muxer_del(&tl->w);
    tl->children++; /* zft_free() must not release the listener yet */
    while (tl->newest) {
        struct zft *ts = tl->newest;

        tl->newest = ts->accept_next;
        ts->delegated = true; /* makes zft_free() send a reset */
        zft_free(ts);
    }
    sim_slot_give(tl->stack, tl->slot);
    tl->stack->inner->ops->release(tl->inner);
    tl->freed = true;
    tl->children--;
    sim_listener_release(tl);
    return 0;
}
