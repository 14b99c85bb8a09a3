/*
 * WebSocket ping-pong (RFC 6455) on one connection, plain or over TLS (--ca). It sends binary messages of up to 65,535 bytes. A
 * client must mask its messages, so they are masked with zeros.
 */
#include "openssl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BINARY = 0x82, MASKED = 0x80, WIDE = 126, MASK = 4, MOST = 65535, ANSWER = 4096 };

struct peer {
    int fd;
    void *ssl; /* NULL: plain */
    uint64_t since;
    double timeout;
};

static void check(const struct peer *p, bool again, const char *what)
{
    if (!again)
        sfb_die(SFB_EXIT_FAILED, "%s failed, or the server closed the connection", what);
    if (sfb_now() - p->since > (uint64_t)(p->timeout * 1e9))
        sfb_die(SFB_EXIT_FAILED, "%s: no answer in %.1f s", what, p->timeout);
}

static void send_all(struct peer *p, const void *data, int size)
{
    for (int sent = 0; sent < size;) {
        int n = p->ssl ? sfb_openssl.write(p->ssl, (const char *)data + sent, size - sent)
                       : (int)send(p->fd, (const char *)data + sent, (size_t)(size - sent), MSG_NOSIGNAL);

        if (n <= 0)
            check(p, p->ssl ? sfb_wants_more(p->ssl, n) : errno == EAGAIN, "sending");
        else
            sent += n;
    }
}

/* Returns the number of bytes received. 0: none have arrived yet. */
static int receive(struct peer *p, void *data, int room)
{
    int n = p->ssl ? sfb_openssl.read(p->ssl, data, room) : (int)recv(p->fd, data, (size_t)room, 0);

    if (n > 0)
        return n;
    check(p, p->ssl ? sfb_wants_more(p->ssl, n) : n < 0 && errno == EAGAIN, "receiving");
    return 0;
}

static void upgrade(struct peer *p, const struct sfb_options *o)
{
    static const char form[] = "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    char text[ANSWER];
    int size = snprintf(text, sizeof text, form, o->path, o->host, o->port), have = 0;

    send_all(p, text, size);
    for (text[0] = 0; !strstr(text, "\r\n\r\n"); text[have] = 0) {
        if (have == ANSWER - 1)
            sfb_die(SFB_EXIT_FAILED, "the server's answer is too long");
        have += receive(p, text + have, ANSWER - 1 - have);
    }
    if (strncmp(text, "HTTP/1.1 101", 12))
        sfb_die(SFB_EXIT_FAILED, "the server refused the WebSocket: %.30s", text);
}

/* Writes the header of a frame. Returns the header's size. */
static int put_header(unsigned char *frame, int size, bool from_client)
{
    int used = 2;

    frame[0] = BINARY;
    if (size < WIDE) {
        frame[1] = (unsigned char)size;
    } else {
        frame[1] = WIDE;
        frame[used++] = (unsigned char)(size >> 8);
        frame[used++] = (unsigned char)size;
    }
    if (from_client) {
        frame[1] |= MASKED;
        memset(frame + used, 0, MASK);
        used += MASK;
    }
    return used;
}

static void ping_pong(struct peer *p, struct sfb_run *run, const struct sfb_options *o)
{
    unsigned char *sent = malloc((size_t)o->size + 16), *wanted = malloc((size_t)o->size + 16);
    unsigned char *came = malloc((size_t)o->size + 16);
    bool more = true;

    if (!sent || !wanted || !came)
        sfb_die_errno("malloc");
    for (uint64_t sequence = 0; more; sequence++) {
        int out = put_header(sent, o->size, true), in = put_header(wanted, o->size, false), have = 0;

        sfb_fill(sent + out, o->size, 0, sequence);
        memcpy(wanted + in, sent + out, (size_t)o->size);
        p->since = sfb_now();
        send_all(p, sent, out + o->size);
        while (have < in + o->size)
            have += receive(p, came + have, in + o->size - have);
        more = sfb_run_count(run, p->since, sfb_now());
        sfb_verify(wanted, came, in + o->size, 0, sequence);
    }
    free(sent);
    free(wanted);
    free(came);
}

int sfb_load_ws(const struct sfb_options *o)
{
    struct sfb_run *run = malloc(sizeof *run);
    struct peer peer = {.since = sfb_now(), .timeout = o->timeout};
    int result;

    if (!run)
        sfb_die_errno("malloc");
    if (o->size > MOST || o->connections != 1)
        sfb_die(SFB_EXIT_USAGE, "the WebSocket load has one connection, and messages of up to %d bytes", MOST);
    peer.fd = sfb_connect_tcp(o, true);
    if (o->ca) {
        sfb_load_openssl();
        peer.ssl = sfb_openssl.new(sfb_client_context(o));
        if (!peer.ssl || sfb_openssl.set_fd(peer.ssl, peer.fd) != 1)
            sfb_die(SFB_EXIT_FAILED, "cannot make a TLS connection");
        sfb_openssl.set_connect_state(peer.ssl);
        while ((result = sfb_openssl.do_handshake(peer.ssl)) != 1)
            check(&peer, sfb_wants_more(peer.ssl, result), "the TLS handshake");
    }
    upgrade(&peer, o);
    sfb_run_start(run, o);
    ping_pong(&peer, run, o);
    sfb_run_report(run);
    close(peer.fd);
    free(run);
    return 0;
}
