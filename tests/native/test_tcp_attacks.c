/*
 * Attacks from the network: SYN floods, guessed sequence numbers, peers that acknowledge data which they cannot have received,
 * and peers that take data in tiny pieces. Memory and answers stay bounded, and an unrelated connection is not harmed.
 */
#define _GNU_SOURCE
#include <netinet/tcp.h>

#include "stacks/tcpip/socket.h"

#include "simulated_network.h"
#include "tcp_loss_check.h"

enum { MSS = 1460 };

static struct stream victim; /* from a to b */
static struct sf_sock *listener;
static struct sockaddr_in name;

static void begin_attack(void)
{
    struct sf_tcp_limits limits = {.max_half_open = 64, .memory = 8 << 20, .min_rto = 200 * SF_MS};

    network_begin(1500, &limits, &limits);
    wire.delay = SF_MS;
    listener = listen_on(b, B_ADDR, 128, &name);
    stream_connect(&victim, name, 2);
    CHECK(stream_connected(&victim, SF_SEC) == 0);
    stream_accepted(&victim, listener, 3);
}

/* Runs the victim's transfer while `attack` is called at intervals of `gap`. All bytes must arrive. */
static void transfer_under(void (*attack)(uint32_t), uint32_t times, sf_ns gap)
{
    sf_ns until = clock_now + 100 * SF_SEC, next = clock_now;
    uint32_t n = 0;

    victim.client.to_send = victim.server.to_receive = 300000;
    victim.server.to_send = victim.client.to_receive = 300000;
    while (!side_is_done(&victim.client) || !side_is_done(&victim.server) || n < times) {
        side_run(&victim.client);
        side_run(&victim.server);
        for (; n < times && clock_now >= next; next += gap)
            attack(n++);
        CHECK(clock_now < until);
        network_step(n < times && next < until ? next : until);
    }
    CHECK(!victim.client.error && !victim.server.error);
    CHECK(victim.client.received == 300000 && victim.server.received == 300000);
}

static void end_attack(void)
{
    stream_release(&victim);
    b->ops->release(listener);
    network_end();
}

/* Sends b a segment with the forged source address `addr`. */
static void forge_from(const char *addr, uint16_t src_port, const struct sf_tcp_segment *s, uint32_t len)
{
    static uint8_t frame[1600], payload[1460];
    struct sf_ip_peer peer = {.src_mac = {2, 0, 0, 0, 0, 1}, .dst_mac = {2, 0, 0, 0, 0, 2}, .src_addr = inet_addr(addr),
                               .dst_addr = inet_addr(B_ADDR), .src_port = src_port, .dst_port = name.sin_port, .ttl = 64};
    struct iovec piece = {payload, len};
    struct sf_tcp_template template;
    size_t size;

    CHECK(sf_tcp_template_init(&template, &peer) == 0);
    size = sf_tcp_emit(&template, frame, sizeof frame, s, &piece, 1, 1);
    CHECK(size);
    wire_put(&wire, 0, frame, size);
}

static void forge(uint16_t src_port, const struct sf_tcp_segment *s, uint32_t len)
{
    forge_from(A_ADDR, src_port, s, len);
}

static struct sf_tcp_conn *conn_of_side(const struct side *s)
{
    return ((struct tcpip_stream *)s->sock)->conn;
}

static uint16_t victims_port(void)
{
    return conn_of_side(&victim.client)->flow.key.local_port;
}

/* ---- floods ---- */

static void syn(uint32_t n)
{
    for (uint32_t i = 0; i < 20; i++) {
        struct sf_tcp_segment s = {.seq = n * 77 + i, .flags = SF_TCP_SYN, .has = SF_TCP_HAS_MSS, .mss = MSS, .window = 1000};

        forge(sf_be16((uint16_t)(1024 + n * 20 + i)), &s, 0);
    }
    CHECK(tcpip_of(b)->tcp.n_half_open <= 64);
}

