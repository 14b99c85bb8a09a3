/*
 * Fuzzes every parser and emitter of sfloop/native/wire with arbitrary bytes. The first byte of an input chooses checksums and the
 * cuts between pieces, the rest is a frame. The frame is copied to an allocation of its length, so that AddressSanitizer sees a read
 * past its end. Besides the sanitizers' checks, these must hold:
 *  - sf_udp_parse_frame() and the parsers of the three headers, called one by one, give the same result;
 *  - a payload lies within the frame;
 *  - an accepted frame that is emitted and parsed again gives the same fields and payload.
 */
#include "wire/icmp.h"
#include "wire/tcp.h"
#include "wire/udp.h"
#include "fuzz_check.h"

static void within(const uint8_t *frame, size_t len, const uint8_t *part, size_t part_len)
{
    CHECK(part >= frame && part <= frame + len && part_len <= (size_t)(frame + len - part));
}

static enum sf_refusal parse_in_steps(const uint8_t *frame, size_t len, uint32_t flags, struct sf_eth *eth,
                                      struct sf_ipv4 *ip, struct sf_udp *udp)
{
    enum sf_refusal reason = sf_eth_parse(frame, len, eth);

    if (reason)
        return reason;
    CHECK(eth->len <= len && eth->tags <= SF_ETH_TAGS_MAX);
    if (eth->type != SF_ETH_TYPE_IPV4)
        return SF_REFUSED_ETH_TYPE;
    reason = sf_ipv4_parse(frame + eth->len, len - eth->len, flags, ip);
    if (reason)
        return reason;
    within(frame, len, ip->payload, ip->payload_len);
    if (!sf_ipv4_source_is_possible(ip->src, ip->dst))
        return SF_REFUSED_IP_SOURCE;
    return sf_udp_parse(ip, flags, udp);
}

static struct sf_ip_peer peer_of(const struct sf_udp_datagram *d)
{
    struct sf_ip_peer peer = {
        .src_addr = d->src_addr,
        .dst_addr = d->dst_addr,
        .src_port = d->src_port,
        .dst_port = d->dst_port,
        .ttl = d->ttl,
        .tos = d->tos,
        .tags = d->eth.tags,
    };

    memcpy(peer.src_mac, d->eth.src, SF_ETH_ADDR);
    memcpy(peer.dst_mac, d->eth.dst, SF_ETH_ADDR);
    for (int i = 0; i < d->eth.tags; i++)
        peer.tag[i] = d->eth.tag[i];
    return peer;
}

static void expect_the_same(const struct sf_udp_datagram *a, const struct sf_udp_datagram *b)
{
    CHECK(a->src_addr == b->src_addr && a->dst_addr == b->dst_addr);
    CHECK(a->src_port == b->src_port && a->dst_port == b->dst_port);
    CHECK(a->ttl == b->ttl && a->tos == b->tos);
    CHECK(memcmp(a->eth.src, b->eth.src, SF_ETH_ADDR) == 0 && memcmp(a->eth.dst, b->eth.dst, SF_ETH_ADDR) == 0);
    CHECK(a->eth.tags == b->eth.tags && a->eth.len == b->eth.len);
    for (int i = 0; i < a->eth.tags; i++)
        CHECK(a->eth.tag[i].type == b->eth.tag[i].type && a->eth.tag[i].tci == b->eth.tag[i].tci);
    CHECK(a->payload_len == b->payload_len && memcmp(a->payload, b->payload, a->payload_len) == 0);
}

