#include "bpf.h"
#include "replay.h"

#define STATE(field) offsetof(struct sfb_replay, field)
#define AT(field) offsetof(struct sfb_segment, field)
#define SEGMENT_HEADERS AT(payload)
/* offsetof() does not work for these fields, because struct tcphdr has them as bit-fields. */
#define TCP_DATA_OFFSET (AT(tcp) + 12)
#define TCP_FLAGS (AT(tcp) + 13)
#define LARGEST_AHEAD 0x7fffffff /* sequence numbers wrap around (RFC 9293, section 3.4) */
#define NOTED_EVERY 256

enum { WAIT = SFB_FIRST_LABEL, DROP, PROGRESS, PASS, NOT_AHEAD, RESET, SYN };

/* Sets register 0 to the state. */
#define FIND_STATE(map)                                                                                                \
    SFB_STORE_VALUE(BPF_W, 10, -4, 0), SFB_MAP(1, map), SFB_MOV(2, 10), SFB_ALU(BPF_ADD, 2, -4),                       \
        SFB_CALL(map_lookup_elem), SFB_JUMP_IF(BPF_JEQ, 0, 0, DROP)
/* Counts one up. Sets register 1 to the count before. */
#define COUNT(field)                                                                                                   \
    SFB_LOAD(BPF_DW, 1, 8, STATE(field)), SFB_MOV(2, 1), SFB_ALU(BPF_ADD, 2, 1), SFB_STORE(BPF_DW, 8, 2, STATE(field))
#define NOTE_NOW_AND_THEN(history, shift)                                                                              \
    SFB_ALU(BPF_AND, 1, NOTED_EVERY - 1), SFB_JUMP_IF(BPF_JNE, 1, 0, SFB_NOTE_LENGTH),                                 \
        SFB_NOTE(history, shift, 8, STATE(sent), STATE(waited))
#define FOLD(d, scratch)                                                                                               \
    SFB_MOV(scratch, d), SFB_ALU(BPF_RSH, scratch, 16), SFB_ALU(BPF_AND, d, 0xffff), SFB_ALU_REG(BPF_ADD, d, scratch)

/*
 * Sets register 7 to the sequence number to send, and stores the next one. Jumps to WAIT if the window has no room. If the ACK is
 * ahead of the next sequence number, continues from the ACK. This happens after a retransmission, because the peer may acknowledge
 * more than was sent again.
 */
#define TAKE_SEQUENCE                                                                                                  \
    SFB_LOAD(BPF_W, 7, 8, STATE(next)),                                                                                \
    SFB_LOAD(BPF_W, 1, 8, STATE(acked)),                                                                               \
    SFB_MOV(2, 1),                                                                                                     \
    SFB_ALU32_REG(BPF_SUB, 2, 7),                                                                                      \
    SFB_ALU32(BPF_SUB, 2, 1),                                                                                          \
    SFB_JUMP_IF(BPF_JGE, 2, LARGEST_AHEAD, NOT_AHEAD),                                                                 \
    SFB_MOV(7, 1),                                                                                                     \
    SFB_LABEL(NOT_AHEAD),                                                                                              \
    SFB_MOV(3, 7),                                                                                                     \
    SFB_ALU32_REG(BPF_SUB, 3, 1),                                                                                      \
    SFB_ALU(BPF_ADD, 3, REPLAY_PAYLOAD),                                                                               \
    SFB_LOAD(BPF_W, 4, 8, STATE(window)),                                                                              \
    SFB_JUMP_IF_REG(BPF_JGT, 3, 4, WAIT),                                                                              \
    SFB_JUMP_IF(BPF_JGT, 3, MOST_UNDER_WAY, WAIT),                                                                     \
    SFB_MOV(2, 7),                                                                                                     \
    SFB_ALU32(BPF_ADD, 2, REPLAY_PAYLOAD),                                                                             \
    SFB_STORE(BPF_W, 8, 2, STATE(next))

/* Writes the sequence number, the checksum, and the IP header's length and checksum. The frame's memory may have another length,
 * because a kernel that has merged segments writes their total length into the first one. */
