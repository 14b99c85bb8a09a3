/*
 * Opens N connections, lets the server echo a small message on each, reports this, and holds them until standard
 * input ends. After the echo the server has accepted the connection, so its accept queue never overflows (a dropped
 * SYN would cost a second). The server has also allocated everything that it allocates at the first use.
 */
#include "common.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HELLO = 16 };

static void hello(int fd, uint64_t id)
{
    unsigned char sent[HELLO], received[HELLO];
    struct timeval limit = {.tv_sec = 5};
    ssize_t n;

    sfb_fill(sent, HELLO, id, 0);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit))
        sfb_die_errno("SO_RCVTIMEO");
    if (send(fd, sent, HELLO, MSG_NOSIGNAL) != HELLO)
        sfb_die_errno("send");
    n = recv(fd, received, HELLO, MSG_WAITALL);
    if (n < 0)
        sfb_die_errno("recv");
    if (n != HELLO)
        sfb_die(SFB_EXIT_FAILED, "the server closed connection %d", (int)id);
    sfb_verify(sent, received, HELLO, id, 0);
}

int sfb_load_idle(const struct sfb_options *o)
{
    int *fds = malloc((size_t)o->connections * sizeof *fds);
    struct linger reset = {.l_onoff = 1};
    char byte;

    if (!fds)
        sfb_die_errno("malloc");
    sfb_raise_file_limit();
    for (int i = 0; i < o->connections; i++) {
        fds[i] = sfb_connect_tcp(o, false);
        hello(fds[i], (uint64_t)i);
        /* Closing sends a reset, so a run does not leave 10,000 ports in TIME_WAIT. */
        if (setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &reset, sizeof reset))
            sfb_die_errno("SO_LINGER");
    }
    printf("{\"open\": %d}\n", o->connections);
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0 || errno == EINTR)
        errno = 0;
    for (int i = 0; i < o->connections; i++)
        close(fds[i]);
    free(fds);
    return 0;
}
