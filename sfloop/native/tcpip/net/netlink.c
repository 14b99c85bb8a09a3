#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECEIVE_BUFFER (1024 * 1024)
#define MESSAGES 32768 /* the most that the kernel puts into one datagram of a dump */
#define DATAGRAMS_AT_ONCE 16

#ifndef RTNLGRP_NEXTHOP
#define RTNLGRP_NEXTHOP 32
#endif
#ifndef RTNLGRP_IPV4_MCADDR
#define RTNLGRP_IPV4_MCADDR 37
#endif
#ifndef RTM_NEWMULTICAST
#define RTM_NEWMULTICAST 56
#define RTM_DELMULTICAST 57
#endif

int sf_netlink_open(struct sf_netlink *nl)
{
    static const int groups[] = {RTNLGRP_LINK,      RTNLGRP_NEIGH,   RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE,
                                 RTNLGRP_IPV4_RULE, RTNLGRP_NEXTHOP, RTNLGRP_IPV4_MCADDR};
    struct sockaddr_nl name = {.nl_family = AF_NETLINK};
    socklen_t len = sizeof(name);
    int size = RECEIVE_BUFFER;

    nl->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (nl->fd < 0)
        return -errno;
    setsockopt(nl->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    if (bind(nl->fd, (struct sockaddr *)&name, sizeof(name)) < 0 ||
        getsockname(nl->fd, (struct sockaddr *)&name, &len) < 0)
        return -errno;
    nl->port = name.nl_pid;
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
        if (setsockopt(nl->fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i], sizeof(groups[i])) < 0 &&
            groups[i] < RTNLGRP_NEXTHOP) /* RTNLGRP_NEXTHOP is of Linux 5.3, RTNLGRP_IPV4_MCADDR of 6.14 */
            return -errno;
    nl->wanted = SF_DUMP_ALL;
    return 0;
}

void sf_netlink_close(struct sf_netlink *nl)
{
    if (nl->fd >= 0)
        close(nl->fd);
    nl->fd = -1;
    nl->wanted = nl->running = 0;
}

/* ---- requests ---- */

void sf_netlink_request(struct sf_netlink_request *request, int type, size_t body)
{
    memset(request, 0, sizeof(*request));
    request->header.nlmsg_type = (uint16_t)type;
    request->header.nlmsg_flags = NLM_F_REQUEST;
    request->header.nlmsg_len = (uint32_t)NLMSG_LENGTH(body);
}

void sf_netlink_attribute(struct sf_netlink_request *request, int type, uint32_t value)
{
    uint8_t *end = (uint8_t *)request + NLMSG_ALIGN(request->header.nlmsg_len);
    struct rtattr attribute = {.rta_len = (uint16_t)RTA_LENGTH(sizeof(value)), .rta_type = (uint16_t)type};

    memcpy(end, &attribute, sizeof(attribute));
    memcpy(end + RTA_LENGTH(0), &value, sizeof(value));
    request->header.nlmsg_len = (uint32_t)(NLMSG_ALIGN(request->header.nlmsg_len) + RTA_SPACE(sizeof(value)));
}

uint32_t sf_netlink_send(struct sf_tcpip *t, struct sf_netlink_request *request)
{
    struct sf_netlink *nl = &t->netlink;

    if (nl->fd < 0)
        return 0;
    if (!++nl->sequence)
        nl->sequence = 1;
    request->header.nlmsg_seq = nl->sequence;
    if (send(nl->fd, request, request->header.nlmsg_len, MSG_DONTWAIT) < 0) {
        sf_count(t, SF_COUNT_NETLINK_ERRORS);
        return 0;
    }
    return nl->sequence;
}

/* ---- dumps ---- */

static void begin_dump(struct sf_tcpip *t)
{
    struct sf_netlink *nl = &t->netlink;
    uint32_t which = nl->wanted & -nl->wanted;
    struct sf_netlink_request request;

    if (which == SF_DUMP_LINK) { /* not a dump: its acknowledgement marks the end */
        sf_netlink_request(&request, RTM_GETLINK, sizeof(request.link));
        request.link.ifi_index = t->interface.index;
        request.header.nlmsg_flags |= NLM_F_ACK;
    } else if (which == SF_DUMP_ADDRESSES) {
        sf_netlink_request(&request, RTM_GETADDR, sizeof(request.address));
        request.address.ifa_family = AF_INET;
        request.header.nlmsg_flags |= NLM_F_DUMP;
        sf_interface_dump_begins(&t->interface);
    } else {
        sf_netlink_request(&request, RTM_GETNEIGH, sizeof(request.neighbour));
        request.neighbour.ndm_family = AF_INET;
        request.header.nlmsg_flags |= NLM_F_DUMP;
        sf_neighbours_clear(&t->neighbours);
    }
    nl->running_sequence = sf_netlink_send(t, &request);
    if (!nl->running_sequence)
        return; /* still wanted */
    nl->running = which;
    nl->wanted &= ~which;
}

static void end_dump(struct sf_tcpip *t, bool complete)
{
    struct sf_netlink *nl = &t->netlink;

    if (!complete)
        nl->wanted |= nl->running;
    else if (nl->running == SF_DUMP_ADDRESSES)
        sf_addresses_dumped(t);
    nl->running = 0;
}

/* Reads everything again, because notifications were lost. */
static void overrun(struct sf_tcpip *t)
{
    sf_count(t, SF_COUNT_NETLINK_OVERRUN);
    t->netlink.running = 0;
    t->netlink.wanted = SF_DUMP_ALL;
    sf_udp_memberships_changed(t);
    sf_paths_flush(t);
}

