#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* dladdr(), pipe2() */
#endif
#include "openssl_lend.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

/* From OpenSSL's headers. These values are part of its ABI. */
enum { NOTHING = 1, READING = 3, SHOULD_RETRY = 8, TYPE_MEM = 0x0401, SET_BUF_MEM = 114, CLOSE = 1 };
enum { CTRL_MODE = 33, CTRL_CLEAR_MODE = 78, RELEASE_BUFFERS = 0x10 };

/* The bytes at the beginning of an SSL which contain its context (OpenSSL 3.2 and later) or its BIOs (before). */
enum { SSL_BEGINNING = 64 };

static struct {
    unsigned long (*version_num)(void);
    void (*clear_error)(void);
    void *(*get_context)(const void *ssl);
    void *(*get_rbio)(const void *ssl);
    void *(*get_wbio)(const void *ssl);
    int (*want)(const void *ssl);
    int (*in_init)(const void *ssl);
    int (*read)(void *ssl, void *out, int room);
    int (*write)(void *ssl, const void *data, int length);
    int (*peek)(void *ssl, void *out, int room);
    long (*ssl_ctrl)(void *ssl, int command, long number, void *pointer);
    int (*pending)(const void *ssl);
    int (*bio_type)(const void *bio);
    int (*bio_read)(void *bio, void *out, int room);
    int (*bio_write)(void *bio, const void *data, int length);
    int (*test_flags)(const void *bio, int flags);
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
    {"SSL_want", &openssl.want},
    {"SSL_in_init", &openssl.in_init},
    {"SSL_read", &openssl.read},
    {"SSL_write", &openssl.write},
    {"SSL_peek", &openssl.peek},
    {"SSL_ctrl", &openssl.ssl_ctrl},
    {"SSL_pending", &openssl.pending},
    {"BIO_method_type", &openssl.bio_type},
    {"BIO_read", &openssl.bio_read},
    {"BIO_write", &openssl.bio_write},
    {"BIO_test_flags", &openssl.test_flags},
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

/* Returns how many bytes Python's BIO holds. */
static size_t held(void *memory, struct sf_openssl_lent *l)
{
    size_t bytes;

    if (l && !l->used)
        return 0;
    bytes = openssl.bio_pending(memory);
    if (l)
        l->used = bytes > 0;
    return bytes;
}

int sf_openssl_put(const struct sf_openssl_connection *c, const void *data, size_t length)
{
    if (c->reading)
        c->reading->used = true;
    while (length) {
        int taken = openssl.bio_write(c->incoming, data, most(length));

        if (taken <= 0)
            return -ENOMEM;
        data = (const char *)data + taken;
        length -= (size_t)taken;
    }
    return 0;
}

size_t sf_openssl_received(const struct sf_openssl_connection *c)
{
    return held(c->incoming, c->reading);
}

size_t sf_openssl_waiting(const struct sf_openssl_connection *c)
{
    return held(c->outgoing, c->writing);
}

size_t sf_openssl_readable(const struct sf_openssl_connection *c)
{
    int decrypted = openssl.pending(c->ssl);

    return sf_openssl_lent(c) + sf_openssl_received(c) + (decrypted > 0 ? (size_t)decrypted : 0);
}

/* Tells the reason of a failure without SSL_get_error(), which reads the thread's error queue. Others may have left errors
 * there, and to clear the queue before every call would take 400 instructions. */
static bool wants_more_ciphertext(const struct sf_openssl_connection *c)
{
    return openssl.want(c->ssl) == READING && openssl.test_flags(c->incoming, SHOULD_RETRY);
}

ssize_t sf_openssl_decrypt(const struct sf_openssl_connection *c, void *out, size_t room)
{
    int got;

    /* Check first, because an SSL_read() that finds nothing takes a quarter of the time of a record. */
    if (!sf_openssl_lent(c) && !sf_openssl_readable(c))
        return -EAGAIN;
    got = openssl.read(c->ssl, out, most(room));
    if (got > 0)
        return got;
    if (wants_more_ciphertext(c))
        return -EAGAIN;
    /* Python reads again and makes its exception from the queue. A failed session (OpenSSL puts it back into its handshake) has
     * put its error there and does not repeat it. Any other state is reported again, if the queue is empty. */
    if (!openssl.in_init(c->ssl))
        openssl.clear_error();
    return -EPROTO;
}

ssize_t sf_openssl_encrypt(const struct sf_openssl_connection *c, const void *data, size_t length)
{
    int taken = openssl.write(c->ssl, data, most(length));

    if (taken > 0)
        return taken;
    if (openssl.want(c->ssl) != NOTHING)
        openssl.clear_error(); /* Python's write() decides by the queue whether to wait */
    return -EAGAIN;
}

ssize_t sf_openssl_take(const struct sf_openssl_connection *c, void *out, size_t room)
{
    return openssl.bio_read(c->outgoing, out, most(room));
}

void sf_openssl_keep_buffers(const struct sf_openssl_connection *c, bool keep)
{
    char byte;

    openssl.ssl_ctrl(c->ssl, keep ? CTRL_CLEAR_MODE : CTRL_MODE, RELEASE_BUFFERS, NULL);
    openssl.ssl_ctrl(c->ssl, CTRL_MODE, 0, NULL); /* from OpenSSL 3.2 on, only this call tells the record layer */
    if (keep || sf_openssl_readable(c))
        return;
    /* Both return at once and free a buffer. SSL_free_buffers() would free one that is in use (CVE-2024-4741). */
    openssl.peek(c->ssl, &byte, sizeof byte);
    openssl.write(c->ssl, &byte, 0);
    openssl.clear_error();
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
