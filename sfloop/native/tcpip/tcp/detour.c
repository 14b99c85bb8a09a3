/*
 * Segments that leave by another way than the accelerated interface: because routes are asymmetric, because a route has moved,
 * because the interface is down, or because nobody knows yet where the neighbour is. A raw socket hands them to the kernel as whole
 * IP packets, and the kernel routes them. The socket is made with the stack, because it needs CAP_NET_RAW. Without the socket such
 * segments are lost.
 */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define PACKET 65535
#define SEND_BUFFER (4 << 20)

int sf_tcp_detour_open(struct sf_tcpip *t)
{
    int size = SEND_BUFFER;

    if (sf_tcpip_is_point_to_point(t))
        return 0;
    t->tcp.detour_fd = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW);
    if (t->tcp.detour_fd < 0)
        return -errno;
    if (setsockopt(t->tcp.detour_fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
        setsockopt(t->tcp.detour_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    return 0;
}

/*
 * Segments also go this way while the neighbour is being resolved. The kernel queues them until ARP has answered, as many as of its own
 * connections (net.ipv4.neigh.*.unres_qlen_bytes), and sends them before it tells us of the answer.
 *
 * Nothing leaves while the kernel refuses the route. A raw socket may use any source address, and would send from one that was deleted.
 */
bool sf_tcp_may_detour(const struct sf_tcpip *t, enum sf_way way)
{
    return t->tcp.detour_fd >= 0 && way != SF_WAY_DIRECT && way != SF_WAY_NONE;
}

/* ---- the size of packets ---- */

static int name(int (*with)(int, const struct sockaddr *, socklen_t), int fd, uint32_t addr)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = addr};

    return with(fd, (struct sockaddr *)&name, sizeof(name));
}

/* The kernel knows the other interface's MTU, the route's, and what ICMP has told it about the destination. */
uint32_t sf_tcp_detour_mtu(const struct sf_tcpip *t, uint32_t dst, uint32_t src)
{
    int fd = t->tcp.detour_fd, mtu = 0;
    socklen_t len = sizeof(mtu);

    if (name(bind, fd, src) < 0 || name(connect, fd, dst) < 0 || getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &len) < 0)
        return 0;
    return mtu < SF_IPV4_MTU_MIN ? SF_IPV4_MTU_MIN : (uint32_t)mtu;
}

/* ---- sending ---- */

/* Policy routing looks at the source address. The kernel takes it from IP_PKTINFO, not from the packet's header. */
static ssize_t send_packet(int fd, uint8_t *packet, size_t len)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
    } control = {0};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = sf_load32(packet + 16)};
    struct in_pktinfo from = {.ipi_spec_dst.s_addr = sf_load32(packet + 12)};
    struct iovec iov = {.iov_base = packet, .iov_len = len};
    struct msghdr message = {
        .msg_name = &to,
        .msg_namelen = sizeof(to),
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control),
    };

    control.header = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(from)), .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO};
    memcpy(CMSG_DATA(&control.header), &from, sizeof(from));
    return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/*
 * A reset guard (drivers/kernel/reset_guard.c) holds back resets that look like the kernel's: without ACK, and with a window of 0. The
 * window of a reset means nothing, so ours have another one.
 */
static struct sf_tcp_segment marked(const struct sf_tcp_segment *segment)
{
    struct sf_tcp_segment s = *segment;

    if (s.flags & SF_TCP_RST && !s.window)
        s.window = 1;
    return s;
}

int sf_tcp_detour_emit(struct sf_tcpip *t, const struct sf_tcp_template *template, const struct sf_tcp_segment *segment,
                       const struct iovec *payload, int n, uint32_t len)
{
    uint8_t frame[SF_ETH_HEADER_MAX + PACKET];
    struct sf_tcp_segment out = marked(segment);
    size_t size = sf_tcp_emit(template, frame, sizeof(frame), &out, payload, n, t->tcp.ip_id++);
    size_t ethernet = template->len - SF_IPV4_HEADER;

    (void)len;
    if (size && send_packet(t->tcp.detour_fd, frame + ethernet, size - ethernet) >= 0) {
        sf_count(t, SF_COUNT_TCP_TX_OTHER_WAY);
        return 0;
    }
    sf_count(t, SF_COUNT_TCP_TX_LOST); /* A full queue loses segments, as a router's does, and the sender slows down. */
    return size && errno != EMSGSIZE ? 0 : -EMSGSIZE;
}
