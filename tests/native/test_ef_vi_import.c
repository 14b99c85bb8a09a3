/*
 * Imports over the ef_vi driver, on the simulator of its API: nothing in them depends on the driver. Two hosts, each in a namespace of its
 * own, go on with a connection that only its two images describe. Then the connection leaves both and comes back, again and again, while
 * bytes flow both ways. The test is skipped where it may not create namespaces.
 */
#define _GNU_SOURCE
#include "namespaces.h"
#include "simulated_network.h"
#include "tcp_move.h"

#include "../sim/ef_vi/efsim.h"
#include "../sim/ef_vi/interfaces.h"

struct sf_driver *sf_driver_ef_vi_open(const struct sf_driver_config *config, int *error, char *message);

enum { BYTES = 4000000, MOVES_EVERY = 3 };

static int ns[2];
static struct efsim_nic *nic[2];

/* The simulated NIC brings the frames. The device gives the kernel's part: an address, a route and a neighbour. */
static void make_host(int side)
{
    char command[400];

    ns[side] = new_namespace();
    snprintf(command, sizeof command,
             "ip link add sim%d index %d address 02:00:0a:00:00:0%d type veth peer name far && ip link set far up && ip addr add 10.0.0.%d/24 dev sim%d && "
             "ip link set sim%d up && ip neigh add 10.0.0.%d lladdr 02:00:0a:00:00:0%d dev sim%d",
             side, sim_interfaces[side].ifindex, side + 1, side + 1, side, side, 2 - side, 2 - side, side);
    if (system(command) != 0) {
        printf("skipped: cannot create a veth pair\n");
        exit(SKIPPED);
    }
}

static struct sf_stack *make_side(int side, bool efct)
{
    struct sf_driver_config config = {.interface = sim_interfaces[side].name, .queue = -1};
    char message[SF_DRIVER_ERROR_SIZE];
    struct sf_tcp_limits limits = {.min_rto = 200 * SF_MS};
    struct sf_driver *driver;
    int error = 0;

    enter(ns[side]);
    nic[side] = efsim_nic(sim_interfaces[side].ifindex);
    nic[side]->options = (struct efsim_options){.arch = efct ? EF_VI_ARCH_EFCT : EF_VI_ARCH_EF10, .strict = true};
    snprintf(nic[side]->options.wire, sizeof nic[side]->options.wire, "efsim-import-%d", (int)getpid());
    nic[side]->wire_addr = htonl(0x0a000001u + (uint32_t)side);
    driver = sf_driver_ef_vi_open(&config, &error, message);
    if (!driver)
        fprintf(stderr, "%s\n", message);
    CHECK(driver);
    return make_stack_with(driver, &limits);
}

static void both_poll(void)
{
    struct sf_event events[16];

    clock_now += 20 * SF_US;
    enter(ns[0]);
    a->ops->poll(a, clock_now, events, 16);
    enter(ns[1]);
    b->ops->poll(b, clock_now, events, 16);
}

/* The image that one host's kernel would give of a connection that is just established. */
static struct sf_tcp_image end_of(int side)
{
    uint32_t isn[] = {1000, 0xffffffff};

    return (struct sf_tcp_image){
        .local_addr = htonl(0x0a000001u + (uint32_t)side), .remote_addr = htonl(0x0a000002u - (uint32_t)side),
        .local_port = sf_be16((uint16_t)(5001 + side)), .remote_port = sf_be16((uint16_t)(5002 - side)), .state = TCP_ESTABLISHED,
        .scaling = true, .sack = true, .timestamps = true, .snd_scale = 7, .rcv_scale = 7, .mss = 1460,
        .snd_una = isn[side] + 1, .snd_nxt = isn[side] + 1, .snd_end = isn[side] + 1, .snd_wl1 = isn[!side], .snd_wnd = 64240,
        .max_window = 64240, .rcv_nxt = isn[!side] + 1, .rcv_wnd = 64240, .rcv_wup = isn[!side] + 1,
        .ts_clock = 1234u * (uint32_t)(side + 1), .read_at = clock_now, .rtt = 100 * SF_US,
    };
}

static void import_end(int side, struct side *s)
{
    struct sf_tcp_image image = end_of(side);

    enter(ns[side]);
    CHECK(import_into(side ? b : a, &image, 2, &s->sock) == 0);
    s->to_send = s->to_receive = BYTES;
}

