/*
 * The wire format of TCP: round trips of emit and parse, options of every shape, each reason for a refusal.
 *
 * test_wire.c cuts payloads into pieces in the same way. The cut is written out in both, because its pieces are local arrays
 * whose sizes depend on each protocol's headers.
 */
#include "wire/tcp.h"

#include "check.h"
#include "wire_peer.h"

#include <errno.h>

struct frame {
    uint8_t data[1600];
    size_t len;
    size_t ip, tcp; /* offsets of the headers */
};

static void make(struct frame *frame, uint8_t tags, const struct sf_tcp_segment *segment, const void *text, size_t len)
{
    struct sf_ip_peer peer = peer_of(tags);
    struct iovec piece = {.iov_base = (void *)(uintptr_t)text, .iov_len = len};
    struct sf_tcp_template template;

    CHECK(sf_tcp_template_init(&template, &peer) == 0);
    memset(frame->data, 0xa5, sizeof frame->data);
    frame->ip = SF_ETH_HEADER + (size_t)tags * SF_ETH_TAG;
    frame->tcp = frame->ip + SF_IPV4_HEADER;
    CHECK(template.len == frame->tcp);
    frame->len = sf_tcp_emit(&template, frame->data, sizeof frame->data, segment, &piece, 1, 0x1234);
    CHECK(frame->len == frame->tcp + SF_TCP_HEADER + sf_tcp_options_len(segment) + len);
}

static void mend(struct frame *frame)
{
    uint8_t *ip = frame->data + frame->ip, *tcp = frame->data + frame->tcp;
    size_t tcp_len = frame->len - frame->tcp;
    uint64_t sum;

    sf_store16_be(ip + 2, (uint16_t)(frame->len - frame->ip));
    sf_store16(ip + 10, 0);
    sf_store16(ip + 10, sf_checksum(ip, (ip[0] & 0x0fu) * 4));
    if (tcp_len < 18)
        return;
    sf_store16(tcp + 16, 0);
    sum = sf_sum_pseudo(sf_load32(ip + 12), sf_load32(ip + 16), SF_IPV4_TCP) + sf_be16((uint16_t)tcp_len);
    sf_store16(tcp + 16, (uint16_t)~sf_sum_fold(sf_sum_bytes(sum, tcp, tcp_len)));
}

/* Parses a copy of the segment, in an allocation of exactly its length, so that ASan reports a read past its end. The payload
 * pointer in `out` is checked against the copy. Then it is moved to the frame, because the copy is freed. */
static enum sf_refusal parse(const struct frame *frame, uint32_t flags, struct sf_tcp_segment *out)
{
    struct sf_ipv4 ip;
    enum sf_refusal reason = sf_ipv4_parse(frame->data + frame->ip, frame->len - frame->ip, flags, &ip);
    uint8_t *copy;

    if (reason)
        return reason;
    copy = malloc(ip.payload_len ? ip.payload_len : 1);
    memcpy(copy, ip.payload, ip.payload_len);
    ip.payload = copy;
    reason = sf_tcp_parse(&ip, flags, out);
    if (!reason) {
        CHECK(out->payload >= copy + SF_TCP_HEADER && out->payload + out->payload_len == copy + ip.payload_len);
        out->payload = frame->data + frame->tcp + (out->payload - copy);
    }
    free(copy);
    return reason;
}

static struct sf_tcp_segment segment_of(uint8_t has, uint8_t n_sack)
{
    struct sf_tcp_segment segment = {
        .seq = 0xfffffffe,
        .ack = 0x01020304,
        .flags = SF_TCP_ACK | SF_TCP_PSH,
        .has = has,
        .window = 0xabcd,
        .mss = 1460,
        .window_scale = 200,
        .n_sack = n_sack,
        .ts_val = 0xdeadbeef,
        .ts_ecr = 0x00c0ffee,
    };

    for (uint32_t i = 0; i < SF_TCP_SACK_MAX; i++)
        segment.sack[i] = (struct sf_tcp_range){0xfffffff0u + i * 16, 0xfffffff8u + i * 16};
    return segment;
}

static void check_same(const struct sf_tcp_segment *a, const struct sf_tcp_segment *b, uint8_t n_sack)
{
    CHECK(a->seq == b->seq && a->ack == b->ack && a->flags == b->flags && a->window == b->window && a->has == b->has);
    CHECK(a->n_sack == n_sack);
    for (int i = 0; i < n_sack; i++)
        CHECK(a->sack[i].left == b->sack[i].left && a->sack[i].right == b->sack[i].right);
    if (a->has & SF_TCP_HAS_MSS)
        CHECK(a->mss == b->mss);
    if (a->has & SF_TCP_HAS_WINDOW_SCALE)
        CHECK(a->window_scale == b->window_scale);
    if (a->has & SF_TCP_HAS_TIMESTAMPS)
        CHECK(a->ts_val == b->ts_val && a->ts_ecr == b->ts_ecr);
}

