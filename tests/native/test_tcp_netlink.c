/*
 * TCP with the kernel as its peer, and the routes, neighbours and ICMP errors that the stack learns from the kernel. The test
 * uses the packet driver, in two network namespaces of its own, which a veth pair joins and which end with the process. It is
 * skipped where it may not create namespaces.
 */
#define _GNU_SOURCE
#include "sf/driver.h"
#include "stacks/tcpip/config.h"

#include "namespaces.h"
#include "stack_seam.h"

#include "wire/icmp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#define FIRST 1000000u

static int here, there; /* namespaces */
static struct sf_stack *stack;

/* ---- the namespaces ---- */

static void join_namespaces(void)
{
    new_veth_pair(&here, &there);
    DO("ip link set lo up && ip addr add 10.77.0.1/24 dev v0 && ip link set v0 up");
    DO("ip link add d0 type veth peer name d1 && ip addr add 10.90.0.1/24 dev d0 && ip link set d0 up && ip link set d1 up");
    DO("ip route add 10.88.0.0/16 via 10.77.0.2");
    DO("echo 50 > /proc/sys/net/ipv4/neigh/v0/retrans_time_ms && echo 2 > /proc/sys/net/ipv4/neigh/v0/mcast_solicit");
    enter(there);
    DO("ip link set lo up && ip addr add 10.77.0.2/24 dev v1 && ip link set v1 up");
    DO("echo 1 > /proc/sys/net/ipv4/ip_forward && ip route add unreachable 10.88.0.0/16");
    enter(here);
}

/* ---- the stack ---- */

static void make_stack(void)
{
    struct sf_driver_config driver_config = {.interface = "v0", .queue = -1};
    char message[SF_DRIVER_ERROR_SIZE];
    int error = 0;
    struct sf_driver *driver = sf_driver_find("packet")(&driver_config, &error, message);
    struct sf_tcpip_config config = {.driver = driver, .interface = "v0", .tcp = {.first_sequence = FIRST}};

    if (!driver) {
        printf("skipped: %s\n", message);
        exit(SKIPPED);
    }
    stack = sf_stack_tcpip_create(&config, &error, message);
    CHECK(stack);
}

static bool poll_until(struct sf_sock *sock, uint32_t what, sf_ns patience)
{
    struct sf_event events[16];
    sf_ns give_up = sf_now() + patience;

    CHECK(stack->ops->interest(sock, what) == 0);
    while (sf_now() < give_up) {
        int n = stack->ops->poll(stack, sf_now(), events, 16);

        for (int i = 0; i < n; i++)
            if (events[i].slot == sock->slot && events[i].what & what)
                return true;
    }
    return false;
}

/* Returns 0 with the connected stream in *out, or a negative errno. */
static int connect_to(struct sockaddr_in to, struct sf_sock **out)
{
    static uint32_t slot;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

    slot++;
    rc = stack->ops->connect(stack, fd, (struct sockaddr *)&to, sizeof(to), slot, 7, out);
    close(fd);
    if (rc < 0)
        return rc;
    CHECK(poll_until(*out, SF_WRITABLE, 10 * SF_SEC));
    rc = stack->ops->connect_result(*out);
    if (rc < 0)
        stack->ops->release(*out);
    return rc;
}

static void poll_for(sf_ns time)
{
    struct sf_event events[16];

    for (sf_ns until = sf_now() + time; sf_now() < until;)
        stack->ops->poll(stack, sf_now(), events, 16);
}

/* Opens a kernel listener in the other namespace. */
static int listen_there(const char *addr, struct sockaddr_in *name)
{
    socklen_t len = sizeof(*name);
    int fd;

    enter(there);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    enter(here);
    *name = address(addr, 0);
    CHECK(bind(fd, (struct sockaddr *)name, sizeof(*name)) == 0 && listen(fd, 10) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)name, &len) == 0);
    return fd;
}

static int accept_there(int listener)
{
    int fd = -1;

    for (int i = 0; fd < 0 && i < 1000; i++) {
        poll_for(SF_MS); /* the handshake's last ACK leaves with the next poll */
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    }
    CHECK(fd >= 0);
    return fd;
}

/* ---- the tests ---- */

