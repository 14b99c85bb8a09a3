/* HTTP/1.1 keep-alive GET on N connections, with one request under way on each. Answers must have a Content-Length. */
#include "common.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWER_SIZE = 64 * 1024 };

struct connection {
    int fd;
    uint64_t sent_at;
    int received, expected; /* bytes; expected is -1 until the head is complete */
    char answer[ANSWER_SIZE + 1];
};

static char request[1024];
static int request_size;

static void begin_request(struct connection *c)
{
    c->received = 0;
    c->expected = -1;
    c->sent_at = sfb_now();
    if (send(c->fd, request, (size_t)request_size, MSG_NOSIGNAL) != request_size)
        sfb_die_errno("send");
}

/* Returns the length of the whole answer, or -1 while its head is not complete. */
static int answer_length(struct connection *c)
{
    char *end, *line;

    c->answer[c->received] = 0;
    end = strstr(c->answer, "\r\n\r\n");
    if (!end)
        return -1;
    if (strncmp(c->answer, "HTTP/1.1 200 ", 13))
        sfb_die(SFB_EXIT_CORRUPT, "the server answered \"%.*s\", not 200", (int)strcspn(c->answer, "\r\n"), c->answer);
    for (line = strstr(c->answer, "\r\n"); line && line < end; line = strstr(line, "\r\n")) {
        line += 2;
        if (!strncasecmp(line, "content-length:", 15))
            return (int)(end - c->answer) + 4 + atoi(line + 15);
    }
    sfb_die(SFB_EXIT_CORRUPT, "the server's answer has no Content-Length");
}

/* Receives the bytes that have arrived. True: the answer is complete. */
static bool pull(struct connection *c)
{
    ssize_t n = recv(c->fd, c->answer + c->received, (size_t)(ANSWER_SIZE - c->received), 0);

    if (n < 0 && errno == EAGAIN)
        return false;
    if (n < 0)
        sfb_die_errno("recv");
    if (n == 0)
        sfb_die(SFB_EXIT_FAILED, "the server closed the connection");
    c->received += (int)n;
    if (c->expected < 0)
        c->expected = answer_length(c);
    if (c->expected > ANSWER_SIZE || (c->expected > 0 && c->received > c->expected))
        sfb_die(SFB_EXIT_CORRUPT, "the server sent %d bytes, but announced %d", c->received, c->expected);
    return c->received == c->expected;
}

static void run_all(struct connection *all, int epoll, struct sfb_run *run, const struct sfb_options *o)
{
    struct epoll_event events[128];
    unsigned spins = 0;

    for (;;) {
        int n = epoll_wait(epoll, events, 128, 0);

        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;

            if (!pull(c))
                continue;
            if (!sfb_run_count(run, c->sent_at, sfb_now()))
                return;
            begin_request(c);
        }
        if (n == 0 && ++spins % 4096 == 0)
            for (int i = 0; i < o->connections; i++)
                if (sfb_now() - all[i].sent_at > (uint64_t)(o->timeout * 1e9))
                    sfb_die(SFB_EXIT_FAILED, "no answer in %.1f s on connection %d", o->timeout, i);
    }
}

int sfb_load_http(const struct sfb_options *o)
{
    struct connection *all = malloc((size_t)o->connections * sizeof *all);
    struct sfb_run *run = malloc(sizeof *run);
    int epoll = sfb_epoll_new();

    if (!all || !run)
        sfb_die_errno("setting up");
    request_size = snprintf(request, sizeof request,
                            "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: sfloop-bench\r\nAccept: */*\r\n\r\n",
                            o->path, o->host, o->port);
    if (request_size >= (int)sizeof request)
        sfb_die(SFB_EXIT_USAGE, "--path is longer than a request of %d bytes allows", (int)sizeof request);
    for (int i = 0; i < o->connections; i++) {
        all[i].fd = sfb_connect_tcp(o, true);
        sfb_epoll_add(epoll, all[i].fd, EPOLLIN, &all[i]);
    }
    sfb_run_start(run, o);
    for (int i = 0; i < o->connections; i++)
        begin_request(&all[i]);
    run_all(all, epoll, run, o);
    sfb_run_report(run);
    for (int i = 0; i < o->connections; i++)
        close(all[i].fd);
    close(epoll);
    free(all);
    free(run);
    return 0;
}