#define WRITE_SEGMENT(s)                                                                                               \
    SFB_LOAD(BPF_W, 2, 6, offsetof(struct xdp_md, data)),                                                              \
    SFB_LOAD(BPF_W, 3, 6, offsetof(struct xdp_md, data_end)),                                                          \
    SFB_MOV(4, 2),                                                                                                     \
    SFB_ALU(BPF_ADD, 4, SEGMENT_HEADERS),                                                                              \
    SFB_JUMP_IF_REG(BPF_JGT, 4, 3, DROP),                                                                              \
    SFB_STORE_VALUE(BPF_H, 2, AT(ip.tot_len), s->ip.tot_len),                                                          \
    SFB_STORE_VALUE(BPF_H, 2, AT(ip.check), s->ip.check),                                                              \
    SFB_MOV(4, 7),                                                                                                     \
    SFB_SWAP(4, 32),                                                                                                   \
    SFB_STORE(BPF_H, 2, 4, AT(tcp.seq)),                                                                               \
    SFB_MOV(5, 4),                                                                                                     \
    SFB_ALU(BPF_RSH, 5, 16),                                                                                           \
    SFB_STORE(BPF_H, 2, 5, AT(tcp.seq) + 2),                                                                           \
    SFB_ALU(BPF_AND, 4, 0xffff),                                                                                       \
    SFB_ALU_REG(BPF_ADD, 4, 5),                                                                                        \
    SFB_LOAD(BPF_DW, 5, 8, STATE(sum)),                                                                                \
    SFB_ALU_REG(BPF_ADD, 4, 5),                                                                                        \
    FOLD(4, 5),                                                                                                        \
    FOLD(4, 5),                                                                                                        \
    SFB_ALU(BPF_XOR, 4, 0xffff),                                                                                       \
    SFB_STORE(BPF_H, 2, 4, AT(tcp.check))

/* Goes back to the first unacknowledged byte if no new ACK has come for RESEND_NS. */
#define RESEND_AFTER_SILENCE                                                                                           \
    SFB_LOAD(BPF_W, 1, 8, STATE(acked)),                                                                               \
    SFB_LOAD(BPF_W, 2, 8, STATE(seen)),                                                                                \
    SFB_JUMP_IF_REG(BPF_JNE, 1, 2, PROGRESS),                                                                          \
    SFB_JUMP_IF_REG(BPF_JEQ, 1, 7, DROP),                                                                              \
    SFB_CALL(ktime_get_ns),                                                                                            \
    SFB_MOV(1, 0),                                                                                                     \
    SFB_LOAD(BPF_DW, 2, 8, STATE(since)),                                                                              \
    SFB_ALU_REG(BPF_SUB, 1, 2),                                                                                        \
    SFB_JUMP_IF(BPF_JLE, 1, RESEND_NS, DROP),                                                                          \
    SFB_STORE(BPF_DW, 8, 0, STATE(since)),                                                                             \
    SFB_LOAD(BPF_W, 1, 8, STATE(acked)),                                                                               \
    SFB_STORE(BPF_W, 8, 1, STATE(next)),                                                                               \
    COUNT(resent),                                                                                                     \
    SFB_JUMP(DROP)

/* Register 6 is the context, 7 the sequence number, 8 the state. */
int sfb_replay_sender(int map, int history, int shift, int ifindex, const struct sfb_segment *s)
{
    struct bpf_insn program[] = {
        SFB_MOV(6, 1),
        FIND_STATE(map),
        SFB_MOV(8, 0),
        TAKE_SEQUENCE,
        COUNT(sent),
        NOTE_NOW_AND_THEN(history, shift),
        WRITE_SEGMENT(s),
        SFB_SET(1, ifindex),
        SFB_SET(2, 0),
        SFB_CALL(redirect),
        SFB_EXIT,

        SFB_LABEL(WAIT),
        SFB_STORE(BPF_W, 8, 7, STATE(next)),
        COUNT(waited),
        NOTE_NOW_AND_THEN(history, shift),
        RESEND_AFTER_SILENCE,

        SFB_LABEL(PROGRESS),
        SFB_STORE(BPF_W, 8, 1, STATE(seen)),
        SFB_CALL(ktime_get_ns),
        SFB_STORE(BPF_DW, 8, 0, STATE(since)),
        SFB_LABEL(DROP),
        SFB_SET(0, XDP_DROP),
        SFB_EXIT,
    };

    return sfb_bpf_xdp_program(program, sfb_bpf_link(program, sizeof program / sizeof *program));
}

/* Sets register 2 to the frame, 3 to its end, 4 to the end of its headers. Jumps to PASS if the segment is not the peer's. */
#define FIND_SEGMENT(own_port, peer_port)                                                                              \
    SFB_LOAD(BPF_W, 2, 1, offsetof(struct xdp_md, data)),                                                              \
    SFB_LOAD(BPF_W, 3, 1, offsetof(struct xdp_md, data_end)),                                                          \
    SFB_MOV(4, 2),                                                                                                     \
    SFB_ALU(BPF_ADD, 4, SEGMENT_HEADERS),                                                                              \
    SFB_JUMP_IF_REG(BPF_JGT, 4, 3, PASS),                                                                              \
    SFB_LOAD(BPF_H, 5, 2, AT(eth.h_proto)),                                                                            \
    SFB_JUMP_IF(BPF_JNE, 5, htons(ETH_P_IP), PASS),                                                                    \
    SFB_LOAD(BPF_B, 5, 2, AT(ip)),                                                                                     \
    SFB_JUMP_IF(BPF_JNE, 5, 0x45, PASS),                                                                               \
    SFB_LOAD(BPF_B, 5, 2, AT(ip.protocol)),                                                                            \
    SFB_JUMP_IF(BPF_JNE, 5, IPPROTO_TCP, PASS),                                                                        \
    SFB_LOAD(BPF_H, 5, 2, AT(tcp.source)),                                                                             \
    SFB_JUMP_IF(BPF_JNE, 5, peer_port, PASS),                                                                          \
    SFB_LOAD(BPF_H, 5, 2, AT(tcp.dest)),                                                                               \
    SFB_JUMP_IF(BPF_JNE, 5, own_port, PASS)

