/*
 * Fuzzes the messages of rtnetlink, including ones that the kernel would never send. The first byte of an input chooses the dump that
 * is being read. The rest is datagrams, each after a byte with its length in units of 4 bytes. Besides the sanitizers' checks, these
 * must hold: the tables that the stack fills stay bounded, and a direct way has at least the smallest MTU of IPv4.
 */
#define _GNU_SOURCE
#include "fuzz_check.h"

#include "stacks/tcpip/socket.h"
#include "../native/memory_wire.h"
#include "netlink_numbers.h"

#include <sys/socket.h>

static struct wire wire;
static int kernel; /* the kernel's end of the socket pair that stands in for netlink */

static void drain(void)
{
    char request[512];

    while (recv(kernel, request, sizeof request, MSG_DONTWAIT) > 0)
        ;
}

/* Makes a stack that believes its interface is one of the kernel's. */
static struct sf_tcpip *begin_netlink(uint8_t how)
{
    struct sf_tcp_limits limits = {0};
    struct sf_event events[16];
    struct sf_tcpip *t;
    int pair[2];

    wire_begin(&wire, 1500);
    a_driver = &wire.end[0].driver;
    a = make_stack_with(a_driver, &limits);
    poll_late(a, events);
    t = tcpip_of(a);
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    kernel = pair[1];
    t->netlink.fd = pair[0];
    t->netlink.port = PORT;
    t->netlink.running = how & 3 ? 1u << ((how & 3) - 1) : 0;
    t->netlink.running_sequence = RUNNING;
    t->netlink.wanted = how >> 2 & 7;
    t->netlink.sequence = RUNNING;
    t->interface.index = INTERFACE;
    return t;
}

static void look(struct sf_tcpip *t)
{
    static const uint8_t addrs[][4] = {{10, 0, 0, 2}, {10, 0, 0, 9}, {192, 168, 7, 1}, {224, 0, 0, 5}, {255, 255, 255, 255}};

    for (size_t i = 0; i < sizeof addrs / sizeof addrs[0]; i++) {
        struct sf_hop hop = {0};
        uint32_t addr;

        memcpy(&addr, addrs[i], sizeof addr);
        if (sf_path_find(t, addr, 0, &hop) == SF_WAY_DIRECT)
            CHECK(hop.mtu >= SF_IPV4_MTU_MIN);
    }
    CHECK(t->interface.n_addrs <= t->interface.room && 2 * t->interface.own.used <= t->interface.own.size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *at = data + 1, *end = data + size;
    struct sf_tcpip *t;

    if (!size)
        return 0;
    clock_now = 1000 * SF_SEC;
    t = begin_netlink(data[0]);
    while (at < end) {
        size_t len = *at++ * 4u;

        if (len > (size_t)(end - at))
            len = (size_t)(end - at);
        (void)!send(kernel, at, len, MSG_DONTWAIT);
        at += len;
        sf_netlink_poll(t);
        look(t);
        drain();
    }
    a->ops->destroy(a);
    close(kernel);
    wire_end(&wire);
    return 0;
}
