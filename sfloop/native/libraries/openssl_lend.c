/*
 * Ciphertext without the copies of memory BIOs. An SSL gets a BIO of ours in front of each of its two memory BIOs. While
 * ciphertext is lent, the SSL reads it in place. While records are collected, the SSL writes them to their destination. At other
 * times both BIOs pass everything on, so Python's own calls on the same objects see no difference.
 */
#include "openssl_lend.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* From OpenSSL's headers. These values are part of its ABI. */
enum { TYPE_SOURCE_SINK = 0x0400, RETRY_FLAGS = 0x0f, CTRL_EOF = 2, CTRL_PUSH = 6, CTRL_POP = 7, CTRL_PENDING = 10 };
enum { CTRL_FLUSH = 11, CTRL_FIRST_OF_KTLS = 72, CTRL_LAST_OF_KTLS = 76 };

static struct {
    int (*get_new_index)(void);
    void *(*meth_new)(int type, const char *name);
    int (*meth_set_read)(void *method, int (*read)(void *, char *, int));
    int (*meth_set_write)(void *method, int (*write)(void *, const char *, int));
    int (*meth_set_ctrl)(void *method, long (*ctrl)(void *, int, long, void *));
    int (*meth_set_destroy)(void *method, int (*destroy)(void *));
    void *(*bio_new)(const void *method);
    int (*bio_free)(void *bio);
    int (*up_ref)(void *bio);
    void (*set_init)(void *bio, int on);
    void (*set_data)(void *bio, void *data);
    void *(*get_data)(void *bio);
    void (*set_flags)(void *bio, int flags);
    void (*clear_flags)(void *bio, int flags);
    int (*test_flags)(const void *bio, int flags);
    long (*ctrl)(void *bio, int command, long number, void *pointer);
    int (*read)(void *bio, void *out, int room);
    int (*write)(void *bio, const void *data, int length);
    size_t (*pending)(void *bio);
    void (*set0_rbio)(void *ssl, void *bio);
    void (*set0_wbio)(void *ssl, void *bio);
} openssl;

static const struct {
    const char *name;
    void *slot;
} functions[] = {
    {"BIO_get_new_index", &openssl.get_new_index},
    {"BIO_meth_new", &openssl.meth_new},
    {"BIO_meth_set_read", &openssl.meth_set_read},
    {"BIO_meth_set_write", &openssl.meth_set_write},
    {"BIO_meth_set_ctrl", &openssl.meth_set_ctrl},
    {"BIO_meth_set_destroy", &openssl.meth_set_destroy},
    {"BIO_new", &openssl.bio_new},
    {"BIO_free", &openssl.bio_free},
    {"BIO_up_ref", &openssl.up_ref},
    {"BIO_set_init", &openssl.set_init},
    {"BIO_set_data", &openssl.set_data},
    {"BIO_get_data", &openssl.get_data},
    {"BIO_set_flags", &openssl.set_flags},
    {"BIO_clear_flags", &openssl.clear_flags},
    {"BIO_test_flags", &openssl.test_flags},
    {"BIO_ctrl", &openssl.ctrl},
    {"BIO_read", &openssl.read},
    {"BIO_write", &openssl.write},
    {"BIO_ctrl_pending", &openssl.pending},
    {"SSL_set0_rbio", &openssl.set0_rbio},
    {"SSL_set0_wbio", &openssl.set0_wbio},
};

static void *method; /* NULL: lending is not possible */

static int most(size_t length)
{
    return length < INT_MAX ? (int)length : INT_MAX;
}

/* Returns the result of Python's BIO, with its retry flags. */
static int passed_on(void *bio, const struct sf_openssl_lent *l, int result)
{
    openssl.clear_flags(bio, RETRY_FLAGS);
    openssl.set_flags(bio, openssl.test_flags(l->memory, RETRY_FLAGS));
    return result;
}

static int read_lent(void *bio, char *out, int room)
{
    struct sf_openssl_lent *l = openssl.get_data(bio);
    size_t now;

    if (!l->in_len || room <= 0)
        return passed_on(bio, l, openssl.read(l->memory, out, room));
    now = l->in_len < (size_t)room ? l->in_len : (size_t)room;
    memcpy(out, l->in, now);
    l->in += now;
    l->in_len -= now;
    openssl.clear_flags(bio, RETRY_FLAGS);
    return (int)now;
}

/* Sends a record. Bytes that are not sent now go into Python's BIO, and later records follow them. */
static int write_sent(void *bio, struct sf_openssl_lent *l, const char *data, int length)
{
    ssize_t sent = l->send(l->to, data, (size_t)length);
    int left = sent > 0 ? length - (int)sent : length;

    openssl.clear_flags(bio, RETRY_FLAGS);
    if (!left)
        return length;
    l->send = NULL;
    l->used = true;
    if (sent < 0 && sent != -EAGAIN)
        l->error = (int)sent;
    if (openssl.write(l->memory, data + (length - left), left) == left)
        return length;
    l->error = -ENOMEM; /* the stream has a gap from now on */
    return -1;
}

