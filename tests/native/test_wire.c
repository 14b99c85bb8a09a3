/*
 * The wire formats of UDP and ICMP: round trips of emit and parse, each reason for a refusal, checksums with known results.
 *
 * test_wire_tcp.c cuts payloads into pieces in the same way. The cut is written out in both, because its pieces are local arrays
 * whose sizes depend on each protocol's headers.
 */
#include "wire/icmp.h"
#include "wire/udp.h"

#include "check.h"
#include "wire_peer.h"

#include <errno.h>

/* A frame, in an allocation of exactly its length, so that ASan reports a read past its end. */
struct frame {
    uint8_t *data;
    size_t len;
    size_t ip; /* where the IP header begins */
};

static struct frame frame_of(uint8_t tags, const void *text, size_t len, enum sf_udp_sum sum)
{
    struct sf_ip_peer peer = peer_of(tags);
    struct iovec piece = {.iov_base = (void *)(uintptr_t)text, .iov_len = len};
    struct sf_udp_template template;
    struct frame frame;

    CHECK(sf_udp_template_init(&template, &peer) == 0);
    frame.len = sf_udp_frame_len(&template, len);
    frame.data = malloc(frame.len);
    frame.ip = SF_ETH_HEADER + (size_t)tags * SF_ETH_TAG;
    CHECK(sf_udp_emit(&template, frame.data, frame.len, &piece, 1, 0x1234, sum) == frame.len);
    return frame;
}

static void mend_ip(struct frame *frame)
{
    uint8_t *ip = frame->data + frame->ip;

    sf_store16(ip + 10, 0);
    sf_store16(ip + 10, sf_checksum(ip, (ip[0] & 0x0fu) * 4));
}

/* Parses a copy of the frame's first `len` bytes, in an allocation of exactly that length. */
static enum sf_refusal parse(const struct frame *frame, size_t len, uint32_t flags)
{
    struct sf_udp_datagram out;
    uint8_t *copy = malloc(len ? len : 1);
    enum sf_refusal reason;

    memcpy(copy, frame->data, len);
    reason = sf_udp_parse_frame(copy, len, flags, &out);
    free(copy);
    return reason;
}

/* ---- checksums ---- */

