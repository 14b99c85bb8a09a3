/*
 * A TLS echo server with epoll and OpenSSL on the socket, which reads a record with one system call (SSL_CTX_set_read_ahead). No
 * event loop with these system calls can be faster. With --spin, epoll_wait never sleeps. The server waits until the socket has
 * taken a whole answer, because the load has only one message under way.
 *
 * The loop over the events is written out here and in serve_tcp.c. A shared loop would call each server's functions through
 * pointers, and these servers set the time that event loops are compared with.
 *
 * The file also measures the time of OpenSSL alone for an echo: both ends encrypt and decrypt its two records in memory.
 */
#include "openssl.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_SIZE = 256 * 1024, MAX_EVENTS = 256 };

struct connection {
    int fd;
    bool established;
    void *ssl;
};

static unsigned char buffer[BUFFER_SIZE];

static void take_connections(int epoll, int listener, void *ctx)
{
    int fd, on = 1;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);

        if (!c || !(c->ssl = sfb_openssl.new(ctx)) || sfb_openssl.set_fd(c->ssl, fd) != 1)
            sfb_die(SFB_EXIT_FAILED, "cannot make a TLS connection");
        c->fd = fd;
        sfb_openssl.set_accept_state(c->ssl);
        if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on))
            sfb_die_errno("TCP_NODELAY");
        sfb_epoll_add(epoll, fd, EPOLLIN, c);
    }
    if (errno != EAGAIN && errno != ECONNABORTED)
        sfb_die_errno("accept");
}

/* Sends the answer. False: the connection is gone. */
static bool answer(struct connection *c, int size)
{
    int sent;

    while ((sent = sfb_openssl.write(c->ssl, buffer, size)) != size)
        if (!sfb_wants_more(c->ssl, sent))
            return false;
    return true;
}

static bool serve(struct connection *c)
{
    int result;

    sfb_openssl.clear_error();
    if (!c->established) {
        result = sfb_openssl.do_handshake(c->ssl);
        c->established = result == 1;
        if (!c->established)
            return sfb_wants_more(c->ssl, result);
    }
    do {
        result = sfb_openssl.read(c->ssl, buffer, BUFFER_SIZE);
        if (result <= 0)
            return sfb_wants_more(c->ssl, result);
        if (!answer(c, result))
            return false;
    } while (sfb_openssl.has_pending(c->ssl)); /* saves the system call that would only find that there is no more */
    return true;
}

static void drop(struct connection *c)
{
    sfb_openssl.free(c->ssl);
    close(c->fd);
    free(c);
}

int sfb_serve_tls(const struct sfb_options *o)
{
    struct epoll_event events[MAX_EVENTS];
    int listener = sfb_listen_tcp(o), epoll = sfb_epoll_new();
    void *ctx;

    sfb_load_openssl();
    ctx = sfb_server_context(o);
    sfb_openssl.ctx_ctrl(ctx, SFB_CTRL_READ_AHEAD, 1, NULL);
    sfb_raise_file_limit();
    sfb_epoll_add(epoll, listener, EPOLLIN, NULL);
    sfb_announce(listener);
    for (;;) {
        int n = epoll_wait(epoll, events, MAX_EVENTS, o->spin ? 0 : -1);

        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;

            if (!c)
                take_connections(epoll, listener, ctx);
            else if (!serve(c))
                drop(c);
        }
    }
}

static void *in_memory(void *ctx, void *in, void *out)
{
    void *ssl = sfb_openssl.new(ctx);

    if (!ssl || sfb_openssl.bio_up_ref(in) != 1 || sfb_openssl.bio_up_ref(out) != 1)
        sfb_die(SFB_EXIT_FAILED, "cannot make a TLS connection");
    sfb_openssl.set_bio(ssl, in, out);
    return ssl;
}

static void pass(void *from, void *to, unsigned char *message, int size)
{
    int received = 0, result;

    if (sfb_openssl.write(from, message, size) != size)
        sfb_die(SFB_EXIT_FAILED, "SSL_write failed");
    while (received < size) {
        result = sfb_openssl.read(to, message + received, size - received);
        if (result <= 0)
            sfb_die(SFB_EXIT_FAILED, "SSL_read failed");
        received += result;
    }
}

int sfb_tls_records(const struct sfb_options *o)
{
    unsigned char *message = calloc(1, (size_t)o->size);
    struct sfb_run *run = malloc(sizeof *run);
    void *up, *down, *client, *server;
    bool ready = false;

    if (!message || !run)
        sfb_die_errno("malloc");
    sfb_load_openssl();
    up = sfb_openssl.bio_new(sfb_openssl.bio_s_mem());
    down = sfb_openssl.bio_new(sfb_openssl.bio_s_mem());
    if (!up || !down)
        sfb_die(SFB_EXIT_FAILED, "cannot make a memory BIO");
    client = in_memory(sfb_client_context(o), down, up);
    server = in_memory(sfb_server_context(o), up, down);
    sfb_openssl.set_connect_state(client);
    sfb_openssl.set_accept_state(server);
    for (int step = 0; step < 10 && !ready; step++) {
        int near = sfb_openssl.do_handshake(client), far = sfb_openssl.do_handshake(server);

        ready = near == 1 && far == 1;
    }
    if (!ready)
        sfb_die(SFB_EXIT_FAILED, "the handshake did not end");
    sfb_run_start(run, o);
    for (uint64_t begin = sfb_now(), end;; begin = end) {
        pass(client, server, message, o->size);
        pass(server, client, message, o->size);
        end = sfb_now();
        if (!sfb_run_count(run, begin, end))
            break;
    }
    sfb_run_report(run);
    return 0;
}