static void test_a_syn_flood(void)
{
    uint64_t sent;

    begin_attack();
    sent = wire.sent;
    transfer_under(syn, 1000, 100 * SF_US);
    CHECK(tcpip_of(b)->tcp.n_conns == 1 && counter_of(b, "tcp_cookies_sent") > 15000);
    CHECK(wire.sent - sent < 20000 * 4 + 5000); /* b answers each SYN, and a resets each answer */
    end_attack();
}

/* A client connects by a SYN cookie while forged SYNs fill the table of half-open connections. */
static void test_connecting_through_a_flood(void)
{
    struct stream s;
    uint32_t before;

    begin_attack();
    for (uint32_t n = 0; n < 10; n++) {
        syn(n);
        wire.end[0].busy_until = 0;
    }
    while (wire_next(&wire, 1) != SF_NEVER) { /* a is not polled, because its stack would reset the answers */
        struct sf_event events[16];

        clock_now = wire_next(&wire, 1);
        b->ops->poll(b, clock_now, events, 16);
    }
    CHECK(tcpip_of(b)->tcp.n_half_open == 64);
    before = (uint32_t)counter_of(b, "tcp_cookies_good");
    stream_connect(&s, name, 4);
    for (int i = 0; i < 100 && a->ops->connect_result(s.client.sock) == -EINPROGRESS; i++) {
        syn((uint32_t)i); /* the flood goes on */
        network_step(clock_now + SF_MS);
    }
    CHECK(a->ops->connect_result(s.client.sock) == 0);
    CHECK(put(s.client.sock, "hello", 5) == 5);
    stream_accepted(&s, listener, 5);
    CHECK(counter_of(b, "tcp_cookies_good") == before + 1);
    for (sf_ns until = clock_now + SF_SEC; clock_now < until;)
        network_step(until);
    expect_bytes(s.server.sock, "hello");
    stream_release(&s);
    end_attack();
}

static void challenge_ack(uint32_t n)
{
    struct sf_tcp_segment s = {.seq = n * 0x01000193u, .ack = n * 0x9e3779b9u, .flags = SF_TCP_ACK, .window = (uint16_t)n};

    for (int i = 0; i < 10; i++)
        forge(victims_port(), &s, 0);
}

/* Challenge ACKs are limited per second, however many unacceptable ACKs arrive (RFC 5961, 7). */
static void test_an_ack_storm(void)
{
    uint64_t before, answered;

    begin_attack();
    before = info_of(victim.server.sock).segments_sent;
    for (uint32_t n = 0; n < 2000; n++) {
        challenge_ack(n);
        network_step(clock_now + SF_MS / 2);
    }
    answered = info_of(victim.server.sock).segments_sent - before;
    CHECK(answered < 2000);
    transfer_under(challenge_ack, 3000, 50 * SF_US);
    end_attack();
}

/* ---- one half-open connection ---- */

enum { BYSTANDERS = 100 };

static void set_int(struct sf_sock *sock, int level, int option, int value)
{
    CHECK(a->ops->set_option(sock, level, option, &value, sizeof value) == 0);
}

/* Opens clients with a keepalive time of one second. Every other client has filled the peer's window. */
static void open_bystanders(struct stream *s)
{
    for (uint32_t i = 0; i < BYSTANDERS; i++) {
        stream_connect(&s[i], name, 100 + i);
        CHECK(stream_connected(&s[i], SF_SEC) == 0);
        stream_accepted(&s[i], listener, 300 + i);
        set_int(s[i].client.sock, IPPROTO_TCP, TCP_KEEPIDLE, 1);
        set_int(s[i].client.sock, IPPROTO_TCP, TCP_KEEPINTVL, 1);
        set_int(s[i].client.sock, IPPROTO_TCP, TCP_KEEPCNT, 2);
        set_int(s[i].client.sock, SOL_SOCKET, SO_KEEPALIVE, 1);
        if (i % 2)
            while (put(s[i].client.sock, pattern, CHUNK) > 0)
                network_step(clock_now + 10 * SF_MS);
    }
}