/* Sets register 6 to the ACK number, 7 to the flags, 9 to the window. Stores the sequence number at -16 of the stack, the header's
 * length in words at -12, and the first 8 bytes of options at -24. */
#define READ_SEGMENT                                                                                                   \
    SFB_LOAD(BPF_W, 6, 2, AT(tcp.ack_seq)),                                                                            \
    SFB_SWAP(6, 32),                                                                                                   \
    SFB_LOAD(BPF_B, 7, 2, TCP_FLAGS),                                                                                  \
    SFB_LOAD(BPF_H, 9, 2, AT(tcp.window)),                                                                             \
    SFB_SWAP(9, 16),                                                                                                   \
    SFB_LOAD(BPF_W, 5, 2, AT(tcp.seq)),                                                                                \
    SFB_SWAP(5, 32),                                                                                                   \
    SFB_STORE(BPF_W, 10, 5, -16),                                                                                      \
    SFB_LOAD(BPF_B, 5, 2, TCP_DATA_OFFSET),                                                                            \
    SFB_ALU(BPF_RSH, 5, 4),                                                                                            \
    SFB_STORE(BPF_W, 10, 5, -12),                                                                                      \
    SFB_STORE_VALUE(BPF_DW, 10, -24, 0),                                                                               \
    SFB_ALU(BPF_ADD, 4, SYN_OPTIONS),                                                                                  \
    SFB_JUMP_IF_REG(BPF_JGT, 4, 3, 4),                                                                                 \
    SFB_LOAD(BPF_W, 5, 2, AT(payload)),                                                                                \
    SFB_STORE(BPF_W, 10, 5, -24),                                                                                      \
    SFB_LOAD(BPF_W, 5, 2, AT(payload) + 4),                                                                            \
    SFB_STORE(BPF_W, 10, 5, -20)

/* Register 0 is the state. The others are as READ_SEGMENT sets them. */
int sfb_replay_receiver(int map, uint16_t own_port, uint16_t peer_port)
{
    struct bpf_insn program[] = {
        FIND_SEGMENT(own_port, peer_port),
        READ_SEGMENT,
        FIND_STATE(map),
        SFB_MOV(1, 7),
        SFB_ALU(BPF_AND, 1, TH_RST),
        SFB_JUMP_IF(BPF_JNE, 1, 0, RESET),
        SFB_ALU(BPF_AND, 7, TH_SYN),
        SFB_JUMP_IF(BPF_JNE, 7, 0, SYN),
        SFB_LOAD(BPF_W, 1, 0, STATE(acked)),
        SFB_MOV(2, 6),
        SFB_ALU32_REG(BPF_SUB, 2, 1),
        SFB_JUMP_IF(BPF_JGT, 2, LARGEST_AHEAD, DROP),
        SFB_STORE(BPF_W, 0, 6, STATE(acked)),
        SFB_LOAD(BPF_W, 1, 0, STATE(scale)),
        SFB_ALU(BPF_AND, 1, 15),
        SFB_ALU_REG(BPF_LSH, 9, 1),
        SFB_STORE(BPF_W, 0, 9, STATE(window)),
        SFB_JUMP(DROP),

        SFB_LABEL(SYN),
        SFB_STORE(BPF_W, 0, 9, STATE(window)),
        SFB_LOAD(BPF_W, 1, 10, -16),
        SFB_STORE(BPF_W, 0, 1, STATE(peer_sequence)),
        SFB_LOAD(BPF_W, 1, 10, -12),
        SFB_STORE(BPF_W, 0, 1, STATE(header_words)),
        SFB_LOAD(BPF_W, 1, 10, -24),
        SFB_STORE(BPF_W, 0, 1, STATE(options)),
        SFB_LOAD(BPF_W, 1, 10, -20),
        SFB_STORE(BPF_W, 0, 1, STATE(options) + 4),
        SFB_STORE_VALUE(BPF_W, 0, STATE(answered), 1),
        SFB_JUMP(DROP),

        SFB_LABEL(RESET),
        SFB_STORE_VALUE(BPF_W, 0, STATE(reset), 1),
        SFB_LABEL(DROP),
        SFB_SET(0, XDP_DROP),
        SFB_EXIT,
        SFB_LABEL(PASS),
        SFB_SET(0, XDP_PASS),
        SFB_EXIT,
    };

    return sfb_bpf_xdp_program(program, sfb_bpf_link(program, sizeof program / sizeof *program));
}
