/* Socket options of a connection or listener: those of tcp(7), socket(7) and ip(7) that have a meaning here. */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <linux/tcp.h>
#include <sys/socket.h>

#define LEAST_BUFFER 2304u /* As in Linux: about SOCK_MIN_RCVBUF. */
#define LEAST_MSS 88
#define MOST_KEEP 32767    /* As in Linux: MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL. */

/* ---- reading the kernel's socket ---- */

static int read_int(int fd, int level, int name, int otherwise)
{
    int value = otherwise;
    socklen_t len = sizeof(value);

    return getsockopt(fd, level, name, &value, &len) < 0 ? otherwise : value;
}

static const char *congestion_named(const char *name, size_t len)
{
    if (len >= 5 && !strncmp(name, "cubic", len))
        return "cubic";
    if ((len >= 4 && !strncmp(name, "reno", len)) || (len >= 7 && !strncmp(name, "newreno", len)))
        return "newreno";
    return NULL;
}

static void read_congestion(struct sf_tcpip *t, int fd, struct sf_tcp_socket_options *o)
{
    char name[sizeof(t->tcp.default_congestion)] = "";
    socklen_t len = sizeof(name) - 1;
    const char *ours;

    if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) < 0 || !strcmp(name, t->tcp.default_congestion))
        return;
    ours = congestion_named(name, strlen(name));
    if (ours)
        o->congestion = ours;
}

/* Linux reports twice the value that was set (socket(7)). A size that equals the default was not set. */
static void read_buffers(struct sf_tcpip *t, int fd, struct sf_tcp_socket_options *o)
{
    const struct sf_tcp *tcp = &t->tcp;
    int sndbuf = read_int(fd, SOL_SOCKET, SO_SNDBUF, tcp->default_sndbuf);
    int rcvbuf = read_int(fd, SOL_SOCKET, SO_RCVBUF, tcp->default_rcvbuf);

    o->send_buffer = tcp->limits.send_buffer;
    o->receive_buffer = tcp->limits.receive_buffer;
    if (sndbuf != tcp->default_sndbuf && sndbuf > 0)
        o->send_buffer = (uint32_t)sndbuf;
    if (rcvbuf != tcp->default_rcvbuf && rcvbuf > 0) {
        o->receive_buffer = (uint32_t)rcvbuf;
        o->receive_fixed = true;
    }
}

/* The kernel reports its default if the program has set nothing. Before Linux 6.2 it always reports its default. */
static int read_maxseg(int fd)
{
    int maxseg = read_int(fd, IPPROTO_TCP, TCP_MAXSEG, SF_TCP_MSS_DEFAULT);

    return maxseg > 0 && maxseg <= UINT16_MAX && maxseg != SF_TCP_MSS_DEFAULT ? maxseg : 0;
}

void sf_tcp_options_read(struct sf_tcpip *t, int fd, struct sf_tcp_socket_options *o)
{
    struct linger linger = {0};
    socklen_t len = sizeof(linger);

    memset(o, 0, sizeof(*o));
    o->congestion = t->tcp.limits.congestion;
    read_congestion(t, fd, o);
    read_buffers(t, fd, o);
    o->keepalive = read_int(fd, SOL_SOCKET, SO_KEEPALIVE, 0) != 0;
    o->keep_idle = (uint16_t)read_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, 7200);
    o->keep_interval = (uint16_t)read_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, 75);
    o->keep_count = (uint8_t)read_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 9);
    o->user_timeout = (uint32_t)read_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 0);
    o->linger = -1;
    if (getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len) == 0 && linger.l_onoff)
        o->linger = linger.l_linger;
    o->maxseg = (uint16_t)read_maxseg(fd);
    o->nodelay = true; /* Our default differs from Linux's. The kernel does not tell whether the program has set the option. */
    o->cork = read_int(fd, IPPROTO_TCP, TCP_CORK, 0) != 0;
    o->ttl = (uint8_t)read_int(fd, IPPROTO_IP, IP_TTL, t->ttl);
    o->tos = (uint8_t)read_int(fd, IPPROTO_IP, IP_TOS, 0);
}

/* ---- setting ---- */

static bool between(int value, int least, int most)
{
    return value >= least && value <= most;
}

static int set_buffer(uint32_t *buffer, int value)
{
    uint64_t twice = value < 0 ? 0 : (uint64_t)value * 2;

    *buffer = twice < LEAST_BUFFER ? LEAST_BUFFER : twice > UINT32_MAX / 4 ? UINT32_MAX / 4 : (uint32_t)twice;
    return 0;
}