/* ---- messages ---- */

void sf_netlink_attributes(const struct nlmsghdr *message, size_t body, const struct rtattr **out, int most)
{
    const struct rtattr *attribute;
    int left;

    memset(out, 0, ((size_t)most + 1) * sizeof(*out));
    if (message->nlmsg_len < NLMSG_SPACE(body))
        return;
    attribute = (const struct rtattr *)((const char *)message + NLMSG_SPACE(body));
    left = (int)(message->nlmsg_len - NLMSG_SPACE(body));
    for (; RTA_OK(attribute, left); attribute = sf_netlink_next(attribute, &left))
        if ((attribute->rta_type & NLA_TYPE_MASK) <= most)
            out[attribute->rta_type & NLA_TYPE_MASK] = attribute;
}

uint32_t sf_netlink_u32(const struct rtattr *attribute)
{
    uint32_t value = 0;

    if (attribute && RTA_PAYLOAD(attribute) == sizeof(value))
        memcpy(&value, RTA_DATA(attribute), sizeof(value));
    return value;
}

static void error_message(struct sf_tcpip *t, const struct nlmsghdr *message)
{
    const struct nlmsgerr *error = (const struct nlmsgerr *)((const char *)message + NLMSG_HDRLEN);
    struct sf_netlink *nl = &t->netlink;

    if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*error)))
        return;
    if (nl->running && message->nlmsg_seq == nl->running_sequence) {
        if (error->error == -ENODEV || error->error == -ENXIO)
            sf_tcpip_link_is(t, false);
        end_dump(t, error->error != -EBUSY);
        return;
    }
    if (!error->error)
        return;
    if (error->msg.nlmsg_type == RTM_NEWNEIGH) {
        t->netlink.may_not_write |= error->error == -EPERM;
    } else if (error->msg.nlmsg_type == RTM_GETROUTE) {
        struct sf_route none = {.refused = true}; /* a send by the kernel socket returns the errno */

        sf_path_answer(t, message->nlmsg_seq, &none);
        return;
    }
    sf_count(t, SF_COUNT_NETLINK_ERRORS);
}

static void route_changed_or_answered(struct sf_tcpip *t, const struct nlmsghdr *message)
{
    if (message->nlmsg_type == RTM_NEWROUTE && message->nlmsg_pid == t->netlink.port)
        sf_route_message(t, message);
    else
        sf_paths_flush(t);
}

static void handle(struct sf_tcpip *t, const struct nlmsghdr *message)
{
    struct sf_netlink *nl = &t->netlink;

    switch (message->nlmsg_type) {
    case NLMSG_DONE:
        if (nl->running && message->nlmsg_seq == nl->running_sequence)
            end_dump(t, !(message->nlmsg_flags & NLM_F_DUMP_INTR));
        break;
    case NLMSG_ERROR:
        error_message(t, message);
        break;
    case NLMSG_OVERRUN:
        overrun(t);
        break;
    case RTM_NEWLINK:
    case RTM_DELLINK:
        sf_link_message(t, message);
        break;
    case RTM_NEWADDR:
    case RTM_DELADDR:
        sf_address_message(t, message);
        break;
    case RTM_NEWMULTICAST:
    case RTM_DELMULTICAST:
        sf_udp_memberships_changed(t);
        break;
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
        sf_neighbour_message(t, message);
        break;
    default: /* routes, rules, nexthops */
        route_changed_or_answered(t, message);
        break;
    }
}

/* Does not use NLMSG_NEXT(), because it subtracts too much from an unsigned length if the last message is not padded. */
static void handle_all(struct sf_tcpip *t, const char *buffer, size_t left)
{
    while (left >= sizeof(struct nlmsghdr)) {
        const struct nlmsghdr *message = (const struct nlmsghdr *)buffer;
        size_t step = NLMSG_ALIGN((size_t)message->nlmsg_len);

        if (message->nlmsg_len < sizeof(*message) || message->nlmsg_len > left)
            return;
        handle(t, message);
        if (step > left)
            return;
        buffer += step;
        left -= step;
    }
}

void sf_netlink_poll(struct sf_tcpip *t)
{
    _Alignas(struct nlmsghdr) char buffer[MESSAGES];

    for (int i = 0; i < DATAGRAMS_AT_ONCE && t->netlink.fd >= 0; i++) {
        struct sockaddr_nl from = {0};
        socklen_t from_len = sizeof(from);
        ssize_t got = recvfrom(t->netlink.fd, buffer, sizeof(buffer), MSG_DONTWAIT | MSG_TRUNC, (struct sockaddr *)&from,
                               &from_len);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == ENOBUFS) {
            overrun(t);
            continue;
        }
        if (got < 0)
            break;
        if (from.nl_pid) /* any process may write to the socket, but only the kernel is trusted */
            continue;
        if ((size_t)got > sizeof(buffer)) {
            overrun(t);
            continue;
        }
        handle_all(t, buffer, (size_t)got);
    }
    sf_paths_ask_again(t);
    if (t->netlink.wanted && !t->netlink.running)
        begin_dump(t);
}

int sf_netlink_load(struct sf_tcpip *t, sf_ns patience)
{
    struct pollfd p = {.fd = t->netlink.fd, .events = POLLIN};
    sf_ns give_up = sf_now() + patience;

    for (;;) {
        sf_netlink_poll(t);
        if (!t->netlink.wanted && !t->netlink.running)
            return 0;
        if (sf_now() >= give_up)
            return -ETIMEDOUT;
        poll(&p, 1, 1);
    }
}
