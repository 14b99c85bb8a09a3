#define _GNU_SOURCE 1
#include "vlan_tags.h"

#include "link_info.h"

#include <linux/ethtool.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* From linux/netdev.h, which headers before 6.3 lack. */
#define NETDEV_FAMILY "netdev"
#define NETDEV_VERSION 1
#define DEV_GET 1         /* NETDEV_CMD_DEV_GET */
#define DEV_IFINDEX 1     /* NETDEV_A_DEV_IFINDEX */
#define DEV_RX_METADATA 5 /* NETDEV_A_DEV_XDP_RX_METADATA_FEATURES */
#define METADATA_VLAN 4   /* NETDEV_XDP_RX_METADATA_VLAN_TAG */

/* ---- generic netlink: a query with one attribute ---- */

struct request {
    struct nlmsghdr header;
    struct genlmsghdr command;
    struct nlattr attribute;
    char value[16];
};

struct answer {
    _Alignas(8) char data[8192];
    size_t size;
};

static void write_request(struct request *request, uint16_t family, uint8_t command, uint8_t version)
{
    memset(request, 0, sizeof(*request));
    request->header.nlmsg_type = family;
    request->header.nlmsg_flags = NLM_F_REQUEST;
    request->command = (struct genlmsghdr){.cmd = command, .version = version};
}

static void set_attribute(struct request *request, uint16_t type, const void *value, size_t size)
{
    request->attribute = (struct nlattr){.nla_len = (uint16_t)(NLA_HDRLEN + size), .nla_type = type};
    memcpy(request->value, value, size);
    request->header.nlmsg_len = (uint32_t)(offsetof(struct request, value) + NLA_ALIGN(size));
}

/* False unless the kernel answers with one message of that family. */
static bool ask(int fd, const struct request *request, struct answer *answer)
{
    struct nlmsghdr header;
    ssize_t size;

    if (send(fd, request, request->header.nlmsg_len, 0) < 0)
        return false;
    size = recv(fd, answer->data, sizeof(answer->data), 0);
    if (size < (ssize_t)(NLMSG_HDRLEN + GENL_HDRLEN))
        return false;
    memcpy(&header, answer->data, sizeof(header));
    if (header.nlmsg_type != request->header.nlmsg_type || header.nlmsg_len > (size_t)size)
        return false;
    answer->size = header.nlmsg_len;
    return true;
}

/* Copies an attribute of at least `size` bytes. False: there is none. */
static bool read_attribute(const struct answer *answer, uint16_t type, void *value, size_t size)
{
    size_t at = NLMSG_HDRLEN + GENL_HDRLEN;

    while (at + NLA_HDRLEN <= answer->size) {
        struct nlattr attribute;

        memcpy(&attribute, answer->data + at, sizeof(attribute));
        if (attribute.nla_len < NLA_HDRLEN || attribute.nla_len > answer->size - at)
            return false;
        if ((attribute.nla_type & NLA_TYPE_MASK) == type && attribute.nla_len >= NLA_HDRLEN + size) {
            memcpy(value, answer->data + at + NLA_HDRLEN, size);
            return true;
        }
        at += NLA_ALIGN(attribute.nla_len);
    }
    return false;
}

/* ---- queries ---- */

static bool find_family(int fd, uint16_t *family)
{
    struct request request;
    struct answer answer;

    write_request(&request, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
    set_attribute(&request, CTRL_ATTR_FAMILY_NAME, NETDEV_FAMILY, sizeof(NETDEV_FAMILY));
    return ask(fd, &request, &answer) && read_attribute(&answer, CTRL_ATTR_FAMILY_ID, family, sizeof(*family));
}

static bool tells_tags(int ifindex)
{
    /* For safety only: the kernel answers before send() returns. */
    const struct timeval patience = {.tv_sec = 1};
    const uint32_t index = (uint32_t)ifindex;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
    struct request request;
    struct answer answer;
    uint64_t features = 0;
    uint16_t family;

    if (fd < 0)
        return false;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (find_family(fd, &family)) {
        write_request(&request, family, DEV_GET, NETDEV_VERSION);
        set_attribute(&request, DEV_IFINDEX, &index, sizeof(index));
        if (!ask(fd, &request, &answer) || !read_attribute(&answer, DEV_RX_METADATA, &features, sizeof(features)))
            features = 0;
    }
    close(fd);
    return features & METADATA_VLAN;
}

static bool is_physical(const char *name)
{
    char path[64];

    snprintf(path, sizeof(path), "/sys/class/net/%s/device", name);
    return access(path, F_OK) == 0;
}

/* Reads the feature rx-vlan-hw-parse of ethtool(8), short rxvlan. */
static bool takes_tags_out(const char *name)
{
    struct ethtool_value flags = {.cmd = ETHTOOL_GFLAGS};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request;
    bool known;

    if (fd < 0)
        return false;
    memset(&request, 0, sizeof(request));
    snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
    request.ifr_data = (char *)&flags;
    known = ioctl(fd, SIOCETHTOOL, &request) == 0;
    close(fd);
    return known && (flags.data & ETH_FLAG_RXVLAN);
}

/*
 * The kernel removes the first tag of every frame before it hands the frame to a bridge, macvlan, ipvlan or team. A veth pair
 * carries a tag that a VLAN device or a bridge adds at its other end outside the frame. Neither depends on an offload of this
 * interface. A tunnel's inner frame keeps its tag inside, and so does a frame that a program writes into a tap. A VLAN device
 * gets frames without its own tag. The tags of other kinds of device count as removed.
 */
static bool leaves_tags_in(int ifindex)
{
    static const char *const kinds[] = {"vxlan", "geneve", "gretap", "ip6gretap", "erspan", "ip6erspan", "tun", "vlan"};
    struct sf_link_info link;

    if (sf_link_read(ifindex, &link))
        return false;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(link.kind, kinds[i]) == 0)
            return true;
    return false;
}

void sf_vlan_tags_read(struct sf_vlan_tags *tags, const char *name, int ifindex)
{
    tags->told = tells_tags(ifindex);
    if (is_physical(name))
        tags->aside = takes_tags_out(name) ? SF_TAGS_BY_NIC : SF_TAGS_IN_FRAMES;
    else
        tags->aside = leaves_tags_in(ifindex) ? SF_TAGS_IN_FRAMES : SF_TAGS_BY_KERNEL;
}
