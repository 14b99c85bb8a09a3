/* Ping-pong on N TCP connections (exchange.h). */
#include "exchange.h"

#include <errno.h>
#include <sys/socket.h>

static void push(struct connection *c, const struct sfb_options *o)
{
    while (c->sent < o->size) {
        ssize_t n = send(c->fd, c->message + c->sent, (size_t)(o->size - c->sent), MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            sfb_die_errno("send");
        c->sent += (int)n;
    }
}

static bool pull(struct connection *c, const struct sfb_options *o)
{
    for (;;) {
        ssize_t n = recv(c->fd, c->answer + c->received, (size_t)(o->size - c->received), 0);

        if (n < 0 && errno == EAGAIN) {
            if (c->sent < o->size)
                push(c, o);
            return false;
        }
        if (n < 0)
            sfb_die_errno("recv");
        if (n == 0)
            sfb_die(SFB_EXIT_FAILED, "the server closed the connection after %d of %d bytes", c->received, o->size);
        c->received += (int)n;
        if (c->received > c->sent)
            sfb_die(SFB_EXIT_CORRUPT, "the server sent %d bytes after receiving %d", c->received, c->sent);
        if (c->received == o->size)
            return true;
    }
}

int sfb_load_tcp(const struct sfb_options *o)
{
    struct connection *all = calloc((size_t)o->connections, sizeof *all);
    struct sfb_run *run = malloc(sizeof *run);

    if (!all || !run)
        sfb_die_errno("malloc");
    for (int i = 0; i < o->connections; i++)
        prepare_connection(&all[i], i, o);
    run_exchange(all, run, o);
    for (int i = 0; i < o->connections; i++)
        close_connection(&all[i]);
    free(all);
    free(run);
    return 0;
}
