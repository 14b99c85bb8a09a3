/* The driver contract on af_xdp and packet: a driver on each end of a veth pair, in a namespace of the test's own. */
#define _GNU_SOURCE
#include "driver_contract.h"

#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SKIPPED 77
#define A_ADDR "10.78.0.1"
#define B_ADDR "10.78.0.2"

struct kind {
    const char *driver, *mode;
    int mtu;
};

static const struct kind kinds[] = {
    {"af_xdp", "native", 1500}, {"af_xdp", "native", 9000}, {"af_xdp", "skb", 1500},
    {"packet", NULL, 1500},     {"packet", NULL, 9000},
};

static void skip(const char *what)
{
    printf("skipped: %s\n", what);
    exit(SKIPPED);
}

static void set_mtu(int mtu)
{
    char command[128];

    snprintf(command, sizeof(command), "ip link set v0 mtu %d && ip link set v1 mtu %d", mtu, mtu);
    CHECK(system(command) == 0);
}

/* The interfaces have no IPv6 addresses, because neighbour solicitations would be frames of others. */
static void make_pair(void)
{
    if (unshare(CLONE_NEWNET) < 0)
        skip("cannot create a network namespace; run the test as root");
    if (system("ip link add v0 type veth peer name v1 2>/dev/null") != 0)
        skip("cannot create a veth pair, which needs the command ip and the kernel's veth");
    CHECK(system("ip addr add " A_ADDR "/24 dev v0 && ip addr add " B_ADDR "/24 dev v1 && ip link set lo up && "
                 "ip link set v0 addrgenmode none up && ip link set v1 addrgenmode none up") == 0);
}

static struct sf_driver *open_end(const struct kind *kind, const char *interface)
{
    struct sf_driver_config config = {.interface = interface, .queue = -1, .mode = kind->mode};
    char message[SF_DRIVER_ERROR_SIZE];
    int error = 0;
    struct sf_driver *driver = sf_driver_find(kind->driver)(&config, &error, message);

    if (!driver)
        fprintf(stderr, "%s: %s\n", kind->driver, message);
    return driver;
}

static int open_pair(struct contract_pair *pair, void *context)
{
    struct sf_driver_caps caps;

    pair->a = open_end(context, "v0");
    pair->b = pair->a ? open_end(context, "v1") : NULL;
    if (!pair->b)
        return -1;
    pair->addr_a = inet_addr(A_ADDR);
    pair->addr_b = inet_addr(B_ADDR);
    pair->a->fast.control->caps(pair->a, &caps);
    memcpy(pair->mac_a, caps.mac, 6);
    pair->b->fast.control->caps(pair->b, &caps);
    memcpy(pair->mac_b, caps.mac, 6);
    return 0;
}

/* The driver delivers a watched flow until another program binds its port. */
static void check_watching(const struct contract_pair *pair)
{
    const struct sf_driver_control *control = pair->b->fast.control;
    struct sf_flow flow = *contract_flow(pair), other = flow;
    uint32_t number;

    CHECK(contract_caps(pair->b).flags & SF_DRIVER_SEES_PORTS);
    CHECK(control->watch_port(pair->b, IPPROTO_UDP, flow.local_port, true) == 0);
    flow.flags = SF_FLOW_WATCHED;
    flow.changes = control->port_changes(pair->b, IPPROTO_UDP);
    CHECK(control->filter_renew(pair->b, &flow) == 0);
    contract_send_surely(pair, 100, 1);
    CHECK(contract_receive(pair, &number, CONTRACT_PATIENCE) == 100 && number == 1);
    flow.changes++; /* as if a port had been bound meanwhile */
    CHECK(control->filter_renew(pair->b, &flow) == 0);
    contract_send_surely(pair, 100, 2);
    CHECK(contract_receive(pair, &number, 50 * SF_MS) == 0);
    CHECK(control->filter_renew(pair->b, contract_flow(pair)) == 0);
    contract_send_surely(pair, 100, 3);
    CHECK(contract_receive(pair, &number, CONTRACT_PATIENCE) == 100 && number == 3);
    other.local_port = htons(CONTRACT_PORT_B + 1);
    CHECK(control->filter_renew(pair->b, &other) == -ENOENT);
    CHECK(control->watch_port(pair->b, IPPROTO_UDP, flow.local_port, false) == 0);
    CHECK(control->watch_port(pair->b, IPPROTO_UDP, flow.local_port, false) < 0);
}

int main(void)
{
    make_pair();
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        char name[64];
        struct driver_contract contract = {.name = name, .open = open_pair, .flags = CONTRACT_LOSSY};
        struct contract_pair pair;

        contract.context = (void *)(uintptr_t)&kinds[i];
        snprintf(name, sizeof(name), "%s %s, MTU %d", kinds[i].driver, kinds[i].mode ? kinds[i].mode : "", kinds[i].mtu);
        set_mtu(kinds[i].mtu);
        CHECK(driver_contract(&contract) == 0);
        contract_open(&contract, &pair);
        check_watching(&pair);
        contract_close(&contract, &pair);
    }
    return 0;
}
