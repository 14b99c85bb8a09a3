/*
 * Ping-pong on N connections. Each connection sends a message, waits for its whole echo, and sends the next.
 *
 * This file is a pattern, as storage/heap.h: load_tcp.c and load_tls.c include it once each, and define the functions that it
 * only declares. The compiler inlines them, so the two programs that sfloop is compared with pay no call through a pointer.
 */
#ifndef SFB_EXCHANGE_H
#define SFB_EXCHANGE_H

#include "common.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

struct connection {
    int fd;
    uint64_t id, sequence, sent_at;
    int sent, received; /* bytes of the message and of the answer */
    unsigned char *message, *answer;
    void *ssl; /* TLS only */
};

/* ---- defined by the file that includes this one ---- */

/* Sends as much of the current message as the socket takes. */
static void push(struct connection *c, const struct sfb_options *o);
/* Receives the bytes that have arrived. True: the answer is complete. */
static bool pull(struct connection *c, const struct sfb_options *o);

/* ---- the exchange ---- */

static void prepare_connection(struct connection *c, int id, const struct sfb_options *o)
{
    c->fd = sfb_connect_tcp(o, true);
    c->id = (uint64_t)id;
    c->message = malloc((size_t)o->size);
    c->answer = malloc((size_t)o->size);
    if (!c->message || !c->answer)
        sfb_die_errno("malloc");
    sfb_fill(c->message, o->size, c->id, 0);
}

static void close_connection(struct connection *c)
{
    close(c->fd);
    free(c->message);
    free(c->answer);
}

static void begin_message(struct connection *c, const struct sfb_options *o)
{
    sfb_renew(c->message, o->size, c->id, c->sequence);
    c->sent = c->received = 0;
    c->sent_at = sfb_now();
    push(c, o);
}

/* Checks and counts the answer, and sends the next message. False: the run is over. */
static bool finish_message(struct connection *c, struct sfb_run *run, const struct sfb_options *o)
{
    bool more = sfb_run_count(run, c->sent_at, sfb_now());

    sfb_verify(c->message, c->answer, o->size, c->id, c->sequence);
    c->sequence++;
    if (more)
        begin_message(c, o);
    return more;
}

/* Called now and then while nothing arrives: sends what the socket has not taken. It receives nothing, because the caller would
 * not learn that an answer is complete. */
static void attend(struct connection *c, const struct sfb_options *o)
{
    if (c->sent < o->size)
        push(c, o);
    if (sfb_now() - c->sent_at > (uint64_t)(o->timeout * 1e9))
        sfb_die(SFB_EXIT_FAILED, "no answer in %.1f s on connection %d (%d of %d bytes came back)", o->timeout,
                (int)c->id, c->received, o->size);
}

static void run_single(struct connection *c, struct sfb_run *run, const struct sfb_options *o)
{
    unsigned spins = 0;

    begin_message(c, o);
    for (;;) {
        if (pull(c, o)) {
            if (!finish_message(c, run, o))
                return;
        } else if (++spins % 4096 == 0) {
            attend(c, o);
        }
    }
}

static void run_many(struct connection *all, struct sfb_run *run, const struct sfb_options *o)
{
    struct epoll_event events[128];
    int epoll = sfb_epoll_new();
    unsigned spins = 0;

    for (int i = 0; i < o->connections; i++) {
        sfb_epoll_add(epoll, all[i].fd, EPOLLIN, &all[i]);
        begin_message(&all[i], o);
    }
    for (;;) {
        int n = epoll_wait(epoll, events, 128, 0);

        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;

            if (pull(c, o) && !finish_message(c, run, o)) {
                close(epoll);
                return;
            }
        }
        if (n == 0 && ++spins % 4096 == 0)
            for (int i = 0; i < o->connections; i++)
                attend(&all[i], o);
    }
}

static void run_exchange(struct connection *all, struct sfb_run *run, const struct sfb_options *o)
{
    sfb_run_start(run, o);
    if (o->connections == 1)
        run_single(all, run, o);
    else
        run_many(all, run, o);
    sfb_run_report(run);
}

#endif
