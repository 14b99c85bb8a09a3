/*
 * Runs a script against a host, which is our stack or Linux. The runner plays the peer. The host is a table of functions, and the
 * two exchange IP packets.
 */
#ifndef SF_TEST_SEGMENT_RUNNER_H
#define SF_TEST_SEGMENT_RUNNER_H

#include "segment_import.h"

enum { PACKET_MAX = 9100, PEER_PORT = 4000, PEER_ISN = 3000000000u, HOST_PORT = 8080, IMPORTED_ISN = 4294967000u };

struct segment_host {
    const char *name;
    double early, late; /* A segment may leave this many ms too early or too late, and a tenth of the script's time more. */
    void (*begin)(uint32_t mtu);
    void (*end)(void);
    sf_ns (*now)(void);
    void (*inject)(const uint8_t *packet, size_t len);
    /* Returns the length of the next packet that leaves until then, or 0. Sets the clock to the packet's time, or to `until`. */
    size_t (*next)(uint8_t *packet, sf_ns until);
    uint32_t host_addr, peer_addr;
    /* The calls of a program. Each returns 0 or a count, or a negative errno. */
    int (*listen)(void);
    int (*connect)(void);
    int (*import)(const struct sf_tcp_image *); /* NULL: the host cannot */
    int (*connected)(void);
    int (*accept)(void);
    ssize_t (*send)(const uint8_t *data, size_t len);
    ssize_t (*recv)(uint8_t *data, size_t len);
    int (*shutdown)(void);
    int (*close)(void);
    int (*set)(int level, int name, const void *value, socklen_t len);
    uint16_t (*local_port)(void);
};

struct runner {
    const struct segment_host *host;
    const struct script *script;
    struct sf_tcp_template template;
    uint32_t isn, seen_nxt; /* of the host: the initial sequence number, and the next after all seen */
    bool isn_known, peer_ts, host_ts;
    uint32_t peer_isn, ts_recent;
    sf_ns started;
    uint16_t port;
    uint8_t last[PACKET_MAX]; /* the host's last packet with data */
    size_t last_len;
    uint8_t waiting[PACKET_MAX]; /* a packet that left while a call waited for its result */
    size_t waiting_len;
    sf_ns waiting_since;
    uint32_t sent, received; /* by the host's program: offsets in the two streams */
};

static inline void runner_template(struct runner *r)
{
    struct sf_ip_peer peer = {
        .src_addr = r->host->peer_addr, .dst_addr = r->host->host_addr, .src_port = sf_be16(PEER_PORT),
        .dst_port = sf_be16(r->port), .ttl = 64, .src_mac = {2, 0, 0, 0, 0, 2}, .dst_mac = {2, 0, 0, 0, 0, 1},
    };

    CHECK(sf_tcp_template_init(&r->template, &peer) == 0);
}

static inline uint32_t runner_ts(const struct runner *r)
{
    return 100000 + (uint32_t)((r->host->now() - r->started) / SF_MS);
}

/* ---- in ---- */

static inline void runner_in(struct runner *r, const struct line *l)
{
    const struct expected *e = &l->segment;
    static uint8_t frame[PACKET_MAX], data[PACKET_MAX];
    struct iovec payload = {data, e->end - e->seq};
    struct sf_tcp_segment s = {.seq = r->peer_isn + e->seq, .flags = e->flags};
    size_t len;

    s.window = e->window == WILL_NOT_SAY ? 65535 : (uint16_t)e->window;
    if (e->flags & SF_TCP_ACK)
        s.ack = e->ack == WILL_NOT_SAY ? r->seen_nxt : r->isn + (uint32_t)e->ack;
    if (e->mss != WILL_NOT_SAY) {
        s.has |= SF_TCP_HAS_MSS;
        s.mss = (uint16_t)e->mss;
    }
    if (e->scale != WILL_NOT_SAY) {
        s.has |= SF_TCP_HAS_WINDOW_SCALE;
        s.window_scale = (uint8_t)e->scale;
    }
    s.has |= e->sack_permitted ? SF_TCP_HAS_SACK_PERMITTED : 0;
    if (e->flags & SF_TCP_SYN)
        r->peer_ts = e->timestamps;
    if (e->timestamps || (r->peer_ts && r->host_ts && !e->no_timestamps)) {
        s.has |= SF_TCP_HAS_TIMESTAMPS;
        s.ts_val = runner_ts(r) - (e->ts_ago == WILL_NOT_SAY ? 0 : (uint32_t)e->ts_ago);
        s.ts_ecr = e->flags & SF_TCP_ACK ? r->ts_recent : 0;
    }
    s.n_sack = e->n_sack;
    for (uint8_t i = 0; i < e->n_sack; i++)
        s.sack[i] = (struct sf_tcp_range){r->isn + e->sack[i].left, r->isn + e->sack[i].right};
    for (uint32_t i = 0; i < payload.iov_len; i++)
        data[i] = script_byte(e->seq + i - 1);
    runner_template(r);
    len = sf_tcp_emit(&r->template, frame, sizeof frame, &s, &payload, 1, 1);
    CHECK(len);
    if (e->bad_sum)
        frame[SF_ETH_HEADER + SF_IPV4_HEADER + 16] ^= 0x40;
    r->host->inject(frame + SF_ETH_HEADER, len - SF_ETH_HEADER);
}

