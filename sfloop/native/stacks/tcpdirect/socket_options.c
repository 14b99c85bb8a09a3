/* Names and options of a connection. */
#define _GNU_SOURCE
#include "stack.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>

#define RECEIVE_BUFFER 65535 /* the window, which is never scaled */
#define SEGMENTS 64          /* of the send queue */

static void put_name(const struct sockaddr_in *name, struct sockaddr *out, socklen_t *len)
{
    memcpy(out, name, *len < sizeof(*name) ? *len : sizeof(*name));
    *len = sizeof(*name);
}

int td_name_of(struct sf_sock *sock, bool peer, struct sockaddr *out, socklen_t *len)
{
    struct td_sock *s = td_sock_of(sock);
    struct td_stack *t = td_stack_of(s);
    struct sockaddr_in local = {0}, remote = {0};
    socklen_t local_len = sizeof(local), remote_len = sizeof(remote);

    if (t->dead)
        return -ENOTCONN;
    if (s->kind == SF_KIND_LISTENER) {
        if (peer || !s->listener.n)
            return -ENOTCONN;
        t->zf.zftl_getname(s->listener.tl[0], (struct sockaddr *)&local, &local_len);
        put_name(&local, out, len);
        return 0;
    }
    if (s->kind != SF_KIND_STREAM || !s->stream.ts)
        return -ENOTCONN;
    t->zf.zft_getname(s->stream.ts, (struct sockaddr *)&local, &local_len, (struct sockaddr *)&remote, &remote_len);
    put_name(peer ? &remote : &local, out, len);
    return 0;
}

/* Sizes are accepted without effect, because they are hints. */
int td_set_option(struct sf_sock *sock, int level, int name, const void *value, socklen_t len)
{
    struct td_stream *c = &td_sock_of(sock)->stream;
    int number = 0;

    if (len < sizeof(number))
        return -EINVAL;
    memcpy(&number, value, sizeof(number));
    if (level == IPPROTO_TCP && name == TCP_NODELAY)
        return number ? 0 : -ENOPROTOOPT; /* Nagle's algorithm is not available */
    if (level == IPPROTO_TCP && name == TCP_QUICKACK)
        return 0;
    if (level != SOL_SOCKET)
        return -ENOPROTOOPT;
    switch (name) {
    case SO_LINGER: {
        struct linger linger;

        if (len < sizeof(linger))
            return -EINVAL;
        memcpy(&linger, value, sizeof(linger));
        c->reset_on_release = linger.l_onoff && !linger.l_linger;
        return 0;
    }
    case SO_SNDBUF:
    case SO_RCVBUF:
    case SO_REUSEADDR:
        return 0;
    case SO_KEEPALIVE:
        return number ? -ENOPROTOOPT : 0;
    default:
        return -ENOPROTOOPT;
    }
}

static int socket_option(struct td_sock *s, int name, int *number)
{
    struct td_stack *t = td_stack_of(s);
    int mss;

    switch (name) {
    case SO_ERROR:
        *number = t->dead || !s->stream.ts ? -s->stream.error : t->zf.zft_error(s->stream.ts);
        return 0;
    case SO_TYPE:
        *number = SOCK_STREAM;
        return 0;
    case SO_DOMAIN:
        *number = AF_INET;
        return 0;
    case SO_PROTOCOL:
        *number = IPPROTO_TCP;
        return 0;
    case SO_RCVBUF:
        *number = RECEIVE_BUFFER;
        return 0;
    case SO_SNDBUF:
        mss = t->dead || !s->stream.ts ? -1 : t->zf.zft_get_mss(s->stream.ts);
        *number = SEGMENTS * (mss > 0 ? mss : 1460);
        return 0;
    case SO_KEEPALIVE:
    case SO_REUSEADDR:
    case SO_ACCEPTCONN:
        *number = 0;
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

int td_get_option(struct sf_sock *sock, int level, int name, void *value, socklen_t *len)
{
    struct td_sock *s = td_sock_of(sock);
    struct td_stack *t = td_stack_of(s);
    int number = 0, rc = -ENOPROTOOPT;

    if (level == SOL_SOCKET && name == SO_LINGER) {
        struct linger linger = {.l_onoff = s->stream.reset_on_release};

        *len = *len < sizeof(linger) ? *len : sizeof(linger);
        memcpy(value, &linger, *len);
        return 0;
    }
    if (level == SOL_SOCKET) {
        rc = socket_option(s, name, &number);
    } else if (level == IPPROTO_TCP && name == TCP_NODELAY) {
        number = 1;
        rc = 0;
    } else if (level == IPPROTO_TCP && name == TCP_MAXSEG && !t->dead && s->stream.ts) {
        number = t->zf.zft_get_mss(s->stream.ts);
        rc = number < 0 ? number : 0;
    }
    if (rc < 0)
        return rc;
    *len = *len < sizeof(number) ? *len : sizeof(number);
    memcpy(value, &number, *len);
    return 0;
}

/* TCPDirect numbers the states as <netinet/tcp.h> does. */
static const char *const state_names[] = {
    "",           "ESTABLISHED", "SYN-SENT", "SYN-RECEIVED", "FIN-WAIT-1", "FIN-WAIT-2",
    "TIME-WAIT", "CLOSED",      "CLOSE-WAIT", "LAST-ACK",     "LISTEN",     "CLOSING",
};

int td_stream_info(struct sf_sock *sock, struct sf_stream_info *info)
{
    struct td_sock *s = td_sock_of(sock);
    struct td_stack *t = td_stack_of(s);
    int state, mss;

    if (s->kind != SF_KIND_STREAM || !s->stream.ts || t->dead)
        return -ENOTCONN;
    state = t->zf.zft_state(s->stream.ts);
    mss = t->zf.zft_get_mss(s->stream.ts);
    memset(info, 0, sizeof(*info));
    info->state = state > 0 && state < (int)(sizeof(state_names) / sizeof(state_names[0])) ? state_names[state] : "CLOSED";
    info->mss = mss > 0 ? (uint32_t)mss : 0;
    return 0;
}
