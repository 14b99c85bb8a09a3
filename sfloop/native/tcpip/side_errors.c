/*
 * ICMP errors, from the side socket's error queue (IP_RECVERR in ip(7)). The kernel finds the side socket by the addresses and
 * ports of the quoted packet, so it also gets errors of packets that the driver has sent.
 *
 * A socket that requests details gets more errors than one that does not: temporary ones, and any at all if it is not connected.
 * Errors that the program would not have got are kept from it here.
 */
#define _GNU_SOURCE
#include "tcpip.h"

#include "storage/kernel_socket.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <netinet/ip_icmp.h>
#include <sys/socket.h>

#define AT_ONCE 64

void sf_side_errors_on(struct sf_udp_socket *s)
{
    int on = 0;
    socklen_t len = sizeof(on);

    if (getsockopt(s->fd, IPPROTO_IP, IP_RECVERR, &on, &len) == 0)
        s->errors_asked = on != 0;
    on = 1;
    setsockopt(s->fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on)); /* if it fails, only the path MTU is not learned */
}

/* Errors that Linux reports to a connected socket without IP_RECVERR (icmp_err_convert, udp_err). */
static bool is_fatal(uint8_t type, uint8_t code)
{
    static const uint32_t unreachable = 1u << ICMP_PROT_UNREACH | 1u << ICMP_PORT_UNREACH | 1u << ICMP_FRAG_NEEDED |
                                        1u << ICMP_NET_UNKNOWN | 1u << ICMP_HOST_UNKNOWN | 1u << ICMP_HOST_ISOLATED |
                                        1u << ICMP_NET_ANO | 1u << ICMP_HOST_ANO | 1u << ICMP_PKT_FILTERED |
                                        1u << ICMP_PREC_VIOLATION | 1u << ICMP_PREC_CUTOFF;

    if (type == ICMP_DEST_UNREACH)
        return code < 32 && unreachable >> code & 1;
    return type == ICMP_PARAMETERPROB;
}


static void learn_mtu(struct sf_udp_socket *s, const union sf_socket_name *to, uint32_t mtu)
{
    struct sockaddr_in v4 = to->v4;

    if (to->any.sa_family == AF_INET || sf_unmap_peer(&to->any, sizeof(to->v6), &v4))
        sf_path_learn_mtu(s->tcpip, v4.sin_addr.s_addr, mtu);
}

static void take(struct sf_udp_socket *s, const struct sock_extended_err *error, const union sf_socket_name *to)
{
    if (error->ee_origin == SO_EE_ORIGIN_ICMP6) {
        s->error = -(int)error->ee_errno; /* only the program asks for these, by IPV6_RECVERR */
        return;
    }
    if (error->ee_errno == EMSGSIZE)
        learn_mtu(s, to, error->ee_info);
    if (error->ee_origin != SO_EE_ORIGIN_ICMP)
        return;
    sf_count(s->tcpip, SF_COUNT_ICMP_ERRORS);
    if (s->errors_asked || (s->remote_addr && is_fatal(error->ee_type, error->ee_code)))
        s->error = -(int)error->ee_errno;
}

static bool is_error(const struct cmsghdr *c)
{
    return (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
           (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR);
}

int sf_side_errors(struct sf_udp_socket *s)
{
    union {
        char bytes[512];
        struct cmsghdr align;
    } control;
    int taken = 0;

    for (; taken < AT_ONCE; taken++) {
        union sf_socket_name to = {0};
        struct msghdr message = {
            .msg_name = &to, .msg_namelen = sizeof(to), .msg_control = control.bytes, .msg_controllen = sizeof(control)};

        if (recvmsg(s->fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
            break;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
            struct sock_extended_err error;

            if (!is_error(c) || c->cmsg_len < CMSG_LEN(sizeof(error)))
                continue;
            memcpy(&error, CMSG_DATA(c), sizeof(error));
            take(s, &error, &to);
        }
    }
    return taken;
}
