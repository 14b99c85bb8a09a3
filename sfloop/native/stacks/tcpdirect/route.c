/*
 * Routing: the addresses of the interface, and the destinations to which the kernel's routes lead through it. On the kernel's
 * loopback an emulator is behind the interface: it serves addresses that share their first bits with ours, and the kernel serves
 * the rest of 127/8. The same goes for an emulator with an address of its own on a TUN device. Its neighbour is this machine,
 * whose address the kernel would treat as local.
 */
#define _GNU_SOURCE
#include "stack.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ANSWER_WITHIN_US 20000

static uint32_t emulated(const struct td_stack *t)
{
    return t->address ? t->address : htonl(INADDR_LOOPBACK);
}

static bool is_emulated(const struct td_stack *t, uint32_t addr)
{
    return !((addr ^ emulated(t)) & t->emulated_mask);
}

static void read_addresses(struct td_stack *t)
{
    struct ifaddrs *list;

    t->n_addrs = 0;
    if (t->address)
        t->addrs[t->n_addrs++] = t->address;
    if (t->address || getifaddrs(&list) < 0)
        return;
    for (struct ifaddrs *i = list; i && t->n_addrs < TD_ADDRS; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || strcmp(i->ifa_name, t->interface))
            continue;
        t->addrs[t->n_addrs++] = ((const struct sockaddr_in *)i->ifa_addr)->sin_addr.s_addr;
    }
    freeifaddrs(list);
}

static void read_interface(struct td_stack *t, int fd)
{
    struct ifreq request;

    memset(&request, 0, sizeof(request));
    memcpy(request.ifr_name, t->interface, sizeof(request.ifr_name) - 1);
    if (ioctl(fd, SIOCGIFFLAGS, &request) == 0)
        t->loopback = request.ifr_flags & IFF_LOOPBACK;
    if (ioctl(fd, SIOCGIFMTU, &request) == 0)
        t->mtu = (uint32_t)request.ifr_mtu;
}

int td_interface_open(struct td_stack *t, const char *name)
{
    struct timeval limit = {.tv_usec = ANSWER_WITHIN_US};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    t->netlink = -1;
    strncpy(t->interface, name, sizeof(t->interface) - 1);
    t->ifindex = (int)if_nametoindex(name);
    if (fd < 0)
        return -errno;
    read_interface(t, fd);
    close(fd);
    read_addresses(t);
    t->netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (t->netlink < 0)
        return -errno;
    setsockopt(t->netlink, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return 0;
}

bool td_owns(struct td_stack *t, uint32_t addr)
{
    if (t->loopback && !t->address)
        return is_emulated(t, addr);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < t->n_addrs; i++)
            if (t->addrs[i] == addr)
                return true;
        if (pass == 0)
            read_addresses(t); /* the address may be new */
    }
    return false;
}

static bool parse_route(struct td_stack *t, const struct nlmsghdr *h, uint32_t *src)
{
    const struct rtmsg *body = NLMSG_DATA(h);
    int left = (int)RTM_PAYLOAD(h);
    uint32_t preferred = 0;
    int out = 0;

    if (h->nlmsg_type != RTM_NEWROUTE || body->rtm_type != RTN_UNICAST)
        return false;
    for (const struct rtattr *a = RTM_RTA(body); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        if (a->rta_type == RTA_OIF)
            memcpy(&out, RTA_DATA(a), sizeof(out));
        else if (a->rta_type == RTA_PREFSRC)
            memcpy(&preferred, RTA_DATA(a), sizeof(preferred));
        else if (a->rta_type == RTA_VIA || a->rta_type == RTA_ENCAP)
            return false; /* an IPv6 gateway, or encapsulated packets */
    }
    if (!*src)
        *src = t->address ? t->address : preferred;
    return out == t->ifindex && *src;
}

static bool ask_route(struct td_stack *t, uint32_t dst, uint32_t *src)
{
    struct {
        struct nlmsghdr h;
        struct rtmsg body;
        char attributes[32];
    } request = {
        .h = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtmsg)), .nlmsg_type = RTM_GETROUTE, .nlmsg_flags = NLM_F_REQUEST},
        .body = {.rtm_family = AF_INET, .rtm_dst_len = 32},
    };
    _Alignas(struct nlmsghdr) char answer[4096];
    struct rtattr *a = (struct rtattr *)(void *)((char *)&request + NLMSG_ALIGN(request.h.nlmsg_len));
    ssize_t n;

    a->rta_type = RTA_DST;
    a->rta_len = RTA_LENGTH(sizeof(dst));
    memcpy(RTA_DATA(a), &dst, sizeof(dst));
    request.h.nlmsg_len += RTA_SPACE(sizeof(dst));
    request.h.nlmsg_seq = ++t->netlink_sequence;
    if (send(t->netlink, &request, request.h.nlmsg_len, 0) < 0)
        return false;
    do {
        n = recv(t->netlink, answer, sizeof(answer), 0);
        if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct rtmsg)))
            return false;
    } while (((struct nlmsghdr *)answer)->nlmsg_seq != t->netlink_sequence);
    return NLMSG_OK((struct nlmsghdr *)answer, (size_t)n) && parse_route(t, (struct nlmsghdr *)answer, src);
}

bool td_reaches(struct td_stack *t, uint32_t dst, uint32_t *src)
{
    if (!t->loopback && !t->address)
        return ask_route(t, dst, src);
    if (!*src)
        *src = emulated(t);
    return is_emulated(t, dst);
}
