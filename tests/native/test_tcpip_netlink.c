/*
 * The tcpip stack learns addresses, routes, neighbours, MTUs and ICMP errors from the kernel. The test runs in two network
 * namespaces of its own, which a veth pair joins and which end with the process. The driver is a stand-in that keeps the last
 * frame sent. The test is skipped where it may not create namespaces.
 */
#define _GNU_SOURCE
#include "sf/driver.h"
#include "stacks/tcpip/config.h"

#include "namespaces.h"
#include "stack_seam.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>


/* ---- a driver that keeps the last frame sent, and delivers the frame that the test puts into `brought` ---- */

struct stand_in {
    struct sf_driver base;
    struct sf_driver_caps caps;
    uint8_t sent[9100], brought[2048];
    uint32_t sent_len, brought_len;
    int n_sent, flows;
};

static int in_burst(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    struct stand_in *d = (struct stand_in *)driver;

    if (!d->brought_len || !n)
        return 0;
    frames[0] = (struct sf_frame){.data = d->brought, .len = d->brought_len};
    d->brought_len = 0;
    return 1;
}

static void in_release(struct sf_driver *driver, struct sf_frame *frames, int n)
{
    (void)driver;
    (void)frames;
    (void)n;
}

static int in_reserve(struct sf_driver *driver, uint32_t len, struct sf_frame *pieces, int max)
{
    (void)max;
    if (len > sizeof(((struct stand_in *)driver)->sent))
        return -EMSGSIZE;
    pieces[0] = (struct sf_frame){.data = ((struct stand_in *)driver)->sent, .len = len};
    return 1;
}

static void in_commit(struct sf_driver *driver, struct sf_frame *pieces, int n)
{
    (void)n;
    ((struct stand_in *)driver)->sent_len = pieces->len;
    ((struct stand_in *)driver)->n_sent++;
}

static void in_flush(struct sf_driver *driver)
{
    (void)driver;
}

static void in_close(struct sf_driver *driver)
{
    (void)driver;
}

static void in_caps(struct sf_driver *driver, struct sf_driver_caps *caps)
{
    *caps = ((struct stand_in *)driver)->caps;
}

static int in_add(struct sf_driver *driver, const struct sf_flow *flow)
{
    (void)flow;
    ((struct stand_in *)driver)->flows++;
    return 0;
}

static int in_del(struct sf_driver *driver, const struct sf_flow *flow)
{
    (void)flow;
    ((struct stand_in *)driver)->flows--;
    return 0;
}

static const struct sf_driver_control in_control = {
    .name = "stand-in", .close = in_close, .caps = in_caps, .filter_add = in_add, .filter_del = in_del};

static struct stand_in driver = {
    .base.fast = {in_burst, in_release, in_reserve, in_release, in_commit, in_flush, &in_control},
    .caps = {.mtu = 9000, .rx_lent = 8},
};

/* ---- the namespaces ---- */

static int here, there; /* namespaces */
static uint8_t own_mac[6], peer_mac[6];

static void read_mac(const char *interface, uint8_t mac[6])
{
    struct ifreq request = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    strcpy(request.ifr_name, interface);
    CHECK(ioctl(fd, SIOCGIFHWADDR, &request) == 0);
    memcpy(mac, request.ifr_hwaddr.sa_data, 6);
    close(fd);
}

static void join_namespaces(void)
{
    new_veth_pair(&here, &there);
    DO("ip link set lo up && ip addr add 10.77.0.1/24 brd + dev v0 && ip link set v0 up");
    enter(there);
    DO("ip addr add 10.77.0.2/24 dev v1 && ip link set v1 up");
    read_mac("v1", peer_mac);
    enter(here);
    read_mac("v0", own_mac);
    DO("ip route add 10.88.0.0/16 via 10.77.0.2 && ip route add 10.89.0.0/16 via 10.77.0.2 mtu 800");
    driver.caps.ifindex = (int)if_nametoindex("v0");
}

