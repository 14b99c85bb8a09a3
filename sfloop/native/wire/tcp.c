#include "pieces.h"
#include "tcp.h"

#include <errno.h>

/* Kinds of options, and their lengths. */
enum {
    OPTION_END = 0,
    OPTION_NOP = 1,
    OPTION_MSS = 2, /* RFC 9293, 3.7.1 */
    OPTION_WINDOW_SCALE = 3, /* RFC 7323, 2.2 */
    OPTION_SACK_PERMITTED = 4, /* RFC 2018, 2 */
    OPTION_SACK = 5,
    OPTION_TIMESTAMPS = 8, /* RFC 7323, 3.2 */
    MSS_LEN = 4,
    WINDOW_SCALE_LEN = 3,
    SACK_PERMITTED_LEN = 2,
    TIMESTAMPS_LEN = 10,
    SACK_RANGE = 8,
    /* With the no-operations that pad them to a multiple of four. */
    TIMESTAMPS_ALIGNED = 12,
    SACK_ALIGNED = 4, /* plus the ranges */
};

enum { OFFSET_PORTS = 4, OFFSET_SUM = 16 }; /* in TCP's header: the end of the ports, and the checksum */

#define ONLY_TIMESTAMPS ((uint32_t)OPTION_NOP << 24 | OPTION_NOP << 16 | OPTION_TIMESTAMPS << 8 | TIMESTAMPS_LEN)

/* ---- receiving ---- */

/* Unlike UDP's, a field of 0 is a checksum like any other. */
static inline bool checksum_is_right(const struct sf_ipv4 *ip, uint32_t flags)
{
    uint64_t sum;

    if (flags & SF_WIRE_CHECKSUM_GOOD)
        return true;
    sum = sf_sum_pseudo(ip->src, ip->dst, SF_IPV4_TCP) + sf_be16(ip->payload_len);
    if (flags & (SF_WIRE_CHECKSUM_PARTIAL | SF_WIRE_CHECKSUM_UNSURE) &&
        sf_sum_is_partial(sf_load16(ip->payload + OFFSET_SUM), sum))
        return true;
    return SF_LIKELY(sf_sum_fold(sf_sum_bytes(sum, ip->payload, ip->payload_len)) == 0xffff);
}

static inline void parse_timestamps(const uint8_t *option, struct sf_tcp_segment *out)
{
    out->has |= SF_TCP_HAS_TIMESTAMPS;
    out->ts_val = sf_load32_be(option + 2);
    out->ts_ecr = sf_load32_be(option + 6);
}

static void parse_sack(const uint8_t *option, uint8_t len, struct sf_tcp_segment *out)
{
    if (len < 2 + SACK_RANGE || (len - 2) % SACK_RANGE || len > 2 + SACK_RANGE * SF_TCP_SACK_MAX)
        return;
    out->n_sack = (uint8_t)((len - 2) / SACK_RANGE);
    for (uint8_t i = 0; i < out->n_sack; i++) {
        out->sack[i].left = sf_load32_be(option + 2 + i * SACK_RANGE);
        out->sack[i].right = sf_load32_be(option + 6 + i * SACK_RANGE);
    }
}

/* Parses an option of `len` bytes. Ignores an option of the wrong length, like an unknown one. */
static void parse_option(const uint8_t *option, uint8_t len, struct sf_tcp_segment *out)
{
    switch (option[0]) {
    case OPTION_MSS:
        if (len == MSS_LEN) {
            out->has |= SF_TCP_HAS_MSS;
            out->mss = sf_load16_be(option + 2);
        }
        break;
    case OPTION_WINDOW_SCALE:
        if (len == WINDOW_SCALE_LEN) {
            out->has |= SF_TCP_HAS_WINDOW_SCALE;
            out->window_scale = option[2];
        }
        break;
    case OPTION_SACK_PERMITTED:
        if (len == SACK_PERMITTED_LEN)
            out->has |= SF_TCP_HAS_SACK_PERMITTED;
        break;
    case OPTION_SACK:
        parse_sack(option, len, out);
        break;
    case OPTION_TIMESTAMPS:
        if (len == TIMESTAMPS_LEN)
            parse_timestamps(option, out);
        break;
    }
}