static inline void runner_icmp(struct runner *r, const struct line *l)
{
    struct sf_icmp icmp = {.type = SF_ICMP_UNREACHABLE, .code = SF_ICMP_FRAGMENTATION_NEEDED, .mtu = l->mtu};
    uint8_t packet[SF_IPV4_HEADER + 600];
    struct sf_ipv4 ip = {.src = r->host->peer_addr, .dst = r->host->host_addr, .ttl = 64, .protocol = SF_IPV4_ICMP};

    ip.payload_len = (uint16_t)sf_icmp_emit_error(packet + SF_IPV4_HEADER, sizeof packet - SF_IPV4_HEADER, &icmp, r->last,
                                                  r->last_len);
    if (!ip.payload_len)
        script_fail(r->script, l, "the host has sent no segment with data that the ICMP error could quote");
    sf_ipv4_emit(packet, sizeof packet, &ip);
    r->host->inject(packet, SF_IPV4_HEADER + (size_t)ip.payload_len);
}

/* ---- out ---- */

static inline void runner_describe(const struct runner *r, const struct sf_tcp_segment *s, char *out, size_t room)
{
    static const char letters[] = "FSRP.UEW";
    int n = 0;

    for (int i = 0; i < 8; i++)
        if (s->flags >> i & 1)
            n += snprintf(out + n, room - (size_t)n, "%c", letters[i]);
    n += snprintf(out + n, room - (size_t)n, " %u:%u ack %u win %u", s->seq - r->isn, s->seq - r->isn + s->payload_len,
                  s->flags & SF_TCP_ACK ? s->ack - r->peer_isn : 0, s->window);
    for (int i = 0; i < s->n_sack; i++)
        n += snprintf(out + n, room - (size_t)n, " sack %u:%u", s->sack[i].left - r->peer_isn,
                      s->sack[i].right - r->peer_isn);
    if (s->has & SF_TCP_HAS_MSS)
        n += snprintf(out + n, room - (size_t)n, " mss %u", s->mss);
    if (s->has & SF_TCP_HAS_WINDOW_SCALE)
        n += snprintf(out + n, room - (size_t)n, " ws %u", s->window_scale);
    snprintf(out + n, room - (size_t)n, "%s%s", s->has & SF_TCP_HAS_SACK_PERMITTED ? " sackok" : "",
             s->has & SF_TCP_HAS_TIMESTAMPS ? " ts" : "");
}

static inline void runner_unexpected(const struct runner *r, const struct line *l, const struct sf_tcp_segment *s,
                                     const char *why)
{
    char got[300], text[512];

    runner_describe(r, s, got, sizeof got);
    snprintf(text, sizeof text, "%s: at %.1f ms: %s: %s", r->host->name,
             (double)(r->host->now() - r->started) / SF_MS, why, got);
    script_fail(r->script, l, text);
}