static void move_end(int side, struct side *s)
{
    enter(ns[side]);
    move(&s->sock);
}

static void test_streams(bool efct)
{
    struct stream s = {0};
    int steps = 0, filters;

    a = make_side(0, efct);
    b = make_side(1, efct);
    both_poll();
    filters = nic[0]->n_filters;
    import_end(0, &s.client);
    import_end(1, &s.server);
    CHECK(nic[0]->n_filters == filters + 1);
    while (!side_is_done(&s.client) || !side_is_done(&s.server)) {
        side_run(&s.client);
        side_run(&s.server);
        both_poll();
        if (++steps % MOVES_EVERY == 0)
            move_end(steps / MOVES_EVERY % 2, steps / MOVES_EVERY % 2 ? &s.server : &s.client);
        CHECK(steps < 1000000);
    }
    CHECK(!s.client.error && !s.server.error && s.client.received == BYTES && s.server.received == BYTES);
    CHECK(counter_of(a, "tcp_imported") > 10 && counter_of(a, "tcp_ports_unreserved") == 0);
    CHECK(counter_of(a, "tcp_resets_sent") == 0 && counter_of(b, "tcp_resets_sent") == 0);
    printf("%s: %d moves\n", efct ? "efct" : "ef10", steps / MOVES_EVERY);
    stream_release(&s);
    for (int i = 0; i < 100; i++)
        both_poll();
    a->ops->destroy(a);
    b->ops->destroy(b);
    CHECK(nic[0]->n_filters == 0);
}

static int begins(const struct sf_tcp_image *image)
{
    struct sf_flow_key key = key_of(image);
    int fd = tcp_socket(NULL, 0), rc;
    struct sf_tcp_conn *conn;

    rc = sf_tcp_import_begin(tcpip_of(a), fd, &key, &conn);
    if (rc == 0)
        sf_tcp_import_undo(conn);
    close(fd);
    return rc;
}

/* The stack asks the kernel for a route that it does not know, and has the answer before it begins. */
static void test_routes(void)
{
    struct sf_tcp_image image = end_of(0);

    a = make_side(0, false);
    image.remote_addr = inet_addr("192.0.2.1"); /* The kernel has no route. */
    CHECK(begins(&image) == -EOPNOTSUPP);
    image.remote_addr = inet_addr("10.1.2.3"); /* The route leads elsewhere. */
    DO("ip link set lo up && ip route add 10.1.2.0/24 dev lo");
    CHECK(begins(&image) == -EOPNOTSUPP);
    image.remote_addr = image.local_addr;
    CHECK(begins(&image) == -EOPNOTSUPP);
    CHECK(nic[0]->n_filters == 0 && counter_of(a, "tcp_imports_undone") == 0);
    image = end_of(0);
    CHECK(begins(&image) == 0 && nic[0]->n_filters == 0 && counter_of(a, "tcp_imports_undone") == 1);
    a->ops->destroy(a);
}

/* The neighbour is not known yet. What is sent meanwhile arrives once it is. */
static void test_neighbour(void)
{
    struct sf_sock *here, *there;
    struct sf_tcp_image image;
    char got[16];
    int steps = 0;

    a = make_side(0, false);
    b = make_side(1, false);
    enter(ns[0]);
    DO("ip neigh del 10.0.0.2 dev sim0");
    both_poll();
    enter(ns[0]);
    image = end_of(0);
    CHECK(import_into(a, &image, 2, &here) == 0);
    CHECK(put(here, "early", 5) == 5);
    enter(ns[1]);
    image = end_of(1);
    CHECK(import_into(b, &image, 2, &there) == 0);
    for (int i = 0; i < 100; i++)
        both_poll();
    CHECK(take(there, got, sizeof got) == -EAGAIN && is_in(here, "ESTABLISHED"));
    enter(ns[0]);
    DO("ip neigh replace 10.0.0.2 lladdr 02:00:0a:00:00:02 dev sim0");
    while (take(there, got, sizeof got) == -EAGAIN) {
        both_poll();
        CHECK(++steps < 100000);
    }
    CHECK(!memcmp(got, "early", 5));
    a->ops->release(here);
    b->ops->release(there);
    both_poll();
    a->ops->destroy(a);
    b->ops->destroy(b);
}

int main(void)
{
    make_pattern();
    make_host(0);
    make_host(1);
    clock_now = sf_now();
    test_streams(false);
    test_streams(true);
    test_routes();
    test_neighbour();
    return 0;
}