/* A half-open connection receives 10,000 segments a second, each outside its window. It sends at most one challenge ACK in half a
 * second. The keepalive and window probes of other connections are answered as ever. */
static void test_a_flood_from_one_half_open_connection(void)
{
    static const char somebody[] = "127.0.0.99"; /* no host at this address resets the answers */
    struct sf_tcp_segment first = {.seq = 7, .flags = SF_TCP_SYN, .has = SF_TCP_HAS_MSS, .mss = MSS, .window = 1000};
    struct sf_tcp_segment next = {.seq = 0x40000000, .ack = 1, .flags = SF_TCP_ACK, .window = 1000};
    static struct stream s[BYSTANDERS];
    uint64_t before;
    sf_ns until;

    begin_attack();
    open_bystanders(s);
    forge_from(somebody, sf_be16(77), &first, 0);
    before = counter_of(b, "tcp_challenges");
    for (until = clock_now + 5 * SF_SEC; clock_now < until; network_step(clock_now + SF_MS / 2))
        for (int i = 0; i < 5; i++)
            forge_from(somebody, sf_be16(77), &next, 0);
    CHECK(tcpip_of(b)->tcp.n_half_open == 1 && counter_of(b, "tcp_challenge_limited") > 40000);
    CHECK(counter_of(b, "tcp_challenges") - before >= BYSTANDERS * 4);
    for (int i = 0; i < BYSTANDERS; i++) {
        CHECK(is_in(s[i].client.sock, "ESTABLISHED") && conn_of_side(&s[i].client)->probe.keep_probes <= 1);
        CHECK(clock_now - conn_of_side(&s[i].client)->probe.heard < 1100 * SF_MS);
        stream_release(&s[i]);
    }
    end_attack();
}

/* Polls b only, because a's stack would reset the answers to forged segments. */
static void run_b(sf_ns until)
{
    struct sf_event events[16];

    while (clock_now < until) {
        sf_ns next = wire_next(&wire, 1), timer = b->ops->poll_at(b, clock_now);

        next = next < timer ? next : timer;
        clock_now = next < until ? (next > clock_now ? next : clock_now + 1) : until;
        b->ops->poll(b, clock_now, events, 16);
    }
}

/* The same SYN arrives 10,000 times a second, and two answers a second leave. After the flood the half-open record times out. */
static void test_a_flood_of_one_syn(void)
{
    struct sf_tcp_segment first = {.seq = 7, .flags = SF_TCP_SYN, .has = SF_TCP_HAS_MSS, .mss = MSS, .window = 1000};
    uint32_t before;
    sf_ns flood;

    begin_attack();
    before = wire.end[0].n;
    for (flood = clock_now + 5 * SF_SEC; clock_now < flood; run_b(clock_now + SF_MS / 2))
        for (int i = 0; i < 5; i++)
            forge(sf_be16(77), &first, 0);
    CHECK(counter_of(b, "tcp_syn_retransmits") >= 9 && counter_of(b, "tcp_syn_retransmits") <= 11);
    CHECK(wire.end[0].n - before <= 1 + 11);
    CHECK(tcpip_of(b)->tcp.n_half_open == 1 && counter_of(b, "tcp_challenges") == 0);
    run_b(clock_now + 64 * SF_SEC);
    CHECK(tcpip_of(b)->tcp.n_half_open == 0 && counter_of(b, "tcp_half_open_timed_out") == 1);
    CHECK(counter_of(b, "tcp_syn_retransmits") <= 11 + 5);
    end_attack();
}

/* ---- guesses ---- */

