/*
 * The resets that a driver's reset guard holds back, and those that it lets pass. The test sends segments to the kernel by a raw
 * socket, and looks for the answers at the other end of a veth pair. It runs in a network namespace of its own.
 */
#define _GNU_SOURCE
#include "sf/driver.h"

#include "check.h"

#include "wire/tcp.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SKIPPED 77
#define HERE "10.79.0.1"
#define PEER "10.79.0.2"
#define PORT 2000
#define PEER_PORT 3000

static struct sf_driver *driver;
static int raw, wire;

static void skip(const char *what)
{
    printf("skipped: %s\n", what);
    exit(SKIPPED);
}

static void make_pair(void)
{
    if (unshare(CLONE_NEWNET) < 0)
        skip("cannot create a network namespace; run the test as root");
    if (system("ip link add v0 type veth peer name v1 2>/dev/null") != 0)
        skip("cannot create a veth pair, which needs the command ip and the kernel's veth");
    CHECK(system("ip addr add " HERE "/24 dev v0 && ip link set lo up && ip link set v0 addrgenmode none up && "
                 "ip link set v1 addrgenmode none up && ip neigh add " PEER " lladdr 02:00:00:00:00:99 dev v0") == 0);
}

static void open_driver(void)
{
    struct sf_driver_config config = {.interface = "v0", .queue = -1};
    char message[SF_DRIVER_ERROR_SIZE];
    int error = 0;

    driver = sf_driver_find("packet")(&config, &error, message);
    if (!driver)
        skip(message);
    if (driver->fast.control->kept_resets_fd(driver) < 0)
        skip("this kernel has no netfilter programs (Linux 6.4 with BTF)");
}

static void open_sockets(void)
{
    struct sockaddr_ll name = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)if_nametoindex("v1")};

    raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
    wire = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));
    CHECK(raw >= 0 && wire >= 0 && bind(wire, (struct sockaddr *)&name, sizeof(name)) == 0);
}

/* Sends by the raw socket. `options` adds an IP option, which the kernel's answer repeats. */
static void send_segment(const char *from, uint16_t from_port, const char *to, uint16_t to_port,
                         const struct sf_tcp_segment *segment, bool options)
{
    struct sf_ip_peer peer = {.src_addr = inet_addr(from), .dst_addr = inet_addr(to), .src_port = htons(from_port),
                               .dst_port = htons(to_port), .ttl = 64};
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = peer.dst_addr};
    struct sf_tcp_template template;
    uint8_t frame[SF_TCP_HEADERS_MAX], packet[100];
    size_t len, more = options ? 8 : 0;

    CHECK(sf_tcp_template_init(&template, &peer) == 0);
    len = sf_tcp_emit(&template, frame, sizeof(frame), segment, NULL, 0, 1) - 14;
    memcpy(packet, frame + 14, 20);
    if (options) /* record route, with room for one */
        memcpy(packet + 20, "\x07\x07\x04\0\0\0\0\0", 8);
    packet[0] = (uint8_t)(0x45 + more / 4);
    memcpy(packet + 20 + more, frame + 34, len - 20);
    CHECK(sendto(raw, packet, len + more, 0, (struct sockaddr *)&name, sizeof(name)) == (ssize_t)(len + more));
}

static void to_kernel(uint16_t port, uint8_t flags, uint32_t ack, bool options)
{
    struct sf_tcp_segment s = {.seq = 1, .ack = ack, .flags = flags, .window = 1000};

    send_segment(PEER, PEER_PORT, HERE, port, &s, options);
}

/* True if a reset from the port has left for the peer. */
static bool has_left(uint16_t port)
{
    uint8_t frame[2000];
    struct pollfd pfd = {.fd = wire, .events = POLLIN};

    while (poll(&pfd, 1, 50) > 0) {
        ssize_t n = recv(wire, frame, sizeof(frame), 0);
        const uint8_t *tcp = frame + 14 + (frame[14] & 15) * 4;

        if (n >= 54 && frame[12] == 8 && !frame[13] && frame[23] == IPPROTO_TCP && tcp[13] & SF_TCP_RST &&
            (tcp[0] << 8 | tcp[1]) == port)
            return true;
    }
    return false;
}

