/*
 * Whether other stations receive by the interface: macvlan and macvtap devices, in this namespace or in containers, have their
 * Ethernet addresses in the list of those that the interface receives for. They get their copies of group frames only from the
 * kernel.
 */
#define _GNU_SOURCE
#include "tcpip.h"

#include <linux/neighbour.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define ANSWER_SIZE 32768
#define PATIENCE_MS 500

static int ask(const struct sf_tcpip *t)
{
    struct {
        struct nlmsghdr header;
        struct ifinfomsg body;
    } request = {
        .header = {.nlmsg_type = RTM_GETNEIGH, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP, .nlmsg_len = sizeof(request)},
        .body = {.ifi_family = AF_BRIDGE, .ifi_index = t->interface.index},
    };
    struct timeval patience = {.tv_usec = PATIENCE_MS * 1000};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (send(fd, &request, sizeof(request), 0) == sizeof(request))
        return fd;
    close(fd);
    return -1;
}

static bool is_station(const struct sf_tcpip *t, const struct nlmsghdr *message)
{
    const struct ndmsg *body = NLMSG_DATA(message);
    const struct rtattr *attribute[NDA_LLADDR + 1];
    const uint8_t *mac;

    if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*body)) || body->ndm_ifindex != t->interface.index)
        return false;
    sf_netlink_attributes(message, sizeof(*body), attribute, NDA_LLADDR);
    if (!attribute[NDA_LLADDR] || RTA_PAYLOAD(attribute[NDA_LLADDR]) != sizeof(t->interface.mac))
        return false;
    mac = RTA_DATA(attribute[NDA_LLADDR]);
    return !(mac[0] & 1) && memcmp(mac, t->interface.mac, sizeof(t->interface.mac));
}

bool sf_stations_exist(const struct sf_tcpip *t)
{
    _Alignas(struct nlmsghdr) char answer[ANSWER_SIZE];
    bool found = false, done = false;
    int fd = ask(t);

    while (fd >= 0 && !done) {
        ssize_t got = recv(fd, answer, sizeof(answer), 0);
        const struct nlmsghdr *message = (const struct nlmsghdr *)(const void *)answer;

        done = got <= 0;
        for (; !done && NLMSG_OK(message, got); message = NLMSG_NEXT(message, got)) {
            done = message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR;
            found |= !done && is_station(t, message);
        }
    }
    if (fd >= 0)
        close(fd);
    return found;
}
