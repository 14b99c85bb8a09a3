/*
 * libssl, loaded at run time by its stable ABI (OpenSSL 3 or 1.1), so building the bench needs no OpenSSL headers. The TLS loads
 * and the TLS servers use it.
 *
 * The engine (sfloop/native/libraries/openssl.h) and the fuzz target (tests/fuzz/fuzz_tls.c) have tables of their own. Each needs
 * other functions, and neither the bench nor the fuzz target's peer may share mistakes with the engine.
 */
#ifndef SFB_OPENSSL_H
#define SFB_OPENSSL_H

#include "common.h"

/* From openssl/ssl.h and openssl/bio.h; these values are part of the ABI. */
enum { SFB_VERIFY_PEER = 1, SFB_FILETYPE_PEM = 1, SFB_WANT_READ = 2, SFB_WANT_WRITE = 3, SFB_CTRL_READ_AHEAD = 41 };

struct sfb_openssl {
    const void *(*client_method)(void);
    const void *(*server_method)(void);
    void *(*ctx_new)(const void *method);
    void (*ctx_free)(void *ctx);
    long (*ctx_ctrl)(void *ctx, int command, long number, void *pointer);
    int (*ctx_load_verify_locations)(void *ctx, const char *file, const char *path);
    int (*ctx_use_certificate_chain_file)(void *ctx, const char *file);
    int (*ctx_use_private_key_file)(void *ctx, const char *file, int type);
    void (*ctx_set_verify)(void *ctx, int mode, void *callback);
    void *(*new)(void *ctx);
    void (*free)(void *ssl);
    int (*set_fd)(void *ssl, int fd);
    void (*set_bio)(void *ssl, void *in, void *out);
    void (*set_connect_state)(void *ssl);
    void (*set_accept_state)(void *ssl);
    int (*do_handshake)(void *ssl);
    int (*read)(void *ssl, void *buffer, int size);
    int (*write)(void *ssl, const void *buffer, int size);
    int (*has_pending)(const void *ssl);
    int (*get_error)(const void *ssl, int result);
    const void *(*bio_s_mem)(void);
    void *(*bio_new)(const void *method);
    int (*bio_up_ref)(void *bio);
    void (*clear_error)(void);
};

extern struct sfb_openssl sfb_openssl;

/* Loads the library, or dies. */
void sfb_load_openssl(void);

/* Return the context of a client that trusts --ca, and of a server with the certificate and key of the file --certificate. */
void *sfb_client_context(const struct sfb_options *o);
void *sfb_server_context(const struct sfb_options *o);

/* True: the call made no progress, and has to be repeated. False: it failed. */
bool sfb_wants_more(void *ssl, int result);

#endif
