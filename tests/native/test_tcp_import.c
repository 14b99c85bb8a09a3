/*
 * Connections that are imported from another TCP and exported to one. tests/segments/import-*.seg has their segments. Here: images that
 * are refused, the return from each state, limits, and streams whose connection moves at any moment. A failure prints its seed.
 * usage: test_tcp_import [first-seed [how-many]]
 */
#define _GNU_SOURCE
#include "simulated_network.h"
#include "tcp_move.h"

#include "tcp_loss_check.h"

static const struct sf_tcp_limits defaults;
static uint64_t current_seed;

static void say_seed(void)
{
    if (current_seed)
        fprintf(stderr, "seed %llu\n", (unsigned long long)current_seed);
}

/* An image of a connection from a to port 4000 of b, with bytes in each queue. */
static struct sf_tcp_image sample(uint8_t state)
{
    static uint8_t bytes[5000];

    return (struct sf_tcp_image){
        .local_addr = inet_addr(A_ADDR), .remote_addr = inet_addr(B_ADDR), .local_port = sf_be16(8081), .remote_port = sf_be16(4000),
        .state = state, .scaling = true, .sack = true, .timestamps = true, .snd_scale = 7, .rcv_scale = 8, .mss = 1460,
        .snd_una = 0xfffffff0, .snd_nxt = 0xfffffff0 + 3000, .snd_end = 0xfffffff0 + 5000, .snd_wl1 = 0x7ffffff0, .snd_wnd = 60000,
        .max_window = 70000, .rcv_nxt = 0x80000000, .rcv_wnd = 100000, .rcv_wup = 0x7fffff00, .ts_clock = 77, .ts_recent = 99,
        .read_at = clock_now, .rtt = SF_MS, .rtt_var = SF_US, .cwnd = 40000, .ssthresh = 30000, .unread = bytes, .unacked = bytes,
        .n_unread = 2000, .n_unacked = 5000,
    };
}

static void set_fin_wait_2(struct sf_tcp_image *i)
{
    i->state = TCP_FIN_WAIT2;
    i->snd_end = i->snd_una - 1;
    i->snd_nxt = i->snd_una;
    i->n_unacked = 0;
}

/* ---- refused images ---- */

static void is_refused(struct sf_tcp_image image)
{
    struct sf_sock *sock;
    struct sf_tcpip *t = tcpip_of(a);
    uint64_t undone = counter_of(a, "tcp_imports_undone");

    CHECK(import_into(a, &image, 2, &sock) == -EINVAL);
    CHECK(counter_of(a, "tcp_imports_undone") == undone + 1);
    exchange(2);
    CHECK(t->tcp.n_conns == 0 && t->tcp.memory == 0 && !t->tcp.timers.count && wire.sent == 0);
}

static void test_refused_agreements(void)
{
    struct sf_tcp_image i;

    for (int state = 0; state < 20; state++)
        if (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT && state != TCP_FIN_WAIT1)
            is_refused(sample((uint8_t)state));
    i = sample(TCP_ESTABLISHED), i.snd_scale = 15, is_refused(i);
    i = sample(TCP_ESTABLISHED), i.rcv_scale = 15, is_refused(i);
    i = sample(TCP_ESTABLISHED), i.scaling = false, is_refused(i);
    i = sample(TCP_ESTABLISHED), i.mss = 0, is_refused(i);
    i = sample(TCP_ESTABLISHED), i.mss = 65536, is_refused(i);
    i = sample(TCP_ESTABLISHED), i.rtt = -1, is_refused(i);
    i = sample(TCP_ESTABLISHED), i.rtt_var = SF_NEVER, is_refused(i);
}

