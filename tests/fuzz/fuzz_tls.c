/*
 * Fuzzes sfloop/native/libraries/openssl.c with a session of the real OpenSSL, before and after the end of the handshake. The peer
 * sends records, altered records and arbitrary bytes. An input is two bytes that choose the session, then commands of two bytes, some
 * with data after them. Besides the sanitizers' checks, these must hold:
 *  - the decrypted bytes are the bytes that the peer has encrypted, in their order, even if ciphertext was altered;
 *  - all bytes are decrypted if no ciphertext was altered, wherever it was cut;
 *  - the peer decrypts the bytes that we encrypt, in their order.
 * The sessions use a pre-shared key (PSK), so no certificate is needed.
 *
 * The peer has its own table of OpenSSL's functions, apart from the engine's and from sfloop/bench/c/openssl.h. It judges the
 * engine and may not share its mistakes, and it needs other functions than the bench.
 */
#include "libraries/openssl.h"
#include "fuzz_check.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From OpenSSL's headers; these values are part of its ABI. */
enum { SET_MIN_VERSION = 123, SET_MAX_VERSION = 124, TLS1_2 = 0x0303, TLS1_3 = 0x0304 };

enum { SENT_MAX = 1 << 20, ROOM_MAX = 20000, STEPS = 12 };

typedef unsigned int server_psk(void *ssl, const char *identity, unsigned char *key, unsigned int room);
typedef unsigned int client_psk(void *ssl, const char *hint, char *identity, unsigned int room, unsigned char *key,
                                unsigned int key_room);

static struct {
    unsigned long (*version_num)(void);
    const void *(*method)(void);
    void *(*ctx_new)(const void *method);
    long (*ctx_ctrl)(void *ctx, int command, long number, void *pointer);
    int (*set_cipher_list)(void *ctx, const char *text);
    void (*set_psk_server_callback)(void *ctx, server_psk *callback);
    void (*set_psk_client_callback)(void *ctx, client_psk *callback);
    void *(*new)(void *ctx);
    void (*free)(void *ssl);
    void (*set_bio)(void *ssl, void *in, void *out);
    void (*set_connect_state)(void *ssl);
    void (*set_accept_state)(void *ssl);
    int (*do_handshake)(void *ssl);
    int (*read)(void *ssl, void *buffer, int size);
    int (*write)(void *ssl, const void *buffer, int size);
    int (*shutdown)(void *ssl);
    int (*is_init_finished)(const void *ssl);
    int (*key_update)(void *ssl, int kind);
    void *(*bio_new)(const void *method);
    const void *(*bio_s_mem)(void);
    int (*bio_read)(void *bio, void *buffer, int size);
    int (*bio_write)(void *bio, const void *buffer, int size);
    void (*clear_error)(void);
} tls;

static const struct {
    const char *name;
    void *slot;
} functions[] = {
    {"OpenSSL_version_num", &tls.version_num},
    {"TLS_method", &tls.method},
    {"SSL_CTX_new", &tls.ctx_new},
    {"SSL_CTX_ctrl", &tls.ctx_ctrl},
    {"SSL_CTX_set_cipher_list", &tls.set_cipher_list},
    {"SSL_CTX_set_psk_server_callback", &tls.set_psk_server_callback},
    {"SSL_CTX_set_psk_client_callback", &tls.set_psk_client_callback},
    {"SSL_new", &tls.new},
    {"SSL_free", &tls.free},
    {"SSL_set_bio", &tls.set_bio},
    {"SSL_set_connect_state", &tls.set_connect_state},
    {"SSL_set_accept_state", &tls.set_accept_state},
    {"SSL_do_handshake", &tls.do_handshake},
    {"SSL_read", &tls.read},
    {"SSL_write", &tls.write},
    {"SSL_shutdown", &tls.shutdown},
    {"SSL_is_init_finished", &tls.is_init_finished},
    {"SSL_key_update", &tls.key_update},
    {"BIO_new", &tls.bio_new},
    {"BIO_s_mem", &tls.bio_s_mem},
    {"BIO_read", &tls.bio_read},
    {"BIO_write", &tls.bio_write},
    {"ERR_clear_error", &tls.clear_error},
};

static void *contexts[2]; /* of TLS 1.2 and of TLS 1.3 */

static unsigned int shared_key(unsigned char *key, unsigned int room)
{
    CHECK(room >= 16);
    memset(key, 7, 16);
    return 16;
}

static unsigned int key_of_server(void *ssl, const char *identity, unsigned char *key, unsigned int room)
{
    (void)ssl;
    (void)identity;
    return shared_key(key, room);
}

