/*
 * Segments of our connections that the kernel receives, because the driver does not see them: they come by another interface, or
 * as IP fragments, which the kernel puts together. The kernel has no socket for them and answers with a reset.
 *
 * The driver's reset guard holds the reset back and records it. We then open up a raw socket, which brings such segments here. The
 * first segment is lost, and the peer sends it again. The raw socket is made with the stack, because it needs CAP_NET_RAW. While it
 * is open, the kernel copies every TCP segment to the local address once more, for all programs. So the socket is bound to an address
 * to which nobody sends TCP, and is opened for one local address (or for all, if several need it) and at most SF_TCP_STRAY_PORTS
 * ports. It is closed up when no segment of ours has come for LIFE.
 */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <linux/filter.h>
#include <sys/socket.h>
#include <unistd.h>

#define AT_ONCE 64
#define RECEIVE_BUFFER (2 << 20)
#define LIFE (60 * SF_SEC)
#define WHOLE_PACKET UINT32_MAX
#define NOBODY INADDR_BROADCAST

static int bind_to(int fd, uint32_t addr)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = addr};

    return bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0 ? -errno : 0;
}

int sf_tcp_stray_open(struct sf_tcpip *t)
{
    const struct sf_driver_control *control = t->driver->fast.control;
    int rc, fd, guard = control->kept_resets_fd ? control->kept_resets_fd(t->driver) : -1, size = RECEIVE_BUFFER;

    if (guard < 0)
        return -EOPNOTSUPP;
    rc = sf_tcpip_watch(t, guard, SF_WAKE_RESETS);
    if (rc < 0)
        return rc;
    fd = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    rc = bind_to(fd, NOBODY);
    if (rc == 0)
        rc = sf_tcpip_watch(t, fd, SF_WAKE_STRAYS);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    t->tcp.strays.fd = fd;
    return 0;
}

/* ---- opening up ---- */