static void test_refused_sending(void)
{
    struct sf_tcp_image i;

    i = sample(TCP_ESTABLISHED), i.n_unacked = 4999, is_refused(i);
    i = sample(TCP_ESTABLISHED), i.unacked = NULL, is_refused(i);
    i = sample(TCP_ESTABLISHED), i.snd_nxt = i.snd_una - 1, is_refused(i);
    i = sample(TCP_ESTABLISHED), i.snd_nxt = i.snd_end + 1, is_refused(i);
    i = sample(TCP_CLOSE_WAIT), i.snd_nxt = i.snd_end + 1, is_refused(i);
    i = sample(TCP_FIN_WAIT1), i.snd_nxt = i.snd_end + 2, is_refused(i);
    i = sample(TCP_FIN_WAIT1), set_fin_wait_2(&i), i.state = TCP_FIN_WAIT1, is_refused(i);
    i = sample(TCP_FIN_WAIT2), set_fin_wait_2(&i), i.snd_nxt++, is_refused(i);
    i = sample(TCP_FIN_WAIT2), set_fin_wait_2(&i), i.n_unacked = 1, is_refused(i);
    i = sample(TCP_ESTABLISHED), i.max_window = i.snd_wnd - 1, is_refused(i);
    i = sample(TCP_ESTABLISHED), i.snd_scale = 0, is_refused(i);
    i = sample(TCP_ESTABLISHED), i.snd_wl1 = i.rcv_nxt + 200000, is_refused(i);
}

static void test_refused_receiving(void)
{
    struct sf_tcp_image i;

    i = sample(TCP_ESTABLISHED), i.unread = NULL, is_refused(i);
    i = sample(TCP_ESTABLISHED), i.n_unread = UINT32_MAX, is_refused(i);
    i = sample(TCP_ESTABLISHED), i.rcv_wup = i.rcv_nxt + 1, is_refused(i);
    i = sample(TCP_ESTABLISHED), i.rcv_scale = 0, is_refused(i);
    i = sample(TCP_ESTABLISHED), i.rcv_wnd = UINT32_MAX, is_refused(i);
}

static void test_refused(void)
{
    struct sf_tcp_limits limits = {.memory = 6000};
    struct sf_tcp_image i;
    struct sf_sock *sock;

    network_begin(1500, &defaults, &defaults);
    test_refused_agreements();
    test_refused_sending();
    test_refused_receiving();
    network_end();
    network_begin(1500, &limits, &defaults); /* The kernel keeps what we have no memory for. */
    i = sample(TCP_ESTABLISHED);
    CHECK(import_into(a, &i, 2, &sock) == -ENOBUFS);
    exchange(2);
    CHECK(tcpip_of(a)->tcp.memory == 0 && tcpip_of(a)->tcp.n_conns == 0 && wire.sent == 0);
    network_end();
}

/* ---- beginning ---- */

static int begins(const struct sf_tcp_image *image, int fd)
{
    struct sf_flow_key key = key_of(image);
    struct sf_tcp_conn *conn;
    int rc = sf_tcp_import_begin(tcpip_of(a), fd, &key, &conn);

    if (rc == 0)
        sf_tcp_import_undo(conn);
    return rc;
}

static void test_beginning(void)
{
    struct sf_tcp_image i;
    struct sf_sock *sock;
    int tcp, udp = udp_socket("0.0.0.0", 0);

    network_begin(1500, &defaults, &defaults);
    tcp = tcp_socket(NULL, 0);
    i = sample(TCP_ESTABLISHED);
    CHECK(begins(&i, tcp) == 0 && begins(&i, udp) == -EOPNOTSUPP && begins(&i, -1) == -EOPNOTSUPP);
    i = sample(TCP_ESTABLISHED), i.remote_addr = inet_addr("127.77.0.9"); /* Another way leads there. */
    CHECK(begins(&i, tcp) == -EOPNOTSUPP);
    i = sample(TCP_ESTABLISHED), i.local_addr = inet_addr("127.77.0.9"); /* The interface does not have this address. */
    CHECK(begins(&i, tcp) == -EOPNOTSUPP);
    i = sample(TCP_ESTABLISHED), i.remote_addr = inet_addr("224.0.0.1");
    CHECK(begins(&i, tcp) == -EOPNOTSUPP);
    i = sample(TCP_ESTABLISHED), i.remote_port = 0;
    CHECK(begins(&i, tcp) == -EOPNOTSUPP);
    i = sample(TCP_ESTABLISHED);
    CHECK(import_into(a, &i, 2, &sock) == 0);
    CHECK(begins(&i, tcp) == -EADDRNOTAVAIL && wire.sent == 0);
    CHECK(sf_tcp_import_finish(conn_in(sock), &i) == -EINVAL); /* a second time */
    a->ops->abort(sock);
    close(tcp);
    close(udp);
    network_end();
}