static void guess(uint32_t n)
{
    static uint64_t seed = 0xb11d;
    uint8_t flags = n % 4 == 0 ? SF_TCP_RST : n % 4 == 1 ? SF_TCP_RST | SF_TCP_ACK : n % 4 == 2 ? SF_TCP_SYN : SF_TCP_ACK;
    struct sf_tcp_segment s = {.seq = (uint32_t)next_random(&seed), .ack = (uint32_t)next_random(&seed), .flags = flags,
                               .window = 1000};

    /* Leaves out rcv.nxt itself, which one guess in 2^32 hits. */
    if (s.seq != conn_of_side(&victim.server)->rcv.nxt)
        forge(victims_port(), &s, n % 4 == 3 ? 100 : 0);
}

/* Guesses that lie in the receive window, but are not rcv.nxt. */
static void guess_in_window(uint32_t n)
{
    struct sf_tcp_conn *c = conn_of_side(&victim.server);
    struct sf_tcp_segment s = {.seq = c->rcv.nxt + 50000 + n % 1000, .flags = n & 1 ? SF_TCP_RST : SF_TCP_SYN, .window = 1};

    forge(victims_port(), &s, 0);
}

static void test_blind_resets_and_data(void)
{
    begin_attack();
    transfer_under(guess, 20000, 20 * SF_US);
    end_attack();
    begin_attack();
    transfer_under(guess_in_window, 2000, 100 * SF_US);
    end_attack();
}

/* ---- a peer that lies: the test takes a's place ---- */

static struct sf_sock *sender; /* b's end of the connection with the test */
static uint32_t host_una, host_nxt, peer_nxt, largest;
static uint64_t frames_out;

static void hear(void)
{
    static uint8_t frame[WIRE_FRAME_MAX];
    struct sf_event events[16];
    size_t len;

    for (int i = 0; i < 2; i++) {
        b->ops->poll(b, clock_now, events, 16);
        while ((len = wire_take(&wire, 0, frame))) {
            struct sf_tcp_segment s;
            struct sf_ipv4 ip;

            sf_ipv4_parse(frame + 14, len - 14, 0, &ip);
            if (ip.protocol != SF_IPV4_TCP || sf_tcp_parse(&ip, 0, &s))
                continue;
            frames_out++;
            if (s.flags & SF_TCP_SYN)
                host_una = host_nxt = s.seq + 1;
            if (sf_seq_lt(host_nxt, s.seq + s.payload_len))
                host_nxt = s.seq + s.payload_len;
            if (s.payload_len > largest)
                largest = s.payload_len;
        }
    }
}

static void say(struct sf_tcp_segment s)
{
    s.seq = peer_nxt;
    if (!(s.flags & SF_TCP_SYN))
        s.flags |= SF_TCP_ACK;
    forge(sf_be16(999), &s, 0);
    hear();
    if (sender) {
        struct sf_tcp_conn *c = ((struct tcpip_stream *)sender)->conn;

        check_loss(&c->loss);
    }
}

static void begin_lies(uint16_t mss, uint16_t window)
{
    struct sf_tcp_limits limits = {.memory = 8 << 20, .min_rto = 200 * SF_MS, .user_timeout = 20 * SF_SEC};
    struct sf_tcp_segment handshake = {
        .flags = SF_TCP_SYN, .has = SF_TCP_HAS_MSS | SF_TCP_HAS_SACK_PERMITTED, .mss = mss, .window = window};
    static uint8_t data[65536];

    network_begin(1500, &limits, &limits);
    a->ops->destroy(a); /* the test takes its place */
    listener = listen_on(b, B_ADDR, 128, &name);
    sender = NULL;
    peer_nxt = 5;
    say(handshake);
    peer_nxt = 6;
    clock_now += SF_MS;
    say((struct sf_tcp_segment){.ack = host_una, .window = window});
    sender = accept_from(listener, 9);
    while (put(sender, data, sizeof data) > 0)
        ;
    hear();
}

static void end_lies(void)
{
    b->ops->abort(sender);
    b->ops->release(listener);
    b->ops->destroy(b);
    wire_end(&wire);
}