static void test_connect(void)
{
    struct sockaddr_in name, mine;
    socklen_t len = sizeof(mine);
    struct sf_sock *sock;
    char bytes[16];
    int listener = listen_there("10.77.0.2", &name), peer;
    sf_ns began = sf_now();

    CHECK(connect_to(name, &sock) == 0); /* the stack knew neither the route nor the neighbour */
    CHECK(sf_now() - began < SF_SEC / 2 && counter_of(stack, "tcp_tx_no_way") == 0);
    CHECK(stack->ops->name_of(sock, false, (struct sockaddr *)&mine, &len) == 0 && mine.sin_addr.s_addr == inet_addr("10.77.0.1"));
    peer = accept_there(listener);
    CHECK(send(peer, "hello", 5, 0) == 5);
    CHECK(poll_until(sock, SF_READABLE, SF_SEC) && stack->ops->recv_into(sock, bytes, sizeof(bytes)) == 5);
    CHECK(stack->ops->sendv(sock, &(struct iovec){"world", 5}, 1) == 5);
    poll_for(5 * SF_MS);
    CHECK(recv(peer, bytes, sizeof(bytes), 0) == 5);
    stack->ops->release(sock);
    poll_for(5 * SF_MS);
    CHECK(recv(peer, bytes, sizeof(bytes), 0) == 0);
    close(peer);
    poll_for(20 * SF_MS);
    close(listener);
    CHECK(connect_to(name, &sock) == -ECONNREFUSED);
}

static void test_not_that_way(void)
{
    struct sf_sock *sock;
    sf_ns began = sf_now();

    CHECK(connect_to(address("10.90.0.7", 80), &sock) == -EOPNOTSUPP); /* the route leads to another interface */
    CHECK(connect_to(address("10.77.0.1", 80), &sock) == -EOPNOTSUPP); /* an address of this host */
    CHECK(connect_to(address("10.77.0.99", 80), &sock) == -EHOSTUNREACH); /* no host answers ARP */
    CHECK(connect_to(address("10.88.0.1", 80), &sock) == -EHOSTUNREACH); /* the router reports it by ICMP */
    CHECK(sf_now() - began < 5 * SF_SEC && counter_of(stack, "icmp_errors") == 1);
}

static uint16_t fragmentation_needed(uint8_t *message, struct sockaddr_in from, struct sockaddr_in to, uint32_t sequence)
{
    uint8_t packet[40] = {0};
    struct sf_ipv4 ip = {.src = from.sin_addr.s_addr, .dst = to.sin_addr.s_addr, .payload_len = 1480, .ttl = 60, .protocol = SF_IPV4_TCP};
    struct sf_icmp icmp = {.type = SF_ICMP_UNREACHABLE, .code = SF_ICMP_FRAGMENTATION_NEEDED, .mtu = 1000};
    uint32_t network = htonl(sequence);

    CHECK(sf_ipv4_emit(packet, sizeof(packet), &ip) == 20);
    memcpy(packet + 20, &from.sin_port, 2);
    memcpy(packet + 22, &to.sin_port, 2);
    memcpy(packet + 24, &network, 4);
    return (uint16_t)sf_icmp_emit_error(message, 100, &icmp, packet, sizeof(packet));
}

/* "Fragmentation needed" changes the path MTU only if it quotes data in flight. Then the data leaves again in smaller segments.
 * The peer's address is removed meanwhile, so that the data stays in flight. */
static void test_path_mtu(void)
{
    struct sockaddr_in name, mine, us = address("10.77.0.1", 0);
    socklen_t len = sizeof(mine);
    struct sf_stream_info info;
    struct sf_sock *sock;
    static char bytes[20000], got[20000];
    uint8_t message[100];
    int listener, raw, peer;
    size_t read = 0;

    enter(there);
    DO("ip addr add 10.77.0.3/24 dev v1");
    listener = listen_there("10.77.0.3", &name);
    CHECK(connect_to(name, &sock) == 0);
    peer = accept_there(listener);
    CHECK(stack->ops->name_of(sock, false, (struct sockaddr *)&mine, &len) == 0);
    enter(there);
    DO("ip addr del 10.77.0.3/24 dev v1");
    raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
    enter(here);
    CHECK(stack->ops->stream_info(sock, &info) == 0 && info.mss == 1448);
    memset(bytes, 'x', sizeof(bytes));
    CHECK(stack->ops->sendv(sock, &(struct iovec){bytes, sizeof(bytes)}, 1) == sizeof(bytes));
    for (int right = 0; right < 2; right++) {
        uint16_t n = fragmentation_needed(message, mine, name, right ? FIRST + 1 : FIRST - 5000);

        CHECK(sendto(raw, message, n, 0, (struct sockaddr *)&us, sizeof(us)) == n);
        poll_for(5 * SF_MS);
        CHECK(stack->ops->stream_info(sock, &info) == 0);
        CHECK(info.mss == (right ? 948 : 1448));
    }
    CHECK(counter_of(stack, "tcp_icmp_ignored") == 1 && counter_of(stack, "path_mtu_learned") >= 1);
    enter(there);
    DO("ip addr add 10.77.0.3/24 dev v1");
    enter(here);
    for (sf_ns give_up = sf_now() + 5 * SF_SEC; read < sizeof(bytes) && sf_now() < give_up;) {
        ssize_t n = recv(peer, got, sizeof(got), 0);

        read += n > 0 ? (size_t)n : 0;
        poll_for(SF_MS);
    }
    CHECK(read == sizeof(bytes));
    stack->ops->abort(sock);
    close(peer);
    close(listener);
    close(raw);
}