/* A segment that comes before the import is finished is ignored, and not answered. */
static void test_unfinished(void)
{
    struct sf_tcp_image i;
    struct sf_flow_key key;
    struct sf_tcp_segment s = {.seq = 5, .ack = 7, .flags = SF_TCP_ACK};
    struct sf_tcp_conn *conn;
    int fd = tcp_socket(NULL, 0);

    network_begin(1500, &defaults, &defaults);
    i = sample(TCP_ESTABLISHED);
    key = key_of(&i);
    CHECK(sf_tcp_import_begin(tcpip_of(a), fd, &key, &conn) == 0);
    sf_tcp_conn_input(conn, &s, false);
    s.flags = SF_TCP_SYN;
    sf_tcp_conn_input(conn, &s, false);
    CHECK(wire.sent == 0);
    i.local_port++;
    CHECK(sf_tcp_import_finish(conn, &i) == -EINVAL); /* the image of another connection */
    i.local_port--;
    CHECK(sf_tcp_import_finish(conn, &i) == 0);
    check_loss(&conn->loss);
    sf_tcp_import_undo(conn); /* The kernel keeps it after all. */
    exchange(3);
    CHECK(wire.sent == 0 && tcpip_of(a)->tcp.memory == 0 && tcpip_of(a)->tcp.n_conns == 0);
    close(fd);
    network_end();
}

/* The port stays reserved until the connection has ended. */
static void test_port(void)
{
    struct sockaddr_in name = address(A_ADDR, 8081);
    struct sf_tcp_image i;
    struct sf_sock *sock;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), other;

    network_begin(1500, &defaults, &defaults);
    i = sample(TCP_ESTABLISHED);
    CHECK(import_into(a, &i, 2, &sock) == 0);
    CHECK(bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0 && errno == EADDRINUSE);
    a->ops->abort(sock);
    CHECK(counter_of(a, "tcp_ports_unreserved") == 0);
    CHECK(bind(fd, (struct sockaddr *)&name, sizeof(name)) == 0);
    CHECK(import_into(a, &i, 2, &sock) == 0); /* Another socket has the port, which does no harm. */
    CHECK(counter_of(a, "tcp_ports_unreserved") == 1);
    a->ops->abort(sock);
    close(fd);
    other = tcp_socket(A_ADDR, 8081); /* A listener of ours has the port, and keeps it for the connection. */
    CHECK(a->ops->listen(a, other, 4, 1, 101, &sock) == 0);
    close(other);
    struct sf_sock *imported;
    CHECK(import_into(a, &i, 2, &imported) == 0);
    CHECK(conn_in(imported)->port->held_by && conn_in(imported)->port->filtered);
    a->ops->release(sock);
    a->ops->abort(imported);
    network_end();
}

/* ---- the return ---- */

static void returns(struct sf_tcp_image image)
{
    struct sf_tcp_image again;
    struct sf_sock *sock;

    CHECK(import_into(a, &image, 2, &sock) == 0);
    CHECK(sf_tcp_export(conn_in(sock), &again) == 0);
    check_equal(&image, &again);
    CHECK(again.cwnd == image.cwnd && again.ssthresh == image.ssthresh);
    check_loss(&conn_in(sock)->loss);
    sf_tcp_image_free(&again);
    tcpip_stream_exported(sock);
    exchange(3);
    CHECK(wire.sent == 0 && tcpip_of(a)->tcp.n_conns == 0 && tcpip_of(a)->tcp.memory == 0 && !tcpip_of(a)->tcp.timers.count);
}