static void emit_again(const struct sf_udp_datagram *d, uint32_t choice)
{
    struct sf_ip_peer peer = peer_of(d);
    struct sf_udp_template template;
    struct sf_udp_datagram again;
    enum sf_udp_sum sum = (enum sf_udp_sum)(choice % 3);
    size_t cut = d->payload_len ? choice % d->payload_len : 0, len, split;
    struct iovec pieces[2] = {{(void *)(uintptr_t)d->payload, cut},
                              {(void *)(uintptr_t)(d->payload + cut), d->payload_len - cut}};
    struct iovec to[2];
    uint8_t *whole, *parts;

    CHECK(sf_udp_template_init(&template, &peer) == 0);
    len = sf_udp_frame_len(&template, d->payload_len);
    split = template.len + (d->payload_len ? choice / 3 % d->payload_len : 0);
    whole = malloc(len);
    parts = malloc(len);
    to[0] = (struct iovec){parts, split};
    to[1] = (struct iovec){parts + split, len - split};
    CHECK(sf_udp_emit(&template, whole, len - 1, pieces, 2, 1, sum) == 0);
    CHECK(sf_udp_emit(&template, whole, len, pieces, 2, (uint16_t)choice, sum) == len);
    CHECK(sf_udp_emit_pieces(&template, to, 2, pieces, 2, (uint16_t)choice, sum) == len);
    CHECK(memcmp(whole, parts, len) == 0);
    CHECK(sf_udp_parse_frame(whole, len, SF_WIRE_CHECKSUM_PARTIAL, &again) == SF_ACCEPTED);
    CHECK(sf_udp_parse_frame(whole, len, SF_WIRE_CHECKSUM_UNSURE, &again) == SF_ACCEPTED);
    expect_the_same(d, &again);
    free(whole);
    free(parts);
}

static void parse_datagram(const uint8_t *frame, size_t len, uint32_t flags, uint32_t choice)
{
    struct sf_udp_datagram d;
    struct sf_eth eth;
    struct sf_ipv4 ip;
    struct sf_udp udp;
    enum sf_refusal reason = sf_udp_parse_frame(frame, len, flags, &d);

    CHECK((unsigned)reason < SF_REFUSALS && sf_refusal_name(reason));
    CHECK(parse_in_steps(frame, len, flags, &eth, &ip, &udp) == reason);
    if (reason)
        return;
    within(frame, len, d.payload, d.payload_len);
    CHECK(d.payload == udp.payload && d.payload_len == udp.payload_len);
    CHECK(d.src_port == udp.src_port && d.dst_port == udp.dst_port && d.src_addr == ip.src && d.dst_addr == ip.dst);
    emit_again(&d, choice);
}

static void parse_message(const uint8_t *message, size_t len)
{
    struct sf_ipv4 ip = {.protocol = SF_IPV4_ICMP, .payload = message, .payload_len = (uint16_t)len};
    struct sf_icmp out, again;
    enum sf_refusal reason = sf_icmp_parse(&ip, &out);

    if (reason)
        return;
    (void)sf_icmp_errno(out.type, out.code);
    if (sf_icmp_is_error(out.type)) {
        uint8_t *copy = malloc(len);

        ip.payload = copy;
        ip.payload_len = (uint16_t)sf_icmp_emit_error(copy, len, &out, message + SF_ICMP_HEADER, len - SF_ICMP_HEADER);
        CHECK(ip.payload_len >= SF_ICMP_HEADER + SF_IPV4_HEADER + 8);
        CHECK(sf_icmp_parse(&ip, &again) == SF_ACCEPTED && again.mtu == out.mtu);
        CHECK(again.quote.src == out.quote.src && again.quote.dst_port == out.quote.dst_port);
        free(copy);
    } else {
        within(message, len, out.data, out.data_len);
    }
}

/* Parses the bytes unchanged, and then with a correct checksum, because a fuzzer cannot guess one. */
static void parse_icmp(const uint8_t *frame, size_t len)
{
    uint8_t *message;

    if (len > 65535)
        return;
    parse_message(frame, len);
    if (len < SF_ICMP_HEADER)
        return;
    message = malloc(len);
    memcpy(message, frame, len);
    sf_store16(message + 2, 0);
    sf_store16(message + 2, sf_checksum(message, len));
    parse_message(message, len);
    free(message);
}

static void expect_the_same_segment(const struct sf_tcp_segment *a, const struct sf_tcp_segment *b)
{
    CHECK(a->src_port == b->src_port && a->dst_port == b->dst_port && a->seq == b->seq && a->ack == b->ack);
    CHECK(a->flags == b->flags && a->has == b->has && a->window == b->window);
    CHECK(!(a->has & SF_TCP_HAS_MSS) || a->mss == b->mss);
    CHECK(!(a->has & SF_TCP_HAS_WINDOW_SCALE) || a->window_scale == b->window_scale);
    CHECK(!(a->has & SF_TCP_HAS_TIMESTAMPS) || (a->ts_val == b->ts_val && a->ts_ecr == b->ts_ecr));
    CHECK(b->n_sack <= a->n_sack); /* our aligned options leave room for fewer SACK blocks */
    for (int i = 0; i < b->n_sack; i++)
        CHECK(a->sack[i].left == b->sack[i].left && a->sack[i].right == b->sack[i].right);
    CHECK(a->payload_len == b->payload_len && memcmp(a->payload, b->payload, a->payload_len) == 0);
}