/* The number of SACK blocks that fit beside the other options, in 40 bytes. The SACK option's header takes 4, with padding. */
static uint8_t ranges_beside(uint8_t has, uint8_t wanted)
{
    size_t used = (has & SF_TCP_HAS_MSS ? 4 : 0) + (has & SF_TCP_HAS_WINDOW_SCALE ? 4 : 0);
    size_t most;

    if (has & SF_TCP_HAS_TIMESTAMPS)
        used += 12;
    else if (has & SF_TCP_HAS_SACK_PERMITTED)
        used += 4;
    most = (40 - 4 - used) / 8;
    return wanted < most ? wanted : (uint8_t)most;
}

static void test_every_combination_of_options_comes_back(void)
{
    uint8_t text[64];

    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)(i * 37);
    for (uint8_t tags = 0; tags <= SF_ETH_TAGS_MAX; tags++)
        for (uint8_t has = 0; has < 16; has++)
            for (uint8_t n_sack = 0; n_sack <= SF_TCP_SACK_MAX; n_sack++)
                for (size_t len = 0; len < sizeof text; len += 7) {
                    struct sf_tcp_segment segment = segment_of(has, n_sack), out;
                    struct frame frame;

                    make(&frame, tags, &segment, text, len);
                    CHECK(sf_tcp_options_len(&segment) % 4 == 0 && sf_tcp_options_len(&segment) <= SF_TCP_OPTIONS_MAX);
                    CHECK(parse(&frame, 0, &out) == SF_ACCEPTED);
                    check_same(&out, &segment, ranges_beside(has, n_sack));
                    CHECK(out.payload_len == len && memcmp(out.payload, text, len) == 0);
                    CHECK(out.src_port == sf_be16(4000) && out.dst_port == sf_be16(5000));
                    CHECK(frame.data[frame.len] == 0xa5);
                }
}

/* The bytes of a frame, composed by hand from RFC 791, 9293 and 7323. A plain addition verifies the TCP checksum. */
static void test_the_bytes_of_a_syn(void)
{
    static const uint8_t expected[] = {
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0,
        0x45, 0xb8, 0, 60, 0x12, 0x34, 0x40, 0, 17, 6, 0x42, 0xd2, 10, 0, 0, 1, 10, 0, 0, 2,
        0x0f, 0xa0, 0x13, 0x88, 0, 0, 0, 7, 0, 0, 0, 0, 0xa0, 0x02, 0xff, 0xff, 0, 0, 0, 0,
        2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 1, 0, 0, 0, 0, 0, 1, 3, 3, 7,
    };
    struct sf_tcp_segment segment = {
        .seq = 7, .flags = SF_TCP_SYN, .has = 15, .window = 0xffff, .mss = 1460, .window_scale = 7, .ts_val = 256,
    };
    struct frame frame;
    uint32_t sum = 10 * 256 + 1 + 10 * 256 + 2 + 6 + 40;

    make(&frame, 0, &segment, NULL, 0);
    CHECK(frame.len == sizeof expected);
    for (size_t i = frame.tcp; i < frame.len; i += 2)
        sum += (uint32_t)frame.data[i] << 8 | frame.data[i + 1];
    CHECK(((sum & 0xffff) + (sum >> 16)) == 0xffff);
    sf_store16(frame.data + frame.tcp + 16, 0);
    CHECK(memcmp(frame.data, expected, 24) == 0);
    CHECK(memcmp(frame.data + 26, expected + 26, sizeof expected - 26) == 0);
    CHECK(sf_checksum(frame.data + 14, 20) == 0);
}

static void test_a_frame_cut_anywhere_is_refused(void)
{
    struct sf_tcp_segment segment = segment_of(SF_TCP_HAS_TIMESTAMPS, 3), out;
    struct frame frame, cut;

    make(&frame, 0, &segment, "0123456789", 10);
    for (size_t len = frame.tcp; len < frame.len; len++) {
        size_t tcp_len = len - frame.tcp;

        cut = frame;
        cut.len = len;
        CHECK(parse(&cut, 0, &out) == SF_REFUSED_IP_LENGTH);
        mend(&cut); /* the IP header's total length agrees now */
        CHECK(parse(&cut, 0, &out) == (tcp_len < 60 ? SF_REFUSED_TCP_SHORT : SF_ACCEPTED));
        if (tcp_len >= 60)
            CHECK(out.payload_len == tcp_len - 60);
    }
}