static void test_returns(void)
{
    struct sf_tcp_image i;

    network_begin(1500, &defaults, &defaults);
    returns(sample(TCP_ESTABLISHED));
    returns(sample(TCP_CLOSE_WAIT));
    returns(sample(TCP_FIN_WAIT1));
    i = sample(TCP_FIN_WAIT1), i.snd_nxt = i.snd_end + 1, returns(i);
    i = sample(TCP_FIN_WAIT1), i.snd_una = i.snd_end, i.snd_nxt = i.snd_end + 1, i.n_unacked = 0, returns(i);
    i = sample(TCP_FIN_WAIT2), set_fin_wait_2(&i), returns(i);
    i = sample(TCP_ESTABLISHED), i.timestamps = i.sack = false, i.ts_recent = 0, returns(i);
    i = sample(TCP_ESTABLISHED), i.n_unread = 0, i.snd_end = i.snd_nxt = i.snd_una, i.n_unacked = 0, returns(i);
    i = sample(TCP_ESTABLISHED), i.snd_wnd = 0, i.ssthresh = 0, returns(i);
    i = sample(TCP_ESTABLISHED), i.rcv_wnd = i.rcv_nxt - i.rcv_wup, returns(i);
    CHECK(counter_of(a, "tcp_imported") == 10 && counter_of(a, "tcp_exported") == 10);
    network_end();
}

static void test_states_without_image(void)
{
    struct sf_tcp_image i;
    struct sockaddr_in name;
    struct sf_sock *listener, *client;

    network_begin(1500, &defaults, &defaults);
    listener = listen_on(b, B_ADDR, 4, &name);
    client = connect_from(a, name, 2);
    CHECK(sf_tcp_export(conn_in(client), &i) == -EOPNOTSUPP); /* SYN_SENT */
    exchange(3);
    struct sf_sock *server = accept_from(listener, 3);
    CHECK(b->ops->shutdown_tx(server) == 0);
    exchange(2);
    CHECK(a->ops->shutdown_tx(client) == 0);
    CHECK(is_in(client, "LAST-ACK") && sf_tcp_export(conn_in(client), &i) == -EOPNOTSUPP);
    exchange(3);
    CHECK(is_in(server, "TIME-WAIT") && sf_tcp_export(conn_in(server), &i) == -EOPNOTSUPP);
    CHECK(is_in(client, "CLOSED") && sf_tcp_export(conn_in(client), &i) == -EOPNOTSUPP);
    a->ops->release(client);
    b->ops->release(server);
    b->ops->release(listener);
    network_end();
}

/* ---- streams whose connection moves ---- */

enum { MOST_MOVES = 300 };

static uint64_t moves, moves_with_data, moves_left, retransmits;

/* A stream moves a limited number of times, because a move sets the RTO anew, and a lost segment would never be sent again. */
static void move_now_and_then(struct side *s, uint64_t *seed, uint32_t seldom)
{
    struct sf_tcp_conn *c = conn_in(s->sock);
    uint32_t resent = (uint32_t)c->loss.n_retransmits;
    bool has_data = c->state >= SF_TCP_ESTABLISHED && sf_tcp_unread(&c->rcv) + sf_tcp_unacked(&c->snd, &c->loss);

    if (!moves_left || next_random(seed) % seldom)
        return;
    if (!move(&s->sock))
        return;
    moves++;
    moves_left--;
    retransmits += resent;
    moves_with_data += has_data;
    check_loss(&conn_in(s->sock)->loss);
}

static void draw_network(uint64_t *seed)
{
    static const double rates[] = {0, 0, 0, 0.001, 0.01, 0.05};

    wire.seed = next_random(seed) | 1;
    wire.delay = (sf_ns)(next_random(seed) % 20000) * SF_US / 10;
    wire.jitter = next_random(seed) % 2 ? 0 : wire.delay * 2;
    wire.reorder = rates[next_random(seed) % 6] * 3;
    wire.lose = rates[next_random(seed) % 6];
    wire.duplicate = rates[next_random(seed) % 6];
    wire.per_byte = next_random(seed) % 3 ? 0 : 100 + (sf_ns)(next_random(seed) % 100000);
    wire.queue = (sf_ns)(1 + next_random(seed) % 50) * SF_MS;
}

