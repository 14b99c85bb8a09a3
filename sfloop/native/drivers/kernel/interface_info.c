#define _GNU_SOURCE 1
#include "interface_info.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int ask(int fd, struct ifreq *request, unsigned long what)
{
    return ioctl(fd, what, request) < 0 ? -errno : 0;
}

static void count_queues(int fd, struct ifreq *request, struct sf_interface_info *info)
{
    struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};

    info->queues = info->queues_most = 1;
    request->ifr_data = (char *)&channels;
    if (ask(fd, request, SIOCETHTOOL))
        return;
    if (channels.rx_count + channels.combined_count)
        info->queues = channels.rx_count + channels.combined_count;
    info->queues_most = channels.max_rx > channels.max_combined ? channels.max_rx : channels.max_combined;
    if (info->queues_most < info->queues)
        info->queues_most = info->queues;
}

static int read_all(int fd, struct ifreq *request, struct sf_interface_info *info)
{
    int error;

    if ((error = ask(fd, request, SIOCGIFINDEX)))
        return error;
    info->ifindex = request->ifr_ifindex;
    if ((error = ask(fd, request, SIOCGIFMTU)))
        return error;
    info->mtu = (uint32_t)request->ifr_mtu;
    if ((error = ask(fd, request, SIOCGIFHWADDR)))
        return error;
    memcpy(info->mac, request->ifr_hwaddr.sa_data, sizeof(info->mac));
    if ((error = ask(fd, request, SIOCGIFFLAGS)))
        return error;
    info->up = request->ifr_flags & IFF_UP;
    count_queues(fd, request, info);
    return 0;
}

int sf_interface_read_by(int fd, const char *name, struct sf_interface_info *info)
{
    struct ifreq request;

    memset(info, 0, sizeof(*info));
    memset(&request, 0, sizeof(request));
    if (strlen(name) >= IFNAMSIZ)
        return -ENODEV;
    strcpy(request.ifr_name, name);
    return read_all(fd, &request, info);
}

int sf_interface_read(const char *name, struct sf_interface_info *info)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), error;

    if (fd < 0)
        return -errno;
    error = sf_interface_read_by(fd, name, info);
    close(fd);
    return error;
}
