/* As much of bpf(2) as the AF_XDP programs of the bench need. What fails ends the program with the reason. */
#ifndef SFB_BPF_H
#define SFB_BPF_H

#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>

#define SFB_INSN(c, d, s, o, i) ((struct bpf_insn){.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)})
#define SFB_MOV(d, s) SFB_INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define SFB_SET(d, value) SFB_INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, value)
#define SFB_ALU(op, d, value) SFB_INSN(BPF_ALU64 | (op) | BPF_K, d, 0, 0, value)
#define SFB_ALU_REG(op, d, s) SFB_INSN(BPF_ALU64 | (op) | BPF_X, d, s, 0, 0)
#define SFB_LOAD(size, d, s, o) SFB_INSN(BPF_LDX | (size) | BPF_MEM, d, s, o, 0)
#define SFB_STORE(size, d, s, o) SFB_INSN(BPF_STX | (size) | BPF_MEM, d, s, o, 0)
#define SFB_STORE_VALUE(size, d, o, value) SFB_INSN(BPF_ST | (size) | BPF_MEM, d, 0, o, value)
/* `o` instructions further on. */
#define SFB_JUMP_IF(op, d, value, o) SFB_INSN(BPF_JMP | (op) | BPF_K, d, 0, o, value)
#define SFB_JUMP_IF_REG(op, d, s, o) SFB_INSN(BPF_JMP | (op) | BPF_X, d, s, o, 0)
#define SFB_CALL(function) SFB_INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_##function)
#define SFB_EXIT SFB_INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
/* Two instructions. */
#define SFB_MAP(d, fd) SFB_INSN(BPF_LD | BPF_DW | BPF_IMM, d, BPF_PSEUDO_MAP_FD, 0, fd), SFB_INSN(0, 0, 0, 0, 0)

int sfb_bpf_map(uint32_t type, uint32_t value_size, uint32_t entries); /* its keys are of 4 bytes */
void sfb_bpf_put(int map, uint32_t key, const void *value);
void sfb_bpf_get(int map, uint32_t key, void *value);
int sfb_bpf_xdp_program(const struct bpf_insn *instructions, size_t count);
/* In native mode where the interface's driver has it, else in generic mode. The link lasts as long as its descriptor. */
int sfb_bpf_attach_xdp(int program, int ifindex);
/* The program runs on `repeat` copies of the frame as if they were received, with what it does to them taking effect
 * (BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18). A signal ends it. */
void sfb_bpf_run_live(int program, const void *frame, uint32_t length, uint32_t repeat);

#endif
