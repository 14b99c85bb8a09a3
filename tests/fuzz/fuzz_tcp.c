/*
 * Fuzzes a TCP connection in any state with segments of any kind. The first byte of an input chooses how the connection is opened and
 * the state it is brought into. The rest is records. A record is a segment with sequence numbers near the expected ones, raw bytes,
 * an ICMP error, a span of time, or a call of the program. After each record these must hold, besides the sanitizers' checks:
 *  - loss recovery's data about segments under way are consistent;
 *  - the stack has sent at most FRAMES_PER_STEP frames;
 *  - its memory, its connections and the unread data are bounded.
 *
 * A connection may also be imported from an image of the input's numbers, and leave and come back at any moment.
 */
#define _GNU_SOURCE
#include "fuzz_check.h"

#include "stacks/tcpip/socket.h"
#include "../native/memory_wire.h"
#include "../native/tcp_move.h"
#include "../native/tcp_loss_check.h"

enum { PEER_PORT = 4000, MEMORY = 1 << 20, FRAMES_PER_STEP = 2000 };

static struct wire wire;
static struct sf_sock *listener, *sock;
static uint16_t port;
static struct sf_tcp_template template;
static uint32_t host_nxt, host_una, peer_nxt; /* as the peer knows them */
static bool has_timestamps;
static uint32_t host_ts;
static uint8_t last[1600];
static size_t last_len;

/* ---- the input ---- */

struct input {
    const uint8_t *at, *end;
};

