#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* dladdr(), pipe2() */
#endif
#include "openssl_lend.h"
#include "openssl.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* From OpenSSL's headers. These values are part of its ABI. */
enum { ERROR_WANT_READ = 2, TYPE_MEM = 0x0401, SET_BUF_MEM = 114, CLOSE = 1 };

/* The bytes at the beginning of an SSL which contain its context (OpenSSL 3.2 and later) or its BIOs (before). */
enum { SSL_BEGINNING = 64 };

static struct {
    unsigned long (*version_num)(void);
    void (*clear_error)(void);
    void *(*get_context)(const void *ssl);
    void *(*get_rbio)(const void *ssl);
    void *(*get_wbio)(const void *ssl);
    int (*get_error)(const void *ssl, int result);
    int (*read)(void *ssl, void *out, int room);
    int (*write)(void *ssl, const void *data, int length);
    int (*pending)(const void *ssl);
    int (*bio_type)(const void *bio);
    int (*bio_read)(void *bio, void *out, int room);
    int (*bio_write)(void *bio, const void *data, int length);
    size_t (*bio_pending)(void *bio);
    long (*bio_ctrl)(void *bio, int command, long number, void *pointer);
    void *(*buffer_new)(void);
    void (*buffer_free)(void *buffer);
} openssl;

static const struct {
    const char *name;
    void *slot;
} functions[] = {
    {"OpenSSL_version_num", &openssl.version_num},
    {"ERR_clear_error", &openssl.clear_error},
    {"SSL_get_SSL_CTX", &openssl.get_context},
    {"SSL_get_rbio", &openssl.get_rbio},
    {"SSL_get_wbio", &openssl.get_wbio},
    {"SSL_get_error", &openssl.get_error},
    {"SSL_read", &openssl.read},
    {"SSL_write", &openssl.write},
    {"SSL_pending", &openssl.pending},
    {"BIO_method_type", &openssl.bio_type},
    {"BIO_read", &openssl.bio_read},
    {"BIO_write", &openssl.bio_write},
    {"BIO_ctrl_pending", &openssl.bio_pending},
    {"BIO_ctrl", &openssl.bio_ctrl},
    {"BUF_MEM_new", &openssl.buffer_new},
    {"BUF_MEM_free", &openssl.buffer_free},
};

const char *sf_openssl_load(const char *module, unsigned long version)
{
    void *library = dlopen(module, RTLD_LAZY | RTLD_NOLOAD);

    if (!library)
        return "the file of Python's module _ssl is not loaded";
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        /* Searches the module and the libraries that it is linked with, and nothing else. ISO C has no cast from an object
         * pointer to a function pointer, so POSIX lets dlsym() fill one in this way. */
        *(void **)functions[i].slot = dlsym(library, functions[i].name);
        if (!*(void **)functions[i].slot)
            return "Python's module _ssl has OpenSSL linked statically";
    }
    if (openssl.version_num() != version)
        return "Python's module _ssl was built for another version of OpenSSL";
    sf_openssl_load_lending(library);
    return NULL;
}

const char *sf_openssl_path(void)
{
    Dl_info found;

    return dladdr(*(void **)&openssl.read, &found) && found.dli_fname ? found.dli_fname : "";
}

/* Copies memory that may be unmapped, because write() checks it without a crash. Returns whether it was mapped. */
static int copy_if_mapped(const void *from, void *to, size_t length)
{
    int ends[2], copied;

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return 0;
    copied = write(ends[1], from, length) == (ssize_t)length && read(ends[0], to, length) == (ssize_t)length;
    close(ends[0]);
    close(ends[1]);
    return copied;
}

int sf_openssl_plausible(const struct sf_openssl_connection *c)
{
    void *beginning[SSL_BEGINNING / sizeof(void *)];

    if (!c->context || !c->incoming || !copy_if_mapped(c->ssl, beginning, sizeof beginning))
        return 0;
    for (size_t i = 0; i < sizeof beginning / sizeof *beginning; i++)
        if (beginning[i] == c->context || beginning[i] == c->incoming)
            return 1;
    return 0;
}

int sf_openssl_agrees(const struct sf_openssl_connection *c)
{
    return c->ssl && openssl.get_context(c->ssl) == c->context && openssl.get_rbio(c->ssl) == c->incoming &&
           openssl.get_wbio(c->ssl) == c->outgoing && openssl.bio_type(c->incoming) == TYPE_MEM &&
           openssl.bio_type(c->outgoing) == TYPE_MEM;
}

static int most(size_t length)
{
    return length < INT_MAX ? (int)length : INT_MAX;
}

int sf_openssl_put(const struct sf_openssl_connection *c, const void *data, size_t length)
{
    while (length) {
        int taken = openssl.bio_write(c->incoming, data, most(length));

        if (taken <= 0)
            return -ENOMEM;
        data = (const char *)data + taken;
        length -= (size_t)taken;
    }
    return 0;
}

size_t sf_openssl_readable(const struct sf_openssl_connection *c)
{
    int decrypted = openssl.pending(c->ssl);

    return sf_openssl_lent(c) + openssl.bio_pending(c->incoming) + (decrypted > 0 ? (size_t)decrypted : 0);
}

ssize_t sf_openssl_decrypt(const struct sf_openssl_connection *c, void *out, size_t room)
{
    int got;

    /* Check first, because an SSL_read() that finds nothing takes a quarter of the time of a record. */
    if (!sf_openssl_readable(c))
        return -EAGAIN;
    openssl.clear_error(); /* the error queue is the thread's, and SSL_get_error() reads it */
    got = openssl.read(c->ssl, out, most(room));
    if (got > 0)
        return got;
    /* Leave the queue, because Python makes its exception from it. */
    return openssl.get_error(c->ssl, got) == ERROR_WANT_READ ? -EAGAIN : -EPROTO;
}

ssize_t sf_openssl_encrypt(const struct sf_openssl_connection *c, const void *data, size_t length)
{
    int taken;

    openssl.clear_error();
    taken = openssl.write(c->ssl, data, most(length));
    return taken > 0 ? taken : -EAGAIN;
}

size_t sf_openssl_waiting(const struct sf_openssl_connection *c)
{
    return openssl.bio_pending(c->outgoing);
}

ssize_t sf_openssl_take(const struct sf_openssl_connection *c, void *out, size_t room)
{
    return openssl.bio_read(c->outgoing, out, most(room));
}

static void give_back(void *bio)
{
    void *empty = openssl.bio_pending(bio) ? NULL : openssl.buffer_new();

    if (empty && openssl.bio_ctrl(bio, SET_BUF_MEM, CLOSE, empty) <= 0)
        openssl.buffer_free(empty);
}

void sf_openssl_shrink(const struct sf_openssl_connection *c)
{
    give_back(c->incoming);
    give_back(c->outgoing);
}
