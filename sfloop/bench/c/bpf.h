/*
 * The part of bpf(2) that the bench's XDP programs need. A function that fails ends the program with the reason.
 *
 * The drivers have a loader, too (sfloop/native/drivers/kernel/bpf.h). This one is apart from it, because the bench's programs are
 * what sfloop is compared with: they may share neither code nor mistakes with it, and they are compiled without the engine.
 */
#ifndef SFB_BPF_H
#define SFB_BPF_H

#include "history.h"

#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>

#define SFB_INSN(c, d, s, o, i) ((struct bpf_insn){.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)})
#define SFB_MOV(d, s) SFB_INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define SFB_SET(d, value) SFB_INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, value)
#define SFB_ALU(op, d, value) SFB_INSN(BPF_ALU64 | (op) | BPF_K, d, 0, 0, value)
#define SFB_ALU_REG(op, d, s) SFB_INSN(BPF_ALU64 | (op) | BPF_X, d, s, 0, 0)
#define SFB_ALU32(op, d, value) SFB_INSN(BPF_ALU | (op) | BPF_K, d, 0, 0, value)
#define SFB_ALU32_REG(op, d, s) SFB_INSN(BPF_ALU | (op) | BPF_X, d, s, 0, 0)
/* Converts to or from network byte order. `bits` is 16 or 32. */
#define SFB_SWAP(d, bits) SFB_INSN(BPF_ALU | BPF_END | BPF_TO_BE, d, 0, 0, bits)
#define SFB_LOAD(size, d, s, o) SFB_INSN(BPF_LDX | (size) | BPF_MEM, d, s, o, 0)
#define SFB_STORE(size, d, s, o) SFB_INSN(BPF_STX | (size) | BPF_MEM, d, s, o, 0)
#define SFB_STORE_VALUE(size, d, o, value) SFB_INSN(BPF_ST | (size) | BPF_MEM, d, 0, o, value)
/* Jumps over `o` instructions, or to a label of sfb_bpf_link. */
#define SFB_JUMP_IF(op, d, value, o) SFB_INSN(BPF_JMP | (op) | BPF_K, d, 0, o, value)
#define SFB_JUMP_IF_REG(op, d, s, o) SFB_INSN(BPF_JMP | (op) | BPF_X, d, s, o, 0)
#define SFB_JUMP(o) SFB_INSN(BPF_JMP | BPF_JA, 0, 0, o, 0)
#define SFB_CALL(function) SFB_INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_##function)
#define SFB_EXIT SFB_INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
/* Takes two instructions. */
#define SFB_MAP(d, fd) SFB_INSN(BPF_LD | BPF_DW | BPF_IMM, d, BPF_PSEUDO_MAP_FD, 0, fd), SFB_INSN(0, 0, 0, 0, 0)

/*
 * Stores two counts in the history's map, under the present time. They lie at these offsets of the memory that register `r` (6 to 8)
 * points to. Overwrites the registers 0 to 5 and 9, and the first 8 bytes of the stack. Takes SFB_NOTE_LENGTH instructions.
 */
#define SFB_NOTE_LENGTH 16
#define SFB_NOTE(map, shift, r, sent_at, waited_at)                                                                    \
    SFB_CALL(ktime_get_ns), SFB_MOV(9, 0), SFB_ALU(BPF_RSH, 0, shift), SFB_ALU(BPF_AND, 0, SFB_HISTORY_POINTS - 1),    \
        SFB_STORE(BPF_W, 10, 0, -8), SFB_MAP(1, map), SFB_MOV(2, 10), SFB_ALU(BPF_ADD, 2, -8),                         \
        SFB_CALL(map_lookup_elem), SFB_JUMP_IF(BPF_JEQ, 0, 0, 5),                                                      \
        SFB_STORE(BPF_DW, 0, 9, offsetof(struct sfb_point, ns)), SFB_LOAD(BPF_DW, 1, r, sent_at),                      \
        SFB_STORE(BPF_DW, 0, 1, offsetof(struct sfb_point, sent)), SFB_LOAD(BPF_DW, 1, r, waited_at),                  \
        SFB_STORE(BPF_DW, 0, 1, offsetof(struct sfb_point, waited))

/* Marks the destination of jumps to `label`, a number of at least SFB_FIRST_LABEL. sfb_bpf_link removes the marks, sets the jumps,
 * and returns the number of instructions that are left. */
enum { SFB_FIRST_LABEL = 1000, SFB_LABELS = 16, SFB_LABEL_CODE = 0xff };
#define SFB_LABEL(label) SFB_INSN(SFB_LABEL_CODE, 0, 0, 0, label)
size_t sfb_bpf_link(struct bpf_insn *instructions, size_t count);

int sfb_bpf_map(uint32_t type, uint32_t value_size, uint32_t entries); /* keys have 4 bytes */
void sfb_bpf_put(int map, uint32_t key, const void *value);
void sfb_bpf_get(int map, uint32_t key, void *value);
int sfb_bpf_xdp_program(const struct bpf_insn *instructions, size_t count);
/* Attaches the program, in native mode if the NIC's driver supports it, otherwise in generic mode. Returns the link's descriptor. The
 * program is detached when it is closed. */
int sfb_bpf_attach_xdp(int program, int ifindex);
/*
 * Runs the program for `seconds` on copies of the frame, as if they were received. The program's verdicts take effect
 * (BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18). It is a single run, because the kernel takes milliseconds to end one and begin another.
 */
void sfb_bpf_run_for(double seconds, int program, const void *frame, uint32_t length);
/* Makes an empty history for a run of `seconds`. Returns its map for SFB_NOTE. */
int sfb_bpf_history(struct sfb_history *h, double seconds);
void sfb_bpf_get_history(int map, struct sfb_history *h);

#endif
