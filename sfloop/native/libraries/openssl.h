/*
 * The interpreter's own OpenSSL: the functions of the libssl that Python's module _ssl is linked with, found when the
 * program runs. Nothing is linked, so that one build serves OpenSSL 1.1.1 and 3, and no second copy is ever loaded.
 *
 * An SSL * is one of Python's, and its BIOs are memory BIOs: ciphertext goes in and comes out by sf_openssl_put() and
 * sf_openssl_take(). The caller has the GIL, because OpenSSL may call Python back (message callbacks, the key log).
 */
#ifndef SF_LIBRARIES_OPENSSL_H
#define SF_LIBRARIES_OPENSSL_H

#include <stddef.h>
#include <sys/types.h>

struct sf_openssl_lent;

/* What belongs to one connection, read out of Python's objects. Nothing of it is owned. */
struct sf_openssl_connection {
    void *ssl;      /* SSL */
    void *context;  /* SSL_CTX */
    void *incoming; /* BIO */
    void *outgoing; /* BIO */
    struct sf_openssl_lent *reading, *writing; /* of sf_openssl_interpose(); NULL: nothing can be lent. The SSL owns them. */
};

/*
 * Look the functions up. `module` is the file of _ssl, `version` its OPENSSL_VERSION_NUMBER. Returns NULL, or the reason why
 * they cannot be used: then no other function of this header may be called.
 */
const char *sf_openssl_load(const char *module, unsigned long version);

/* The file of the library that sf_openssl_load() has found. "" if the dynamic linker does not know. */
const char *sf_openssl_path(void);

/*
 * Whether the pointers are what they are taken for, asked without following `ssl` before it is known: for the first
 * connection of a process, whose objects may be laid out otherwise in a Python that we have not seen.
 */
int sf_openssl_plausible(const struct sf_openssl_connection *c);

/* Whether OpenSSL agrees that the four belong together, and that the BIOs are memory. Follows `ssl`. */
int sf_openssl_agrees(const struct sf_openssl_connection *c);

/*
 * Put BIOs of ours in front of Python's, which can be lent memory. Call this once, after sf_openssl_agrees(): it no longer
 * holds afterwards. Where it is not possible, lending copies and collecting is refused.
 */
void sf_openssl_interpose(struct sf_openssl_connection *c);

/*
 * Lend received ciphertext, which is decrypted from where it lies. The memory has to stay until sf_openssl_settle(), which
 * copies what is left into Python's BIO: call it before any code of others can run. Both return 0, or -ENOMEM.
 */
int sf_openssl_lend(const struct sf_openssl_connection *c, const void *data, size_t length);
int sf_openssl_settle(const struct sf_openssl_connection *c);

/* Bytes that are lent and not yet read. */
size_t sf_openssl_lent(const struct sf_openssl_connection *c);

/*
 * Have records written to `out` until sf_openssl_collected(), which returns their bytes. What has no room goes into Python's BIO,
 * in its order. Returns 0 if that is not possible, because something waits there already.
 */
int sf_openssl_collect(const struct sf_openssl_connection *c, void *out, size_t room);
size_t sf_openssl_collected(const struct sf_openssl_connection *c);

/* Give received ciphertext to the connection. Returns 0, or -ENOMEM. */
int sf_openssl_put(const struct sf_openssl_connection *c, const void *data, size_t length);

/* About as many bytes as sf_openssl_decrypt() may still return. The beginning of a record that OpenSSL has taken in is not counted. */
size_t sf_openssl_readable(const struct sf_openssl_connection *c);

/*
 * Decrypt into `out`. Returns bytes, -EAGAIN when more ciphertext is needed, or -EPROTO when the session has ended or failed;
 * Python's own read() on the same object then says how.
 */
ssize_t sf_openssl_decrypt(const struct sf_openssl_connection *c, void *out, size_t room);

/* Encrypt. Returns the bytes taken, or -EAGAIN: nothing was taken, and Python's own write() has to try. */
ssize_t sf_openssl_encrypt(const struct sf_openssl_connection *c, const void *data, size_t length);

/* Bytes of ciphertext that wait to be sent, and their removal. */
size_t sf_openssl_waiting(const struct sf_openssl_connection *c);
ssize_t sf_openssl_take(const struct sf_openssl_connection *c, void *out, size_t room);

/* Give back the memory of the BIOs that are empty. A BIO keeps as much as it has ever held at once. */
void sf_openssl_shrink(const struct sf_openssl_connection *c);

#endif
