/*
 * A connection of the kernel goes on in our stack, and goes back to the kernel, while bytes flow both ways. Two namespaces with a veth
 * pair; the peer is Linux. On af_xdp and packet. usage: test_tcp_adoption [first-seed [how-many]]
 */
#define _GNU_SOURCE
#include "namespaces.h"
#include "simulated_network.h"
#include "tcp_move.h"

#include "kernel_image.h"

#include <poll.h>

#define NEAR "10.79.0.1"
#define FAR "10.79.0.2"

enum { PORT = 7000, MOST_BYTES = 2000000, WRITE = 30000 };

static int near_ns, far_ns;

/* One end of the conversation: a kernel's socket, or one of our stack. */
struct end {
    int fd;
    struct sf_sock *sock;
    uint64_t to_send, sent, received;
    bool shut, eof;
};

static uint64_t current_seed;

static void say_seed(void)
{
    if (current_seed)
        fprintf(stderr, "seed %llu\n", (unsigned long long)current_seed);
}

static void turn(void)
{
    struct sf_event events[16];

    clock_now = sf_now();
    a->ops->poll(a, clock_now, events, 16);
}

static ssize_t end_send(struct end *e, const uint8_t *data, size_t len)
{
    ssize_t n;

    if (e->sock)
        return put(e->sock, data, len);
    n = send(e->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

static ssize_t end_recv(struct end *e, uint8_t *data, size_t len)
{
    ssize_t n;

    if (e->sock)
        return take(e->sock, data, len);
    n = recv(e->fd, data, len, MSG_DONTWAIT);
    return n < 0 ? -errno : n;
}

static void end_write(struct end *e, uint64_t *seed)
{
    size_t len = e->to_send - e->sent < WRITE ? (size_t)(e->to_send - e->sent) : WRITE;
    ssize_t n;

    if (len) {
        n = end_send(e, pattern + e->sent % STREAM_PERIOD, 1 + next_random(seed) % len);
        CHECK(n > 0 || n == -EAGAIN);
        e->sent += n > 0 ? (uint64_t)n : 0;
    } else if (!e->shut) {
        e->shut = true;
        CHECK(e->sock ? a->ops->shutdown_tx(e->sock) == 0 : shutdown(e->fd, SHUT_WR) == 0);
    }
}

static void end_read(struct end *e)
{
    static uint8_t got[CHUNK];
    ssize_t n = e->eof ? -EAGAIN : end_recv(e, got, sizeof got);

    if (n == -EAGAIN)
        return;
    if (n < 0)
        fprintf(stderr, "%s: %s\n", e->sock ? "ours" : "the kernel's", strerror((int)-n));
    CHECK(n >= 0 && !memcmp(got, pattern + e->received % STREAM_PERIOD, (size_t)n));
    e->eof = n == 0;
    e->received += (uint64_t)n;
}

/* ---- the two moves ---- */

/* The driver brings the frames from begin() on, so nothing of the kernel's state changes while it is read. A segment that a softirq had in
 * hand may still come, so the image is read again. */
static bool adopt_end(struct end *e)
{
    struct sf_tcp_image names = {0}, image;
    struct sf_flow_key key;
    struct sf_tcp_conn *conn;

    repair_read_names(e->fd, &names);
    key = key_of(&names);
    CHECK(sf_tcp_import_begin(tcpip_of(a), e->fd, &key, &conn) == 0);
    image = repair_read(e->fd);
    if (sf_tcp_import_finish(conn, &image) < 0) { /* The connection has ended, or is in a state without image. */
        CHECK(image.state != TCP_ESTABLISHED && image.state != TCP_CLOSE_WAIT);
        sf_tcp_image_free(&image);
        sf_tcp_import_undo(conn);
        CHECK(repair_set(e->fd, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP) == 0);
        return false;
    }
    sf_tcp_image_free(&image);
    close(e->fd);
    sf_tcp_import_closed(conn);
    CHECK(tcpip_stream_around(a, conn, 2, 102, &e->sock) == 0);
    return true;
}

/* The kernel's socket is complete before the driver's filter goes, because the kernel would reset what it does not know. */
static bool return_end(struct end *e)
{
    struct sf_tcp_image image;

    CHECK(sf_tcp_export(conn_in(e->sock), &image) == 0 || image.state == 0);
    if (image.state != TCP_ESTABLISHED) {
        sf_tcp_image_free(&image);
        return false;
    }
    e->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(repair_import(e->fd, &image) == 0);
    tcpip_stream_exported(e->sock);
    e->sock = NULL;
    sf_tcp_image_free(&image);
    return true;
}

/* ---- a conversation ---- */

static uint64_t adopted, adopted_with_data, returned;
static sf_ns adopting; /* the time of all adoptions */

static void move_end(struct end *e)
{
    sf_ns began = sf_now();

    if (e->sock) {
        returned += return_end(e);
    } else if (adopt_end(e)) {
        struct sf_tcp_conn *c = conn_in(e->sock);

        adopting += sf_now() - began;
        adopted++;
        adopted_with_data += sf_tcp_unread(&c->rcv) + sf_tcp_unacked(&c->snd, &c->loss) != 0;
    }
}

static void connect_ends(struct end *near_end, struct end *far_end, int listener)
{
    struct sockaddr_in to = address(FAR, PORT);
    int on = 1;

    near_end->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(near_end->fd, (struct sockaddr *)&to, sizeof to) == 0);
    setsockopt(near_end->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    far_end->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(far_end->fd >= 0);
}

static void converse(uint64_t number, int listener, bool goes_back)
{
    struct end here = {.fd = -1}, there = {.fd = -1};
    uint64_t seed = number * 0x9e3779b97f4a7c15u | 1, most, at, back;
    sf_ns until = sf_now() + 20 * SF_SEC;

    current_seed = number;
    for (int i = 0; i < 4; i++)
        next_random(&seed);
    most = next_random(&seed) % 2 ? 3000 : MOST_BYTES;
    here.to_send = next_random(&seed) % most;
    there.to_send = next_random(&seed) % most;
    at = next_random(&seed) % (here.to_send + there.to_send + 2);
    back = goes_back ? at + next_random(&seed) % (here.to_send + there.to_send + 2) : UINT64_MAX;
    connect_ends(&here, &there, listener);
    while (!here.eof || !there.eof || !here.shut || !there.shut) {
        uint64_t progress = here.sent + there.sent + here.shut + there.shut;

        if (progress >= at) {
            move_end(&here);
            at = here.sock ? back : UINT64_MAX;
        }
        end_write(&here, &seed);
        end_write(&there, &seed);
        turn();
        if (next_random(&seed) % 4)
            end_read(&here);
        if (next_random(&seed) % 4)
            end_read(&there);
        CHECK(sf_now() < until);
    }
    CHECK(here.received == there.to_send && there.received == here.to_send);
    if (here.sock)
        a->ops->release(here.sock);
    else
        close(here.fd);
    close(there.fd);
}

/* ---- accepted connections ---- */

static void expect_from(struct end *e, const char *text)
{
    uint8_t got[64];
    sf_ns until = sf_now() + 5 * SF_SEC;
    ssize_t n;

    do {
        turn();
        n = end_recv(e, got, sizeof got);
        CHECK(sf_now() < until);
    } while (n == -EAGAIN);
    CHECK(n == (ssize_t)strlen(text) && !memcmp(got, text, (size_t)n));
}

static void exchange_words(struct end *x, struct end *y)
{
    CHECK(end_send(x, (const uint8_t *)"ping", 4) == 4);
    expect_from(y, "ping");
    CHECK(end_send(y, (const uint8_t *)"pong", 4) == 4);
    expect_from(x, "pong");
}

/* The stack serves a listener's port, and leaves the connection that the kernel has accepted there to the kernel by a flow of its own. An
 * import takes the flow back. After an import that is undone, the kernel's connection goes on. */
static void test_accepted(void)
{
    struct sockaddr_in name = address(NEAR, PORT + 1);
    struct end here = {.fd = -1}, there = {.fd = -1};
    struct sf_tcp_image names = {0};
    struct sf_sock *sock;
    struct sf_tcp_conn *conn;
    struct sf_flow_key key;
    int listener = tcp_socket(NEAR, PORT + 1);
    sf_ns until = sf_now() + 5 * SF_SEC;

    CHECK(listen(listener, 16) == 0);
    enter(far_ns);
    there.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    enter(near_ns);
    CHECK(connect(there.fd, (struct sockaddr *)&name, sizeof name) == 0);
    here.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(here.fd >= 0 && a->ops->listen(a, listener, 16, 1, 101, &sock) == 0);
    while (tcpip_of(a)->filters.kernel.n != 1) {
        turn();
        CHECK(sf_now() < until);
    }
    exchange_words(&here, &there);
    repair_read_names(here.fd, &names);
    key = key_of(&names);
    CHECK(sf_tcp_import_begin(tcpip_of(a), here.fd, &key, &conn) == 0 && tcpip_of(a)->filters.kernel.n == 0);
    sf_tcp_import_undo(conn);
    CHECK(tcpip_of(a)->filters.kernel.n == 1);
    exchange_words(&here, &there);
    CHECK(adopt_end(&here) && tcpip_of(a)->filters.kernel.n == 0);
    exchange_words(&here, &there);
    a->ops->release(sock);
    close(listener);
    exchange_words(&here, &there); /* Without the listener the connection has its own filter. */
    a->ops->release(here.sock);
    close(there.fd);
    for (int i = 0; i < 100; i++)
        turn();
}

static void test_driver(const char *driver, const char *mode, uint64_t first, uint64_t n)
{
    struct sf_driver_config config = {.interface = "v0", .queue = -1, .mode = mode};
    struct sf_tcpip_config stack = {.interface = "v0"};
    struct sockaddr_in name = address(FAR, PORT);
    char message[256];
    int error = 0, listener, on = 1;

    enter(far_ns);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    CHECK(bind(listener, (struct sockaddr *)&name, sizeof name) == 0 && listen(listener, 16) == 0);
    enter(near_ns);
    stack.driver = sf_driver_find(driver)(&config, &error, message);
    if (!stack.driver)
        fprintf(stderr, "%s\n", message);
    CHECK(stack.driver);
    a = sf_stack_tcpip_create(&stack, &error, message);
    CHECK(a);
    adopted = adopted_with_data = returned = 0;
    adopting = 0;
    turn();
    for (uint64_t seed = first; seed < first + n; seed++)
        converse(seed, listener, seed % 3 == 0);
    current_seed = 0;
    test_accepted();
    printf("%s: %llu adopted in %.0f us each, %llu with data, %llu returned; %llu ports unreserved, %llu resets\n", driver,
           (unsigned long long)adopted, (double)adopting / (double)(adopted ? adopted : 1) / SF_US,
           (unsigned long long)adopted_with_data, (unsigned long long)returned,
           (unsigned long long)counter_of(a, "tcp_ports_unreserved"), (unsigned long long)counter_of(a, "tcp_resets_sent"));
    CHECK(adopted > n / 2 && adopted_with_data > n / 10 && counter_of(a, "tcp_resets_sent") == 0);
    a->ops->destroy(a);
    close(listener);
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1, n = argc > 2 ? strtoull(argv[2], NULL, 0) : 60;

    if (geteuid() != 0) {
        printf("skipped: taking a connection from the kernel needs CAP_NET_ADMIN\n");
        return SKIPPED;
    }
    atexit(say_seed);
    make_pattern();
    new_veth_pair(&near_ns, &far_ns);
    DO("ip addr add " NEAR "/24 dev v0 && ip link set lo up && ip link set v0 addrgenmode none up");
    enter(far_ns);
    DO("ip addr add " FAR "/24 dev v1 && ip link set lo up && ip link set v1 addrgenmode none up");
    test_driver("packet", NULL, first, n);
    test_driver("af_xdp", "native", first + n, n);
    return 0;
}