static int write_collected(void *bio, const char *data, int length)
{
    struct sf_openssl_lent *l = openssl.get_data(bio);

    if (l->send && length > 0)
        return write_sent(bio, l, data, length);
    if (length <= 0 || (size_t)length > l->room) {
        l->room = 0; /* later writes must not overtake this one */
        l->used = true;
        return passed_on(bio, l, openssl.write(l->memory, data, length));
    }
    memcpy(l->out + l->out_len, data, (size_t)length);
    l->out_len += (size_t)length;
    l->room -= (size_t)length;
    openssl.clear_flags(bio, RETRY_FLAGS);
    return length;
}

/* OpenSSL asks six times a record about kernel TLS, which takes longer if the question is passed on. A memory BIO has no kernel TLS, and nothing to
 * flush. */
static long control(void *bio, int command, long number, void *pointer)
{
    struct sf_openssl_lent *l;

    if (command >= CTRL_FIRST_OF_KTLS && command <= CTRL_LAST_OF_KTLS)
        return 0;
    if (command == CTRL_FLUSH)
        return 1;
    l = openssl.get_data(bio);
    if (command == CTRL_PUSH || command == CTRL_POP || (command == CTRL_EOF && l->in_len))
        return 0;
    return openssl.ctrl(l->memory, command, number, pointer) + (command == CTRL_PENDING ? most(l->in_len) : 0);
}

static int destroy(void *bio)
{
    struct sf_openssl_lent *l = openssl.get_data(bio);

    if (l) {
        openssl.bio_free(l->memory);
        free(l);
    }
    return 1;
}

void sf_openssl_load_lending(void *library)
{
    void *made;

    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        *(void **)functions[i].slot = dlsym(library, functions[i].name);
        if (!*(void **)functions[i].slot)
            return;
    }
    made = openssl.meth_new(openssl.get_new_index() | TYPE_SOURCE_SINK, "sfloop");
    if (made && openssl.meth_set_read(made, read_lent) && openssl.meth_set_write(made, write_collected) &&
        openssl.meth_set_ctrl(made, control) && openssl.meth_set_destroy(made, destroy))
        method = made;
}

static void *in_front_of(void *memory, struct sf_openssl_lent **lent)
{
    struct sf_openssl_lent *l = calloc(1, sizeof *l);
    void *bio = l ? openssl.bio_new(method) : NULL;

    if (!bio) {
        free(l);
        return NULL;
    }
    l->memory = memory;
    l->used = true;
    openssl.up_ref(memory);
    openssl.set_data(bio, l);
    openssl.set_init(bio, 1);
    *lent = l;
    return bio;
}

void sf_openssl_interpose(struct sf_openssl_connection *c)
{
    struct sf_openssl_lent *reading, *writing;
    void *in, *out;

    c->reading = c->writing = NULL;
    if (!method || !(in = in_front_of(c->incoming, &reading)))
        return;
    out = in_front_of(c->outgoing, &writing);
    if (!out) {
        openssl.bio_free(in);
        return;
    }
    openssl.set0_rbio(c->ssl, in);
    openssl.set0_wbio(c->ssl, out);
    c->reading = reading;
    c->writing = writing;
}

int sf_openssl_lend(const struct sf_openssl_connection *c, const void *data, size_t length)
{
    int error = sf_openssl_settle(c);

    if (error)
        return error;
    if (!c->reading || sf_openssl_received(c))
        return sf_openssl_put(c, data, length);
    c->reading->in = data;
    c->reading->in_len = length;
    return 0;
}

int sf_openssl_settle(const struct sf_openssl_connection *c)
{
    size_t left = c->reading ? c->reading->in_len : 0;

    if (!left)
        return 0;
    c->reading->in_len = 0;
    return sf_openssl_put(c, c->reading->in, left);
}

size_t sf_openssl_lent(const struct sf_openssl_connection *c)
{
    return c->reading ? c->reading->in_len : 0;
}

static bool may_go_past_memory(const struct sf_openssl_connection *c)
{
    return c->writing && !c->writing->out && !c->writing->send && !sf_openssl_waiting(c);
}

int sf_openssl_collect(const struct sf_openssl_connection *c, void *out, size_t room)
{
    if (!may_go_past_memory(c))
        return 0;
    c->writing->out = out;
    c->writing->room = room;
    c->writing->out_len = 0;
    return 1;
}

size_t sf_openssl_collected(const struct sf_openssl_connection *c)
{
    size_t length = c->writing->out_len;

    c->writing->out = NULL;
    c->writing->room = c->writing->out_len = 0;
    return length;
}

int sf_openssl_send_to(const struct sf_openssl_connection *c, sf_openssl_send *send, void *to)
{
    if (!may_go_past_memory(c))
        return 0;
    c->writing->send = send;
    c->writing->to = to;
    c->writing->error = 0;
    return 1;
}

int sf_openssl_sent(const struct sf_openssl_connection *c)
{
    c->writing->send = NULL;
    return c->writing->error;
}
