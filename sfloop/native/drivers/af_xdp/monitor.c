#define _GNU_SOURCE 1
#include "monitor.h"

#include "drivers/kernel/netlink_query.h"
#include "storage/epoll.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#define INTERVAL SF_SEC

#ifndef NETLINK_ADD_MEMBERSHIP
#define NETLINK_ADD_MEMBERSHIP 1
#endif
#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

static int listen_to(int protocol, uint32_t group)
{
    const struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol), error;

    if (fd < 0)
        return -errno;
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
        setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) == 0)
        return fd;
    error = -errno;
    close(fd);
    return error;
}

static int watch(const struct sf_af_xdp_monitor *monitor, int fd)
{
    return sf_epoll_add(monitor->epoll, fd, EPOLLIN, (uint64_t)fd);
}

int sf_af_xdp_monitor_open(struct sf_af_xdp_monitor *monitor)
{
    struct sf_query_family ethtool;
    int error;

    monitor->links = monitor->channels = -1;
    monitor->due = SF_NEVER;
    monitor->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (monitor->epoll < 0)
        return -errno;
    monitor->links = listen_to(NETLINK_ROUTE, RTNLGRP_LINK);
    error = monitor->links < 0 ? monitor->links : watch(monitor, monitor->links);
    if (!error && sf_query_find_family("ethtool", "monitor", &ethtool) == 0 && ethtool.group)
        monitor->channels = listen_to(NETLINK_GENERIC, ethtool.group);
    if (!error && monitor->channels >= 0)
        error = watch(monitor, monitor->channels);
    else if (!error)
        sf_af_xdp_monitor_again(monitor);
    if (error)
        sf_af_xdp_monitor_close(monitor);
    return error;
}

static void close_descriptor(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void sf_af_xdp_monitor_close(struct sf_af_xdp_monitor *monitor)
{
    close_descriptor(&monitor->links);
    close_descriptor(&monitor->channels);
    close_descriptor(&monitor->epoll);
}

/* Discards the notifications, because the driver reads the current state instead. */
static void read_empty(int fd)
{
    char message[4096];

    while (recv(fd, message, sizeof(message), MSG_DONTWAIT) >= 0 || errno == ENOBUFS)
        ;
}

bool sf_af_xdp_monitor_changed(struct sf_af_xdp_monitor *monitor)
{
    struct epoll_event events[2];
    int n = epoll_wait(monitor->epoll, events, 2, 0);

    for (int i = 0; i < n; i++)
        read_empty((int)events[i].data.u64);
    if (n <= 0 && (monitor->due == SF_NEVER || sf_now() < monitor->due))
        return false;
    monitor->due = SF_NEVER;
    if (monitor->channels < 0)
        sf_af_xdp_monitor_again(monitor);
    return true;
}

void sf_af_xdp_monitor_again(struct sf_af_xdp_monitor *monitor)
{
    monitor->due = sf_now() + INTERVAL;
}