/* Parses a segment of the connection. Returns false for any other packet, such as IPv6 neighbour discovery. */
static inline bool runner_parse(struct runner *r, const uint8_t *packet, size_t len, struct sf_tcp_segment *s)
{
    struct sf_ipv4 ip;
    enum sf_refusal reason = sf_ipv4_parse(packet, len, SF_WIRE_CHECKSUM_PARTIAL, &ip);

    if ((reason && reason != SF_REFUSED_IP_SOURCE) || ip.src != r->host->host_addr) /* our host has a loopback address */
        return false;
    if (ip.protocol != SF_IPV4_TCP || sf_tcp_parse(&ip, SF_WIRE_CHECKSUM_PARTIAL, s) || s->dst_port != sf_be16(PEER_PORT))
        return false;
    r->port = sf_be16(s->src_port);
    if (s->flags & SF_TCP_SYN && (s->seq != r->isn || !r->isn_known)) {
        r->isn = s->seq;
        r->isn_known = true;
        r->host_ts = s->has & SF_TCP_HAS_TIMESTAMPS;
        r->seen_nxt = s->seq;
    }
    if (sf_seq_lt(r->seen_nxt, s->seq + sf_tcp_segment_len(s)))
        r->seen_nxt = s->seq + sf_tcp_segment_len(s);
    if (s->has & SF_TCP_HAS_TIMESTAMPS)
        r->ts_recent = s->ts_val;
    if (s->payload_len) {
        memcpy(r->last, packet, len);
        r->last_len = len;
    }
    return true;
}

static inline bool runner_next(struct runner *r, struct sf_tcp_segment *s, sf_ns until)
{
    static uint8_t packet[PACKET_MAX];
    size_t len;

    if (r->waiting_len) {
        len = r->waiting_len;
        memcpy(packet, r->waiting, len);
        r->waiting_len = 0;
        return runner_parse(r, packet, len, s);
    }
    while ((len = r->host->next(packet, until)))
        if (runner_parse(r, packet, len, s))
            return true;
    return false;
}

static inline void runner_compare(struct runner *r, const struct line *l, const struct sf_tcp_segment *s)
{
    const struct expected *e = &l->segment;
    uint8_t ignored = e->flags & SF_TCP_RST ? SF_TCP_PSH | SF_TCP_ACK : SF_TCP_PSH;

    if (((s->flags ^ e->flags) & ~ignored) != 0)
        runner_unexpected(r, l, s, "wrong flags");
    if (s->seq - r->isn != e->seq || s->payload_len != e->end - e->seq)
        runner_unexpected(r, l, s, "wrong sequence range");
    if (e->ack != WILL_NOT_SAY && s->ack - r->peer_isn != (uint32_t)e->ack)
        runner_unexpected(r, l, s, "wrong acknowledgment number");
    if ((e->window != WILL_NOT_SAY && s->window != e->window) || (e->window_open && !s->window))
        runner_unexpected(r, l, s, "wrong window");
    if (e->mss != WILL_NOT_SAY && (!(s->has & SF_TCP_HAS_MSS) || s->mss != e->mss))
        runner_unexpected(r, l, s, "wrong or missing MSS");
    if (e->scale != WILL_NOT_SAY && !(s->has & SF_TCP_HAS_WINDOW_SCALE))
        runner_unexpected(r, l, s, "no window scale");
    if (e->sack_permitted && !(s->has & SF_TCP_HAS_SACK_PERMITTED))
        runner_unexpected(r, l, s, "no SACK-permitted option");
    if ((e->timestamps && !(s->has & SF_TCP_HAS_TIMESTAMPS)) || (e->no_timestamps && s->has & SF_TCP_HAS_TIMESTAMPS))
        runner_unexpected(r, l, s, "timestamps missing or unexpected");
    if ((e->n_sack && e->n_sack != s->n_sack) || (e->no_sack && s->n_sack))
        runner_unexpected(r, l, s, "wrong number of SACK blocks");
    for (uint8_t i = 0; i < e->n_sack; i++)
        if (s->sack[i].left - r->peer_isn != e->sack[i].left || s->sack[i].right - r->peer_isn != e->sack[i].right)
            runner_unexpected(r, l, s, "wrong SACK block");
    if (e->ts_val != WILL_NOT_SAY && s->ts_val - (uint32_t)e->ts_val > 1 + (uint32_t)r->host->late)
        runner_unexpected(r, l, s, "wrong timestamp");
    if (e->ts_ecr != WILL_NOT_SAY && s->ts_ecr != (e->ts_ecr ? runner_ts(r) - (uint32_t)e->ts_ecr : 0))
        runner_unexpected(r, l, s, "wrong echo of a timestamp");
    for (uint32_t i = 0; i < s->payload_len && !(e->flags & SF_TCP_SYN); i++)
        if (s->payload[i] != script_byte(e->seq + i - 1))
            runner_unexpected(r, l, s, "wrong payload");
}

static inline sf_ns runner_ms(double ms)
{
    return (sf_ns)(ms * (double)SF_MS);
}