static uint8_t byte(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static uint16_t word(struct input *in)
{
    uint16_t high = byte(in);

    return (uint16_t)(high << 8 | byte(in));
}

/* Returns a number that is usually near the given one. */
static uint32_t near(struct input *in, uint32_t number)
{
    uint16_t w = word(in);

    switch (w >> 14) {
    case 0:
        return number;
    case 1:
        return number + (w & 0x3fff);
    case 2:
        return number - (w & 0x3fff);
    default:
        return number + ((uint32_t)(w & 0x3fff) << 18);
    }
}

/* ---- segments that leave the stack ---- */

static void look(const uint8_t *frame, size_t len)
{
    struct sf_tcp_segment s;
    struct sf_ipv4 ip;
    enum sf_refusal reason = sf_ipv4_parse(frame + 14, len - 14, 0, &ip);

    CHECK(!reason || reason == SF_REFUSED_IP_SOURCE);
    if (ip.protocol != SF_IPV4_TCP)
        return;
    CHECK(sf_tcp_parse(&ip, 0, &s) == SF_ACCEPTED);
    if (s.flags & SF_TCP_SYN)
        host_una = host_nxt = s.seq;
    if (!(s.flags & SF_TCP_RST) && sf_seq_lt(host_nxt, s.seq + sf_tcp_segment_len(&s)))
        host_nxt = s.seq + sf_tcp_segment_len(&s);
    if (s.flags & SF_TCP_ACK && !(s.flags & SF_TCP_RST))
        peer_nxt = s.ack;
    if (s.has & SF_TCP_HAS_TIMESTAMPS)
        host_ts = s.ts_val;
    port = s.src_port;
    last_len = len - 14 < sizeof last ? len - 14 : sizeof last;
    memcpy(last, frame + 14, last_len);
}

static void settle(void)
{
    static uint8_t frame[WIRE_FRAME_MAX];
    struct sf_event events[16];
    size_t len;
    int n = 0;

    for (int i = 0; i < 3; i++) {
        a->ops->poll(a, clock_now, events, 16);
        while ((len = wire_take(&wire, 1, frame))) {
            CHECK(n++ < FRAMES_PER_STEP);
            look(frame, len);
        }
    }
}

static void check(void)
{
    struct sf_tcpip *t = tcpip_of(a);

    CHECK(t->tcp.memory <= 2 * MEMORY && t->tcp.n_conns <= 64 && t->tcp.n_half_open <= 64);
    if (sock) {
        struct sf_tcp_conn *c = ((struct tcpip_stream *)sock)->conn;

        if (c->state >= SF_TCP_ESTABLISHED && c->state != SF_TCP_TIME_WAIT && !c->dead)
            check_loss(&c->loss);
        CHECK(sf_tcp_unread(&c->rcv) <= MEMORY);
    }
}

static void pass_time(sf_ns time)
{
    sf_ns until = clock_now + time, next;

    for (int i = 0; clock_now < until && i < 200; i++) {
        next = a->ops->poll_at(a, clock_now);
        clock_now = next <= clock_now ? clock_now + SF_US : next < until ? next : until;
        settle();
    }
    settle();
}

/* ---- segments ---- */

static void send_segment(const struct sf_tcp_segment *s, size_t len)
{
    static uint8_t frame[1600], payload[1500];
    struct sf_ip_peer peer = {.src_mac = {2, 0, 0, 0, 0, 2}, .dst_mac = {2, 0, 0, 0, 0, 1}, .src_addr = inet_addr(B_ADDR),
                               .dst_addr = inet_addr(A_ADDR), .src_port = sf_be16(PEER_PORT), .dst_port = port, .ttl = 64};
    struct iovec piece = {payload, len < 1400 ? len : 1400};

    CHECK(sf_tcp_template_init(&template, &peer) == 0);
    len = sf_tcp_emit(&template, frame, sizeof frame, s, &piece, 1, 1);
    CHECK(len);
    wire_put(&wire, 1, frame, len);
    settle();
}

static void plain(uint8_t flags, size_t len)
{
    struct sf_tcp_segment s = {.seq = peer_nxt, .ack = host_nxt, .flags = flags, .window = 60000};

    if (flags & SF_TCP_SYN) {
        s.has = SF_TCP_HAS_MSS | SF_TCP_HAS_SACK_PERMITTED | SF_TCP_HAS_WINDOW_SCALE;
        s.mss = 1000;
        s.window_scale = 3;
    }
    if (has_timestamps) {
        s.has |= SF_TCP_HAS_TIMESTAMPS;
        s.ts_val = (uint32_t)(clock_now / SF_MS);
        s.ts_ecr = host_ts;
    }
    if (sf_seq_lt(host_una, s.ack))
        host_una = s.ack;
    send_segment(&s, len);
}

static void any_segment(struct input *in)
{
    struct sf_tcp_segment s = {.flags = byte(in)};
    uint8_t options = byte(in);
    size_t len = options & 64 ? word(in) % 1400 : 0;

    s.seq = near(in, peer_nxt);
    s.ack = near(in, options & 128 ? host_una : host_nxt);
    s.window = word(in);
    s.has = options & 15;
    s.mss = word(in);
    s.window_scale = (uint8_t)s.mss;
    s.ts_val = near(in, (uint32_t)(clock_now / SF_MS));
    s.ts_ecr = near(in, host_ts);
    for (s.n_sack = 0; s.n_sack < (options >> 4 & 3); s.n_sack++) {
        s.sack[s.n_sack].left = near(in, host_una);
        s.sack[s.n_sack].right = near(in, s.sack[s.n_sack].left);
    }
    send_segment(&s, len);
}

/* Sends an ACK whose SACK range matches segments of ours. */
static void selective(struct input *in)
{
    struct sf_tcp_segment s = {.seq = peer_nxt, .ack = host_una, .flags = SF_TCP_ACK, .window = 60000, .n_sack = 1};
    uint32_t segments = (host_nxt - host_una) / 1000 + 1, first = byte(in) % segments;

    s.sack[0].left = host_una + 1000 * first;
    s.sack[0].right = s.sack[0].left + 1000 * (1 + byte(in) % segments);
    if (sf_seq_lt(host_nxt, s.sack[0].right))
        s.sack[0].right = host_nxt;
    if (has_timestamps) {
        s.has = SF_TCP_HAS_TIMESTAMPS;
        s.ts_val = (uint32_t)(clock_now / SF_MS);
        s.ts_ecr = host_ts;
    }
    send_segment(&s, 0);
}

/* Sends a segment whose TCP header and data are bytes of the input. The lengths, ports and checksums are right. */
static void raw_segment(struct input *in)
{
    uint8_t frame[14 + 20 + 256] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0}, *tcp = frame + 34;
    size_t len = byte(in);
    struct sf_ipv4 ip = {.src = inet_addr(B_ADDR), .dst = inet_addr(A_ADDR), .ttl = 64, .protocol = SF_IPV4_TCP};
    uint64_t sum;

    if ((size_t)(in->end - in->at) < len)
        len = (size_t)(in->end - in->at);
    memcpy(tcp, in->at, len);
    in->at += len;
    ip.payload_len = (uint16_t)len;
    sf_ipv4_emit(frame + 14, 20, &ip);
    if (len >= 20) {
        sf_store16_be(tcp, PEER_PORT);
        sf_store16(tcp + 2, port);
        sf_store16(tcp + 16, 0);
        sum = sf_sum_pseudo(ip.src, ip.dst, SF_IPV4_TCP) + sf_be16(ip.payload_len);
        sf_store16(tcp + 16, (uint16_t)~sf_sum_fold(sf_sum_bytes(sum, tcp, len)));
    }
    wire_put(&wire, 1, frame, 34 + len);
    settle();
}

