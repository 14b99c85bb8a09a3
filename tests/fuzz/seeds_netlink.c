/* Writes the seeds of fuzz_netlink: messages as the kernel sends them. */
#define _GNU_SOURCE
#include "netlink_numbers.h"

#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static _Alignas(8) char message[1024];
static const char *folder;

static struct nlmsghdr *header(void)
{
    return (struct nlmsghdr *)message;
}

static void *begin(int type, size_t body, uint32_t sequence)
{
    memset(message, 0, sizeof message);
    *header() = (struct nlmsghdr){
        .nlmsg_len = (uint32_t)NLMSG_LENGTH(body), .nlmsg_type = (uint16_t)type, .nlmsg_seq = sequence, .nlmsg_pid = PORT};
    return message + NLMSG_HDRLEN;
}

static void add(int type, const void *data, size_t len)
{
    char *at = message + NLMSG_ALIGN(header()->nlmsg_len);
    struct rtattr attribute = {.rta_len = (uint16_t)RTA_LENGTH(len), .rta_type = (uint16_t)type};

    memcpy(at, &attribute, sizeof attribute);
    memcpy(at + RTA_LENGTH(0), data, len);
    header()->nlmsg_len = (uint32_t)(NLMSG_ALIGN(header()->nlmsg_len) + RTA_SPACE(len));
}

static void add_number(int type, uint32_t value)
{
    add(type, &value, sizeof value);
}

static void save(const char *name, int how)
{
    uint32_t len = NLMSG_ALIGN(header()->nlmsg_len);
    char path[4096];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "wb");
    if (!file || fputc(how, file) == EOF || fputc((int)(len / 4), file) == EOF || fwrite(message, 1, len, file) != len ||
        fclose(file)) {
        perror(path);
        exit(1);
    }
}

static void routes(void)
{
    static const struct rtattr mtu = {.rta_len = 8, .rta_type = RTAX_MTU};
    struct rtmsg *route;
    uint32_t metrics[2] = {0, 1400};

    for (uint32_t sequence = RUNNING; sequence < RUNNING + 4; sequence++) {
        char name[32];

        route = begin(RTM_NEWROUTE, sizeof *route, sequence);
        *route = (struct rtmsg){.rtm_family = AF_INET, .rtm_dst_len = 32, .rtm_type = RTN_UNICAST};
        add(RTA_DST, (uint8_t[]){10, 0, 0, 2}, 4);
        add_number(RTA_OIF, INTERFACE);
        add(RTA_GATEWAY, (uint8_t[]){10, 0, 0, 9}, 4);
        add(RTA_PREFSRC, (uint8_t[]){10, 0, 0, 1}, 4);
        memcpy(metrics, &mtu, sizeof mtu);
        add(RTA_METRICS, metrics, sizeof metrics);
        snprintf(name, sizeof name, "route-%u", sequence);
        save(name, 0);
    }
}

static void neighbours(void)
{
    struct ndmsg *neighbour = begin(RTM_NEWNEIGH, sizeof *neighbour, RUNNING);

    *neighbour = (struct ndmsg){.ndm_family = AF_INET, .ndm_ifindex = INTERFACE, .ndm_state = NUD_REACHABLE};
    add(NDA_DST, (uint8_t[]){10, 0, 0, 2}, 4);
    add(NDA_LLADDR, (uint8_t[]){2, 0, 0, 0, 0, 2}, 6);
    save("neighbour", 3);
    header()->nlmsg_type = RTM_DELNEIGH;
    save("neighbour-gone", 0);
}

static void interface(void)
{
    struct ifinfomsg *link = begin(RTM_NEWLINK, sizeof *link, RUNNING);
    struct ifaddrmsg *address;

    *link = (struct ifinfomsg){.ifi_index = INTERFACE, .ifi_flags = IFF_UP | IFF_RUNNING};
    add(IFLA_ADDRESS, (uint8_t[]){2, 0, 0, 0, 0, 7}, 6);
    add_number(IFLA_MTU, 9000);
    save("link", 1);
    header()->nlmsg_type = RTM_DELLINK;
    save("link-gone", 0);
    address = begin(RTM_NEWADDR, sizeof *address, RUNNING);
    *address = (struct ifaddrmsg){.ifa_family = AF_INET, .ifa_prefixlen = 24, .ifa_index = INTERFACE};
    add(IFA_LOCAL, (uint8_t[]){10, 0, 0, 1}, 4);
    add(IFA_BROADCAST, (uint8_t[]){10, 0, 0, 255}, 4);
    save("address", 2);
    header()->nlmsg_type = RTM_DELADDR;
    save("address-gone", 0);
}

static void others(void)
{
    struct nlmsgerr *error = begin(NLMSG_ERROR, sizeof *error, RUNNING);

    *error = (struct nlmsgerr){.error = -19, .msg.nlmsg_type = RTM_GETROUTE};
    save("error", 1);
    error->msg.nlmsg_type = RTM_NEWNEIGH;
    error->error = -1;
    save("error-neighbour", 0);
    begin(NLMSG_DONE, 4, RUNNING);
    save("done", 2);
    begin(NLMSG_OVERRUN, 0, RUNNING);
    save("overrun", 28);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s folder\n", argv[0]);
        return 2;
    }
    folder = argv[1];
    routes();
    neighbours();
    interface();
    others();
    return 0;
}