static inline void runner_out(struct runner *r, const struct line *l, sf_ns due)
{
    sf_ns latest = due + runner_ms(l->until - l->after + r->host->late + l->until * 0.1);
    struct sf_tcp_segment s;

    if (!runner_next(r, &s, latest)) {
        char text[100];

        snprintf(text, sizeof text, "%s: at %.1f ms: the segment has not left", r->host->name,
                 (double)(r->host->now() - r->started) / SF_MS);
        script_fail(r->script, l, text);
    }
    runner_compare(r, l, &s);
    if (r->host->now() < due - runner_ms(r->host->early + l->after * 0.1))
        runner_unexpected(r, l, &s, "the segment has left too early");
}

/* Fails if a segment leaves before `due`. */
static inline void runner_quiet(struct runner *r, const struct line *l, sf_ns due)
{
    struct sf_tcp_segment s;

    while (r->host->now() < due)
        if (runner_next(r, &s, due))
            runner_unexpected(r, l, &s, "an unexpected segment has left");
}

/* ---- the program's calls ---- */

static inline void runner_result(const struct runner *r, const struct line *l, ssize_t rc, ssize_t wanted)
{
    char text[100];

    if (rc == wanted)
        return;
    snprintf(text, sizeof text, "%s: the result is %zd (%s), not %zd", r->host->name, rc, rc < 0 ? strerror((int)-rc) : "",
             wanted);
    script_fail(r->script, l, text);
}

static inline ssize_t runner_wanted(const struct runner *r, const struct line *l, const char *word)
{
    static const struct {
        const char *name;
        int number;
    } errors[] = {{"none", EAGAIN},           {"ECONNRESET", ECONNRESET}, {"ECONNREFUSED", ECONNREFUSED}, {"EPIPE", EPIPE},
                  {"ETIMEDOUT", ETIMEDOUT},   {"ENOTCONN", ENOTCONN},     {"EINPROGRESS", EINPROGRESS}};

    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (!strcmp(word, errors[i].name))
            return -errors[i].number;
    if (!strcmp(word, "eof") || !strcmp(word, ""))
        return 0;
    if (*word < '0' || *word > '9')
        script_fail(r->script, l, "a result must be a number, eof, none, or the name of an errno");
    return atoi(word);
}

static inline void runner_recv(struct runner *r, const struct line *l)
{
    static uint8_t data[1 << 17];
    ssize_t wanted = runner_wanted(r, l, l->word[1]), got = 0, n = 0;
    sf_ns patience = r->host->now() + runner_ms(r->host->late);

    while (got < wanted || wanted <= 0) {
        n = r->host->recv(data + got, wanted > 0 ? (size_t)(wanted - got) : sizeof data);
        if (n > 0)
            got += n;
        if (n == -EAGAIN && wanted != -EAGAIN && r->host->now() < patience && !r->waiting_len) {
            r->waiting_len = r->host->next(r->waiting, r->host->now() + runner_ms(1));
            continue;
        }
        if (n <= 0 || wanted <= 0)
            break;
    }
    runner_result(r, l, wanted > 0 ? got : n, wanted);
    for (ssize_t i = 0; i < got; i++)
        if (data[i] != script_byte(r->received++))
            script_fail(r->script, l, "wrong bytes received");
}

static inline ssize_t runner_send(struct runner *r, const struct line *l)
{
    static uint8_t data[1 << 17];
    ssize_t n, len = atoi(l->word[1]);

    for (ssize_t i = 0; i < len; i++)
        data[i] = script_byte(r->sent + (uint32_t)i);
    n = r->host->send(data, (size_t)len);
    if (n > 0)
        r->sent += (uint32_t)n;
    return n;
}