static void test_header_lengths(void)
{
    struct sf_tcp_segment segment = segment_of(0, 0), out;
    struct frame frame;

    for (uint8_t words = 0; words < 16; words++) {
        make(&frame, 0, &segment, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
        frame.data[frame.tcp + 12] = (uint8_t)(words << 4 | 0x0f); /* reserved bits are ignored (RFC 9293, 3.1) */
        mend(&frame);
        CHECK(parse(&frame, 0, &out) ==
              (words < 5 ? SF_REFUSED_TCP_HEADER : words > 10 ? SF_REFUSED_TCP_SHORT : SF_ACCEPTED));
        if (words >= 5 && words <= 10)
            CHECK(out.payload_len == 40u - words * 4u && !out.has && !out.n_sack);
    }
}

static void test_every_bit_of_what_the_sums_cover_is_verified(void)
{
    struct sf_tcp_segment segment = segment_of(15, 2), out;
    struct frame frame;

    make(&frame, 0, &segment, "odd", 3);
    for (size_t bit = frame.ip * 8; bit < frame.len * 8; bit++) {
        frame.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK(parse(&frame, 0, &out) != SF_ACCEPTED);
        frame.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    CHECK(parse(&frame, 0, &out) == SF_ACCEPTED);
}

static void test_checksums_that_others_complete(void)
{
    struct sf_tcp_segment segment = segment_of(SF_TCP_HAS_TIMESTAMPS, 0), out;
    struct frame frame;
    uint64_t sum;

    make(&frame, 0, &segment, "text", 4);
    frame.data[frame.tcp + 16] ^= 1;
    CHECK(parse(&frame, 0, &out) == SF_REFUSED_TCP_CHECKSUM);
    CHECK(parse(&frame, SF_WIRE_CHECKSUM_PARTIAL, &out) == SF_REFUSED_TCP_CHECKSUM);
    CHECK(parse(&frame, SF_WIRE_CHECKSUM_UNSURE, &out) == SF_REFUSED_TCP_CHECKSUM);
    CHECK(parse(&frame, SF_WIRE_CHECKSUM_GOOD, &out) == SF_ACCEPTED);
    sum = sf_sum_pseudo(sf_load32(frame.data + 26), sf_load32(frame.data + 30), SF_IPV4_TCP) +
          sf_be16((uint16_t)(frame.len - frame.tcp));
    sf_store16(frame.data + frame.tcp + 16, sf_sum_fold(sum));
    CHECK(parse(&frame, 0, &out) == SF_REFUSED_TCP_CHECKSUM);
    CHECK(parse(&frame, SF_WIRE_CHECKSUM_PARTIAL, &out) == SF_ACCEPTED);
    CHECK(parse(&frame, SF_WIRE_CHECKSUM_UNSURE, &out) == SF_ACCEPTED);
    sf_store16(frame.data + frame.tcp + 16, 0); /* zero means no checksum in UDP, but not in TCP */
    CHECK(parse(&frame, 0, &out) == SF_REFUSED_TCP_CHECKSUM);
    CHECK(parse(&frame, SF_WIRE_CHECKSUM_UNSURE, &out) == SF_REFUSED_TCP_CHECKSUM);
}

static void test_another_protocol(void)
{
    struct sf_ipv4 ip = {.protocol = SF_IPV4_UDP};
    struct sf_tcp_segment out;

    CHECK(sf_tcp_parse(&ip, 0, &out) == SF_REFUSED_IP_PROTOCOL);
    ip.protocol = SF_IPV4_TCP;
    CHECK(sf_tcp_parse(&ip, 0, &out) == SF_REFUSED_TCP_SHORT);
}

/* ---- options ---- */

static void with_options(const uint8_t *options, size_t len, struct sf_tcp_segment *out)
{
    struct sf_tcp_segment segment = segment_of(0, 0);
    uint8_t text[SF_TCP_OPTIONS_MAX + 4] = {0};
    struct frame frame;

    CHECK(len <= SF_TCP_OPTIONS_MAX && len % 4 == 0);
    memcpy(text, options, len);
    memcpy(text + len, "data", 4);
    make(&frame, 0, &segment, text, len + 4);
    frame.data[frame.tcp + 12] = (uint8_t)((20 + len) / 4 << 4);
    mend(&frame);
    CHECK(parse(&frame, 0, out) == SF_ACCEPTED);
    CHECK(out->payload_len == 4 && memcmp(out->payload, "data", 4) == 0);
}

#define WITH(out, ...) with_options((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), out)

static void test_options_in_any_order_and_place(void)
{
    struct sf_tcp_segment out;

    WITH(&out, 3, 3, 9, 1, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 4, 2, 2, 4, 2, 0);
    CHECK(out.has == 15 && out.window_scale == 9 && out.ts_val == 1 && out.ts_ecr == 2 && out.mss == 512);
    WITH(&out, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0);
    CHECK(out.n_sack == 2 && out.sack[0].left == 1 && out.sack[1].right == 4);
    WITH(&out, 5, 34, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0, 8,
         4, 2);
    CHECK(out.n_sack == 4 && out.sack[3].left == 7 && out.sack[3].right == 8 && out.has == SF_TCP_HAS_SACK_PERMITTED);
}

static void test_unknown_options_are_skipped(void)
{
    struct sf_tcp_segment out;

    WITH(&out, 254, 6, 2, 4, 1, 1, 2, 4, 5, 180, 30, 2); /* the unknown option's data looks like an MSS option */
    CHECK(out.has == SF_TCP_HAS_MSS && out.mss == 1460);
    WITH(&out, 19, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 2); /* MD5 (RFC 2385) */
    CHECK(out.has == SF_TCP_HAS_SACK_PERMITTED);
}

static void test_a_known_option_of_a_wrong_length_says_nothing(void)
{
    struct sf_tcp_segment out;

    WITH(&out, 2, 3, 5, 3, 4, 7, 0, 4, 3, 0, 8, 4, 0, 0, 4, 2);
    CHECK(out.has == SF_TCP_HAS_SACK_PERMITTED);
    WITH(&out, 5, 2, 5, 9, 0, 0, 0, 1, 0, 0, 0, 4, 2, 0, 0, 0);
    CHECK(!out.n_sack && out.has == SF_TCP_HAS_SACK_PERMITTED);
}

static void test_malformed_options_end_the_options(void)
{
    struct sf_tcp_segment out;

    WITH(&out, 4, 2, 254, 0, 3, 3, 7, 0); /* length 0 */
    CHECK(out.has == SF_TCP_HAS_SACK_PERMITTED);
    WITH(&out, 4, 2, 254, 1, 3, 3, 7, 0); /* length 1 */
    CHECK(out.has == SF_TCP_HAS_SACK_PERMITTED);
    WITH(&out, 4, 2, 254, 7, 3, 3, 7, 0); /* a length beyond the header */
    CHECK(out.has == SF_TCP_HAS_SACK_PERMITTED);
    WITH(&out, 4, 2, 1, 1, 1, 1, 1, 2); /* the last option has no length byte */
    CHECK(out.has == SF_TCP_HAS_SACK_PERMITTED);
    WITH(&out, 1, 1, 8, 10, 0, 0, 0, 1); /* timestamps in the usual layout, but cut off */
    CHECK(!out.has);
    WITH(&out, 1, 1, 5, 10, 0, 0, 0, 1);
    CHECK(!out.n_sack);
    WITH(&out, 4, 2, 0, 3, 3, 7, 0, 0); /* end of options: the rest is ignored */
    CHECK(out.has == SF_TCP_HAS_SACK_PERMITTED);
}

/* ---- pieces, limits ---- */

static void test_pieces_on_both_sides_make_the_same_frame(void)
{
    struct sf_ip_peer peer = peer_of(1);
    struct sf_tcp_segment segment = segment_of(SF_TCP_HAS_TIMESTAMPS, 1);
    struct sf_tcp_template template;
    uint8_t text[301], whole[500];
    uint64_t seed = 0x7c9;

    CHECK(sf_tcp_template_init(&template, &peer) == 0);
    for (int round = 0; round < 2000; round++) {
        size_t headers = template.len + SF_TCP_HEADER + sf_tcp_options_len(&segment);
        size_t len = next_random(&seed) % sizeof text, a = next_random(&seed) % (len + 1);
        size_t b = a + next_random(&seed) % (len - a + 1), total = headers + len;
        size_t c = headers + next_random(&seed) % (len + 1);
        struct iovec one = {text, len};
        struct iovec from[] = {{text, a}, {text + a, b - a}, {NULL, 0}, {text + b, len - b}};
        struct iovec to[] = {{malloc(c), c}, {NULL, 0}, {malloc(total - c + 1), total - c}};
        uint8_t *gathered = malloc(total);

        for (size_t i = 0; i < len; i++)
            text[i] = (uint8_t)next_random(&seed);
        CHECK(sf_tcp_emit(&template, whole, sizeof whole, &segment, &one, 1, 77) == total);
        CHECK(sf_tcp_emit(&template, gathered, total, &segment, from, 4, 77) == total);
        CHECK(memcmp(gathered, whole, total) == 0);
        CHECK(sf_tcp_emit_pieces(&template, to, 3, &segment, from, 4, 77) == total);
        CHECK(memcmp(to[0].iov_base, whole, c) == 0 && memcmp(to[2].iov_base, whole + c, total - c) == 0);
        free(to[0].iov_base);
        free(to[2].iov_base);
        free(gathered);
    }
}

static void test_limits_of_what_is_sent(void)
{
    struct sf_ip_peer peer = peer_of(0), tagged = peer_of(3);
    struct sf_tcp_segment segment = segment_of(SF_TCP_HAS_TIMESTAMPS, 0), out;
    struct sf_tcp_template template;
    uint8_t *text = calloc(1, 65536), *frame = malloc(65600);
    size_t most_len = 65535 - 20 - 20 - 12, headers = 14 + 20 + 20 + 12;
    struct iovec most = {text, most_len}, more = {text, most_len + 1}, ten = {text, 10};
    struct iovec overflow[] = {{text, SIZE_MAX}, {text, 2}};
    struct iovec short_piece[] = {{frame, headers - 1}, {frame + 100, 1000}};
    struct iovec room[] = {{frame, headers}, {frame + 100, 9}};
    struct sf_ipv4 ip;

    CHECK(sf_tcp_template_init(&template, &tagged) == -EINVAL);
    CHECK(sf_tcp_template_init(&template, &peer) == 0);
    CHECK(sf_tcp_emit(&template, frame, 65600, &segment, &most, 1, 0) == headers + most_len);
    CHECK(sf_ipv4_parse(frame + 14, headers + most_len - 14, 0, &ip) == SF_ACCEPTED && ip.dont_fragment);
    CHECK(sf_tcp_parse(&ip, 0, &out) == SF_ACCEPTED && out.payload_len == most_len);
    CHECK(sf_tcp_emit(&template, frame, 65600, &segment, &more, 1, 0) == 0);
    CHECK(sf_tcp_emit(&template, frame, 65600, &segment, overflow, 2, 0) == 0);
    CHECK(sf_tcp_emit(&template, frame, headers + 9, &segment, &ten, 1, 0) == 0);
    CHECK(sf_tcp_emit(&template, frame, 0, &segment, NULL, 0, 0) == 0);
    CHECK(sf_tcp_emit(&template, frame, headers, &segment, NULL, 0, 0) == headers);
    CHECK(sf_tcp_emit_pieces(&template, short_piece, 2, &segment, &ten, 1, 0) == 0);
    CHECK(sf_tcp_emit_pieces(&template, room, 2, &segment, &ten, 1, 0) == 0);
    CHECK(sf_tcp_emit_pieces(&template, room, 0, &segment, &ten, 1, 0) == 0);
    free(text);
    free(frame);
}

static void test_sequence_space_is_a_circle(void)
{
    struct sf_tcp_segment segment = {.flags = SF_TCP_SYN | SF_TCP_FIN, .payload_len = 5};

    CHECK(sf_tcp_segment_len(&segment) == 7);
    CHECK(sf_seq_lt(0xffffffff, 0) && !sf_seq_lt(0, 0xffffffff) && !sf_seq_lt(3, 3) && sf_seq_le(3, 3));
    CHECK(sf_seq_le(0x7fffffff, 0x80000000) && sf_seq_lt(0xc0000000, 0x10000000));
}

int main(void)
{
    test_every_combination_of_options_comes_back();
    test_the_bytes_of_a_syn();
    test_a_frame_cut_anywhere_is_refused();
    test_header_lengths();
    test_every_bit_of_what_the_sums_cover_is_verified();
    test_checksums_that_others_complete();
    test_another_protocol();
    test_options_in_any_order_and_place();
    test_unknown_options_are_skipped();
    test_a_known_option_of_a_wrong_length_says_nothing();
    test_malformed_options_end_the_options();
    test_pieces_on_both_sides_make_the_same_frame();
    test_limits_of_what_is_sent();
    test_sequence_space_is_a_circle();
    return 0;
}