static void icmp_error(struct input *in)
{
    uint8_t frame[14 + 20 + 600] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0};
    struct sf_icmp icmp = {.type = SF_ICMP_UNREACHABLE, .code = byte(in) % 16, .mtu = word(in)};
    struct sf_ipv4 ip = {.src = inet_addr(B_ADDR), .dst = inet_addr(A_ADDR), .ttl = 64, .protocol = SF_IPV4_ICMP};
    size_t len = sf_icmp_emit_error(frame + 34, 600, &icmp, last, last_len);

    if (!len)
        return;
    ip.payload_len = (uint16_t)len;
    sf_ipv4_emit(frame + 14, 20, &ip);
    wire_put(&wire, 1, frame, 34 + len);
    settle();
}

/* ---- the program ---- */

static void accept_one(void)
{
    struct sf_sock *accepted;

    if (!listener || a->ops->accept_stream(listener, &accepted) < 0)
        return;
    if (sock)
        a->ops->release(sock);
    sock = accepted;
    sock->slot = 2;
    sock->generation = 102;
}

/* The import may find that others have taken the memory since. */
static void move_away_and_back(void)
{
    struct sf_tcp_image image;
    int rc = sf_tcp_export(conn_in(sock), &image);

    if (rc < 0)
        return;
    tcpip_stream_exported(sock);
    sock = NULL;
    rc = import_into(a, &image, 2, &sock);
    CHECK(rc == 0 || rc == -ENOBUFS);
    sf_tcp_image_free(&image);
}

static void program(struct input *in)
{
    static uint8_t buffer[1 << 16];
    uint8_t what = byte(in);
    int value = word(in);

    accept_one();
    if (!sock)
        return;
    switch (what % 8) {
    case 0:
    case 1:
        put(sock, buffer, (size_t)value);
        break;
    case 2:
    case 3:
        take(sock, buffer, (size_t)value + 1);
        break;
    case 4:
        a->ops->shutdown_tx(sock);
        break;
    case 5:
        a->ops->set_option(sock, SOL_SOCKET, value & 1 ? SO_RCVBUF : SO_SNDBUF, &value, sizeof value);
        break;
    case 6:
        a->ops->set_option(sock, IPPROTO_TCP, 1 + value % 20, &value, sizeof value);
        break;
    default:
        if (value & 1)
            a->ops->abort(sock);
        else
            a->ops->release(sock);
        sock = NULL;
    }
    settle();
}

/* ---- states ---- */

static void begin_state(uint8_t how)
{
    struct sf_tcp_limits limits = {.memory = MEMORY, .send_buffer = 1 << 18, .receive_buffer = 1 << 18, .max_connections = 64,
                                   .max_half_open = 8, .max_time_wait = 8, .min_rto = 200 * SF_MS,
                                   .congestion = how & 128 ? "newreno" : "cubic",
                                   .first_sequence = how & 64 ? 0xfffffff0 : 1000};
    struct sf_event events[16];
    struct sockaddr_in name;

    wire_begin(&wire, 1500);
    a = make_stack_with(&wire.end[0].driver, &limits);
    poll_late(a, events);
    listener = sock = NULL;
    has_timestamps = how & 32;
    host_nxt = host_una = 0;
    peer_nxt = 77;
    if (how & 16) {
        sock = connect_from(a, address(B_ADDR, PEER_PORT), 2);
        settle();
    } else {
        listener = listen_on(a, A_ADDR, 4, &name);
        port = name.sin_port;
    }
}

/* Brings the connection into the state that `how` chooses: the more steps, the later in its life. */
static void bring_about(uint8_t how)
{
    uint8_t steps = how & 15;
    static uint8_t data[8000];

    begin_state(how);
    if (steps < 1)
        return;
    plain(listener ? SF_TCP_SYN : SF_TCP_SYN | (steps == 1 ? 0 : SF_TCP_ACK), 0);
    if (steps < 2)
        return;
    if (listener)
        plain(SF_TCP_ACK, 0);
    accept_one();
    if (steps < 3 || !sock)
        return;
    if (steps & 1) {
        plain(SF_TCP_ACK, 700);
        put(sock, data, sizeof data);
        settle();
    }
    if (steps >= 5)
        a->ops->shutdown_tx(sock); /* FIN-WAIT-1 */
    if (steps >= 7)
        plain(SF_TCP_ACK, 0); /* FIN-WAIT-2 */
    if (steps == 9 || steps == 10)
        plain(SF_TCP_ACK | SF_TCP_FIN, 0); /* TIME-WAIT */
    settle();
    if (steps >= 11)
        pass_time(300 * SF_MS); /* retransmission by the RTO */
    if (steps >= 13) {
        a->ops->release(sock);
        sock = NULL;
        settle();
    }
}

/* ---- imports ---- */

