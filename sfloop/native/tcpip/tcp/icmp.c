/*
 * ICMP errors about our segments. On an interface the kernel receives them, and has no socket for our connections, so a raw socket brings
 * them to us. On a wire the driver brings them. Without the privilege for a raw socket the stack gets no errors, and timeouts detect a
 * small path MTU (mtu.c). RFC 5927 limits the effects of an error.
 */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <linux/icmp.h>
#include <sys/socket.h>
#include <unistd.h>

#define AT_ONCE 64
#define RECEIVE 2048

int sf_tcp_icmp_open(struct sf_tcpip *t)
{
    struct icmp_filter filter = {.data = ~(1u << SF_ICMP_UNREACHABLE | 1u << SF_ICMP_PARAMETER_PROBLEM)};
    int fd;

    if (sf_tcpip_is_point_to_point(t))
        return 0;
    fd = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMP);
    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_RAW, ICMP_FILTER, &filter, sizeof(filter)) < 0) {
        close(fd);
        return -errno;
    }
    t->tcp.icmp_fd = fd;
    return 0;
}

/* Errors from before the first connection are dropped. */
void sf_tcp_icmp_listen(struct sf_tcpip *t)
{
    char byte;

    if (t->tcp.icmp_fd < 0)
        return;
    while (recv(t->tcp.icmp_fd, &byte, 1, MSG_DONTWAIT | MSG_TRUNC) >= 0)
        ;
    sf_tcpip_watch(t, t->tcp.icmp_fd, SF_WAKE_ICMP);
}

/* During the handshake an unreachable peer ends the attempt, as on Linux (tcp_v4_err). Afterwards the error is temporary, and the
 * connection goes on trying (RFC 9293, 3.9.2.2). */
static void unreachable(struct sf_tcp_conn *c, const struct sf_icmp *icmp)
{
    int error = sf_icmp_errno(icmp->type, icmp->code);

    if (!error || (c->state != SF_TCP_SYN_SENT && c->state != SF_TCP_SYN_RECEIVED))
        return;
    sf_tcp_conn_end(c, -error);
}

static void take(struct sf_tcpip *t, const struct sf_icmp *icmp)
{
    const struct sf_icmp_quote *q = &icmp->quote;
    struct sf_flow_key key = {
        .local_addr = q->src, .remote_addr = q->dst, .local_port = q->src_port, .remote_port = q->dst_port};
    struct sf_flow_link *link;
    struct sf_tcp_conn *c;
    bool syn;

    if (q->protocol != SF_IPV4_TCP || !sf_icmp_is_error(icmp->type))
        return;
    link = sf_flows_find(&t->tcp.flows, &key);
    if (!link || link->kind != SF_TCP_CONN)
        return;
    c = (struct sf_tcp_conn *)link;
    syn = c->state < SF_TCP_ESTABLISHED;
    if (syn ? q->tcp_sequence != c->agreed.iss
            : sf_seq_lt(q->tcp_sequence, c->loss.una) || !sf_seq_lt(q->tcp_sequence, c->loss.nxt)) {
        sf_count(t, SF_COUNT_TCP_ICMP_IGNORED);
        return;
    }
    sf_count(t, SF_COUNT_ICMP_ERRORS);
    if (icmp->type == SF_ICMP_UNREACHABLE && icmp->code == SF_ICMP_FRAGMENTATION_NEEDED)
        sf_tcp_too_big(c, icmp->mtu);
    else
        unreachable(c, icmp);
}

void sf_tcp_icmp_input(struct sf_tcpip *t, const struct sf_ipv4 *ip)
{
    struct sf_icmp icmp;
    enum sf_refusal reason = sf_icmp_parse(ip, &icmp);

    if (reason)
        t->counters.refused[reason]++;
    else
        take(t, &icmp);
}

void sf_tcp_icmp_poll(struct sf_tcpip *t)
{
    uint8_t packet[RECEIVE];
    struct sf_ipv4 ip;

    for (int i = 0; i < AT_ONCE; i++) {
        ssize_t got = recv(t->tcp.icmp_fd, packet, sizeof(packet), MSG_DONTWAIT);

        if (got < 0)
            return;
        if (sf_ipv4_parse(packet, (size_t)got, SF_WIRE_CHECKSUM_GOOD, &ip) == SF_ACCEPTED && ip.protocol == SF_IPV4_ICMP)
            sf_tcp_icmp_input(t, &ip);
    }
}
