/* Linux as the host of a script: its TCP in a network namespace, behind a TUN device that the runner reads and writes. */
#ifndef SF_TEST_SEGMENT_LINUX_H
#define SF_TEST_SEGMENT_LINUX_H

#include "segment_repair.h"
#include "segment_runner.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>

#define LINUX_ADDR "10.77.0.1"
#define LINUX_PEER "10.77.0.2"

static int linux_tun = -1, linux_listener = -1, linux_sock = -1;

/* Moves the process into a new network namespace. Returns 0, or a negative errno if the namespace or TUN is not available. */
static inline int linux_enter(void)
{
    int fd;

    if (unshare(CLONE_NEWNET) < 0)
        return -errno;
    fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    close(fd);
    return 0;
}

static inline void linux_address(int fd, struct ifreq *ifr, unsigned long request, const char *addr)
{
    struct sockaddr_in name = address(addr, 0);

    memcpy(&ifr->ifr_addr, &name, sizeof name);
    CHECK(ioctl(fd, request, ifr) == 0);
}

/* Turns off a deviation of Linux from the RFCs: SYNs are retransmitted without backoff at first (since 6.5). The setting belongs
 * to the namespace. */
static inline void linux_be_plain(void)
{
    int fd = open("/proc/sys/net/ipv4/tcp_syn_linear_timeouts", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    CHECK(write(fd, "0", 1) == 1);
    close(fd);
}

static inline void linux_begin(uint32_t mtu)
{
    struct ifreq ifr = {.ifr_name = "segments", .ifr_flags = IFF_TUN | IFF_NO_PI};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    linux_be_plain();
    linux_tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    CHECK(linux_tun >= 0 && ioctl(linux_tun, TUNSETIFF, &ifr) == 0);
    linux_address(fd, &ifr, SIOCSIFADDR, LINUX_ADDR);
    linux_address(fd, &ifr, SIOCSIFNETMASK, "255.255.255.0");
    ifr.ifr_mtu = (int)mtu;
    CHECK(ioctl(fd, SIOCSIFMTU, &ifr) == 0);
    ifr.ifr_flags = IFF_UP | IFF_RUNNING;
    CHECK(ioctl(fd, SIOCSIFFLAGS, &ifr) == 0);
    close(fd);
}

static inline void linux_end(void)
{
    if (linux_sock >= 0)
        close(linux_sock);
    if (linux_listener >= 0)
        close(linux_listener);
    close(linux_tun);
}

static inline void linux_inject(const uint8_t *packet, size_t len)
{
    CHECK(write(linux_tun, packet, len) == (ssize_t)len);
}

static inline size_t linux_next(uint8_t *packet, sf_ns until)
{
    for (;;) {
        struct pollfd p = {.fd = linux_tun, .events = POLLIN};
        sf_ns left = until - sf_now();
        ssize_t n = read(linux_tun, packet, PACKET_MAX);
        struct timespec wait = {left / SF_SEC, left % SF_SEC};

        if (n > 0)
            return (size_t)n;
        if (left <= 0)
            return 0;
        ppoll(&p, 1, &wait, NULL);
    }
}

static inline int linux_result(ssize_t rc)
{
    return rc < 0 ? -errno : (int)rc;
}

static inline int linux_listen(void)
{
    struct sockaddr_in name = address(LINUX_ADDR, HOST_PORT);
    int on = 1;

    linux_listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(linux_listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    CHECK(bind(linux_listener, (struct sockaddr *)&name, sizeof name) == 0);
    return linux_result(listen(linux_listener, 16));
}

static inline int linux_connect(void)
{
    struct sockaddr_in name = address(LINUX_PEER, PEER_PORT);
    int rc;

    if (linux_sock < 0)
        linux_sock = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    rc = linux_result(connect(linux_sock, (struct sockaddr *)&name, sizeof name));
    return rc == -EINPROGRESS ? 0 : rc;
}

static inline int linux_import(const struct sf_tcp_image *image)
{
    if (linux_sock < 0)
        linux_sock = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return repair_import(linux_sock, image);
}

static inline int linux_connected(void)
{
    struct pollfd p = {.fd = linux_sock, .events = POLLOUT};
    int error = 0;
    socklen_t len = sizeof error;

    if (poll(&p, 1, 100) == 0)
        return -EINPROGRESS;
    CHECK(getsockopt(linux_sock, SOL_SOCKET, SO_ERROR, &error, &len) == 0);
    return -error;
}

static inline int linux_accept(void)
{
    int fd = accept4(linux_listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;

    if (fd < 0)
        return -errno;
    if (linux_sock >= 0)
        close(linux_sock);
    linux_sock = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return 0;
}

static inline ssize_t linux_send(const uint8_t *data, size_t len)
{
    return linux_result(send(linux_sock, data, len, MSG_NOSIGNAL));
}

static inline ssize_t linux_recv(uint8_t *data, size_t len)
{
    return linux_result(recv(linux_sock, data, len, 0));
}

static inline int linux_shutdown(void)
{
    return linux_result(shutdown(linux_sock, SHUT_WR));
}

static inline int linux_close(void)
{
    int fd = linux_sock;

    linux_sock = -1;
    return linux_result(close(fd));
}

static inline int linux_set(int level, int name, const void *value, socklen_t len)
{
    if (linux_sock < 0 && linux_listener < 0)
        linux_sock = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return linux_result(setsockopt(linux_sock >= 0 ? linux_sock : linux_listener, level, name, value, len));
}

static inline uint16_t linux_port(void)
{
    return linux_listener >= 0 ? HOST_PORT : ntohs(name_of(linux_sock).sin_port);
}

/* Segments may be early by a few ticks of Linux's timers, and late because the kernel and the test have to get the CPU. */
static inline struct segment_host linux_host(void)
{
    return (struct segment_host){
        .name = "Linux", .early = 12, .late = 250, .begin = linux_begin, .end = linux_end, .now = sf_now,
        .inject = linux_inject, .next = linux_next, .host_addr = inet_addr(LINUX_ADDR), .peer_addr = inet_addr(LINUX_PEER),
        .listen = linux_listen, .connect = linux_connect, .import = linux_import, .connected = linux_connected, .accept = linux_accept,
        .send = linux_send, .recv = linux_recv, .shutdown = linux_shutdown, .close = linux_close, .set = linux_set,
        .local_port = linux_port,
    };
}

#endif