/* ---- the stack ---- */

static struct sf_stack *stack;
static sf_ns now;

static int poll_late(void)
{
    static struct sf_event events[16];

    now += 2 * SF_MS;
    return stack->ops->poll(stack, now, events, 16);
}

static int udp_socket(const char *addr, int port)
{
    struct sockaddr_in name = address(addr, port);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof(name)) == 0);
    return fd;
}

static struct sf_sock *adopt(int fd, uint32_t slot)
{
    struct sf_sock *sock = NULL;

    CHECK(stack->ops->adopt(stack, fd, SF_KIND_DATAGRAM, slot, slot, &sock) == 0);
    CHECK(stack->ops->interest(sock, SF_READABLE) == 0);
    return sock;
}

static uint8_t zeros[9000];

static ssize_t send_to(struct sf_sock *sock, const char *addr, size_t len)
{
    struct sockaddr_in to = address(addr, 7);

    return stack->ops->send_to(sock, zeros, len, (struct sockaddr *)&to, sizeof(to));
}

/* Sends a datagram up to 3,000 times. Returns true as soon as one leaves by the driver. The kernel may send the first ones, and
 * a link that comes up may take a second. addr NULL: the connected peer. */
static bool becomes_direct(struct sf_sock *sock, const char *addr, size_t len)
{
    for (int i = 0; i < 3000; i++) {
        int before = driver.n_sent;

        if (addr)
            send_to(sock, addr, len);
        else
            stack->ops->send_to(sock, zeros, len, NULL, 0);
        if (driver.n_sent > before)
            return true;
        usleep(1000);
        poll_late();
    }
    return false;
}

/* Sends 20 datagrams, with time for the stack to learn from the kernel. Returns true if the kernel sends all of them. */
static bool stays_with_kernel(struct sf_sock *sock, const char *addr, size_t len)
{
    int before = driver.n_sent;

    for (int i = 0; i < 20; i++) {
        send_to(sock, addr, len);
        usleep(500);
        poll_late();
    }
    return driver.n_sent == before;
}

static void settle(void)
{
    for (int i = 0; i < 20; i++) {
        usleep(1000);
        poll_late();
    }
}

/* ---- the tests ---- */

static void test_direct(struct sf_sock *sock)
{
    static const uint8_t ip[] = {0x45, 0, 0, 38, 0, 0, 0x40, 0, 64, 17};

    CHECK(becomes_direct(sock, "10.77.0.2", 10));
    CHECK(counter_of(stack, "tx_side_unresolved") > 0);
    CHECK(driver.sent_len == 52 && !memcmp(driver.sent, peer_mac, 6) && !memcmp(driver.sent + 6, own_mac, 6));
    CHECK(!memcmp(driver.sent + 14, ip, 4) && !memcmp(driver.sent + 20, ip + 6, 4));
    CHECK(!memcmp(driver.sent + 26, &(uint32_t){inet_addr("10.77.0.1")}, 4));
    CHECK(!memcmp(driver.sent + 30, &(uint32_t){inet_addr("10.77.0.2")}, 4));
    CHECK(becomes_direct(sock, "10.77.0.2", 1472));
    CHECK(stays_with_kernel(sock, "10.77.0.2", 1473));
    CHECK(stays_with_kernel(sock, "127.0.0.1", 10));
    CHECK(stays_with_kernel(sock, "10.77.0.1", 10));
    CHECK(send_to(sock, "10.77.0.255", 10) == -EACCES);
    CHECK(send_to(sock, "192.0.2.1", 10) == -ENETUNREACH);
}

