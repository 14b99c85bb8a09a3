#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define LIFE (100 * SF_MS)
#define ANSWER 4096

int sf_host_groups_open(struct sf_host_groups *groups)
{
    groups->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
    return groups->fd < 0 ? -errno : 0;
}

void sf_host_groups_close(struct sf_host_groups *groups)
{
    if (groups->fd >= 0)
        close(groups->fd);
    groups->fd = -1;
}

void sf_host_groups_outdate(struct sf_host_groups *groups)
{
    for (int i = 0; i < SF_HOST_GROUPS; i++)
        groups->slot[i].until = 0;
}

static bool send_question(struct sf_tcpip *t, uint32_t group, uint32_t source)
{
    struct sf_netlink_request request;

    sf_netlink_request(&request, RTM_GETROUTE, sizeof(request.route));
    request.header.nlmsg_seq = ++t->host_groups.sequence;
    request.route.rtm_family = AF_INET;
    request.route.rtm_dst_len = request.route.rtm_src_len = 32;
    sf_netlink_attribute(&request, RTA_DST, group);
    sf_netlink_attribute(&request, RTA_SRC, source);
    sf_netlink_attribute(&request, RTA_IIF, (uint32_t)t->interface.index);
    return send(t->host_groups.fd, &request, request.header.nlmsg_len, MSG_DONTWAIT) >= 0;
}

/* The kernel answers within the call that asks. An error means that it would drop the packet. */
static bool read_answer(const struct sf_host_groups *groups)
{
    _Alignas(struct nlmsghdr) char buffer[ANSWER];
    const struct nlmsghdr *message = (const struct nlmsghdr *)buffer;
    const struct rtmsg *route = (const struct rtmsg *)(buffer + NLMSG_HDRLEN);
    ssize_t got;

    do {
        got = recv(groups->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (got < (ssize_t)sizeof(*message) && !(got < 0 && errno == EINTR))
            return false;
    } while (got < 0 || message->nlmsg_seq != groups->sequence);
    return message->nlmsg_type == RTM_NEWROUTE && got >= (ssize_t)NLMSG_LENGTH(sizeof(*route)) &&
           route->rtm_type == RTN_MULTICAST;
}

bool sf_host_takes(struct sf_tcpip *t, uint32_t group, uint32_t source)
{
    uint32_t hash = (group * 0x9e3779b1u ^ source * 0x85ebca6bu) >> 16;
    struct sf_host_group *slot = &t->host_groups.slot[hash % SF_HOST_GROUPS];

    if (slot->group == group && slot->source == source && t->now < slot->until)
        return slot->takes;
    *slot = (struct sf_host_group){.group = group, .source = source, .until = t->now + LIFE};
    slot->takes = t->host_groups.fd >= 0 && send_question(t, group, source) && read_answer(&t->host_groups);
    return slot->takes;
}
