/* The options that the program has set on the side socket, read back from it. */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <unistd.h>

#define LEAST_ROOM (64 * 1024) /* the datagrams of a burst or two */
#define ROOM_LIFE SF_MS

static int option(int fd, int name, int otherwise)
{
    int value = otherwise;
    socklen_t len = sizeof(value);

    return getsockopt(fd, IPPROTO_IP, name, &value, &len) < 0 ? otherwise : value;
}

int sf_udp_want_timestamps(struct sf_udp_socket *s, bool wanted)
{
    struct sf_driver *driver = s->tcpip->driver;
    int on = wanted;

    if (setsockopt(s->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) < 0)
        return -errno;
    if (driver && wanted != s->timestamps)
        sf_driver_rx_stamps(driver, wanted);
    s->timestamps = wanted;
    return 0;
}

/* SO_RCVBUF of a socket that has not set it. */
static int default_room(struct sf_tcpip *t)
{
    socklen_t len = sizeof(t->default_rcvbuf);
    int fd;

    if (t->default_rcvbuf)
        return t->default_rcvbuf;
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &t->default_rcvbuf, &len) < 0)
        t->default_rcvbuf = -1;
    if (fd >= 0)
        close(fd);
    return t->default_rcvbuf;
}

void sf_udp_read_room(struct sf_udp_socket *s)
{
    int room = 0;
    socklen_t len = sizeof(room);

    s->room_until = s->tcpip->now + ROOM_LIFE;
    if (getsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &room, &len) < 0 || room == default_room(s->tcpip))
        s->backlog.limit = s->tcpip->backlog_limit;
    else
        s->backlog.limit = room < LEAST_ROOM ? LEAST_ROOM : (size_t)room;
}

void sf_udp_refresh(struct sf_udp_socket *s)
{
    int discover = option(s->fd, IP_MTU_DISCOVER, IP_PMTUDISC_WANT);
    struct in_addr interface = {0};
    socklen_t len = sizeof(interface);
    struct sf_udp_options options;

    memset(&options, 0, sizeof(options)); /* including the padding, for the comparison */
    options.ttl = (uint8_t)option(s->fd, IP_TTL, s->tcpip->ttl);
    options.tos = (uint8_t)option(s->fd, IP_TOS, 0);
    options.dont_fragment = discover == IP_PMTUDISC_WANT || discover == IP_PMTUDISC_DO || discover == IP_PMTUDISC_PROBE;
    options.multicast_ttl = (uint8_t)option(s->fd, IP_MULTICAST_TTL, 1);
    options.multicast_loop = option(s->fd, IP_MULTICAST_LOOP, 1) != 0;
    if (getsockopt(s->fd, IPPROTO_IP, IP_MULTICAST_IF, &interface, &len) == 0)
        options.multicast_addr = interface.s_addr;
    sf_udp_groups_outdate(s);
    if (!memcmp(&options, &s->options, sizeof(options)))
        return;
    s->options = options;
    for (int i = 0; i < SF_UDP_DESTINATIONS; i++)
        s->destinations[i].generation = 0;
}
