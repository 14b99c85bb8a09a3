/*
 * TCP segments (RFC 9293, 3.1) and their header options: parse and emit, pure functions.
 *
 * Checklist for a new header option (docs/how-to.md has an example with all files):
 *
 * 1. Here: a bit of enum sf_tcp_has, and a field of struct sf_tcp_segment with the value as it is in the option.
 * 2. tcp.c: kind and length (with the RFC and its section), parse_option(), options_len_without_sack(), write_options(). The
 *    two functions that send must agree, and the length is a multiple of four. Segments with timestamps alone take a
 *    shorter way in both directions, so an option on every segment costs that.
 * 3. tcpip/tcp/connect.c: sf_tcp_syn_options() offers the option, for connect, half-open records and cookies.
 *    sf_tcp_agree() reads the peer's offer into struct sf_tcp_agreed (tcpip/tcp/parts.h). A new field there makes each
 *    connection larger, and conn.c and half_open.c assert the sizes.
 * 4. An option outside of the handshake: segment_out.c sends it; segment_in.c or ack_in.c reads it. Segments without a
 *    connection are sent by half_open.c, reset.c and time_wait.c.
 * 5. cookie.c: a SYN cookie has no room for another agreed value, so the connection must do without it.
 * 6. Tests: tests/native/test_wire_tcp.c, tests/python/wire (a model in Python, and this struct in ctypes), tests/fuzz
 *    (fuzz_wire.c, seeds_wire.c), a script in tests/segments and its word in tests/native/segment_script.h.
 * 7. docs/rfcs.md, CHANGELOG.md.
 */
#ifndef SF_WIRE_TCP_H
#define SF_WIRE_TCP_H

#include "ip_peer.h"

#include <sys/uio.h>

enum {
    SF_TCP_HEADER = 20,
    SF_TCP_HEADER_MAX = 60,
    SF_TCP_OPTIONS_MAX = 40,
    SF_TCP_HEADERS_MAX = SF_ETH_HEADER_MAX + SF_IPV4_HEADER + SF_TCP_HEADER_MAX, /* of a sent frame */
    SF_TCP_SACK_MAX = 4, /* ranges in one segment (RFC 2018); 3 beside timestamps */
    SF_TCP_MSS_DEFAULT = 536, /* for a peer that sends no MSS option (RFC 9293, 3.7.1) */
    SF_TCP_WINDOW_SCALE_MAX = 14, /* RFC 7323, 2.3 */
};

enum sf_tcp_flags {
    SF_TCP_FIN = 1,
    SF_TCP_SYN = 2,
    SF_TCP_RST = 4,
    SF_TCP_PSH = 8,
    SF_TCP_ACK = 16,
    SF_TCP_URG = 32,
    SF_TCP_ECE = 64,
    SF_TCP_CWR = 128,
};

/* The options that are present. */
enum sf_tcp_has {
    SF_TCP_HAS_MSS = 1,
    SF_TCP_HAS_WINDOW_SCALE = 2,
    SF_TCP_HAS_SACK_PERMITTED = 4,
    SF_TCP_HAS_TIMESTAMPS = 8,
};

struct sf_tcp_range {
    uint32_t left, right; /* [left, right) of sequence space */
};

/* A segment, received or to be sent. Ports are in network byte order, everything else in host byte order. */
struct sf_tcp_segment {
    uint16_t src_port, dst_port;
    uint32_t seq, ack;
    uint8_t flags;
    uint8_t has;
    uint16_t window; /* as in the header, not scaled */
    uint16_t mss;
    uint8_t window_scale; /* as in the option; up to 255 */
    uint8_t n_sack;
    uint32_t ts_val, ts_ecr;
    struct sf_tcp_range sack[SF_TCP_SACK_MAX];
    const uint8_t *payload; /* points into the parsed bytes */
    uint32_t payload_len;
};

/* The sequence space that the segment occupies (SEG.LEN in RFC 9293). */
static inline uint32_t sf_tcp_segment_len(const struct sf_tcp_segment *s)
{
    return s->payload_len + !!(s->flags & SF_TCP_SYN) + !!(s->flags & SF_TCP_FIN);
}

/* Compare sequence numbers modulo 2^32 (RFC 9293, 3.4). */
static inline bool sf_seq_lt(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

static inline bool sf_seq_le(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) <= 0;
}

/*
 * Parses the payload of an IPv4 packet. `flags`: enum sf_wire_flags or a frame's. With SF_WIRE_CHECKSUM_PARTIAL or _UNSURE, the
 * sum of the pseudo-header alone is accepted too. A malformed option ends the options. Unknown options are skipped. Refusals:
 * SF_REFUSED_TCP_SHORT, _HEADER, _CHECKSUM, SF_REFUSED_IP_PROTOCOL.
 */
enum sf_refusal sf_tcp_parse(const struct sf_ipv4 *ip, uint32_t flags, struct sf_tcp_segment *out);

/* ---- sending ---- */

/* Ethernet, IPv4 (with don't fragment: RFC 1191) and TCP's ports, and the sums of the constant parts. */
struct sf_tcp_template {
    uint32_t ip_sum;
    uint32_t pseudo_sum; /* with the ports, without the length */
    uint8_t len; /* of the headers before TCP's: 34, plus 4 for each tag */
    uint8_t headers[SF_ETH_HEADER_MAX + SF_IPV4_HEADER + 4];
};

/* Returns 0, or -EINVAL for more than two tags. */
int sf_tcp_template_init(struct sf_tcp_template *, const struct sf_ip_peer *);

/* The length of the options in the segment's `has` and `n_sack`, padded to a multiple of four. Timestamps and SACK use the
 * layout of RFC 7323, appendix A. Omits the last SACK ranges if the length would exceed SF_TCP_OPTIONS_MAX. */
size_t sf_tcp_options_len(const struct sf_tcp_segment *);

/*
 * Writes the frame: headers, options, payload (n pieces in order; segment->payload is ignored) and checksums. Returns its length,
 * or 0 without writing if there is not enough room. `id`: of the IP header, in host byte order.
 */
size_t sf_tcp_emit(const struct sf_tcp_template *, uint8_t *frame, size_t room, const struct sf_tcp_segment *,
                   const struct iovec *payload, int n, uint16_t id);

/* Does the same into a frame of several pieces. The first must have room for all headers. */
size_t sf_tcp_emit_pieces(const struct sf_tcp_template *, const struct iovec *frame, int frame_pieces,
                          const struct sf_tcp_segment *, const struct iovec *payload, int n, uint16_t id);

#endif