/* An image that is consistent. */
static struct sf_tcp_image sound_image(struct input *in)
{
    static uint8_t bytes[1 << 16];
    static const uint8_t states[] = {TCP_ESTABLISHED, TCP_CLOSE_WAIT, TCP_FIN_WAIT1, TCP_FIN_WAIT2};
    uint8_t options = byte(in), state = states[options & 3];
    struct sf_tcp_image i = {
        .local_addr = inet_addr(A_ADDR), .remote_addr = inet_addr(B_ADDR), .local_port = sf_be16(8082),
        .remote_port = sf_be16(PEER_PORT), .state = state, .scaling = options & 4, .sack = options & 8,
        .timestamps = options & 16, .snd_scale = options & 4 ? byte(in) % 15 : 0, .rcv_scale = options & 4 ? byte(in) % 15 : 0,
        .mss = 1 + (options & 32 ? 1460 : word(in) % 2000), .snd_una = near(in, 0), .snd_wnd = word(in), .rcv_nxt = near(in, 0),
        .ts_clock = near(in, 0), .ts_recent = near(in, (uint32_t)(clock_now / SF_MS)), .read_at = clock_now, .rtt = word(in) * SF_US,
        .rtt_var = word(in) * SF_US, .cwnd = near(in, 10000), .ssthresh = near(in, 0), .unread = bytes, .unacked = bytes,
        .n_unread = word(in), .n_unacked = state == TCP_FIN_WAIT2 ? 0 : word(in),
    };

    i.max_window = i.snd_wnd;
    i.snd_end = i.snd_una + i.n_unacked - (state == TCP_FIN_WAIT2);
    i.snd_nxt = i.snd_una + (i.n_unacked ? word(in) % i.n_unacked : 0) + (state == TCP_FIN_WAIT1 && options & 64 && !i.n_unacked);
    i.rcv_wup = i.rcv_nxt - byte(in);
    i.rcv_wnd = word(in);
    i.snd_wl1 = i.rcv_wup;
    return i;
}

/* Sets some of the image's numbers to anything. The pointers and the lengths of the bytes stay together. */
static void spoil(struct input *in, struct sf_tcp_image *i)
{
    uint32_t *numbers[] = {&i->mss, &i->snd_una, &i->snd_nxt, &i->snd_end, &i->snd_wl1, &i->snd_wnd, &i->max_window, &i->rcv_nxt,
                           &i->rcv_wnd, &i->rcv_wup, &i->ts_clock, &i->ts_recent, &i->cwnd, &i->ssthresh};

    for (int n = byte(in) % 4; n >= 0; n--) {
        uint8_t which = byte(in) % 20;

        if (which < 14)
            *numbers[which] = near(in, *numbers[which]);
        else if (which == 14)
            i->state = byte(in);
        else if (which == 15)
            i->snd_scale = byte(in);
        else if (which == 16)
            i->rcv_scale = byte(in);
        else if (which == 17)
            i->rtt = (sf_ns)((uint64_t)near(in, 0) << 32);
        else if (which == 18)
            i->unacked = NULL;
        else
            i->unread = NULL;
    }
}

static void import_any(struct input *in, bool hostile)
{
    struct sf_tcp_image image = sound_image(in);
    int rc;

    if (listener)
        a->ops->release(listener);
    if (sock)
        a->ops->abort(sock);
    listener = sock = NULL;
    settle();
    if (hostile)
        spoil(in, &image);
    rc = import_into(a, &image, 2, &sock);
    CHECK(hostile ? rc == 0 || rc == -EINVAL || rc == -ENOBUFS || rc == -ENOMEM : rc == 0);
    host_una = image.snd_una;
    host_nxt = image.snd_nxt;
    peer_nxt = image.rcv_nxt;
    has_timestamps = image.timestamps;
    host_ts = image.ts_clock;
    port = image.local_port;
    check();
    settle();
}

static void step(struct input *in)
{
    uint8_t what = byte(in);

    if (what >= 0xe0 && sock)
        move_away_and_back();
    switch (what % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
        any_segment(in);
        break;
    case 6:
    case 7:
        program(in);
        break;
    case 8:
        pass_time(SF_US << byte(in) % 25);
        break;
    case 9:
        icmp_error(in);
        break;
    case 10:
        raw_segment(in);
        break;
    case 11:
    case 12:
        selective(in);
        break;
    case 13:
        plain(SF_TCP_ACK, byte(in) * 4u);
        break;
    case 14:
        plain(SF_TCP_ACK | SF_TCP_FIN, 0);
        break;
    default:
        plain(SF_TCP_SYN | (what & 16 ? SF_TCP_ACK : 0), 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};

    uint8_t how = byte(&in);

    clock_now = 1000 * SF_SEC;
    bring_about(how);
    if ((how & 15) >= 14)
        import_any(&in, how & 1);
    for (int i = 0; in.at < in.end && i < 300; i++) {
        step(&in);
        check();
    }
    if (sock)
        a->ops->release(sock);
    if (listener)
        a->ops->release(listener);
    settle();
    a->ops->destroy(a);
    wire_end(&wire);
    return 0;
}
