/*
 * The interpreter's own OpenSSL: functions of the libssl that Python's module _ssl is linked with, looked up at run time. sfloop
 * does not link to it. So one build serves OpenSSL 1.1.1 and 3, and no second copy is loaded.
 *
 * An SSL * is one of Python's. Its BIOs are memory BIOs: sf_openssl_put() and sf_openssl_take() move the ciphertext. The caller
 * holds the GIL, because OpenSSL may call Python back (message callbacks, the key log).
 */
#ifndef SF_LIBRARIES_OPENSSL_H
#define SF_LIBRARIES_OPENSSL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct sf_openssl_lent;

/* The OpenSSL objects of a connection, read from Python's objects. Python owns them. */
struct sf_openssl_connection {
    void *ssl;      /* SSL */
    void *context;  /* SSL_CTX */
    void *incoming; /* BIO */
    void *outgoing; /* BIO */
    struct sf_openssl_lent *reading, *writing; /* from sf_openssl_interpose(), owned by the SSL; NULL: no lending */
};

/*
 * Looks up the functions. `module` is the file of _ssl, `version` its OPENSSL_VERSION_NUMBER. Returns NULL, or the reason why
 * they cannot be used. Then no other function of this header may be called.
 */
const char *sf_openssl_load(const char *module, unsigned long version);

/* The file of the library that sf_openssl_load() found; "" if the dynamic linker does not know. */
const char *sf_openssl_path(void);

/*
 * Checks that the pointers look right without following `ssl`. Use it for the first connection of a process, because an unknown
 * Python may lay out its objects differently.
 */
int sf_openssl_plausible(const struct sf_openssl_connection *c);

/* Tells whether OpenSSL agrees that the four objects belong together and that the BIOs are memory BIOs. Follows `ssl`. */
int sf_openssl_agrees(const struct sf_openssl_connection *c);

/*
 * Puts BIOs of ours that can be lent memory in front of Python's. Call it once after sf_openssl_agrees(), which no longer holds
 * afterwards. If this fails, lending copies and collecting is refused.
 */
void sf_openssl_interpose(struct sf_openssl_connection *c);

/*
 * Lend received ciphertext, which is decrypted in place. The memory must stay valid until sf_openssl_settle(), which copies the
 * rest into Python's BIO. Call that before any foreign code can run. Both return 0 or -ENOMEM.
 */
int sf_openssl_lend(const struct sf_openssl_connection *c, const void *data, size_t length);
int sf_openssl_settle(const struct sf_openssl_connection *c);

/* Bytes that are lent and not yet read. */
size_t sf_openssl_lent(const struct sf_openssl_connection *c);

/*
 * Writes records to `out` until sf_openssl_collected(), which returns the number of bytes. Records without room go into Python's
 * BIO, in order. Returns 0 if collecting is not possible, because bytes wait there already.
 */
int sf_openssl_collect(const struct sf_openssl_connection *c, void *out, size_t room);
size_t sf_openssl_collected(const struct sf_openssl_connection *c);

/*
 * Passes each record to `send` as soon as OpenSSL has made it, until sf_openssl_sent(). `send` returns the number of bytes taken
 * or a negative errno, and must not use the connection. Bytes that it does not take go into Python's BIO, and later records
 * follow them, in order. Returns 0 if sending is not possible, because bytes wait there already. sf_openssl_sent() returns 0, or
 * the error of `send` unless that was -EAGAIN.
 */
typedef ssize_t sf_openssl_send(void *to, const void *data, size_t length);
int sf_openssl_send_to(const struct sf_openssl_connection *c, sf_openssl_send *send, void *to);
int sf_openssl_sent(const struct sf_openssl_connection *c);

/* Copies received ciphertext into the connection. Returns 0 or -ENOMEM. */
int sf_openssl_put(const struct sf_openssl_connection *c, const void *data, size_t length);

/* An estimate of the bytes that sf_openssl_decrypt() can still return. Does not count the beginning of a record that OpenSSL
 * has read. */
size_t sf_openssl_readable(const struct sf_openssl_connection *c);

/*
 * Decrypts into `out`. Returns a number of bytes, -EAGAIN if more ciphertext is needed, or -EPROTO if the session has ended or
 * failed. Python's own read() on the same object then tells the reason.
 */
ssize_t sf_openssl_decrypt(const struct sf_openssl_connection *c, void *out, size_t room);

/* Encrypts. Returns the number of bytes taken, or -EAGAIN: none were taken, and Python's own write() has to try. */
ssize_t sf_openssl_encrypt(const struct sf_openssl_connection *c, const void *data, size_t length);

/* The number of ciphertext bytes that wait to be sent, and their removal. */
size_t sf_openssl_waiting(const struct sf_openssl_connection *c);
ssize_t sf_openssl_take(const struct sf_openssl_connection *c, void *out, size_t room);

/*
 * Tells OpenSSL to keep its two buffers of 17 KB between records, or to free them. Python's setting, to free them after each
 * record, takes 1,500 instructions for a record read and a record written. Call this for an open session only. OpenSSL may have
 * something to send afterwards.
 */
void sf_openssl_keep_buffers(const struct sf_openssl_connection *c, bool keep);

/* Frees the memory of empty BIOs, because a BIO keeps as much as it has ever held. */
void sf_openssl_shrink(const struct sf_openssl_connection *c);

#endif