static bool is_kept(uint16_t port, uint32_t seq)
{
    struct pollfd pfd = {.fd = driver->fast.control->kept_resets_fd(driver), .events = POLLIN};
    struct sf_kept_reset reset[4];
    bool readable = poll(&pfd, 1, 0) == 1;
    int n = driver->fast.control->kept_resets(driver, reset, 4);

    CHECK(readable == (n > 0) && n <= 1 && poll(&pfd, 1, 0) == 0);
    if (!n)
        return false;
    CHECK(reset->local_addr == inet_addr(HERE) && reset->remote_addr == inet_addr(PEER) && reset->local_port == htons(port) &&
          reset->remote_port == htons(PEER_PORT) && reset->seq == seq);
    return true;
}

static void test_whose_resets(const struct sf_flow *flow)
{
    struct sf_tcp_segment ours = {.seq = 9, .flags = SF_TCP_RST, .window = 1};

    to_kernel(PORT, SF_TCP_ACK, 77, false);
    CHECK(has_left(PORT) && !is_kept(PORT, 77)); /* the driver has no flow for it yet */
    CHECK(driver->fast.control->filter_add(driver, flow) == 0);
    to_kernel(PORT, SF_TCP_ACK, 78, false);
    CHECK(!has_left(PORT) && is_kept(PORT, 78));
    to_kernel(PORT, SF_TCP_ACK, 79, true);
    CHECK(!has_left(PORT) && is_kept(PORT, 79));
    to_kernel(PORT + 1, SF_TCP_ACK, 80, false);
    CHECK(has_left(PORT + 1) && !is_kept(PORT + 1, 80));
    to_kernel(PORT, SF_TCP_SYN, 0, false); /* the kernel refuses a connection */
    CHECK(has_left(PORT) && !is_kept(PORT, 0));
    send_segment(HERE, PORT, PEER, PEER_PORT, &ours, false); /* as the stack sends its own resets */
    CHECK(has_left(PORT) && !is_kept(PORT, 9));
    CHECK(driver->fast.control->filter_del(driver, flow) == 0);
    to_kernel(PORT, SF_TCP_ACK, 81, false);
    CHECK(has_left(PORT) && !is_kept(PORT, 81));
}

/* The kernel listens on the port, too, as it does for our servers. Then its resets belong to the listening socket. */
static void test_listening(const struct sf_flow *flow)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = inet_addr(HERE)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CHECK(bind(fd, (struct sockaddr *)&name, sizeof(name)) == 0 && listen(fd, 4) == 0);
    to_kernel(PORT, SF_TCP_ACK, 70, false);
    CHECK(has_left(PORT) && !is_kept(PORT, 70));
    CHECK(driver->fast.control->filter_add(driver, flow) == 0);
    to_kernel(PORT, SF_TCP_ACK, 71, false);
    CHECK(!has_left(PORT) && is_kept(PORT, 71));
    CHECK(driver->fast.control->filter_del(driver, flow) == 0);
    close(fd);
}

/* More resets than the ring has room for: none of them leaves, and the guard works on afterwards. */
static void test_many(const struct sf_flow *flow)
{
    struct sf_kept_reset reset[64];
    int n, all = 0;

    CHECK(driver->fast.control->filter_add(driver, flow) == 0);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 5000; i++)
            to_kernel(PORT, SF_TCP_ACK, i, false);
        CHECK(!has_left(PORT));
        for (all = 0; (n = driver->fast.control->kept_resets(driver, reset, 64)) > 0; all += n)
            for (int i = 0; i < n; i++)
                CHECK(reset[i].seq == (uint32_t)(all + i));
        CHECK(all > 2000 && all <= 5000);
    }
    CHECK(driver->fast.control->filter_del(driver, flow) == 0);
}

int main(void)
{
    struct sf_flow flow = {.local_addr = inet_addr(HERE), .local_port = htons(PORT), .protocol = IPPROTO_TCP};

    make_pair();
    open_driver();
    open_sockets();
    test_whose_resets(&flow);
    test_listening(&flow);
    flow.remote_addr = inet_addr(PEER);
    flow.remote_port = htons(PEER_PORT);
    test_whose_resets(&flow);
    test_many(&flow);
    driver->fast.control->close(driver);
    to_kernel(PORT, SF_TCP_ACK, 82, false);
    CHECK(has_left(PORT));
    return 0;
}
