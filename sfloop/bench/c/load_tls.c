/*
 * TLS ping-pong on N connections (exchange.h). The file also has the other TLS loads: handshakes one after the other (each
 * connection ends with an answer of one byte), a source of bulk data, and idle connections.
 */
#include "exchange.h"
#include "openssl.h"

#include <sys/socket.h>

/* Dies if OpenSSL reports an error, or if the server has not answered in time. */
static void check_progress(void *ssl, int result, const char *what, uint64_t since, const struct sfb_options *o)
{
    if (!sfb_wants_more(ssl, result))
        sfb_die(SFB_EXIT_FAILED, "%s failed (SSL_get_error says %d)", what, sfb_openssl.get_error(ssl, result));
    if (sfb_now() - since > (uint64_t)(o->timeout * 1e9))
        sfb_die(SFB_EXIT_FAILED, "%s: no answer in %.1f s", what, o->timeout);
}

static void *connect_tls(void *ctx, int fd, const struct sfb_options *o)
{
    void *ssl = sfb_openssl.new(ctx);
    uint64_t since = sfb_now();
    int result;

    if (!ssl || sfb_openssl.set_fd(ssl, fd) != 1)
        sfb_die(SFB_EXIT_FAILED, "cannot make a TLS connection");
    sfb_openssl.set_connect_state(ssl);
    while ((result = sfb_openssl.do_handshake(ssl)) != 1)
        check_progress(ssl, result, "the TLS handshake", since, o);
    return ssl;
}

/* The message is a single SSL_write(), which is repeated until it succeeds. */
static void push(struct connection *c, const struct sfb_options *o)
{
    int result = sfb_openssl.write(c->ssl, c->message, o->size);

    if (result == o->size)
        c->sent = o->size;
    else
        check_progress(c->ssl, result, "SSL_write", c->sent_at, o);
}

static bool pull(struct connection *c, const struct sfb_options *o)
{
    while (c->received < o->size) {
        int result = sfb_openssl.read(c->ssl, c->answer + c->received, o->size - c->received);

        if (result <= 0) {
            check_progress(c->ssl, result, "SSL_read", c->sent_at, o);
            if (!c->sent)
                push(c, o);
            return false;
        }
        c->received += result;
    }
    return true;
}

int sfb_load_tls(const struct sfb_options *o)
{
    struct connection *all = calloc((size_t)o->connections, sizeof *all);
    struct sfb_run *run = malloc(sizeof *run);
    void *ctx;

    if (!all || !run)
        sfb_die_errno("malloc");
    sfb_load_openssl();
    ctx = sfb_client_context(o);
    /* Reads a record with one system call, as serve_tls.c does. Otherwise the echo over TLS has one more than the echo without. */
    sfb_openssl.ctx_ctrl(ctx, SFB_CTRL_READ_AHEAD, 1, NULL);
    for (int i = 0; i < o->connections; i++) {
        prepare_connection(&all[i], i, o);
        all[i].ssl = connect_tls(ctx, all[i].fd, o);
    }
    run_exchange(all, run, o);
    for (int i = 0; i < o->connections; i++) {
        sfb_openssl.free(all[i].ssl);
        close_connection(&all[i]);
    }
    sfb_openssl.ctx_free(ctx);
    free(all);
    free(run);
    return 0;
}

int sfb_load_tls_handshakes(const struct sfb_options *o)
{
    struct sfb_run *run = malloc(sizeof *run);
    struct linger reset = {.l_onoff = 1};
    bool more = true;
    void *ctx;

    if (!run)
        sfb_die_errno("malloc");
    sfb_load_openssl();
    ctx = sfb_client_context(o);
    sfb_run_start(run, o);
    while (more) {
        uint64_t begin = sfb_now();
        int fd = sfb_connect_tcp(o, true), result;
        void *ssl = connect_tls(ctx, fd, o);
        char byte = 'x';

        /* The answer shows that the server has finished the handshake too. */
        while ((result = sfb_openssl.write(ssl, &byte, 1)) <= 0)
            check_progress(ssl, result, "SSL_write", begin, o);
        while ((result = sfb_openssl.read(ssl, &byte, 1)) <= 0)
            check_progress(ssl, result, "SSL_read", begin, o);
        more = sfb_run_count(run, begin, sfb_now());
        sfb_openssl.free(ssl);
        /* Closing sends a reset, so a run does not leave thousands of ports in TIME_WAIT. */
        if (setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset))
            sfb_die_errno("SO_LINGER");
        close(fd);
    }
    sfb_run_report(run);
    sfb_openssl.ctx_free(ctx);
    free(run);
    return 0;
}

/* Writes without end. The sink counts the bytes that arrive, and closes the connection. */
int sfb_load_tls_source(const struct sfb_options *o)
{
    static unsigned char block[64 * 1024];
    int fd, result;
    void *ssl;

    sfb_load_openssl();
    fd = sfb_connect_tcp(o, true);
    ssl = connect_tls(sfb_client_context(o), fd, o);
    printf("{\"connections\": 1}\n");
    fflush(stdout);
    do
        result = sfb_openssl.write(ssl, block, sizeof block);
    while (result > 0 || sfb_wants_more(ssl, result));
    return 0;
}

/* Opens connections and holds them until standard input ends. The bench measures the memory of the server that has the other ends. */
int sfb_load_tls_idle(const struct sfb_options *o)
{
    void **all = calloc((size_t)o->connections, sizeof *all), *ctx;
    char byte = 'x';

    if (!all)
        sfb_die_errno("malloc");
    sfb_raise_file_limit();
    sfb_load_openssl();
    ctx = sfb_client_context(o);
    for (int i = 0; i < o->connections; i++) {
        uint64_t since = sfb_now();
        int result;

        all[i] = connect_tls(ctx, sfb_connect_tcp(o, true), o);
        while ((result = sfb_openssl.write(all[i], &byte, 1)) <= 0)
            check_progress(all[i], result, "SSL_write", since, o);
        while ((result = sfb_openssl.read(all[i], &byte, 1)) <= 0)
            check_progress(all[i], result, "SSL_read", since, o);
    }
    printf("{\"open\": %d}\n", o->connections);
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    for (int i = 0; i < o->connections; i++)
        sfb_openssl.free(all[i]);
    sfb_openssl.ctx_free(ctx);
    free(all);
    return 0;
}
