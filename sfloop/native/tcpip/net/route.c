/* Routes. The kernel is asked about one destination at a time, so its policies and metrics are respected. */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

uint32_t sf_route_ask(struct sf_tcpip *t, uint32_t dst, uint32_t src)
{
    struct sf_netlink_request request;

    sf_netlink_request(&request, RTM_GETROUTE, sizeof(request.route));
    request.route.rtm_family = AF_INET;
    request.route.rtm_dst_len = 32;
    sf_netlink_attribute(&request, RTA_DST, dst);
    if (src) {
        request.route.rtm_src_len = 32;
        sf_netlink_attribute(&request, RTA_SRC, src);
    }
    return sf_netlink_send(t, &request);
}

static uint32_t mtu_of(const struct rtattr *metrics)
{
    const struct rtattr *metric = (const struct rtattr *)RTA_DATA(metrics);
    int left = (int)RTA_PAYLOAD(metrics);

    for (; RTA_OK(metric, left); metric = sf_netlink_next(metric, &left))
        if (metric->rta_type == RTAX_MTU)
            return sf_netlink_u32(metric);
    return 0;
}

void sf_route_message(struct sf_tcpip *t, const struct nlmsghdr *message)
{
    const struct rtmsg *body = (const struct rtmsg *)((const char *)message + NLMSG_HDRLEN);
    const struct rtattr *attribute[RTA_MAX + 1];
    struct sf_route route = {0};

    if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*body)) || body->rtm_family != AF_INET)
        return;
    sf_netlink_attributes(message, sizeof(*body), attribute, RTA_MAX);
    /* The kernel sends packets with an IPv6 gateway or with encapsulation. */
    route.direct = body->rtm_type == RTN_UNICAST && (int)sf_netlink_u32(attribute[RTA_OIF]) == t->interface.index &&
                   !attribute[RTA_VIA] && !attribute[RTA_ENCAP] && !attribute[RTA_MULTIPATH];
    route.gateway = sf_netlink_u32(attribute[RTA_GATEWAY]);
    route.preferred_src = sf_netlink_u32(attribute[RTA_PREFSRC]);
    if (attribute[RTA_METRICS])
        route.mtu = mtu_of(attribute[RTA_METRICS]);
    sf_path_answer(t, message->nlmsg_seq, &route);
}