static unsigned int key_of_client(void *ssl, const char *hint, char *identity, unsigned int room, unsigned char *key,
                                  unsigned int key_room)
{
    (void)ssl;
    (void)hint;
    snprintf(identity, room, "fuzz");
    return shared_key(key, key_room);
}

static void load(void)
{
    static const char *const names[] = {"libssl.so.3", "libssl.so.1.1"};
    void *library = NULL;
    const char *reason, *name = NULL;

    for (size_t i = 0; !library && i < sizeof names / sizeof *names; i++)
        library = dlopen(name = names[i], RTLD_NOW);
    if (!library) {
        fprintf(stderr, "OpenSSL's library is not installed: %s\n", dlerror());
        exit(2);
    }
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        *(void **)functions[i].slot = dlsym(library, functions[i].name);
        CHECK(*(void **)functions[i].slot);
    }
    CHECK(sf_openssl_load(name, tls.version_num() + 1)); /* the library has another version */
    reason = sf_openssl_load(name, tls.version_num());
    CHECK(!reason && strstr(sf_openssl_path(), "libssl"));
    for (int i = 0; i < 2; i++) {
        contexts[i] = tls.ctx_new(tls.method());
        CHECK(contexts[i]);
        CHECK(tls.ctx_ctrl(contexts[i], SET_MIN_VERSION, i ? TLS1_3 : TLS1_2, NULL) == 1);
        CHECK(tls.ctx_ctrl(contexts[i], SET_MAX_VERSION, i ? TLS1_3 : TLS1_2, NULL) == 1);
        CHECK(tls.set_cipher_list(contexts[i], "PSK-AES128-GCM-SHA256") == 1);
        tls.set_psk_server_callback(contexts[i], key_of_server);
        tls.set_psk_client_callback(contexts[i], key_of_client);
    }
}

/* A connection of ours and its peer, with counts of the bytes between them. */
struct session {
    struct sf_openssl_connection c;
    void *peer, *to_peer, *from_peer;
    size_t cut;           /* length of the pieces in which we get ciphertext; 0: whole */
    size_t sealed, seen;  /* bytes of plaintext that the peer has encrypted, and that we have decrypted */
    size_t said, heard;   /* bytes of plaintext that we have encrypted, and that the peer has decrypted */
    bool touched, ended, lends;
};

static uint8_t plain(size_t at)
{
    return (uint8_t)(at * 131 + (at >> 8));
}

static void fill(uint8_t *data, size_t from, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = plain(from + i);
}

static void open_session(struct session *s, uint8_t choice)
{
    void *context = contexts[choice & 1];

    memset(s, 0, sizeof *s);
    s->c.context = context;
    s->c.ssl = tls.new(context);
    s->c.incoming = tls.bio_new(tls.bio_s_mem());
    s->c.outgoing = tls.bio_new(tls.bio_s_mem());
    s->peer = tls.new(context);
    s->to_peer = tls.bio_new(tls.bio_s_mem());
    s->from_peer = tls.bio_new(tls.bio_s_mem());
    CHECK(s->c.ssl && s->peer && s->c.incoming && s->c.outgoing && s->to_peer && s->from_peer);
    tls.set_bio(s->c.ssl, s->c.incoming, s->c.outgoing);
    tls.set_bio(s->peer, s->to_peer, s->from_peer);
    (choice & 2 ? tls.set_accept_state : tls.set_connect_state)(s->c.ssl);
    (choice & 2 ? tls.set_connect_state : tls.set_accept_state)(s->peer);
    CHECK(sf_openssl_agrees(&s->c) && sf_openssl_plausible(&s->c));
}

/* Half of the sessions lend their ciphertext to OpenSSL instead of copying it. */
static void lend_from_now_on(struct session *s, uint8_t choice)
{
    s->lends = choice & 8;
    if (!s->lends)
        return;
    sf_openssl_interpose(&s->c);
    CHECK(s->c.reading && s->c.writing && !sf_openssl_agrees(&s->c));
}

static void expect_strangers_to_be_refused(const struct session *s, uint8_t choice)
{
    struct sf_openssl_connection other = s->c;

    other.context = contexts[!(choice & 1)];
    CHECK(!sf_openssl_agrees(&other));
    other = s->c;
    other.incoming = s->to_peer;
    CHECK(!sf_openssl_agrees(&other));
    other = s->c;
    other.ssl = (void *)(uintptr_t)(64 + choice); /* a page that is never mapped */
    CHECK(!sf_openssl_plausible(&other));
}