static void parse_options(const uint8_t *at, size_t len, struct sf_tcp_segment *out)
{
    const uint8_t *end = at + len;

    while (at < end && *at != OPTION_END) {
        if (*at == OPTION_NOP) {
            at++;
            continue;
        }
        if (end - at < 2 || at[1] < 2 || at[1] > end - at)
            return;
        parse_option(at, at[1], out);
        at += at[1];
    }
}

enum sf_refusal sf_tcp_parse(const struct sf_ipv4 *ip, uint32_t flags, struct sf_tcp_segment *out)
{
    static const uint8_t timestamps[] = {OPTION_NOP, OPTION_NOP, OPTION_TIMESTAMPS, TIMESTAMPS_LEN};
    const uint8_t *tcp = ip->payload;
    size_t header_len;

    if (SF_UNLIKELY(ip->protocol != SF_IPV4_TCP))
        return SF_REFUSED_IP_PROTOCOL;
    if (SF_UNLIKELY(ip->payload_len < SF_TCP_HEADER))
        return SF_REFUSED_TCP_SHORT;
    header_len = (size_t)(tcp[12] >> 4) * 4;
    if (SF_UNLIKELY(header_len < SF_TCP_HEADER))
        return SF_REFUSED_TCP_HEADER;
    if (SF_UNLIKELY(header_len > ip->payload_len))
        return SF_REFUSED_TCP_SHORT;
    if (SF_UNLIKELY(!checksum_is_right(ip, flags)))
        return SF_REFUSED_TCP_CHECKSUM;
    out->src_port = sf_load16(tcp);
    out->dst_port = sf_load16(tcp + 2);
    out->seq = sf_load32_be(tcp + 4);
    out->ack = sf_load32_be(tcp + 8);
    out->flags = tcp[13];
    out->window = sf_load16_be(tcp + 14);
    out->has = 0;
    out->n_sack = 0;
    out->payload = tcp + header_len;
    out->payload_len = (uint32_t)(ip->payload_len - header_len);
    /* Nearly every segment has no options, or only timestamps in the usual layout. */
    if (SF_LIKELY(header_len == SF_TCP_HEADER + TIMESTAMPS_ALIGNED &&
                  sf_load32(tcp + SF_TCP_HEADER) == sf_load32(timestamps)))
        parse_timestamps(tcp + SF_TCP_HEADER + 2, out);
    else if (header_len > SF_TCP_HEADER)
        parse_options(tcp + SF_TCP_HEADER, header_len - SF_TCP_HEADER, out);
    return SF_ACCEPTED;
}

/* ---- sending ---- */

int sf_tcp_template_init(struct sf_tcp_template *template, const struct sf_ip_peer *peer)
{
    size_t len;

    memset(template, 0, sizeof *template);
    len = sf_ip_peer_emit(template->headers, sizeof template->headers, peer, SF_IPV4_TCP, true, &template->ip_sum);
    if (!len)
        return -EINVAL;
    template->len = (uint8_t)len;
    template->pseudo_sum = sf_sum_fold(sf_sum_pseudo(peer->src_addr, peer->dst_addr, SF_IPV4_TCP) + peer->src_port +
                                       peer->dst_port);
    return 0;
}

static size_t options_len_without_sack(uint8_t has)
{
    size_t len = 0;

    if (has & SF_TCP_HAS_MSS)
        len += MSS_LEN;
    if (has & SF_TCP_HAS_TIMESTAMPS)
        len += TIMESTAMPS_ALIGNED; /* SACK-permitted replaces their no-operations */
    else if (has & SF_TCP_HAS_SACK_PERMITTED)
        len += SACK_PERMITTED_LEN + 2;
    if (has & SF_TCP_HAS_WINDOW_SCALE)
        len += WINDOW_SCALE_LEN + 1;
    return len;
}

