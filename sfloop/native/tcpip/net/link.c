/* The interface itself and its addresses, from rtnetlink. */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <net/if.h>

/* The index of the bridge, bond or team. A VRF does not count, because its ports keep their frames and addresses. */
static int master_of(const struct rtattr *master, const struct rtattr *info)
{
    const struct rtattr *attribute;
    int left;

    if (!master || !info)
        return (int)sf_netlink_u32(master);
    attribute = RTA_DATA(info);
    left = (int)RTA_PAYLOAD(info);
    for (; RTA_OK(attribute, left); attribute = sf_netlink_next(attribute, &left))
        if ((attribute->rta_type & NLA_TYPE_MASK) == IFLA_INFO_SLAVE_KIND && RTA_PAYLOAD(attribute) >= 3 &&
            memcmp(RTA_DATA(attribute), "vrf", 3) == 0)
            return 0;
    return (int)sf_netlink_u32(master);
}

void sf_link_message(struct sf_tcpip *t, const struct nlmsghdr *message)
{
    const struct ifinfomsg *body = (const struct ifinfomsg *)((const char *)message + NLMSG_HDRLEN);
    const struct rtattr *attribute[IFLA_LINKINFO + 1];
    struct sf_interface *interface = &t->interface;
    const struct rtattr *mac;
    uint32_t mtu;
    bool changed;

    if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*body)) || body->ifi_index != interface->index)
        return;
    if (body->ifi_family == AF_BRIDGE) /* about the bridge port: a delete message does not mean that the device is gone */
        return;
    sf_netlink_attributes(message, sizeof(*body), attribute, IFLA_LINKINFO);
    interface->master = master_of(attribute[IFLA_MASTER], attribute[IFLA_LINKINFO]);
    mac = attribute[IFLA_ADDRESS];
    mtu = sf_netlink_u32(attribute[IFLA_MTU]);
    changed = mtu && mtu != interface->mtu;
    if (changed)
        interface->mtu = mtu;
    if (mac && RTA_PAYLOAD(mac) == sizeof(interface->mac) && memcmp(interface->mac, RTA_DATA(mac), sizeof(interface->mac))) {
        memcpy(interface->mac, RTA_DATA(mac), sizeof(interface->mac));
        changed = true;
    }
    if (changed)
        sf_paths_flush(t);
    sf_tcpip_link_is(t, message->nlmsg_type == RTM_NEWLINK && body->ifi_flags & IFF_UP && body->ifi_flags & IFF_RUNNING);
}

/* The interface has other addresses, or other broadcast addresses, than before. */
static void addresses_changed(struct sf_tcpip *t)
{
    sf_paths_flush(t);
    sf_filters_addresses_changed(t);
}

/* `change`: an enum sf_interface_change. */
static void changed(struct sf_tcpip *t, int change)
{
    if (change)
        sf_sources_forget(t);
    if (change & SF_INTERFACE_CHANGED)
        addresses_changed(t);
}

void sf_address_message(struct sf_tcpip *t, const struct nlmsghdr *message)
{
    const struct ifaddrmsg *body = (const struct ifaddrmsg *)((const char *)message + NLMSG_HDRLEN);
    const struct rtattr *attribute[IFA_MAX + 1];
    struct sf_interface_addr addr;

    if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*body)) || body->ifa_family != AF_INET || body->ifa_prefixlen > 32)
        return;
    sf_netlink_attributes(message, sizeof(*body), attribute, IFA_MAX);
    addr = (struct sf_interface_addr){
        .index = (int)body->ifa_index,
        .addr = sf_netlink_u32(attribute[IFA_LOCAL] ? attribute[IFA_LOCAL] : attribute[IFA_ADDRESS]),
        .subnet_addr = sf_netlink_u32(attribute[IFA_ADDRESS] ? attribute[IFA_ADDRESS] : attribute[IFA_LOCAL]),
        .broadcast = sf_netlink_u32(attribute[IFA_BROADCAST]),
        .prefix_len = body->ifa_prefixlen,
    };
    if (!addr.addr)
        return;
    if (message->nlmsg_type == RTM_NEWADDR)
        changed(t, sf_interface_add(&t->interface, &addr));
    else
        changed(t, sf_interface_remove(&t->interface, &addr));
}

void sf_addresses_dumped(struct sf_tcpip *t)
{
    changed(t, sf_interface_dump_ends(&t->interface));
}