static inline int runner_set(struct runner *r, const struct line *l)
{
    static const struct {
        const char *name;
        int level, option;
    } options[] = {
        {"nodelay", IPPROTO_TCP, TCP_NODELAY},          {"keepalive", SOL_SOCKET, SO_KEEPALIVE},
        {"keepidle", IPPROTO_TCP, TCP_KEEPIDLE},        {"keepintvl", IPPROTO_TCP, TCP_KEEPINTVL},
        {"keepcnt", IPPROTO_TCP, TCP_KEEPCNT},          {"rcvbuf", SOL_SOCKET, SO_RCVBUF},
        {"user_timeout", IPPROTO_TCP, TCP_USER_TIMEOUT}, {"maxseg", IPPROTO_TCP, TCP_MAXSEG},
        {"cork", IPPROTO_TCP, TCP_CORK},                 {"quickack", IPPROTO_TCP, TCP_QUICKACK},
    };
    int value = atoi(l->word[2]);
    struct linger linger = {.l_onoff = 1, .l_linger = value};

    if (!strcmp(l->word[1], "linger"))
        return r->host->set(SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (!strcmp(l->word[1], options[i].name))
            return r->host->set(options[i].level, options[i].option, &value, sizeof value);
    script_fail(r->script, l, "unknown option");
    return 0;
}

/* The streams begin with byte 1 on both sides. */
static inline int runner_import(struct runner *r, const struct line *l)
{
    struct import_words words = import_read(r->script, l);
    struct sf_tcp_image image;
    int rc;

    r->isn = IMPORTED_ISN;
    r->isn_known = true;
    r->seen_nxt = r->isn + (uint32_t)words.nxt;
    r->peer_ts = r->host_ts = words.timestamps;
    r->ts_recent = (uint32_t)words.tsclock;
    r->sent = (uint32_t)words.end - 1;
    r->received = (uint32_t)(words.rcv - words.unread) - 1 - (words.state == 8);
    r->port = HOST_PORT;
    image = import_image(&words, r->isn, r->peer_isn, runner_ts(r), r->host->now());
    image.local_addr = r->host->host_addr;
    image.remote_addr = r->host->peer_addr;
    image.local_port = sf_be16(HOST_PORT);
    image.remote_port = sf_be16(PEER_PORT);
    rc = r->host->import(&image);
    sf_tcp_image_free(&image);
    return rc;
}

static inline void runner_call(struct runner *r, const struct line *l)
{
    const struct segment_host *h = r->host;
    const char *what = l->word[0];
    sf_ns patience = h->now() + runner_ms(h->late);

    if (!strcmp(what, "listen")) {
        runner_result(r, l, h->listen(), 0);
        r->port = h->local_port();
    } else if (!strcmp(what, "connect")) {
        runner_result(r, l, h->connect(), 0);
        r->port = h->local_port();
    } else if (!strcmp(what, "import") && h->import) {
        runner_result(r, l, runner_import(r, l), 0);
    } else if (!strcmp(what, "connected")) {
        runner_result(r, l, h->connected(), runner_wanted(r, l, l->word[1]));
    } else if (!strcmp(what, "accept")) {
        int rc;

        while ((rc = h->accept()) == -EAGAIN && h->now() < patience && !r->waiting_len)
            r->waiting_len = h->next(r->waiting, h->now() + runner_ms(1));
        runner_result(r, l, rc, runner_wanted(r, l, l->word[1]));
    } else if (!strcmp(what, "send")) {
        ssize_t wanted = l->n_words > 2 ? runner_wanted(r, l, l->word[2]) : atoi(l->word[1]);

        runner_result(r, l, runner_send(r, l), wanted);
    } else if (!strcmp(what, "recv")) {
        runner_recv(r, l);
    } else if (!strcmp(what, "shutdown")) {
        runner_result(r, l, h->shutdown(), 0);
    } else if (!strcmp(what, "close")) {
        runner_result(r, l, h->close(), 0);
    } else if (!strcmp(what, "set")) {
        runner_result(r, l, runner_set(r, l), 0);
    } else {
        script_fail(r->script, l, "unknown call");
    }
}

/* Starts the host, runs all lines of the script against the host, and ends the host. */
static inline void runner_run(const struct script *script, const struct segment_host *host)
{
    static struct runner r;
    sf_ns at;

    host->begin(script->mtu);
    r = (struct runner){.host = host, .script = script, .peer_isn = PEER_ISN, .started = host->now()};
    at = r.started;
    for (int i = 0; i < script->n; i++) {
        const struct line *l = &script->line[i];
        sf_ns due = at + runner_ms(l->after);

        if (l->kind == LINE_OUT) {
            runner_out(&r, l, due);
        } else {
            runner_quiet(&r, l, due);
            if (l->kind == LINE_IN)
                runner_in(&r, l);
            else if (l->kind == LINE_ICMP)
                runner_icmp(&r, l);
            else if (l->kind == LINE_CALL)
                runner_call(&r, l);
        }
        at = host->now();
    }
    host->end();
}

#endif