static bool is_read(int peer, const char *expected, sf_ns patience)
{
    char bytes[16] = "";

    for (sf_ns give_up = sf_now() + patience; sf_now() < give_up; poll_for(SF_MS))
        if (recv(peer, bytes, sizeof(bytes), 0) == (ssize_t)strlen(expected))
            return !memcmp(bytes, expected, strlen(expected));
    return false;
}

static uint32_t mss_of(struct sf_sock *sock)
{
    struct sf_stream_info info;

    CHECK(stack->ops->stream_info(sock, &info) == 0);
    return info.mss;
}

/* The route moves to an interface without a peer, and back. Then the link goes down, and up. Meanwhile the kernel sends the
 * segments. They fit the new route's MTU and are lost. The data arrives in the end, because it is retransmitted. */
static void test_another_way(void)
{
    struct sockaddr_in name;
    struct sf_sock *sock;
    int listener = listen_there("10.77.0.2", &name), peer;
    uint64_t before = counter_of(stack, "tcp_tx_other_way");

    CHECK(connect_to(name, &sock) == 0);
    peer = accept_there(listener);
    CHECK(counter_of(stack, "tcp_tx_other_way") == before && mss_of(sock) == 1448);
    DO("ip link set d0 mtu 1300 && ip route add 10.77.0.2 dev d0 src 10.77.0.1");
    poll_for(5 * SF_MS);
    CHECK(stack->ops->sendv(sock, &(struct iovec){"away", 4}, 1) == 4);
    CHECK(mss_of(sock) == 1248 && !is_read(peer, "away", 20 * SF_MS) && counter_of(stack, "tcp_tx_other_way") > 0);
    DO("ip route del 10.77.0.2 dev d0");
    CHECK(is_read(peer, "away", 5 * SF_SEC) && mss_of(sock) == 1448);
    poll_for(5 * SF_MS);
    before = counter_of(stack, "tcp_tx_other_way");
    enter(there);
    DO("ip link set v1 down");
    enter(here);
    CHECK(stack->ops->sendv(sock, &(struct iovec){"down", 4}, 1) == 4);
    for (int i = 0; i < 30 && counter_of(stack, "tcp_tx_other_way") == before; i++) /* the kernel may report it up to a second later */
        poll_for(100 * SF_MS);
    CHECK(counter_of(stack, "tcp_tx_other_way") > before);
    enter(there);
    DO("ip link set v1 up");
    enter(here);
    CHECK(is_read(peer, "down", 5 * SF_SEC) && counter_of(stack, "tcp_tx_no_way") == 0);
    stack->ops->abort(sock);
    close(peer);
    close(listener);
}

/* A neighbour entry comes and goes. A segment that is sent without an entry waits until ARP has answered, and is not lost. */
static void test_neighbours_that_flap(void)
{
    struct sockaddr_in name;
    struct sf_stream_info info;
    struct sf_sock *sock;
    int listener = listen_there("10.77.0.2", &name), peer;
    uint64_t before = counter_of(stack, "tcp_tx_other_way");

    CHECK(connect_to(name, &sock) == 0);
    peer = accept_there(listener);
    for (int i = 0; i < 10; i++) {
        DO("ip neigh del 10.77.0.2 dev v0");
        poll_for(5 * SF_MS); /* the stack learns that the entry is gone */
        CHECK(stack->ops->sendv(sock, &(struct iovec){"flapping", 8}, 1) == 8);
        CHECK(is_read(peer, "flapping", 100 * SF_MS)); /* less than the minimum RTO */
        CHECK(send(peer, "x", 1, 0) == 1 && poll_until(sock, SF_READABLE, SF_SEC));
        CHECK(stack->ops->recv_into(sock, &(char){0}, 1) == 1);
    }
    CHECK(stack->ops->stream_info(sock, &info) == 0 && info.retransmits == 0 && info.timeouts == 0);
    CHECK(counter_of(stack, "tcp_tx_other_way") - before >= 10 && counter_of(stack, "tcp_tx_no_way") == 0);
    stack->ops->abort(sock);
    close(peer);
    close(listener);
}

int main(void)
{
    join_namespaces();
    make_stack();
    test_connect();
    test_not_that_way();
    test_path_mtu();
    test_neighbours_that_flap();
    test_another_way();
    stack->ops->destroy(stack);
    return 0;
}