static void test_routes(struct sf_sock *sock)
{
    CHECK(becomes_direct(sock, "10.88.1.1", 10));
    CHECK(!memcmp(driver.sent, peer_mac, 6));
    CHECK(becomes_direct(sock, "10.89.1.1", 772));
    CHECK(stays_with_kernel(sock, "10.89.1.1", 773));
    DO("ip route replace blackhole 10.88.0.0/16");
    settle();
    send_to(sock, "10.88.1.1", 10); /* a path in use stays valid until the kernel answers */
    settle();
    CHECK(stays_with_kernel(sock, "10.88.1.1", 10));
    DO("ip route del blackhole 10.88.0.0/16 && ip route replace 10.88.0.0/16 via 10.77.0.2");
    settle();
    CHECK(becomes_direct(sock, "10.88.1.1", 10));
}

static void test_neighbours(struct sf_sock *sock)
{
    static const uint8_t other[6] = {2, 0, 0, 0, 0, 9};
    uint64_t before;

    DO("ip neigh replace 10.77.0.2 dev v0 lladdr 02:00:00:00:00:09 nud permanent");
    settle();
    CHECK(becomes_direct(sock, "10.88.1.1", 10) && !memcmp(driver.sent, other, 6));
    before = counter_of(stack, "tx_side_unresolved");
    DO("ip neigh del 10.77.0.2 dev v0");
    settle();
    CHECK(becomes_direct(sock, "10.88.1.1", 10) && !memcmp(driver.sent, peer_mac, 6));
    CHECK(counter_of(stack, "tx_side_unresolved") > before);
    CHECK(stays_with_kernel(sock, "10.77.0.99", 10)); /* no host has this address */
    DO("ip neigh replace 10.77.0.2 dev v0 lladdr 02:00:00:00:00:09 nud stale");
    settle();
    now += 10 * SF_SEC;
    CHECK(becomes_direct(sock, "10.77.0.2", 10)); /* a stale neighbour is used at once; the kernel confirms it */
    for (int i = 0; i < 80 && memcmp(driver.sent, peer_mac, 6); i++) {
        usleep(100000);
        poll_late();
        send_to(sock, "10.77.0.2", 10);
    }
    CHECK(!memcmp(driver.sent, peer_mac, 6));
}

static void test_mtu_of_the_interface(struct sf_sock *sock)
{
    DO("ip link set v0 mtu 600");
    settle();
    CHECK(stays_with_kernel(sock, "10.77.0.2", 1000));
    CHECK(becomes_direct(sock, "10.77.0.2", 572));
    DO("ip link set v0 mtu 1500");
    settle();
    CHECK(becomes_direct(sock, "10.77.0.2", 1472));
}

static void test_down_and_up(struct sf_sock *sock)
{
    DO("ip link set v0 down");
    settle();
    CHECK(stays_with_kernel(sock, "10.77.0.2", 10));
    CHECK(counter_of(stack, "tx_side_down") > 0);
    DO("ip link set v0 up && ip route add 10.88.0.0/16 via 10.77.0.2");
    settle();
    CHECK(becomes_direct(sock, "10.77.0.2", 10));
    CHECK(becomes_direct(sock, "10.88.1.1", 10));
}

static uint16_t checksum(const uint8_t *bytes, size_t len)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < len; i += 2)
        sum += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t) ~((sum & 0xffff) + (sum >> 16));
}

/* Sends an ICMP error that quotes the last frame sent, from the other namespace. */
static void icmp_error(uint8_t code, uint16_t mtu)
{
    uint8_t message[36] = {3, code, 0, 0, 0, 0, (uint8_t)(mtu >> 8), (uint8_t)mtu};
    struct sockaddr_in to = address("10.77.0.1", 0);
    uint16_t sum;
    int fd;

    memcpy(message + 8, driver.sent + 14, 28);
    sum = checksum(message, sizeof(message));
    message[2] = (uint8_t)(sum >> 8);
    message[3] = (uint8_t)sum;
    enter(there);
    fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
    enter(here);
    CHECK(fd >= 0);
    CHECK(sendto(fd, message, sizeof(message), 0, (struct sockaddr *)&to, sizeof(to)) == sizeof(message));
    close(fd);
    settle();
}

