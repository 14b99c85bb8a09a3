/* Neighbours, from rtnetlink. */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define USABLE (NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_PROBE | NUD_STALE | NUD_DELAY)

void sf_neighbour_message(struct sf_tcpip *t, const struct nlmsghdr *message)
{
    const struct ndmsg *body = (const struct ndmsg *)((const char *)message + NLMSG_HDRLEN);
    const struct rtattr *attribute[NDA_LLADDR + 1];
    struct sf_neighbour neighbour = {0};
    const struct rtattr *mac;
    bool changed;

    if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*body)) || body->ndm_family != AF_INET ||
        body->ndm_ifindex != t->interface.index)
        return;
    sf_netlink_attributes(message, sizeof(*body), attribute, NDA_LLADDR);
    neighbour.addr = sf_netlink_u32(attribute[NDA_DST]);
    if (!neighbour.addr)
        return;
    mac = attribute[NDA_LLADDR];
    if (mac && RTA_PAYLOAD(mac) == sizeof(neighbour.mac)) {
        memcpy(neighbour.mac, RTA_DATA(mac), sizeof(neighbour.mac));
        neighbour.usable = body->ndm_state & USABLE;
    }
    neighbour.stale = body->ndm_state & NUD_STALE;
    if (body->ndm_state & NUD_FAILED)
        neighbour.failed = t->now;
    if (message->nlmsg_type == RTM_DELNEIGH)
        changed = sf_neighbour_remove(&t->neighbours, neighbour.addr);
    else
        changed = sf_neighbour_set(t, &neighbour);
    if (changed)
        sf_paths_outdate(&t->paths);
}

/* Tells the kernel that the entry is in use. It then confirms a stale one. */
bool sf_neighbour_use(struct sf_tcpip *t, uint32_t addr)
{
    struct sf_netlink_request request;

    if (t->netlink.may_not_write)
        return false;
    sf_netlink_request(&request, RTM_NEWNEIGH, sizeof(request.neighbour));
    request.neighbour.ndm_family = AF_INET;
    request.neighbour.ndm_ifindex = t->interface.index;
    request.neighbour.ndm_flags = NTF_USE;
    sf_netlink_attribute(&request, NDA_DST, addr);
    return sf_netlink_send(t, &request) != 0;
}

/* Sends a datagram to the discard service's port (RFC 863), because without CAP_NET_ADMIN only a datagram of the kernel makes
 * it resolve. */
static void send_something(uint32_t addr)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = addr};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return;
    (void)sendto(fd, NULL, 0, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof(to));
    close(fd);
}

void sf_neighbour_provoke(struct sf_tcpip *t, uint32_t addr)
{
    struct sf_netlink_request request;

    if (t->netlink.may_not_write) {
        send_something(addr);
        return;
    }
    sf_netlink_request(&request, RTM_NEWNEIGH, sizeof(request.neighbour));
    request.header.nlmsg_flags |= NLM_F_CREATE;
    request.neighbour.ndm_family = AF_INET;
    request.neighbour.ndm_ifindex = t->interface.index;
    request.neighbour.ndm_flags = NTF_USE;
    sf_netlink_attribute(&request, NDA_DST, addr);
    sf_netlink_send(t, &request);
}