static int set_socket(struct sf_tcp_socket_options *o, int name, const void *value, socklen_t len)
{
    int number = 0;

    if (name == SO_LINGER) {
        struct linger linger;

        if (len < sizeof(linger))
            return -EINVAL;
        memcpy(&linger, value, sizeof(linger));
        o->linger = linger.l_onoff ? linger.l_linger : -1;
        return 0;
    }
    if (len < sizeof(number))
        return -EINVAL;
    memcpy(&number, value, sizeof(number));
    switch (name) {
    case SO_KEEPALIVE:
        o->keepalive = number != 0;
        return 0;
    case SO_SNDBUF:
        return set_buffer(&o->send_buffer, number);
    case SO_RCVBUF:
        o->receive_fixed = true;
        return set_buffer(&o->receive_buffer, number);
    case SO_REUSEADDR: /* These options concern the kernel's socket, which has the port. They have no effect here. */
    case SO_REUSEPORT:
    case SO_PRIORITY:
    case SO_OOBINLINE:
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

static int set_ip(struct sf_tcp_socket_options *o, int name, const void *value, socklen_t len)
{
    int number = 0;

    if (len >= sizeof(number))
        memcpy(&number, value, sizeof(number));
    else if (len >= 1)
        number = *(const uint8_t *)value;
    else
        return -EINVAL;
    switch (name) {
    case IP_TOS:
        if (!between(number, 0, 255))
            return -EINVAL;
        o->tos = (uint8_t)(number & ~3); /* The ECN bits are TCP's (ip(7)). */
        return 0;
    case IP_TTL:
        if (!between(number, 1, 255))
            return -EINVAL;
        o->ttl = (uint8_t)number;
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

static int set_seconds(uint16_t *seconds, int value)
{
    if (!between(value, 1, MOST_KEEP))
        return -EINVAL;
    *seconds = (uint16_t)value;
    return 0;
}

static int set_tcp(struct sf_tcp_socket_options *o, int name, const void *value, socklen_t len)
{
    int number;

    if (name == TCP_CONGESTION) {
        const char *ours = congestion_named(value, strnlen(value, len));

        if (!ours)
            return -ENOENT;
        o->congestion = ours;
        return 0;
    }
    if (len < sizeof(number))
        return -EINVAL;
    memcpy(&number, value, sizeof(number));
    switch (name) {
    case TCP_NODELAY:
        o->nodelay = number != 0;
        return 0;
    case TCP_CORK:
        o->cork = number != 0;
        return 0;
    case TCP_QUICKACK:
        o->quickack = number != 0;
        return 0;
    case TCP_KEEPIDLE:
        return set_seconds(&o->keep_idle, number);
    case TCP_KEEPINTVL:
        return set_seconds(&o->keep_interval, number);
    case TCP_KEEPCNT:
        if (!between(number, 1, 127))
            return -EINVAL;
        o->keep_count = (uint8_t)number;
        return 0;
    case TCP_USER_TIMEOUT:
        if (number < 0)
            return -EINVAL;
        o->user_timeout = (uint32_t)number;
        return 0;
    case TCP_MAXSEG:
        if (number && !between(number, LEAST_MSS, 32767))
            return -EINVAL;
        o->maxseg = (uint16_t)number;
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

static int set_any(struct sf_tcp_socket_options *o, int level, int name, const void *value, socklen_t len)
{
    switch (level) {
    case SOL_SOCKET:
        return set_socket(o, name, value, len);
    case IPPROTO_IP:
        return set_ip(o, name, value, len);
    case IPPROTO_TCP:
        return set_tcp(o, name, value, len);
    default:
        return -ENOPROTOOPT;
    }
}

/* TCP_NODELAY also sends the bytes that a cork holds back, even if it was set before (tcp(7)). */
static void push(struct sf_tcp_conn *c, bool uncork)
{
    bool cork = c->options.cork;

    c->timers.probe_at = SF_NEVER;
    c->options.cork = cork && !uncork;
    sf_tcp_output(c);
    c->options.cork = cork;
}

/* Applies the option's immediate effects. */
static void apply(struct sf_tcp_conn *c, int level, int name)
{
    if (level == IPPROTO_IP)
        c->way.direct = false; /* The template has TTL and TOS, so it is built anew. */
    if (level == SOL_SOCKET && name == SO_RCVBUF) {
        c->rcv.limit = c->options.receive_buffer;
        if (c->state >= SF_TCP_ESTABLISHED)
            sf_tcp_bound_window(&c->rcv, c->agreed.rcv_scale);
        sf_tcp_recv_done(c, 0);
    }
    if (level == IPPROTO_TCP && name == TCP_MAXSEG)
        sf_tcp_update_mss(c);
    if (level == IPPROTO_TCP && name == TCP_CONGESTION && c->state >= SF_TCP_ESTABLISHED)
        sf_tcp_loss_set_congestion(&c->loss, c->options.congestion);
    if (level == IPPROTO_TCP && name == TCP_QUICKACK && c->options.quickack && c->timers.ack_at != SF_NEVER)
        sf_tcp_owe(c, SF_TCP_OWED_ACK);
    if (level == IPPROTO_TCP && (name == TCP_NODELAY || name == TCP_CORK))
        push(c, name == TCP_NODELAY && c->options.nodelay);
    if (level == IPPROTO_TCP && name == TCP_USER_TIMEOUT && c->state >= SF_TCP_ESTABLISHED)
        sf_tcp_patience_set(c);
    sf_tcp_conn_timer(c);
    sf_tcp_conn_update(c);
}

int sf_tcp_set_option(struct sf_tcp_conn *c, int level, int name, const void *value, socklen_t len)
{
    int rc = set_any(&c->options, level, name, value, len);

    if (rc == 0 && !c->dead && c->state != SF_TCP_TIME_WAIT)
        apply(c, level, name);
    return rc;
}

int sf_tcp_listener_set_option(struct sf_tcp_listener *l, int level, int name, const void *value, socklen_t len)
{
    return set_any(&l->options, level, name, value, len);
}

/* ---- getting ---- */

static int give(const void *what, size_t size, void *value, socklen_t *len)
{
    if (*len > size)
        *len = (socklen_t)size;
    memcpy(value, what, *len);
    return 0;
}

static int give_int(int64_t number, void *value, socklen_t *len)
{
    int narrow = number > INT32_MAX ? INT32_MAX : (int)number;

    return give(&narrow, sizeof(narrow), value, len);
}

static int get_socket(const struct sf_tcp_socket_options *o, int name, void *value, socklen_t *len)
{
    struct linger linger = {.l_onoff = o->linger >= 0, .l_linger = o->linger >= 0 ? o->linger : 0};

    switch (name) {
    case SO_KEEPALIVE:
        return give_int(o->keepalive, value, len);
    case SO_SNDBUF:
        return give_int(o->send_buffer, value, len);
    case SO_RCVBUF:
        return give_int(o->receive_buffer, value, len);
    case SO_LINGER:
        return give(&linger, sizeof(linger), value, len);
    case SO_TYPE:
        return give_int(SOCK_STREAM, value, len);
    case SO_DOMAIN:
        return give_int(AF_INET, value, len);
    case SO_PROTOCOL:
        return give_int(IPPROTO_TCP, value, len);
    default:
        return -ENOPROTOOPT;
    }
}

static int get_tcp(const struct sf_tcp_socket_options *o, int name, void *value, socklen_t *len)
{
    switch (name) {
    case TCP_NODELAY:
        return give_int(o->nodelay, value, len);
    case TCP_CORK:
        return give_int(o->cork, value, len);
    case TCP_QUICKACK:
        return give_int(o->quickack, value, len);
    case TCP_KEEPIDLE:
        return give_int(o->keep_idle, value, len);
    case TCP_KEEPINTVL:
        return give_int(o->keep_interval, value, len);
    case TCP_KEEPCNT:
        return give_int(o->keep_count, value, len);
    case TCP_USER_TIMEOUT:
        return give_int(o->user_timeout, value, len);
    case TCP_MAXSEG:
        return give_int(o->maxseg ? o->maxseg : SF_TCP_MSS_DEFAULT, value, len);
    case TCP_CONGESTION:
        return give(o->congestion, strlen(o->congestion) + 1, value, len);
    default:
        return -ENOPROTOOPT;
    }
}

static int get_any(const struct sf_tcp_socket_options *o, int level, int name, void *value, socklen_t *len)
{
    if (level == SOL_SOCKET)
        return get_socket(o, name, value, len);
    if (level == IPPROTO_TCP)
        return get_tcp(o, name, value, len);
    if (level == IPPROTO_IP && name == IP_TOS)
        return give_int(o->tos, value, len);
    if (level == IPPROTO_IP && name == IP_TTL)
        return give_int(o->ttl, value, len);
    return -ENOPROTOOPT;
}

static uint32_t us(sf_ns ns)
{
    return (uint32_t)(ns / SF_US);
}

/* The kernel's own numbers for the states (include/net/tcp_states.h). */
static uint8_t kernel_state(enum sf_tcp_state state)
{
    static const uint8_t states[] = {
        [SF_TCP_CLOSED] = 7,     [SF_TCP_RESOLVING] = 2,  [SF_TCP_SYN_SENT] = 2,   [SF_TCP_SYN_RECEIVED] = 3,
        [SF_TCP_ESTABLISHED] = 1, [SF_TCP_CLOSE_WAIT] = 8, [SF_TCP_FIN_WAIT_1] = 4, [SF_TCP_FIN_WAIT_2] = 5,
        [SF_TCP_CLOSING] = 11,   [SF_TCP_LAST_ACK] = 9,   [SF_TCP_TIME_WAIT] = 6,
    };

    return states[state];
}

static int get_info(const struct sf_tcp_conn *c, void *value, socklen_t *len)
{
    const struct sf_tcp_loss *l = &c->loss;
    uint32_t mss = l->mss ? l->mss : 1;
    struct tcp_info info = {
        .tcpi_state = kernel_state(c->state),
        .tcpi_ca_state = l->state == SF_TCP_OPEN ? 0 : l->state == SF_TCP_RECOVERY ? 3 : 4,
        .tcpi_retransmits = l->rtt.backoff,
        .tcpi_probes = c->probe.retries,
        .tcpi_backoff = l->rtt.backoff,
        .tcpi_options = (uint8_t)(c->agreed.timestamps | c->agreed.sack << 1 | c->agreed.scaling << 2),
        .tcpi_snd_wscale = c->agreed.snd_scale,
        .tcpi_rcv_wscale = c->agreed.rcv_scale,
        .tcpi_rto = us(l->rtt.rto),
        .tcpi_ato = us(c->tcpip->tcp.limits.delayed_ack),
        .tcpi_snd_mss = l->mss,
        .tcpi_rcv_mss = c->rcv.mss,
        .tcpi_unacked = (l->nxt - l->una + mss - 1) / mss,
        .tcpi_sacked = l->sacked_bytes / mss,
        .tcpi_lost = l->lost_bytes / mss,
        .tcpi_retrans = l->retransmitted_bytes / mss,
        .tcpi_last_data_sent = (uint32_t)((c->tcpip->now - l->last_sent) / SF_MS),
        .tcpi_last_data_recv = (uint32_t)((c->tcpip->now - c->probe.heard) / SF_MS),
        .tcpi_last_ack_recv = (uint32_t)((c->tcpip->now - c->probe.heard) / SF_MS),
        .tcpi_pmtu = c->way.mtu,
        .tcpi_rtt = us(l->rtt.smoothed),
        .tcpi_rttvar = us(l->rtt.variance),
        .tcpi_snd_ssthresh = l->cc.ssthresh / mss,
        .tcpi_snd_cwnd = l->cc.cwnd / mss,
        .tcpi_advmss = c->way.mtu > 40 ? c->way.mtu - 40 : 0,
        .tcpi_rcv_space = c->rcv.limit,
        .tcpi_total_retrans = (uint32_t)l->n_retransmits,
        .tcpi_bytes_acked = l->delivered,
        .tcpi_bytes_received = c->rcv.n_bytes,
        .tcpi_segs_out = (uint32_t)c->snd.n_segments,
        .tcpi_segs_in = (uint32_t)c->rcv.n_segments,
        .tcpi_notsent_bytes = c->state >= SF_TCP_ESTABLISHED ? sf_tcp_unsent(&c->snd, &c->loss) : 0,
        .tcpi_min_rtt = us(l->rtt.min),
        .tcpi_snd_wnd = c->snd.wnd,
    };

    return give(&info, sizeof(info), value, len);
}

int sf_tcp_get_option(struct sf_tcp_conn *c, int level, int name, void *value, socklen_t *len)
{
    if (level == SOL_SOCKET && name == SO_ERROR) {
        int error = -c->sock.error;

        c->sock.error = 0;
        sf_tcp_conn_update(c);
        return give_int(error, value, len);
    }
    if (level == SOL_SOCKET && name == SO_ACCEPTCONN)
        return give_int(0, value, len);
    if (level == IPPROTO_TCP && name == TCP_INFO)
        return get_info(c, value, len);
    if (level == IPPROTO_TCP && name == TCP_MAXSEG && c->loss.mss)
        return give_int(c->loss.mss, value, len);
    return get_any(&c->options, level, name, value, len);
}

int sf_tcp_listener_get_option(struct sf_tcp_listener *l, int level, int name, void *value, socklen_t *len)
{
    if (level == SOL_SOCKET && name == SO_ACCEPTCONN)
        return give_int(1, value, len);
    if (level == SOL_SOCKET && name == SO_ERROR)
        return give_int(0, value, len);
    return get_any(&l->options, level, name, value, len);
}
