#define _GNU_SOURCE 1
#include "link_info.h"

#include "netlink_query.h"

#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define WITHOUT_STATISTICS (1 << 3) /* RTEXT_FILTER_SKIP_STATS */

static const struct ifinfomsg *head_of(const struct nlmsghdr *message)
{
    const struct ifinfomsg *head = (const struct ifinfomsg *)((const char *)message + NLMSG_HDRLEN);

    return message->nlmsg_type == RTM_NEWLINK && message->nlmsg_len >= NLMSG_LENGTH(sizeof(*head)) ? head : NULL;
}

static const struct rtattr *find(const struct nlmsghdr *message, uint16_t type)
{
    return sf_query_find(message, sizeof(struct ifinfomsg), type);
}

static void begin(struct sf_query *query, int ifindex, uint16_t flags)
{
    const struct ifinfomsg head = {.ifi_family = AF_UNSPEC, .ifi_index = ifindex};
    const uint32_t filter = WITHOUT_STATISTICS;

    sf_query_begin(query, RTM_GETLINK, flags, &head, sizeof(head));
    sf_query_add(query, IFLA_EXT_MASK, &filter, sizeof(filter));
}

/* ---- one device ---- */

static void read_link(void *context, const struct nlmsghdr *message)
{
    const struct ifinfomsg *head = head_of(message);
    struct sf_link_info *info = context;
    const struct rtattr *carrier;

    if (!head)
        return;
    carrier = find(message, IFLA_CARRIER);
    info->hardware = head->ifi_type;
    info->running = head->ifi_flags & IFF_RUNNING;
    info->carrier = carrier && RTA_PAYLOAD(carrier) >= 1 ? *(const uint8_t *)RTA_DATA(carrier) : info->running;
    info->rx_queues_most = sf_query_u32(find(message, IFLA_NUM_RX_QUEUES));
    sf_query_text(sf_query_find_inside(find(message, IFLA_LINKINFO), IFLA_INFO_KIND), info->kind, sizeof(info->kind));
}

int sf_link_read(int ifindex, struct sf_link_info *info)
{
    struct sf_query query;

    memset(info, 0, sizeof(*info));
    begin(&query, ifindex, 0);
    return sf_query_ask(NETLINK_ROUTE, &query, read_link, info);
}

/* ---- its ports ---- */

struct ports {
    int master;
    char *names;
    size_t size;
};

static void read_port(void *context, const struct nlmsghdr *message)
{
    struct ports *ports = context;
    char name[IFNAMSIZ];
    size_t used = strlen(ports->names);

    if (!head_of(message) || sf_query_u32(find(message, IFLA_MASTER)) != (uint32_t)ports->master)
        return;
    sf_query_text(find(message, IFLA_IFNAME), name, sizeof(name));
    if (used + strlen(name) + 3 <= ports->size)
        snprintf(ports->names + used, ports->size - used, "%s%s", used ? ", " : "", name);
}

void sf_link_ports(int ifindex, char *names, size_t size)
{
    struct ports ports = {.master = ifindex, .names = names, .size = size};
    struct sf_query query;

    names[0] = 0;
    begin(&query, 0, NLM_F_DUMP);
    (void)sf_query_ask(NETLINK_ROUTE, &query, read_port, &ports);
}