static void emit_segment_again(const struct sf_ipv4 *from, const struct sf_tcp_segment *segment, size_t choice)
{
    struct sf_ip_peer peer = {
        .src_addr = from->src, .dst_addr = from->dst, .src_port = segment->src_port, .dst_port = segment->dst_port,
    };
    size_t cut = segment->payload_len ? choice % segment->payload_len : 0, len, split;
    struct iovec pieces[2] = {{(void *)(uintptr_t)segment->payload, cut},
                              {(void *)(uintptr_t)(segment->payload + cut), segment->payload_len - cut}};
    struct sf_tcp_template template;
    struct sf_tcp_segment again;
    struct iovec to[2];
    struct sf_ipv4 ip;
    uint8_t *whole, *parts;

    CHECK(sf_tcp_template_init(&template, &peer) == 0);
    split = template.len + SF_TCP_HEADER + sf_tcp_options_len(segment) + cut;
    len = split + segment->payload_len - cut;
    whole = malloc(len);
    parts = malloc(len);
    to[0] = (struct iovec){parts, split};
    to[1] = (struct iovec){parts + split, len - split};
    CHECK(sf_tcp_emit(&template, whole, len - 1, segment, pieces, 2, 1) == 0);
    CHECK(sf_tcp_emit(&template, whole, len, segment, pieces, 2, (uint16_t)choice) == len);
    CHECK(sf_tcp_emit_pieces(&template, to, 2, segment, pieces, 2, (uint16_t)choice) == len);
    CHECK(memcmp(whole, parts, len) == 0);
    CHECK(sf_ipv4_parse(whole + SF_ETH_HEADER, len - SF_ETH_HEADER, 0, &ip) == SF_ACCEPTED);
    CHECK(sf_tcp_parse(&ip, 0, &again) == SF_ACCEPTED);
    expect_the_same_segment(segment, &again);
    free(whole);
    free(parts);
}

/* Parses the bytes as the TCP segment of a packet with a correct IP header. */
static void parse_segment(const uint8_t *bytes, size_t len, uint32_t flags, size_t choice)
{
    struct sf_ipv4 ip = {
        .src = 0x0100000a, .dst = 0x0200000a, .protocol = SF_IPV4_TCP, .payload = bytes, .payload_len = (uint16_t)len,
    };
    struct sf_tcp_segment segment;

    if (len > 65535 - SF_IPV4_HEADER || sf_tcp_parse(&ip, flags, &segment))
        return;
    within(bytes, len, segment.payload, segment.payload_len);
    CHECK(segment.n_sack <= SF_TCP_SACK_MAX && segment.payload_len + SF_TCP_HEADER <= len);
    /* Our aligned options may be longer than the received ones, and the packet would exceed the greatest length. */
    if (len + SF_TCP_OPTIONS_MAX <= 65535 - SF_IPV4_HEADER)
        emit_segment_again(&ip, &segment, choice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *frame;
    size_t len;

    if (size == 0)
        return 0;
    len = size - 1;
    frame = malloc(len ? len : 1);
    memcpy(frame, data + 1, len);
    for (uint32_t flags = 0; flags < 4; flags++)
        parse_datagram(frame, len, flags, data[0] * 257u);
    for (uint32_t flags = 0; flags < 4; flags++)
        parse_segment(frame, len, flags, data[0] * 257u);
    parse_icmp(frame, len);
    if (len > SF_ETH_HEADER + SF_IPV4_HEADER)
        parse_icmp(frame + SF_ETH_HEADER + SF_IPV4_HEADER, len - SF_ETH_HEADER - SF_IPV4_HEADER);
    free(frame);
    return 0;
}