/* Passes segments to one of the ports. The filter sees the packet from its IP header on. */
static void attach_filter(const struct sf_tcp_strays *s)
{
    struct sock_filter code[SF_TCP_STRAY_PORTS + 4] = {
        BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0), /* The length of the IP header. */
        BPF_STMT(BPF_LD | BPF_H | BPF_IND, 2),
    };
    struct sock_fprog program = {.filter = code};
    uint32_t n = 2, ports = s->n_ports;

    if (ports > SF_TCP_STRAY_PORTS) /* Too many to compare them one by one. */
        ports = n = 0;
    for (uint32_t i = 0; i < ports; i++)
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ntohs(s->port[i]), (uint8_t)(ports - i), 0);
    if (ports)
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, WHOLE_PACKET);
    program.len = (unsigned short)n;
    /* Ignore a failure, because without a filter the socket only brings more segments. */
    setsockopt(s->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

/* True if the filter changes. */
static bool add_port(struct sf_tcp_strays *s, uint16_t port)
{
    if (s->n_ports > SF_TCP_STRAY_PORTS)
        return false;
    for (uint32_t i = 0; i < s->n_ports; i++)
        if (s->port[i] == port)
            return false;
    if (s->n_ports < SF_TCP_STRAY_PORTS)
        s->port[s->n_ports] = port;
    s->n_ports++;
    return true;
}

static uint32_t address_for(const struct sf_tcp_strays *s, uint32_t addr)
{
    return !s->until || s->addr == addr ? addr : INADDR_ANY;
}

static void open_for(struct sf_tcpip *t, const struct sf_flow_key *key)
{
    struct sf_tcp_strays *s = &t->tcp.strays;

    if (s->fd < 0 || t->caps.flags & SF_DRIVER_SHARES) /* A driver that shares also brings the segments that the kernel receives. */
        return;
    if (add_port(s, key->local_port))
        attach_filter(s);
    if (!s->until || s->addr != address_for(s, key->local_addr)) {
        s->addr = address_for(s, key->local_addr);
        bind_to(s->fd, s->addr);
    }
    s->until = t->now + LIFE;
}

void sf_tcp_stray_close_up(struct sf_tcpip *t)
{
    struct sf_tcp_strays *s = &t->tcp.strays;

    bind_to(s->fd, NOBODY);
    s->until = 0;
    s->n_ports = 0;
}

/* ---- resets that were held back ---- */

/* Sends the reset, because the segment belonged to no connection of ours. The guard cannot know this, because its map has only a
 * listener's port. */
static void let_go(struct sf_tcpip *t, const struct sf_flow_key *key, uint32_t seq)
{
    struct sf_tcp_bare bare = {.key = *key, .segment = {.seq = seq, .flags = SF_TCP_RST}};

    sf_count(t, SF_COUNT_TCP_RESETS_LET_GO);
    sf_tcp_send_detour(t, &bare);
}

static bool is_ours(const struct sf_flow_link *link)
{
    return link && link->kind != SF_TCP_LISTENING;
}

void sf_tcp_stray_resets(struct sf_tcpip *t)
{
    const struct sf_driver_control *control;
    struct sf_kept_reset reset[AT_ONCE];
    int n;

    if (!t->driver)
        return;
    control = t->driver->fast.control;
    n = control->kept_resets(t->driver, reset, AT_ONCE);
    for (int i = 0; i < n; i++) {
        struct sf_flow_key key = {
            .local_addr = reset[i].local_addr,
            .remote_addr = reset[i].remote_addr,
            .local_port = reset[i].local_port,
            .remote_port = reset[i].remote_port,
        };

        if (!is_ours(sf_flows_find(&t->tcp.flows, &key))) {
            let_go(t, &key, reset[i].seq);
            continue;
        }
        sf_count(t, SF_COUNT_TCP_RESETS_KEPT);
        open_for(t, &key);
    }
}

/* ---- segments ---- */

/* Passes segments only to connections, because the kernel's own listening socket answers SYNs that arrive elsewhere. */
static void segment_input(struct sf_tcpip *t, const struct sf_ipv4 *ip)
{
    struct sf_tcp_segment s;
    enum sf_refusal reason = sf_tcp_parse(ip, SF_FRAME_CHECKSUM_UNSURE, &s);
    struct sf_flow_key key;
    struct sf_flow_link *link;

    if (reason) {
        t->counters.refused[reason]++;
        return;
    }
    key = (struct sf_flow_key){
        .local_addr = ip->dst, .remote_addr = ip->src, .local_port = s.dst_port, .remote_port = s.src_port};
    link = sf_flows_find(&t->tcp.flows, &key);
    if (!link)
        return;
    t->tcp.strays.until = t->now + LIFE;
    sf_count(t, SF_COUNT_TCP_RX_OTHER_WAY);
    if (link->kind == SF_TCP_CONN)
        sf_tcp_conn_input((struct sf_tcp_conn *)link, &s, false);
    else if (link->kind == SF_TCP_HALF)
        sf_tcp_half_input(t, (struct sf_tcp_half *)link, &s, false);
    else if (link->kind == SF_TCP_WAIT && (s.flags & (SF_TCP_SYN | SF_TCP_ACK)) != SF_TCP_SYN)
        sf_tcp_wait_input(t, (struct sf_tcp_wait *)link, &key, &s, false);
}

void sf_tcp_stray_poll(struct sf_tcpip *t)
{
    struct sf_ipv4 ip;

    for (int i = 0; i < AT_ONCE; i++) {
        ssize_t got = recv(t->tcp.strays.fd, t->joined, sizeof(t->joined), MSG_DONTWAIT);

        if (got < 0)
            return;
        if (sf_ipv4_parse(t->joined, (size_t)got, SF_WIRE_CHECKSUM_GOOD, &ip) == SF_ACCEPTED && ip.protocol == SF_IPV4_TCP &&
            t->tcp.strays.until)
            segment_input(t, &ip);
    }
}