static void test_known_sums(void)
{
    /* The example of RFC 1071, 3. Its sum is ddf2. */
    static const uint8_t rfc[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    static const uint8_t ip[] = {0x45, 0, 0, 0x73, 0,    0,    0x40, 0, 0x40, 0x11,
                                 0,    0, 192, 168, 0, 1, 192, 168, 0, 199};

    CHECK(sf_sum_fold(sf_sum_bytes(0, rfc, sizeof rfc)) == sf_be16(0xddf2));
    CHECK(sf_checksum(ip, sizeof ip) == sf_be16(0xb861));
    CHECK(sf_sum_fold(0) == 0);
    CHECK(sf_sum_fold(UINT64_MAX) == 0xffff);
    CHECK(sf_sum_fold(0xffff) == 0xffff && sf_sum_fold(0x10000) == 1);
}

static uint16_t plain_sum(const uint8_t *data, size_t len)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < len; i++) {
        sum += i & 1 ? data[i] : (uint32_t)data[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sf_be16((uint16_t)sum);
}

static void test_sums_of_every_length_and_alignment(void)
{
    uint8_t data[400];
    uint64_t seed = 0xc0ffee;

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = next_random(&seed) % 4 ? (uint8_t)next_random(&seed) : 0xff;
    for (size_t start = 0; start < 9; start++) {
        for (size_t len = 0; start + len <= sizeof data; len++) {
            size_t cut = len ? next_random(&seed) % len : 0;
            uint64_t pieces = sf_sum_piece(0, 0, data + start, cut);

            CHECK(sf_sum_fold(sf_sum_bytes(0, data + start, len)) == plain_sum(data + start, len));
            pieces = sf_sum_piece(pieces, cut, data + start + cut, len - cut);
            CHECK(sf_sum_fold(pieces) == plain_sum(data + start, len));
        }
    }
}

/* ---- UDP frames ---- */

static void test_a_datagram_comes_back(void)
{
    for (uint8_t tags = 0; tags <= SF_ETH_TAGS_MAX; tags++) {
        struct sf_ip_peer peer = peer_of(tags);

        for (size_t len = 0; len < 200; len++) {
            uint8_t text[200];
            struct sf_udp_datagram out;
            struct frame frame;

            memset(text, (int)len, sizeof text);
            frame = frame_of(tags, text, len, SF_UDP_SUM_FULL);
            CHECK(sf_udp_parse_frame(frame.data, frame.len, 0, &out) == SF_ACCEPTED);
            CHECK(out.payload_len == len && memcmp(out.payload, text, len) == 0);
            CHECK(out.src_addr == peer.src_addr && out.dst_addr == peer.dst_addr);
            CHECK(out.src_port == peer.src_port && out.dst_port == peer.dst_port);
            CHECK(out.ttl == peer.ttl && out.tos == peer.tos);
            CHECK(memcmp(out.eth.src, peer.src_mac, 6) == 0 && memcmp(out.eth.dst, peer.dst_mac, 6) == 0);
            CHECK(out.eth.tags == tags && out.eth.len == frame.ip && out.eth.type == SF_ETH_TYPE_IPV4);
            for (uint8_t i = 0; i < tags; i++)
                CHECK(out.eth.tag[i].type == peer.tag[i].type && out.eth.tag[i].tci == peer.tag[i].tci);
            free(frame.data);
        }
    }
}

static void test_padding_and_bytes_behind_the_udp_length_are_left_out(void)
{
    struct frame frame = frame_of(0, "seven b", 7, SF_UDP_SUM_FULL);
    struct sf_udp_datagram out;
    uint8_t padded[60];

    memset(padded, 0xaa, sizeof padded);
    memcpy(padded, frame.data, frame.len);
    CHECK(sf_udp_parse_frame(padded, sizeof padded, 0, &out) == SF_ACCEPTED && out.payload_len == 7);
    sf_store16_be(padded + 14 + 2, 20 + 8 + 9); /* the IP payload has two bytes more than the datagram */
    memcpy(frame.data, padded, frame.len);
    mend_ip(&frame);
    memcpy(padded, frame.data, frame.len);
    CHECK(sf_udp_parse_frame(padded, sizeof padded, 0, &out) == SF_ACCEPTED && out.payload_len == 7);
    free(frame.data);
}

static void test_a_frame_cut_anywhere_is_refused(void)
{
    for (uint8_t tags = 0; tags <= SF_ETH_TAGS_MAX; tags++) {
        struct frame frame = frame_of(tags, "0123456789", 10, SF_UDP_SUM_FULL);

        for (size_t len = 0; len < frame.len; len++) {
            enum sf_refusal expected = len < frame.ip        ? SF_REFUSED_ETH_SHORT
                                       : len < frame.ip + 20 ? SF_REFUSED_IP_SHORT
                                                             : SF_REFUSED_IP_LENGTH;

            CHECK(parse(&frame, len, 0) == expected);
        }
        CHECK(parse(&frame, frame.len, 0) == SF_ACCEPTED);
        free(frame.data);
    }
}

static void test_every_bit_of_what_the_sums_cover_is_verified(void)
{
    struct frame frame = frame_of(0, "odd", 3, SF_UDP_SUM_FULL);

    for (size_t bit = frame.ip * 8; bit < frame.len * 8; bit++) {
        frame.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK(parse(&frame, frame.len, 0) != SF_ACCEPTED);
        frame.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    CHECK(parse(&frame, frame.len, 0) == SF_ACCEPTED);
    free(frame.data);
}

/* Parses a frame in which one byte was changed and the IP checksum was corrected. */
static enum sf_refusal with(size_t at, uint8_t value, uint32_t flags)
{
    struct frame frame = frame_of(0, "text", 4, SF_UDP_SUM_FULL);
    enum sf_refusal reason;

    frame.data[at] = value;
    mend_ip(&frame);
    reason = parse(&frame, frame.len, flags);
    free(frame.data);
    return reason;
}

static void test_reasons(void)
{
    CHECK(with(13, 0x06, 0) == SF_REFUSED_ETH_TYPE);
    CHECK(with(12, 0x00, 0) == SF_REFUSED_ETH_TYPE); /* 802.3 with a length */
    CHECK(with(14, 0x65, 0) == SF_REFUSED_IP_VERSION);
    CHECK(with(17, 19, 0) == SF_REFUSED_IP_HEADER); /* total length */
    CHECK(with(16, 0x10, 0) == SF_REFUSED_IP_LENGTH);
    CHECK(with(26, 224, 0) == SF_REFUSED_IP_SOURCE);
    CHECK(with(26, 239, 0) == SF_REFUSED_IP_SOURCE);
    CHECK(with(26, 127, 0) == SF_REFUSED_IP_SOURCE);
    CHECK(with(26, 0, SF_WIRE_CHECKSUM_GOOD) == SF_ACCEPTED); /* 0.0.0.1 is accepted like any host address */
    CHECK(with(26, 240, SF_WIRE_CHECKSUM_GOOD) == SF_ACCEPTED);
    CHECK(with(20, 0x20, 0) == SF_REFUSED_IP_FRAGMENT); /* more fragments (MF) */
    CHECK(with(21, 0x01, 0) == SF_REFUSED_IP_FRAGMENT);
    CHECK(with(20, 0x1f, 0) == SF_REFUSED_IP_FRAGMENT);
    CHECK(with(20, 0x80, 0) == SF_ACCEPTED); /* the reserved bit is ignored */
    CHECK(with(23, SF_IPV4_TCP, 0) == SF_REFUSED_IP_PROTOCOL);
    CHECK(with(17, 27, 0) == SF_REFUSED_UDP_SHORT);
    CHECK(with(39, 7, 0) == SF_REFUSED_UDP_LENGTH);
    CHECK(with(39, 13, 0) == SF_REFUSED_UDP_LENGTH);
    CHECK(with(42, 'T', 0) == SF_REFUSED_UDP_CHECKSUM);
    CHECK(with(42, 'T', SF_WIRE_CHECKSUM_GOOD) == SF_ACCEPTED);
    CHECK(with(42, 'T', SF_WIRE_CHECKSUM_PARTIAL) == SF_REFUSED_UDP_CHECKSUM);
}

static void test_a_header_that_is_too_short_or_too_long(void)
{
    struct frame frame = frame_of(0, "0123", 4, SF_UDP_SUM_FULL);

    frame.data[frame.ip] = 0x44;
    CHECK(parse(&frame, frame.len, SF_WIRE_CHECKSUM_GOOD) == SF_REFUSED_IP_HEADER);
    frame.data[frame.ip] = 0x4f; /* a header of 60 bytes, longer than the packet */
    CHECK(parse(&frame, frame.len, SF_WIRE_CHECKSUM_GOOD) == SF_REFUSED_IP_HEADER);
    sf_store16_be(frame.data + frame.ip + 2, 100); /* a packet of 100 bytes: the header is longer than the frame, too */
    CHECK(parse(&frame, frame.len, SF_WIRE_CHECKSUM_GOOD) == SF_REFUSED_IP_SHORT);
    frame.data[frame.ip] = 0x45;
    frame.data[frame.ip + 8] ^= 1;
    sf_store16_be(frame.data + frame.ip + 2, 32);
    CHECK(parse(&frame, frame.len, 0) == SF_REFUSED_IP_CHECKSUM);
    CHECK(parse(&frame, frame.len, SF_WIRE_CHECKSUM_PARTIAL) == SF_REFUSED_IP_CHECKSUM);
    free(frame.data);
}

static void test_options_are_skipped(void)
{
    struct frame plain = frame_of(0, "text", 4, SF_UDP_SUM_FULL);

    for (size_t words = 1; words <= 10; words++) {
        struct frame frame = {.data = malloc(plain.len + words * 4), .len = plain.len + words * 4, .ip = plain.ip};
        struct sf_udp_datagram out;

        memcpy(frame.data, plain.data, plain.ip + 20);
        memset(frame.data + plain.ip + 20, 1, words * 4); /* no-operation */
        memcpy(frame.data + plain.ip + 20 + words * 4, plain.data + plain.ip + 20, plain.len - plain.ip - 20);
        frame.data[frame.ip] = (uint8_t)(0x45 + words);
        sf_store16_be(frame.data + frame.ip + 2, (uint16_t)(frame.len - frame.ip));
        mend_ip(&frame);
        CHECK(sf_udp_parse_frame(frame.data, frame.len, 0, &out) == SF_ACCEPTED);
        CHECK(out.payload_len == 4 && memcmp(out.payload, "text", 4) == 0);
        frame.data[frame.ip + 20] = 7;
        CHECK(parse(&frame, frame.len, 0) == SF_REFUSED_IP_CHECKSUM);
        free(frame.data);
    }
    free(plain.data);
}

/* IP options that Linux accepts or refuses (ip_options_compile). */
static void test_which_options_are_right(void)
{
    static const struct {
        bool right;
        uint8_t len, bytes[12];
    } cases[] = {
        {true, 4, {0, 9, 9, 9}},                 /* end of options: the rest is ignored */
        {true, 4, {1, 1, 1, 1}},
        {true, 4, {148, 4, 0, 0}},               /* router alert */
        {false, 4, {148, 3, 0, 0}},
        {true, 4, {200, 4, 0, 0}},               /* unknown */
        {true, 4, {130, 4, 0, 0}},
        {false, 4, {200, 1, 0, 0}},              /* a length below the option's own header */
        {false, 4, {200, 5, 0, 0}},              /* a length beyond the IP header */
        {false, 4, {1, 1, 1, 200}},              /* no length byte */
        {true, 8, {7, 7, 4, 0, 0, 0, 0, 0}},     /* record route, one entry free */
        {true, 8, {7, 7, 8, 1, 2, 3, 4, 0}},     /* full */
        {false, 8, {7, 7, 5, 0, 0, 0, 0, 0}},    /* no room for an entry at the pointer */
        {false, 8, {7, 7, 3, 0, 0, 0, 0, 0}},    /* a pointer into the option's header */
        {false, 8, {7, 3, 4, 7, 3, 4, 0, 0}},    /* record route twice */
        {true, 8, {68, 8, 5, 0, 0, 0, 0, 0}},    /* timestamps */
        {true, 8, {68, 8, 9, 0x10, 0, 0, 0, 0}}, /* full, with an overflow count of 1 */
        {false, 8, {68, 8, 9, 0xf0, 0, 0, 0, 0}},
        {false, 8, {68, 8, 5, 1, 0, 0, 0, 0}},   /* with addresses: no room for address and time */
        {true, 12, {68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0}},
        {false, 4, {68, 4, 4, 0}},
        {false, 8, {131, 7, 4, 10, 0, 0, 1, 0}}, /* loose source route */
        {false, 8, {137, 7, 4, 10, 0, 0, 1, 0}}, /* strict source route */
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK(sf_ipv4_options_are_right(cases[i].bytes, cases[i].len) == cases[i].right);
}

static void test_more_tags_than_two(void)
{
    struct frame frame = frame_of(2, "0123456789", 10, SF_UDP_SUM_FULL);
    struct sf_ip_peer peer = peer_of(3);
    struct sf_udp_template template;

    sf_store16_be(frame.data + 20, SF_ETH_TYPE_VLAN);
    CHECK(parse(&frame, frame.len, 0) == SF_REFUSED_ETH_TAGS);
    CHECK(parse(&frame, 22, 0) == SF_REFUSED_ETH_TAGS);
    CHECK(sf_udp_template_init(&template, &peer) == -EINVAL);
    free(frame.data);
}

static void test_partial_and_absent_checksums(void)
{
    struct frame partial = frame_of(0, "text", 4, SF_UDP_SUM_PARTIAL);
    struct frame none = frame_of(0, "text", 4, SF_UDP_SUM_NONE);
    struct frame full = frame_of(0, "text", 4, SF_UDP_SUM_FULL);
    static const uint8_t pseudo[] = {10, 0, 0, 1, 10, 0, 0, 2, 0, 17, 0, 12};

    CHECK(sf_load16(partial.data + 40) == plain_sum(pseudo, sizeof pseudo));
    CHECK(sf_load16(none.data + 40) == 0);
    CHECK(parse(&partial, partial.len, 0) == SF_REFUSED_UDP_CHECKSUM);
    CHECK(parse(&partial, partial.len, SF_WIRE_CHECKSUM_PARTIAL) == SF_ACCEPTED);
    CHECK(parse(&full, full.len, SF_WIRE_CHECKSUM_PARTIAL) == SF_ACCEPTED);
    CHECK(parse(&partial, partial.len, SF_WIRE_CHECKSUM_UNSURE) == SF_ACCEPTED);
    CHECK(parse(&full, full.len, SF_WIRE_CHECKSUM_UNSURE) == SF_ACCEPTED);
    CHECK(parse(&none, none.len, SF_WIRE_CHECKSUM_UNSURE) == SF_ACCEPTED);
    full.data[44] ^= 1;
    CHECK(parse(&full, full.len, SF_WIRE_CHECKSUM_UNSURE) == SF_REFUSED_UDP_CHECKSUM);
    CHECK(parse(&none, none.len, 0) == SF_ACCEPTED);
    partial.data[44] ^= 1; /* a partial checksum does not cover the payload */
    CHECK(parse(&partial, partial.len, SF_WIRE_CHECKSUM_PARTIAL) == SF_ACCEPTED);
    CHECK(parse(&partial, partial.len, SF_WIRE_CHECKSUM_UNSURE) == SF_ACCEPTED);
    partial.data[41] ^= 1;
    CHECK(parse(&partial, partial.len, SF_WIRE_CHECKSUM_PARTIAL) == SF_REFUSED_UDP_CHECKSUM);
    CHECK(parse(&partial, partial.len, SF_WIRE_CHECKSUM_UNSURE) == SF_REFUSED_UDP_CHECKSUM);
    free(partial.data);
    free(none.data);
    free(full.data);
}

/* A payload for which the checksum is zero. It is sent as ffff, because zero means that there is no checksum (RFC 768). */
static void test_a_checksum_of_zero_is_sent_as_ones(void)
{
    struct frame frame = frame_of(0, "\0\0", 2, SF_UDP_SUM_FULL);
    uint16_t zero_sum = sf_load16(frame.data + 40);
    struct frame again = frame_of(0, &zero_sum, 2, SF_UDP_SUM_FULL);

    CHECK(sf_load16(again.data + 40) == 0xffff);
    CHECK(parse(&again, again.len, 0) == SF_ACCEPTED);
    free(frame.data);
    free(again.data);
}

static void test_pieces_on_both_sides_make_the_same_frame(void)
{
    struct sf_ip_peer peer = peer_of(1);
    struct sf_udp_template template;
    uint8_t text[301], whole[400];
    uint64_t seed = 0x91ece5;

    CHECK(sf_udp_template_init(&template, &peer) == 0);
    for (int round = 0; round < 2000; round++) {
        size_t len = next_random(&seed) % sizeof text, a = next_random(&seed) % (len + 1);
        size_t b = a + next_random(&seed) % (len - a + 1), total = template.len + len;
        size_t c = template.len + next_random(&seed) % (len + 1);
        struct iovec one = {text, len};
        struct iovec from[] = {{text, a}, {text + a, b - a}, {NULL, 0}, {text + b, len - b}};
        struct iovec to[] = {{malloc(c), c}, {NULL, 0}, {malloc(total - c + 1), total - c}};
        uint8_t *gathered = malloc(total);

        for (size_t i = 0; i < len; i++)
            text[i] = (uint8_t)next_random(&seed);
        CHECK(sf_udp_emit(&template, whole, sizeof whole, &one, 1, 77, SF_UDP_SUM_FULL) == total);
        CHECK(sf_udp_emit(&template, gathered, total, from, 4, 77, SF_UDP_SUM_FULL) == total);
        CHECK(memcmp(gathered, whole, total) == 0);
        CHECK(sf_udp_emit_pieces(&template, to, 3, from, 4, 77, SF_UDP_SUM_FULL) == total);
        CHECK(memcmp(to[0].iov_base, whole, c) == 0 && memcmp(to[2].iov_base, whole + c, total - c) == 0);
        sf_udp_emit_headers(&template, gathered, (uint16_t)len, sf_sum_bytes(0, text, len), 77, SF_UDP_SUM_FULL);
        CHECK(memcmp(gathered, whole, total) == 0);
        free(to[0].iov_base);
        free(to[2].iov_base);
        free(gathered);
    }
}

static void test_limits_of_what_is_sent(void)
{
    struct sf_ip_peer peer = peer_of(0);
    struct sf_udp_template template;
    uint8_t *text = calloc(1, 65536), *frame = malloc(65600);
    struct iovec most = {text, SF_UDP_PAYLOAD_MAX}, more = {text, SF_UDP_PAYLOAD_MAX + 1};
    struct iovec overflow[] = {{text, SIZE_MAX}, {text, 2}};
    struct iovec short_piece[] = {{frame, SF_UDP_HEADERS - 1}, {frame + 100, 1000}};
    struct iovec room[] = {{frame, SF_UDP_HEADERS}, {frame + 100, 9}};
    struct iovec ten = {text, 10};
    struct sf_udp_datagram out;

    CHECK(sf_udp_template_init(&template, &peer) == 0);
    CHECK(sf_udp_emit(&template, frame, 65600, &most, 1, 0, SF_UDP_SUM_FULL) == 42 + SF_UDP_PAYLOAD_MAX);
    CHECK(sf_udp_parse_frame(frame, 65600, 0, &out) == SF_ACCEPTED && out.payload_len == SF_UDP_PAYLOAD_MAX);
    CHECK(sf_udp_emit(&template, frame, 65600, &more, 1, 0, SF_UDP_SUM_FULL) == 0);
    CHECK(sf_udp_emit(&template, frame, 65600, overflow, 2, 0, SF_UDP_SUM_FULL) == 0);
    CHECK(sf_udp_emit(&template, frame, 51, &ten, 1, 0, SF_UDP_SUM_FULL) == 0);
    CHECK(sf_udp_emit(&template, frame, 0, NULL, 0, 0, SF_UDP_SUM_FULL) == 0);
    CHECK(sf_udp_emit(&template, frame, 42, NULL, 0, 0, SF_UDP_SUM_FULL) == 42);
    CHECK(sf_udp_emit_pieces(&template, short_piece, 2, &ten, 1, 0, SF_UDP_SUM_FULL) == 0);
    CHECK(sf_udp_emit_pieces(&template, room, 2, &ten, 1, 0, SF_UDP_SUM_FULL) == 0);
    CHECK(sf_udp_emit_pieces(&template, room, 0, &ten, 1, 0, SF_UDP_SUM_FULL) == 0);
    free(text);
    free(frame);
}

static void test_group_addresses(void)
{
    static const uint8_t group[] = {239, 129, 2, 3}, expected[] = {1, 0, 0x5e, 1, 2, 3};
    uint8_t mac[SF_ETH_ADDR];

    sf_eth_multicast(sf_load32(group), mac);
    CHECK(memcmp(mac, expected, sizeof mac) == 0);
}

static void test_names_are_distinct(void)
{
    for (int i = 0; i < SF_REFUSALS; i++) {
        CHECK(sf_refusal_name((enum sf_refusal)i));
        for (int j = 0; j < i; j++)
            CHECK(strcmp(sf_refusal_name((enum sf_refusal)i), sf_refusal_name((enum sf_refusal)j)) != 0);
    }
    CHECK(strcmp(sf_refusal_name(SF_REFUSALS), "unknown") == 0);
}

/* ---- ICMP ---- */

static enum sf_refusal parse_icmp(const uint8_t *message, size_t len, struct sf_icmp *out)
{
    struct sf_ipv4 ip = {.protocol = SF_IPV4_ICMP, .payload = message, .payload_len = (uint16_t)len};

    return sf_icmp_parse(&ip, out);
}

static void test_an_error_names_the_flow(void)
{
    struct sf_ip_peer peer = peer_of(0);
    struct frame frame = frame_of(0, "a datagram that was too long", 28, SF_UDP_SUM_FULL);
    struct sf_icmp error = {.type = SF_ICMP_UNREACHABLE, .code = SF_ICMP_FRAGMENTATION_NEEDED, .mtu = 1280}, out;
    uint8_t message[600];
    size_t len = sf_icmp_emit_error(message, sizeof message, &error, frame.data + 14, frame.len - 14);

    CHECK(len == 8 + frame.len - 14);
    CHECK(parse_icmp(message, len, &out) == SF_ACCEPTED);
    CHECK(out.type == error.type && out.code == error.code && out.mtu == 1280);
    CHECK(out.quote.src == peer.src_addr && out.quote.dst == peer.dst_addr);
    CHECK(out.quote.src_port == peer.src_port && out.quote.dst_port == peer.dst_port);
    CHECK(out.quote.protocol == SF_IPV4_UDP && out.quote.total_len == frame.len - 14 && out.quote.tcp_sequence == 0);
    message[10] ^= 1;
    CHECK(parse_icmp(message, len, &out) == SF_REFUSED_ICMP_CHECKSUM);
    CHECK(sf_icmp_emit_error(message, 8 + 27, &error, frame.data + 14, frame.len - 14) == 0);
    len = sf_icmp_emit_error(message, 8 + 28, &error, frame.data + 14, frame.len - 14);
    CHECK(len == 36 && parse_icmp(message, len, &out) == SF_ACCEPTED);
    free(frame.data);
}

/* Parses an ICMP error in which one byte of the quote was changed. The message is cut to `len` bytes. */
static enum sf_refusal quote_with(size_t at, uint8_t value, size_t len, struct sf_icmp *out)
{
    struct frame frame = frame_of(0, "0123", 4, SF_UDP_SUM_FULL);
    struct sf_icmp error = {.type = SF_ICMP_TIME_EXCEEDED};
    uint8_t message[100], *copy = malloc(len);
    enum sf_refusal reason;

    CHECK(sf_icmp_emit_error(message, sizeof message, &error, frame.data + 14, frame.len - 14) == 40);
    message[8 + at] = value;
    memcpy(copy, message, len);
    sf_store16(copy + 2, 0);
    sf_store16(copy + 2, sf_checksum(copy, len));
    reason = parse_icmp(copy, len, out);
    free(copy);
    free(frame.data);
    return reason;
}

static void test_quotes_without_ports(void)
{
    struct sf_icmp out;

    for (size_t len = 8; len < 36; len++)
        CHECK(quote_with(0, 0x45, len, &out) == SF_REFUSED_ICMP_QUOTE);
    CHECK(quote_with(0, 0x45, 36, &out) == SF_ACCEPTED);
    CHECK(quote_with(0, 0x65, 36, &out) == SF_REFUSED_ICMP_QUOTE);
    CHECK(quote_with(0, 0x44, 36, &out) == SF_REFUSED_ICMP_QUOTE);
    CHECK(quote_with(0, 0x46, 36, &out) == SF_REFUSED_ICMP_QUOTE);
    CHECK(quote_with(0, 0x46, 40, &out) == SF_ACCEPTED);
    CHECK(quote_with(9, SF_IPV4_ICMP, 40, &out) == SF_REFUSED_ICMP_QUOTE);
    CHECK(quote_with(7, 1, 40, &out) == SF_REFUSED_ICMP_QUOTE);
    CHECK(quote_with(6, 0x20, 40, &out) == SF_ACCEPTED); /* a first fragment has the ports */
    CHECK(quote_with(9, SF_IPV4_TCP, 40, &out) == SF_ACCEPTED);
    CHECK(out.quote.protocol == SF_IPV4_TCP && out.quote.tcp_sequence >> 16 == 12); /* UDP's length field */
}

static void test_echo(void)
{
    static const uint8_t data[] = "ping";
    struct sf_icmp echo = {.type = SF_ICMP_ECHO, .id = 7, .sequence = 513, .data = data, .data_len = 4}, out;
    uint8_t message[12];

    CHECK(sf_icmp_emit_echo(message, 11, &echo) == 0);
    CHECK(sf_icmp_emit_echo(message, sizeof message, &echo) == 12);
    CHECK(parse_icmp(message, 12, &out) == SF_ACCEPTED);
    CHECK(out.type == SF_ICMP_ECHO && out.id == 7 && out.sequence == 513 && out.data_len == 4);
    CHECK(memcmp(out.data, data, 4) == 0);
    CHECK(parse_icmp(message, 7, &out) == SF_REFUSED_ICMP_SHORT);
    message[0] = 13; /* timestamp */
    sf_store16(message + 2, 0);
    sf_store16(message + 2, sf_checksum(message, 12));
    CHECK(parse_icmp(message, 12, &out) == SF_REFUSED_ICMP_TYPE);
    echo.type = SF_ICMP_UNREACHABLE;
    CHECK(sf_icmp_emit_echo(message, sizeof message, &echo) == 0);
}

static void test_errno_of_errors(void)
{
    CHECK(sf_icmp_errno(SF_ICMP_UNREACHABLE, SF_ICMP_PORT_UNREACHABLE) == ECONNREFUSED);
    CHECK(sf_icmp_errno(SF_ICMP_UNREACHABLE, SF_ICMP_FRAGMENTATION_NEEDED) == EMSGSIZE);
    CHECK(sf_icmp_errno(SF_ICMP_UNREACHABLE, SF_ICMP_NET_UNREACHABLE) == ENETUNREACH);
    CHECK(sf_icmp_errno(SF_ICMP_UNREACHABLE, 255) == EHOSTUNREACH);
    CHECK(sf_icmp_errno(SF_ICMP_TIME_EXCEEDED, 0) == EHOSTUNREACH);
    CHECK(sf_icmp_errno(SF_ICMP_PARAMETER_PROBLEM, 0) == EPROTO);
    CHECK(sf_icmp_errno(SF_ICMP_ECHO, 0) == 0);
}

int main(void)
{
    test_known_sums();
    test_sums_of_every_length_and_alignment();
    test_a_datagram_comes_back();
    test_padding_and_bytes_behind_the_udp_length_are_left_out();
    test_a_frame_cut_anywhere_is_refused();
    test_every_bit_of_what_the_sums_cover_is_verified();
    test_reasons();
    test_a_header_that_is_too_short_or_too_long();
    test_options_are_skipped();
    test_which_options_are_right();
    test_more_tags_than_two();
    test_partial_and_absent_checksums();
    test_a_checksum_of_zero_is_sent_as_ones();
    test_pieces_on_both_sides_make_the_same_frame();
    test_limits_of_what_is_sent();
    test_group_addresses();
    test_names_are_distinct();
    test_an_error_names_the_flow();
    test_quotes_without_ports();
    test_echo();
    test_errno_of_errors();
    return 0;
}