static void test_icmp(struct sf_sock *sock)
{
    struct sf_datagram out[64];
    struct sockaddr_in peer = address("10.77.0.2", 7);
    struct sf_sock *connected;
    uint64_t before;
    int fd = udp_socket("0.0.0.0", 0);

    while (stack->ops->recv_batch(sock, out, 64) > 0)
        ;
    before = counter_of(stack, "icmp_errors");
    CHECK(becomes_direct(sock, "10.77.0.2", 10));
    icmp_error(3, 0);
    CHECK(counter_of(stack, "icmp_errors") > before);
    CHECK(stack->ops->recv_batch(sock, out, 64) == -EAGAIN); /* an unconnected socket does not report it */
    CHECK(becomes_direct(sock, "10.77.0.2", 10));
    CHECK(connect(fd, (struct sockaddr *)&peer, sizeof(peer)) == 0);
    connected = adopt(fd, 9);
    stack->ops->recv_batch(connected, out, 64);
    CHECK(becomes_direct(connected, NULL, 20) && driver.sent_len == 62);
    settle();
    stack->ops->recv_batch(connected, out, 64); /* the peer has refused a datagram that the kernel sent */
    CHECK(becomes_direct(connected, NULL, 20));
    icmp_error(3, 0);
    CHECK(poll_late() == 1);
    CHECK(stack->ops->recv_batch(connected, out, 64) == -ECONNREFUSED);
    CHECK(stack->ops->recv_batch(connected, out, 64) == -EAGAIN);
    icmp_error(3, 0);
    CHECK(stack->ops->send_to(connected, zeros, 20, NULL, 0) == -ECONNREFUSED);
    CHECK(stack->ops->send_to(connected, zeros, 20, NULL, 0) == 20);
    stack->ops->release(connected);
    close(fd);
    CHECK(becomes_direct(sock, "10.88.1.1", 1472));
    icmp_error(4, 1000);
    CHECK(counter_of(stack, "path_mtu_learned") == 1);
    CHECK(stays_with_kernel(sock, "10.88.1.1", 973));
    CHECK(becomes_direct(sock, "10.88.1.1", 972));
    CHECK(becomes_direct(sock, "10.77.0.2", 1472));
    now += 601 * SF_SEC;
}

static void bring(struct sf_sock *sock, const uint8_t *dst_mac, const char *src, const char *dst, int want)
{
    struct sf_datagram out[64];
    uint32_t addr;
    uint16_t sum;
    int n;
    struct sockaddr_in name;
    socklen_t len = sizeof(name);
    static const uint8_t start[] = {0x08, 0x00, 0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17};

    CHECK(getsockname(4000, (struct sockaddr *)&name, &len) == 0);
    poll_late();
    while (stack->ops->recv_batch(sock, out, 64) > 0)
        ;
    memset(driver.brought, 0, 64);
    memcpy(driver.brought, dst_mac, 6);
    memcpy(driver.brought + 12, start, sizeof(start));
    addr = inet_addr(src);
    memcpy(driver.brought + 26, &addr, 4);
    addr = inet_addr(dst);
    memcpy(driver.brought + 30, &addr, 4);
    sum = checksum(driver.brought + 14, 20);
    driver.brought[24] = (uint8_t)(sum >> 8);
    driver.brought[25] = (uint8_t)sum;
    driver.brought[35] = 7;
    memcpy(driver.brought + 36, &name.sin_port, 2);
    driver.brought[39] = 10;
    driver.brought_len = 60; /* the shortest Ethernet frame */
    poll_late();
    n = stack->ops->recv_batch(sock, out, 64);
    CHECK(n == want && (n < 0 || out[0].len == 2));
}

