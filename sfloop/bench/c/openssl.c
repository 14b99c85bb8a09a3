#include "openssl.h"

#include <dlfcn.h>

struct sfb_openssl sfb_openssl;

static const struct {
    const char *name;
    void *slot;
} functions[] = {
    {"TLS_client_method", &sfb_openssl.client_method},
    {"TLS_server_method", &sfb_openssl.server_method},
    {"SSL_CTX_new", &sfb_openssl.ctx_new},
    {"SSL_CTX_free", &sfb_openssl.ctx_free},
    {"SSL_CTX_ctrl", &sfb_openssl.ctx_ctrl},
    {"SSL_CTX_load_verify_locations", &sfb_openssl.ctx_load_verify_locations},
    {"SSL_CTX_use_certificate_chain_file", &sfb_openssl.ctx_use_certificate_chain_file},
    {"SSL_CTX_use_PrivateKey_file", &sfb_openssl.ctx_use_private_key_file},
    {"SSL_CTX_set_verify", &sfb_openssl.ctx_set_verify},
    {"SSL_new", &sfb_openssl.new},
    {"SSL_free", &sfb_openssl.free},
    {"SSL_set_fd", &sfb_openssl.set_fd},
    {"SSL_set_bio", &sfb_openssl.set_bio},
    {"SSL_set_connect_state", &sfb_openssl.set_connect_state},
    {"SSL_set_accept_state", &sfb_openssl.set_accept_state},
    {"SSL_do_handshake", &sfb_openssl.do_handshake},
    {"SSL_read", &sfb_openssl.read},
    {"SSL_write", &sfb_openssl.write},
    {"SSL_has_pending", &sfb_openssl.has_pending},
    {"SSL_get_error", &sfb_openssl.get_error},
    {"BIO_s_mem", &sfb_openssl.bio_s_mem},
    {"BIO_new", &sfb_openssl.bio_new},
    {"BIO_up_ref", &sfb_openssl.bio_up_ref},
    {"ERR_clear_error", &sfb_openssl.clear_error},
};

void sfb_load_openssl(void)
{
    void *library = dlopen("libssl.so.3", RTLD_NOW);

    if (!library)
        library = dlopen("libssl.so.1.1", RTLD_NOW);
    if (!library)
        sfb_die(SFB_EXIT_USAGE, "OpenSSL's library is not installed (libssl.so.3 or libssl.so.1.1): %s", dlerror());
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        /* Stores dlsym()'s result through a void pointer, as POSIX suggests, because ISO C has no cast to a function pointer. */
        *(void **)functions[i].slot = dlsym(library, functions[i].name);
        if (!*(void **)functions[i].slot)
            sfb_die(SFB_EXIT_FAILED, "libssl has no %s", functions[i].name);
    }
}

void *sfb_client_context(const struct sfb_options *o)
{
    void *ctx = sfb_openssl.ctx_new(sfb_openssl.client_method());

    if (!ctx || (o->ca && sfb_openssl.ctx_load_verify_locations(ctx, o->ca, NULL) != 1))
        sfb_die(SFB_EXIT_USAGE, "cannot load the certificate authority \"%s\"", o->ca ? o->ca : "");
    if (o->ca)
        sfb_openssl.ctx_set_verify(ctx, SFB_VERIFY_PEER, NULL);
    return ctx;
}

void *sfb_server_context(const struct sfb_options *o)
{
    void *ctx = sfb_openssl.ctx_new(sfb_openssl.server_method());

    if (!o->certificate)
        sfb_die(SFB_EXIT_USAGE, "--certificate is missing: the file of the server's certificate and key");
    if (!ctx || sfb_openssl.ctx_use_certificate_chain_file(ctx, o->certificate) != 1 ||
        sfb_openssl.ctx_use_private_key_file(ctx, o->certificate, SFB_FILETYPE_PEM) != 1)
        sfb_die(SFB_EXIT_USAGE, "cannot load the certificate \"%s\"", o->certificate);
    return ctx;
}

bool sfb_wants_more(void *ssl, int result)
{
    int error = sfb_openssl.get_error(ssl, result);

    return error == SFB_WANT_READ || error == SFB_WANT_WRITE;
}