/* SACK blocks of single bytes, of whole segments, and with random edges, over and over. */
static void test_sack_abuse(void)
{
    uint64_t seed = 0x5ac;

    begin_lies(MSS, 65535);
    for (uint32_t i = 0; i < 30000; i++) {
        struct sf_tcp_segment s = {.ack = host_una, .window = 65535, .n_sack = 4};

        for (int j = 0; j < 4; j++) {
            uint32_t at = (uint32_t)next_random(&seed) % 60000;

            s.sack[j] = i % 3 == 0   ? (struct sf_tcp_range){host_una + at, host_una + at + 1}
                        : i % 3 == 1 ? (struct sf_tcp_range){host_una + at / MSS * MSS, host_una + (at / MSS + 1) * MSS}
                                     : (struct sf_tcp_range){(uint32_t)next_random(&seed), (uint32_t)next_random(&seed)};
        }
        say(s);
        clock_now += 10 * SF_US;
    }
    CHECK(info_of(sender).in_flight <= 65535 && tcpip_of(b)->tcp.memory <= 8 << 20);
    CHECK(frames_out < 30000 + 1000);
    end_lies();
}

/* The peer acknowledges data as soon as it was sent, before it can have arrived. cwnd stays bounded, and no more data is in
 * flight than the peer's window allows. */
static void test_optimistic_acks(void)
{
    begin_lies(MSS, 65535);
    for (int i = 0; i < 2000; i++) {
        host_una = host_nxt;
        say((struct sf_tcp_segment){.ack = host_una, .window = 65535});
        clock_now += 10 * SF_US;
        CHECK(info_of(sender).in_flight <= 65535);
    }
    CHECK(info_of(sender).cwnd <= 4u << 20);
    end_lies();
}

/* A segment that is acknowledged byte by byte counts as one segment for cwnd (RFC 3465). */
static void test_acks_in_pieces(void)
{
    uint32_t before;

    begin_lies(MSS, 65535);
    before = info_of(sender).cwnd;
    for (int i = 0; i < MSS; i++)
        say((struct sf_tcp_segment){.ack = ++host_una, .window = 65535});
    CHECK(info_of(sender).cwnd <= before + 2 * MSS);
    end_lies();
}

/* Neither an MSS of 1 nor a window of a few bytes makes us send a segment for each byte. */
static void test_tiny_windows_and_segments(void)
{
    uint64_t before;

    begin_lies(1, 65535);
    CHECK(largest >= 48);
    end_lies();
    begin_lies(MSS, 2 * MSS);
    before = frames_out;
    for (int i = 0; i < 5000; i++) {
        host_una = host_nxt;
        say((struct sf_tcp_segment){.ack = host_una, .window = 1 + i % 3});
        clock_now += 100 * SF_US;
    }
    CHECK(frames_out - before < 500);
    end_lies();
}

/* The peer shrinks its window to zero over data in flight, and answers each retransmission. The connection lives as long as the
 * peer answers (RFC 9293, 3.8.6.1), even beyond the user timeout. It ends after the peer has fallen silent. */
static void test_a_window_shrunk_over_data(void)
{
    begin_lies(MSS, 65535);
    for (int i = 0; i < 100; i++) {
        say((struct sf_tcp_segment){.ack = host_una, .window = 0});
        clock_now += SF_SEC;
    }
    hear();
    CHECK(is_in(sender, "ESTABLISHED") && info_of(sender).timeouts > 5);
    for (int i = 0; i < 600 && is_in(sender, "ESTABLISHED"); i++) {
        clock_now += SF_SEC;
        hear();
    }
    CHECK(is_in(sender, "CLOSED"));
    end_lies();
}

int main(void)
{
    clock_now = sf_now();
    test_a_syn_flood();
    test_connecting_through_a_flood();
    test_an_ack_storm();
    test_a_flood_from_one_half_open_connection();
    test_a_flood_of_one_syn();
    test_blind_resets_and_data();
    test_sack_abuse();
    test_optimistic_acks();
    test_acks_in_pieces();
    test_tiny_windows_and_segments();
    test_a_window_shrunk_over_data();
    return 0;
}