static void test_what_is_received(struct sf_sock *sock)
{
    static const uint8_t stranger[6] = {2, 9, 9, 9, 9, 9}, all[6] = {255, 255, 255, 255, 255, 255},
                         group[6] = {1, 0, 0x5e, 77, 0, 1};

    bring(sock, own_mac, "10.77.0.2", "10.77.0.1", 1);
    bring(sock, stranger, "10.77.0.2", "10.77.0.1", -EAGAIN);
    CHECK(counter_of(stack, "rx_other_mac") == 1);
    bring(sock, own_mac, "10.77.0.2", "10.77.0.7", -EAGAIN);
    CHECK(counter_of(stack, "rx_other_addr") == 1);
    bring(sock, all, "10.77.0.2", "10.77.0.1", 1); /* Linux accepts it, too */
    bring(sock, own_mac, "10.77.0.2", "10.77.0.255", 1);
    bring(sock, own_mac, "127.0.0.1", "10.77.0.1", -EAGAIN);
    bring(sock, own_mac, "10.77.0.1", "10.77.0.1", -EAGAIN);
    bring(sock, own_mac, "0.0.0.0", "10.77.0.1", -EAGAIN);
    CHECK(counter_of(stack, "rx_refused_ip_source") == 3);
    bring(sock, all, "10.77.0.2", "10.77.0.255", 1);
    bring(sock, all, "10.77.0.2", "255.255.255.255", 1);
    bring(sock, all, "0.0.0.0", "255.255.255.255", 1);
    bring(sock, group, "10.77.0.2", "239.77.0.1", -EAGAIN);
    CHECK(counter_of(stack, "rx_not_joined") == 1);
    DO("ip addr add 10.77.0.7/24 dev v0");
    settle();
    bring(sock, own_mac, "10.77.0.2", "10.77.0.7", 1);
    DO("ip addr del 10.77.0.7/24 dev v0");
    settle();
    bring(sock, own_mac, "10.77.0.2", "10.77.0.7", -EAGAIN);
}

static void test_multicast(struct sf_sock *sock, int fd)
{
    static const uint8_t mac[6] = {1, 0, 0x5e, 77, 0, 1};
    struct in_addr interface = {.s_addr = inet_addr("10.77.0.1")};
    int off = 0, ttl = 9;

    CHECK(stays_with_kernel(sock, "239.77.0.1", 10));
    CHECK(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &interface, sizeof(interface)) == 0);
    sock->stack->ops->options_changed(sock);
    CHECK(stays_with_kernel(sock, "239.77.0.1", 10));
    CHECK(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &off, sizeof(off)) == 0);
    CHECK(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &ttl, sizeof(ttl)) == 0);
    sock->stack->ops->options_changed(sock);
    CHECK(becomes_direct(sock, "239.77.0.1", 10));
    CHECK(!memcmp(driver.sent, mac, 6) && driver.sent[22] == 9);
    CHECK(!memcmp(driver.sent + 26, &interface, 4));
}

int main(void)
{
    struct sf_tcpip_config config = {.driver = &driver.base, .interface = "v0"};
    struct sf_sock *sock, *refused;
    char message[256];
    int error = 0, fd, other;

    join_namespaces();
    now = sf_now();
    stack = sf_stack_tcpip_create(&config, &error, message);
    if (!stack)
        fprintf(stderr, "%d: %s\n", error, message);
    CHECK(stack);
    other = udp_socket("127.0.0.1", 0);
    CHECK(stack->ops->adopt(stack, other, SF_KIND_DATAGRAM, 1, 1, &refused) == -EOPNOTSUPP);
    fd = udp_socket("0.0.0.0", 0);
    CHECK(dup2(fd, 4000) == 4000); /* bring() reads the port from this descriptor */
    sock = adopt(fd, 2);
    test_direct(sock);
    test_routes(sock);
    test_neighbours(sock);
    test_mtu_of_the_interface(sock);
    test_down_and_up(sock);
    test_icmp(sock);
    test_what_is_received(sock);
    test_multicast(sock, fd);
    CHECK(driver.flows == 3); /* the interface's address, its broadcast address, and 255.255.255.255 */
    stack->ops->release(sock);
    CHECK(driver.flows == 0);
    stack->ops->destroy(stack);
    close(fd);
    close(other);
    return 0;
}
