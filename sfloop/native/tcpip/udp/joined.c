/*
 * Finds the groups that a socket has joined. The kernel does not list them. But it lists the groups that all programs together
 * have joined on an interface, and tells for each whether a socket is a member.
 */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <netinet/in.h>
#include <stdio.h>

static bool is_member(const struct sf_udp_socket *s, uint32_t group)
{
    struct group_filter filter = {.gf_interface = (uint32_t)s->tcpip->interface.index};
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = group};
    socklen_t len = GROUP_FILTER_SIZE(0);

    memcpy(&filter.gf_group, &name, sizeof(name));
    return getsockopt(s->fd, IPPROTO_IP, MCAST_MSFILTER, &filter, &len) == 0;
}

/* An interface's line begins with its index. A line for each of its groups follows, which begins with a tab. */
void sf_udp_groups_learn(struct sf_udp_socket *s)
{
    struct sf_tcpip *t = s->tcpip;
    FILE *file = s->local_addr || !t->interface.index ? NULL : fopen("/proc/thread-self/net/igmp", "re");
    unsigned index = 0, group;
    char line[256];

    if (!file)
        return;
    while (fgets(line, sizeof(line), file)) {
        if (line[0] != '\t')
            index = sscanf(line, "%u", &index) == 1 ? index : 0;
        else if ((int)index == t->interface.index && sscanf(line, "%x", &group) == 1 && is_member(s, group))
            sf_udp_take_group(s, group);
    }
    fclose(file);
}