static size_t sack_ranges(const struct sf_tcp_segment *segment, size_t options_len)
{
    size_t most = (SF_TCP_OPTIONS_MAX - SACK_ALIGNED - options_len) / SACK_RANGE;

    return segment->n_sack < most ? segment->n_sack : most;
}

size_t sf_tcp_options_len(const struct sf_tcp_segment *segment)
{
    size_t len = options_len_without_sack(segment->has), n;

    if (SF_LIKELY(!segment->n_sack))
        return len;
    n = sack_ranges(segment, len);
    return n ? len + SACK_ALIGNED + n * SACK_RANGE : len;
}

/* Writes the options in Linux's order, because some middleboxes know no other. */
static void write_options(uint8_t *at, const struct sf_tcp_segment *segment)
{
    size_t n;

    if (segment->has & SF_TCP_HAS_MSS) {
        at[0] = OPTION_MSS;
        at[1] = MSS_LEN;
        sf_store16_be(at + 2, segment->mss);
        at += MSS_LEN;
    }
    if (segment->has & (SF_TCP_HAS_TIMESTAMPS | SF_TCP_HAS_SACK_PERMITTED)) {
        bool permitted = segment->has & SF_TCP_HAS_SACK_PERMITTED;

        at[0] = permitted ? OPTION_SACK_PERMITTED : OPTION_NOP;
        at[1] = permitted ? SACK_PERMITTED_LEN : OPTION_NOP;
        at[2] = at[3] = OPTION_NOP;
        if (segment->has & SF_TCP_HAS_TIMESTAMPS) {
            at[2] = OPTION_TIMESTAMPS;
            at[3] = TIMESTAMPS_LEN;
            sf_store32_be(at + 4, segment->ts_val);
            sf_store32_be(at + 8, segment->ts_ecr);
            at += TIMESTAMPS_LEN - 2;
        }
        at += 4;
    }
    if (segment->has & SF_TCP_HAS_WINDOW_SCALE) {
        at[0] = OPTION_NOP;
        at[1] = OPTION_WINDOW_SCALE;
        at[2] = WINDOW_SCALE_LEN;
        at[3] = segment->window_scale;
        at += 4;
    }
    n = sack_ranges(segment, options_len_without_sack(segment->has));
    if (!n)
        return;
    at[0] = at[1] = OPTION_NOP;
    at[2] = OPTION_SACK;
    at[3] = (uint8_t)(2 + n * SACK_RANGE);
    at += SACK_ALIGNED;
    for (size_t i = 0; i < n; i++, at += SACK_RANGE) {
        sf_store32_be(at, segment->sack[i].left);
        sf_store32_be(at + 4, segment->sack[i].right);
    }
}

/* Copies 38 to 46 bytes in two overlapping copies of 32, as in udp.c. */
static inline void copy_headers(uint8_t *to, const uint8_t *from, size_t len)
{
    _Static_assert(SF_ETH_HEADER + SF_IPV4_HEADER >= 32 && SF_ETH_HEADER_MAX + SF_IPV4_HEADER + OFFSET_PORTS <= 64,
                   "two copies of 32 bytes reach");
    memcpy(to, from, 32);
    memcpy(to + len - 32, from + len - 32, 32);
}

static inline uint32_t put(uint8_t *at, uint32_t value)
{
    value = sf_be32(value);
    sf_store32(at, value);
    return value;
}

/* Writes the part after the ports and returns its sum. Sums from registers, because a load that spans several stores has to
 * wait until these are in the cache, which takes longer than all the rest. */