/* Decrypts all complete records, `room` bytes at a time, into memory of exactly that size. */
static void decrypt(struct session *s, size_t room)
{
    uint8_t *out = malloc(room);

    while (!s->ended) {
        size_t may = sf_openssl_readable(&s->c);
        ssize_t got = sf_openssl_decrypt(&s->c, out, room);

        CHECK(got != 0 && got <= (ssize_t)room && may <= SENT_MAX);
        if (got == -EAGAIN)
            break;
        if (got < 0) {
            CHECK(got == -EPROTO);
            s->ended = true;
            break;
        }
        CHECK(s->seen + (size_t)got <= s->sealed);
        for (ssize_t i = 0; i < got; i++)
            CHECK(out[i] == plain(s->seen + (size_t)i));
        s->seen += (size_t)got;
    }
    free(out);
}

/* Gives us ciphertext in pieces. Each piece is in memory of exactly its size. */
static void hand_over(struct session *s, const uint8_t *data, size_t len, size_t room)
{
    while (len) {
        size_t now = s->cut && s->cut < len ? s->cut : len;
        uint8_t *piece = malloc(now);

        memcpy(piece, data, now);
        if (s->lends) {
            CHECK(sf_openssl_lend(&s->c, piece, now) == 0);
            if (room % 3)
                decrypt(s, room);
            CHECK(sf_openssl_settle(&s->c) == 0 && sf_openssl_lent(&s->c) == 0);
            free(piece); /* settle() has copied the bytes that were not decrypted */
        } else {
            CHECK(sf_openssl_put(&s->c, piece, now) == 0);
            free(piece);
        }
        decrypt(s, room);
        data += now;
        len -= now;
    }
}

/* Passes our ciphertext to the peer, which decrypts it. */
static void answer(struct session *s)
{
    size_t waiting = sf_openssl_waiting(&s->c);
    uint8_t *data = malloc(waiting + 1), out[4096];
    int got;

    CHECK(waiting <= SENT_MAX);
    if (waiting) {
        CHECK(sf_openssl_take(&s->c, data, waiting) == (ssize_t)waiting && sf_openssl_waiting(&s->c) == 0);
        CHECK(tls.bio_write(s->to_peer, data, (int)waiting) == (int)waiting);
    }
    free(data);
    tls.clear_error();
    while ((got = tls.read(s->peer, out, sizeof out)) > 0) {
        CHECK(s->heard + (size_t)got <= s->said);
        for (int i = 0; i < got; i++)
            CHECK(out[i] == plain(s->heard + (size_t)i));
        s->heard += (size_t)got;
    }
}

/* Passes the peer's ciphertext to us. `touch` 1 changes a byte of it, 2 drops its second half. */
static void deliver(struct session *s, int touch, uint8_t by, size_t room)
{
    static uint8_t data[SENT_MAX];
    int len = tls.bio_read(s->from_peer, data, sizeof data);

    if (len <= 0)
        return;
    if (touch == 1 && by) {
        data[(size_t)by * 37 % (size_t)len] ^= by;
        s->touched = true;
    } else if (touch == 2) {
        len /= 2;
        s->touched = true;
    }
    hand_over(s, data, (size_t)len, room);
}

static void handshake(struct session *s)
{
    static uint8_t data[SENT_MAX];
    bool ready = false;

    for (int step = 0; step < STEPS && !ready; step++) {
        int near, far, len;

        tls.clear_error();
        near = tls.do_handshake(s->c.ssl);
        len = (int)sf_openssl_take(&s->c, data, sizeof data);
        CHECK(len <= 0 || tls.bio_write(s->to_peer, data, len) == len);
        tls.clear_error();
        far = tls.do_handshake(s->peer);
        len = tls.bio_read(s->from_peer, data, sizeof data);
        CHECK(len <= 0 || sf_openssl_put(&s->c, data, (size_t)len) == 0);
        ready = near == 1 && far == 1;
    }
    CHECK(ready);
    decrypt(s, 100); /* processes the session tickets */
}

static void seal(struct session *s, size_t len)
{
    uint8_t *data = malloc(len + 1);

    if (!len || s->sealed + len > SENT_MAX / 2) {
        free(data);
        return;
    }
    fill(data, s->sealed, len);
    tls.clear_error();
    if (tls.write(s->peer, data, (int)len) == (int)len)
        s->sealed += len;
    free(data);
}

/* A socket that takes no more than `room` bytes. */
struct narrow {
    void *to;
    size_t room;
    int error;
};

static ssize_t send_narrowly(void *to, const void *data, size_t len)
{
    struct narrow *socket = to;
    size_t now = len < socket->room ? len : socket->room;

    if (!now)
        return socket->error;
    CHECK(tls.bio_write(socket->to, data, (int)now) == (int)now);
    socket->room -= now;
    return (ssize_t)now;
}