static void run_stream(struct stream *s, uint64_t *seed)
{
    sf_ns until = clock_now + 3000 * SF_SEC;
    uint32_t steps = 0, seldom = 1 + (uint32_t)(next_random(seed) % 64);

    moves_left = MOST_MOVES;
    s->client.to_send = s->server.to_receive = next_random(seed) % 200000;
    s->server.to_send = s->client.to_receive = next_random(seed) % 200000;
    while (!side_is_done(&s->client) || !side_is_done(&s->server)) {
        move_now_and_then(&s->client, seed, seldom);
        side_run(&s->client);
        move_now_and_then(&s->client, seed, seldom);
        side_run(&s->server);
        move_now_and_then(&s->server, seed, seldom * 2);
        if (next_random(seed) % 64 == 0)
            s->server.paused_until = clock_now + (sf_ns)(next_random(seed) % 2000) * SF_MS;
        if (next_random(seed) % 64 == 0)
            s->client.paused_until = clock_now + (sf_ns)(next_random(seed) % 2000) * SF_MS;
        CHECK(clock_now < until && ++steps < 3000000);
        network_step(until);
    }
    CHECK(s->client.error == 0 && s->server.error == 0);
    CHECK(s->client.received == s->client.to_receive && s->server.received == s->server.to_receive);
}

static void run(uint64_t number, struct sf_sock *listener, struct sockaddr_in name)
{
    uint64_t seed = number * 0x9e3779b97f4a7c15u | 1;
    struct stream s;

    current_seed = number;
    for (int i = 0; i < 4; i++)
        next_random(&seed);
    draw_network(&seed);
    stream_connect(&s, name, 2);
    CHECK(stream_connected(&s, 400 * SF_SEC) == 0);
    stream_accepted(&s, listener, 3);
    run_stream(&s, &seed);
    stream_release(&s);
    wire = (struct wire){.end = {wire.end[0], wire.end[1]}, .addr = {wire.addr[0], wire.addr[1]}, .mtu = wire.mtu, .seed = 1,
                         .order = wire.order, .free = wire.free, .n_frames = wire.n_frames};
    for (sf_ns until = clock_now + 200 * SF_SEC; clock_now < until;)
        network_step(until);
}

static void test_moving(uint64_t first, uint64_t n, uint32_t mtu, uint32_t first_sequence)
{
    struct sf_tcp_limits limits = {.min_rto = 200 * SF_MS, .first_sequence = first_sequence};
    struct sf_sock *listener;
    struct sockaddr_in name;

    moves = moves_with_data = retransmits = 0;
    network_begin(mtu, &limits, &limits);
    listener = listen_on(b, B_ADDR, 16, &name);
    for (uint64_t seed = first; seed < first + n; seed++)
        run(seed, listener, name);
    CHECK(a->ops->lingering(a) == 0 && b->ops->lingering(b) == 0 && tcpip_of(a)->tcp.n_conns == 0 && tcpip_of(a)->tcp.memory == 0);
    printf("MTU %u: %llu moves, %llu with data, %llu retransmits before\n", mtu, (unsigned long long)moves,
           (unsigned long long)moves_with_data, (unsigned long long)retransmits);
    CHECK(moves > n && moves_with_data > n / 2);
    current_seed = 0;
    b->ops->release(listener);
    network_end();
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1, n = argc > 2 ? strtoull(argv[2], NULL, 0) : 500;

    atexit(say_seed);
    clock_now = sf_now();
    test_refused();
    test_beginning();
    test_unfinished();
    test_port();
    test_returns();
    test_states_without_image();
    test_moving(first, n, 1500, 0);
    test_moving(first + n, n, 576, 0xffffffff - 20000); /* the sequence numbers wrap */
    test_moving(first + 2 * n, n, 9000, 0x7ffffff0);
    return 0;
}
