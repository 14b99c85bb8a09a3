/*
 * Checks whether the kernel has to keep group frames for other receivers. It has to if other stations receive through the interface:
 * macvlan and macvtap devices, in this namespace or in containers, add their MAC addresses to the interface's list. It also has to
 * if it routes groups.
 */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <linux/neighbour.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define ANSWER_SIZE 32768
#define PATIENCE_MS 500

int sf_stations_open(void)
{
    struct timeval patience = {.tv_usec = PATIENCE_MS * 1000};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

static bool ask(const struct sf_tcpip *t, uint32_t sequence)
{
    struct {
        struct nlmsghdr header;
        struct ifinfomsg body;
    } request = {
        .header = {.nlmsg_type = RTM_GETNEIGH, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP, .nlmsg_len = sizeof(request),
                   .nlmsg_seq = sequence},
        .body = {.ifi_family = AF_BRIDGE, .ifi_index = t->interface.index},
    };

    return t->filters.stations_fd >= 0 && send(t->filters.stations_fd, &request, sizeof(request), 0) == sizeof(request);
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
    static uint32_t last_sequence;
    _Alignas(struct nlmsghdr) char answer[ANSWER_SIZE];
    uint32_t sequence = __atomic_add_fetch(&last_sequence, 1, __ATOMIC_RELAXED);
    bool found = false;

    if (!ask(t, sequence))
        return true;
    for (;;) {
        ssize_t got = recv(t->filters.stations_fd, answer, sizeof(answer), 0);
        const struct nlmsghdr *message = (const struct nlmsghdr *)(const void *)answer;

        if (got <= 0)
            return true;
        for (; NLMSG_OK(message, got); message = NLMSG_NEXT(message, got)) {
            if (message->nlmsg_seq != sequence)
                continue;
            if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR)
                return found || message->nlmsg_type == NLMSG_ERROR;
            found |= is_station(t, message);
        }
    }
}

/* True: a multicast router (smcroute, pimd) uses this interface, so the kernel forwards groups that arrive there. */
bool sf_stations_route_groups(const struct sf_tcpip *t)
{
    FILE *file = fopen("/proc/thread-self/net/ip_mr_vif", "re");
    char line[256], name[IF_NAMESIZE] = "", own[IF_NAMESIZE] = "";
    bool found = false;

    if (!file)
        return access("/proc/thread-self/net/ip_mr_vif", F_OK) == 0; /* without the file there is no such router */
    if_indextoname((unsigned)t->interface.index, own);
    while (!found && fgets(line, sizeof(line), file))
        found = sscanf(line, "%*d %15s", name) == 1 && strcmp(name, own) == 0;
    fclose(file);
    return found;
}