static inline uint64_t write_words(uint8_t *tcp, const struct sf_tcp_segment *segment, size_t options_len)
{
    uint32_t offset = (uint32_t)(SF_TCP_HEADER + options_len) / 4 << 28;
    uint64_t sum = put(tcp + 4, segment->seq);

    sum += put(tcp + 8, segment->ack);
    sum += put(tcp + 12, offset | (uint32_t)segment->flags << 16 | segment->window);
    sf_store32(tcp + OFFSET_SUM, 0); /* and the urgent pointer */
    if (SF_LIKELY(segment->has == SF_TCP_HAS_TIMESTAMPS && options_len == TIMESTAMPS_ALIGNED)) {
        sum += put(tcp + 20, ONLY_TIMESTAMPS);
        sum += put(tcp + 24, segment->ts_val);
        return sum + put(tcp + 28, segment->ts_ecr);
    }
    if (options_len)
        write_options(tcp + SF_TCP_HEADER, segment);
    return sf_sum_bytes(sum, tcp + SF_TCP_HEADER, options_len);
}

static inline void write_headers(const struct sf_tcp_template *template, uint8_t *frame,
                                 const struct sf_tcp_segment *segment, size_t options_len, size_t payload_len,
                                 uint64_t sum, uint16_t id)
{
    uint8_t *tcp = frame + template->len, *ip = tcp - SF_IPV4_HEADER;
    uint32_t tcp_len = (uint32_t)(SF_TCP_HEADER + options_len + payload_len);
    uint16_t total_len = sf_be16((uint16_t)(SF_IPV4_HEADER + tcp_len));

    copy_headers(frame, template->headers, template->len + (size_t)OFFSET_PORTS);
    id = sf_be16(id);
    sf_store16(ip + 2, total_len);
    sf_store16(ip + 4, id);
    sf_store16(ip + 10, (uint16_t)~sf_sum_fold((uint64_t)template->ip_sum + total_len + id));
    sum = sf_sum_add(sum, write_words(tcp, segment, options_len));
    sum = sf_sum_add(sum, template->pseudo_sum + (uint64_t)sf_be16((uint16_t)tcp_len));
    sf_store16(tcp + OFFSET_SUM, (uint16_t)~sf_sum_fold(sum));
}

/* The payload that fits into the largest IP packet. */
static inline size_t payload_max(size_t options_len)
{
    return UINT16_MAX - SF_IPV4_HEADER - SF_TCP_HEADER - options_len;
}

size_t sf_tcp_emit(const struct sf_tcp_template *template, uint8_t *frame, size_t room,
                   const struct sf_tcp_segment *segment, const struct iovec *payload, int n, uint16_t id)
{
    size_t options_len = sf_tcp_options_len(segment), headers = template->len + SF_TCP_HEADER + options_len;
    size_t len = sf_pieces_len(payload, n, payload_max(options_len));
    uint64_t sum;

    if (SF_UNLIKELY(len == SIZE_MAX || room < headers + len))
        return 0;
    if (SF_LIKELY(n == 1))
        sum = sf_copy_and_sum(frame + headers, payload->iov_base, len);
    else
        sum = sf_pieces_gather(frame + headers, len, payload, n, true);
    write_headers(template, frame, segment, options_len, len, sum, id);
    return headers + len;
}

size_t sf_tcp_emit_pieces(const struct sf_tcp_template *template, const struct iovec *frame, int frame_pieces,
                          const struct sf_tcp_segment *segment, const struct iovec *payload, int n, uint16_t id)
{
    size_t options_len = sf_tcp_options_len(segment), headers = template->len + SF_TCP_HEADER + options_len;
    size_t len = sf_pieces_len(payload, n, payload_max(options_len));
    uint64_t sum;

    if (len == SIZE_MAX || frame_pieces < 1 || frame->iov_len < headers ||
        sf_pieces_room(frame, frame_pieces) < headers + len)
        return 0;
    sum = sf_pieces_scatter(frame, frame_pieces, headers, payload, n, true);
    write_headers(template, frame->iov_base, segment, options_len, len, sum, id);
    return headers + len;
}
