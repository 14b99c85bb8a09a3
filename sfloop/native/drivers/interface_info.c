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

static bool is_virtual(int fd, struct ifreq *request, bool loopback)
{
    static const char *const drivers[] = {"veth", "tun", "macvlan", "macvtap", "bridge", "ipvlan", "dummy"};
    struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};

    if (loopback)
        return true;
    request->ifr_data = (char *)&info;
    if (ask(fd, request, SIOCETHTOOL))
        return false;
    for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++)
        if (strcmp(info.driver, drivers[i]) == 0)
            return true;
    return false;
}

static uint32_t count_queues(int fd, struct ifreq *request)
{
    struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
    uint32_t queues;

    request->ifr_data = (char *)&channels;
    if (ask(fd, request, SIOCETHTOOL))
        return 1;
    queues = channels.rx_count + channels.combined_count;
    return queues ? queues : 1;
}

static int read_all(int fd, struct ifreq *request, struct sf_interface_info *info)
{
    bool loopback;
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
    loopback = request->ifr_flags & IFF_LOOPBACK;
    info->virtual_peers = is_virtual(fd, request, loopback);
    info->queues = count_queues(fd, request);
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
