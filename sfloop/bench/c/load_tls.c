/*
 * TLS ping-pong on one connection. libssl is loaded when the program runs, by its stable ABI (OpenSSL 3 or 1.1),
 * so that building the bench needs no OpenSSL headers.
 */
#include "common.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

/* From openssl/ssl.h; these values are part of the ABI. */
enum { VERIFY_PEER = 1, ERROR_WANT_READ = 2, ERROR_WANT_WRITE = 3 };

static struct {
    const void *(*client_method)(void);
    void *(*ctx_new)(const void *method);
    void (*ctx_free)(void *ctx);
    int (*ctx_load_verify_locations)(void *ctx, const char *file, const char *path);
    void (*ctx_set_verify)(void *ctx, int mode, void *callback);
    void *(*new)(void *ctx);
    void (*free)(void *ssl);
    int (*set_fd)(void *ssl, int fd);
    int (*connect)(void *ssl);
    int (*read)(void *ssl, void *buffer, int size);
    int (*write)(void *ssl, const void *buffer, int size);
    int (*get_error)(const void *ssl, int result);
} openssl;

static void load_openssl(void)
{
    static const struct {
        const char *name;
        void *slot;
    } functions[] = {
        {"TLS_client_method", &openssl.client_method},
        {"SSL_CTX_new", &openssl.ctx_new},
        {"SSL_CTX_free", &openssl.ctx_free},
        {"SSL_CTX_load_verify_locations", &openssl.ctx_load_verify_locations},
        {"SSL_CTX_set_verify", &openssl.ctx_set_verify},
        {"SSL_new", &openssl.new},
        {"SSL_free", &openssl.free},
        {"SSL_set_fd", &openssl.set_fd},
        {"SSL_connect", &openssl.connect},
        {"SSL_read", &openssl.read},
        {"SSL_write", &openssl.write},
        {"SSL_get_error", &openssl.get_error},
    };
    void *library = dlopen("libssl.so.3", RTLD_NOW);

    if (!library)
        library = dlopen("libssl.so.1.1", RTLD_NOW);
    if (!library)
        sfb_die(SFB_EXIT_USAGE, "OpenSSL's library is not installed (libssl.so.3 or libssl.so.1.1): %s", dlerror());
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        /* ISO C has no cast from an object pointer to a function pointer; POSIX has dlsym fill one in this way. */
        *(void **)functions[i].slot = dlsym(library, functions[i].name);
        if (!*(void **)functions[i].slot)
            sfb_die(SFB_EXIT_FAILED, "libssl has no %s", functions[i].name);
    }
}

/* Dies unless OpenSSL only wants to be called again, and the server has answered in time. */
static void check_progress(void *ssl, int result, const char *what, uint64_t since, const struct sfb_options *o)
{
    int error = openssl.get_error(ssl, result);

    if (error != ERROR_WANT_READ && error != ERROR_WANT_WRITE)
        sfb_die(SFB_EXIT_FAILED, "%s failed (SSL_get_error says %d)", what, error);
    if (sfb_now() - since > (uint64_t)(o->timeout * 1e9))
        sfb_die(SFB_EXIT_FAILED, "%s: no answer in %.1f s", what, o->timeout);
}

static void *connect_tls(void *ctx, int fd, const struct sfb_options *o)
{
    void *ssl = openssl.new(ctx);
    uint64_t since = sfb_now();
    int result;

    if (!ssl || openssl.set_fd(ssl, fd) != 1)
        sfb_die(SFB_EXIT_FAILED, "cannot make a TLS connection");
    while ((result = openssl.connect(ssl)) != 1)
        check_progress(ssl, result, "the TLS handshake", since, o);
    return ssl;
}

static void run_connection(void *ssl, struct sfb_run *run, const struct sfb_options *o)
{
    unsigned char *message = malloc((size_t)o->size), *answer = malloc((size_t)o->size);
    bool more = true;

    if (!message || !answer)
        sfb_die_errno("malloc");
    for (uint64_t sequence = 0; more; sequence++) {
        int received = 0, result;
        uint64_t sent_at;

        sfb_fill(message, o->size, 0, sequence);
        sent_at = sfb_now();
        while ((result = openssl.write(ssl, message, o->size)) != o->size)
            check_progress(ssl, result, "SSL_write", sent_at, o);
        while (received < o->size) {
            result = openssl.read(ssl, answer + received, o->size - received);
            if (result <= 0)
                check_progress(ssl, result, "SSL_read", sent_at, o);
            else
                received += result;
        }
        more = sfb_run_count(run, sent_at, sfb_now());
        sfb_verify(message, answer, o->size, 0, sequence);
    }
    free(message);
    free(answer);
}

int sfb_load_tls(const struct sfb_options *o)
{
    struct sfb_run *run = malloc(sizeof *run);
    void *ctx, *ssl;
    int fd;

    if (!run)
        sfb_die_errno("malloc");
    if (o->connections != 1)
        sfb_die(SFB_EXIT_USAGE, "--connections is %d; the TLS load uses 1", o->connections);
    load_openssl();
    ctx = openssl.ctx_new(openssl.client_method());
    if (!ctx || (o->ca && openssl.ctx_load_verify_locations(ctx, o->ca, NULL) != 1))
        sfb_die(SFB_EXIT_USAGE, "cannot load the certificate authority \"%s\"", o->ca ? o->ca : "");
    if (o->ca)
        openssl.ctx_set_verify(ctx, VERIFY_PEER, NULL);
    fd = sfb_connect_tcp(o, true);
    ssl = connect_tls(ctx, fd, o);
    sfb_run_start(run, o);
    run_connection(ssl, run, o);
    sfb_run_report(run);
    openssl.free(ssl);
    openssl.ctx_free(ctx);
    close(fd);
    free(run);
    return 0;
}
