/* Ping-pong on N TCP connections. Each connection sends a message, waits for its whole echo, and sends the next. */
#include "common.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct connection {
    int fd;
    uint64_t id, sequence, sent_at;
    int sent, received;
    unsigned char *message, *answer;
};

/* Sends as much of the current message as the socket takes. */
static void push(struct connection *c, int size)
{
    while (c->sent < size) {
        ssize_t n = send(c->fd, c->message + c->sent, (size_t)(size - c->sent), MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            sfb_die_errno("send");
        c->sent += (int)n;
    }
}

static void begin_message(struct connection *c, int size)
{
    sfb_renew(c->message, size, c->id, c->sequence);
    c->sent = c->received = 0;
    c->sent_at = sfb_now();
    push(c, size);
}

/* Receives the bytes that have arrived. True: the answer is complete. */
static bool pull(struct connection *c, int size)
{
    for (;;) {
        ssize_t n = recv(c->fd, c->answer + c->received, (size_t)(size - c->received), 0);

        if (n < 0 && errno == EAGAIN) {
            if (c->sent < size)
                push(c, size);
            return false;
        }
        if (n < 0)
            sfb_die_errno("recv");
        if (n == 0)
            sfb_die(SFB_EXIT_FAILED, "the server closed the connection after %d of %d bytes", c->received, size);
        c->received += (int)n;
        if (c->received > c->sent)
            sfb_die(SFB_EXIT_CORRUPT, "the server sent %d bytes after receiving %d", c->received, c->sent);
        if (c->received == size)
            return true;
    }
}

/* Checks and counts the answer, and sends the next message. False: the run is over. */
static bool finish_message(struct connection *c, struct sfb_run *run, int size)
{
    bool more = sfb_run_count(run, c->sent_at, sfb_now());

    sfb_verify(c->message, c->answer, size, c->id, c->sequence);
    c->sequence++;
    if (more)
        begin_message(c, size);
    return more;
}

static void check_silence(const struct connection *c, const struct sfb_options *o)
{
    if (sfb_now() - c->sent_at > (uint64_t)(o->timeout * 1e9))
        sfb_die(SFB_EXIT_FAILED, "no answer in %.1f s on connection %d (%d of %d bytes came back)", o->timeout,
                (int)c->id, c->received, o->size);
}

static void run_single(struct connection *c, struct sfb_run *run, const struct sfb_options *o)
{
    unsigned spins = 0;

    begin_message(c, o->size);
    for (;;) {
        if (pull(c, o->size)) {
            if (!finish_message(c, run, o->size))
                return;
        } else if (++spins % 4096 == 0) {
            check_silence(c, o);
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
        begin_message(&all[i], o->size);
    }
    for (;;) {
        int n = epoll_wait(epoll, events, 128, 0);

        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;

            if (pull(c, o->size) && !finish_message(c, run, o->size)) {
                close(epoll);
                return;
            }
        }
        if (n == 0 && ++spins % 4096 == 0)
            for (int i = 0; i < o->connections; i++) {
                push(&all[i], o->size);
                check_silence(&all[i], o);
            }
    }
}

int sfb_load_tcp(const struct sfb_options *o)
{
    struct connection *all = calloc((size_t)o->connections, sizeof *all);
    struct sfb_run *run = malloc(sizeof *run);

    if (!all || !run)
        sfb_die_errno("malloc");
    for (int i = 0; i < o->connections; i++) {
        struct connection *c = &all[i];

        c->fd = sfb_connect_tcp(o, true);
        c->id = (uint64_t)i;
        c->message = malloc((size_t)o->size);
        c->answer = malloc((size_t)o->size);
        if (!c->message || !c->answer)
            sfb_die_errno("malloc");
        sfb_fill(c->message, o->size, c->id, 0);
    }
    sfb_run_start(run, o);
    if (o->connections == 1)
        run_single(all, run, o);
    else
        run_many(all, run, o);
    sfb_run_report(run);
    for (int i = 0; i < o->connections; i++) {
        close(all[i].fd);
        free(all[i].message);
        free(all[i].answer);
    }
    free(all);
    free(run);
    return 0;
}