/* Like say(), but the records go to the peer at once, as far as it takes them. */
static void say_at_once(struct session *s, size_t len)
{
    struct narrow socket = {s->to_peer, len % 3 ? SENT_MAX : len / 2, len % 2 ? -EAGAIN : -EPIPE};
    uint8_t *data = malloc(len + 1);
    bool sending;
    ssize_t taken;

    fill(data, s->said, len);
    sending = s->lends && sf_openssl_send_to(&s->c, send_narrowly, &socket);
    CHECK(!sending || (!sf_openssl_send_to(&s->c, send_narrowly, &socket) && !sf_openssl_collect(&s->c, data, len)));
    taken = len ? sf_openssl_encrypt(&s->c, data, len) : -EAGAIN;
    if (sending) {
        int error = sf_openssl_sent(&s->c);

        CHECK(error == 0 || (error == socket.error && error != -EAGAIN && !socket.room && sf_openssl_waiting(&s->c)));
    }
    CHECK(taken == -EAGAIN || (taken > 0 && taken <= (ssize_t)len));
    s->said += taken > 0 ? (size_t)taken : 0;
    free(data);
    answer(s);
}

static void say(struct session *s, size_t len)
{
    size_t room = len % 5 ? len + 96 : len / 2 + 1; /* sometimes too small; the rest then goes into the BIO */
    uint8_t *data = malloc(len + 1), *out = malloc(room);
    bool collecting;
    ssize_t taken;

    fill(data, s->said, len);
    collecting = s->lends && sf_openssl_collect(&s->c, out, room);
    taken = len ? sf_openssl_encrypt(&s->c, data, len) : -EAGAIN;
    if (collecting) {
        size_t got = sf_openssl_collected(&s->c);

        CHECK(got <= room && (!got || tls.bio_write(s->to_peer, out, (int)got) == (int)got));
    }
    free(out);
    CHECK(taken == -EAGAIN || (taken > 0 && taken <= (ssize_t)len));
    s->said += taken > 0 ? (size_t)taken : 0;
    free(data);
    answer(s);
}

/* Runs one command. Returns the number of data bytes that it has used. */
static size_t obey(struct session *s, uint8_t command, uint8_t argument, const uint8_t *data, size_t len)
{
    size_t room = (size_t)(command >> 3) * 97 % 2000 + 1, size = command & 0x80 ? argument * 70u : argument, used = 0;

    switch (command & 7) {
    case 0: /* an unaltered record */
        seal(s, size);
        deliver(s, 0, 0, room);
        break;
    case 1: /* a record with one byte changed */
        seal(s, size + 1);
        deliver(s, 1, argument, room);
        break;
    case 2: /* bytes of the input */
        used = argument < len ? argument : len;
        s->touched |= used > 0;
        hand_over(s, data, used, room);
        break;
    case 3:
        tls.clear_error();
        (void)tls.key_update(s->peer, argument & 1);
        seal(s, 1);
        deliver(s, 0, 0, room);
        break;
    case 4: /* close_notify */
        tls.clear_error();
        (void)tls.shutdown(s->peer);
        deliver(s, 0, 0, room);
        break;
    case 5:
        (argument & 1 ? say : say_at_once)(s, size);
        break;
    case 6: /* half a record, or a whole one */
        seal(s, size + 2);
        deliver(s, argument & 1 ? 2 : 0, 0, room);
        break;
    default:
        if (!s->ended && tls.is_init_finished(s->c.ssl)) {
            sf_openssl_keep_buffers(&s->c, argument & 1);
            answer(s);
        }
        s->cut = argument;
    }
    return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct session s;
    size_t at = 2;

    if (size < 2)
        return 0;
    if (!contexts[0])
        load();
    open_session(&s, data[0]);
    expect_strangers_to_be_refused(&s, data[0]);
    lend_from_now_on(&s, data[0]);
    s.cut = data[1];
    if (data[0] & 4) /* otherwise the commands come before the end of the handshake */
        handshake(&s);
    while (at + 2 <= size && !s.ended) {
        size_t used = obey(&s, data[at], data[at + 1], data + at + 2, size - at - 2);

        if ((data[0] & 4) && !s.touched && !s.ended)
            CHECK(s.seen == s.sealed);
        if (!(data[0] & 4))
            answer(&s); /* continues the handshake */
        at += 2 + used;
    }
    tls.clear_error();
    tls.free(s.c.ssl);
    tls.free(s.peer);
    return 0;
}
