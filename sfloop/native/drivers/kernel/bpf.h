/*
 * The parts of bpf(2) that the drivers need, based on the kernel's headers only: an assembler of eBPF instructions with labels,
 * maps, programs and links. File descriptors are close-on-exec. Functions return a descriptor or 0, or a negative errno.
 *
 * The bench has a second, smaller one (sfloop/bench/c/bpf.h): its programs are what sfloop is compared with, so they may share
 * neither code nor mistakes with it, and they are compiled without the engine.
 *
 * Changing a map through its descriptor needs no privilege. Creating maps, programs and links needs CAP_BPF and CAP_NET_ADMIN.
 */
#ifndef SF_DRIVERS_KERNEL_BPF_H
#define SF_DRIVERS_KERNEL_BPF_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef BPF_F_XDP_DEV_BOUND_ONLY /* headers before 6.3 lack it */
#define BPF_F_XDP_DEV_BOUND_ONLY (1u << 6)
#endif

/* BPF_PROG_TYPE_NETFILTER and BPF_NETFILTER, which headers before 6.4 lack. */
#define SF_BPF_PROGRAM_NETFILTER 32
#define SF_BPF_NETFILTER 45

#define SF_BPF_CODE_MAX 256
#define SF_BPF_LABELS 32
#define SF_BPF_LOG_SIZE 4096
#define SF_BPF_NAME_SIZE BPF_OBJ_NAME_LEN

/* A program under construction. sf_bpf_begin() initializes it. */
struct sf_bpf_code {
    struct bpf_insn insns[SF_BPF_CODE_MAX];
    int8_t jump_label[SF_BPF_CODE_MAX]; /* the label a jump goes to; -1: not a jump */
    int16_t label_at[SF_BPF_LABELS];    /* -1: not placed yet */
    int count;
    bool broken; /* too long, or an invalid label: sf_bpf_load_program() refuses it */
};

void sf_bpf_begin(struct sf_bpf_code *code);

/* `size` is BPF_B, BPF_H, BPF_W or BPF_DW. Registers are BPF_REG_0 to BPF_REG_10. Values are in host byte order. */
void sf_bpf_load(struct sf_bpf_code *code, int size, int dst, int src, int offset);
void sf_bpf_store(struct sf_bpf_code *code, int size, int dst, int offset, int src);
void sf_bpf_store_value(struct sf_bpf_code *code, int size, int dst, int offset, int32_t value);
/* `op` is a 64-bit operation: BPF_MOV, BPF_ADD, BPF_AND, BPF_LSH and so on. */
void sf_bpf_alu(struct sf_bpf_code *code, int op, int dst, int src);
void sf_bpf_alu_value(struct sf_bpf_code *code, int op, int dst, int32_t value);
/* Converts 16 bits from network to host byte order. */
void sf_bpf_from_network16(struct sf_bpf_code *code, int dst);
/* Adds `src` to the 32 bits at `dst` + offset, atomically. */
void sf_bpf_atomic_add(struct sf_bpf_code *code, int dst, int offset, int src);
void sf_bpf_wide_value(struct sf_bpf_code *code, int dst, uint64_t value);
void sf_bpf_map(struct sf_bpf_code *code, int dst, int map_fd);
/* Loads a pointer to the first value of an array map. */
void sf_bpf_map_value(struct sf_bpf_code *code, int dst, int map_fd);
void sf_bpf_call(struct sf_bpf_code *code, enum bpf_func_id function);
/* Calls a kernel function (kfunc) by its id, from sf_btf_find_function(). */
void sf_bpf_call_kernel(struct sf_bpf_code *code, int btf_id);
/* `op` is BPF_JEQ, BPF_JNE, BPF_JGT and so on. */
void sf_bpf_jump(struct sf_bpf_code *code, int label);
void sf_bpf_jump_if(struct sf_bpf_code *code, int op, int dst, int src, int label);
void sf_bpf_jump_if_value(struct sf_bpf_code *code, int op, int dst, int32_t value, int label);
/* Compares only the lower 32 bits. */
void sf_bpf_jump_if_int(struct sf_bpf_code *code, int op, int dst, int32_t value, int label);
void sf_bpf_label(struct sf_bpf_code *code, int label);
void sf_bpf_exit(struct sf_bpf_code *code);

struct sf_bpf_map_kind {
    const char *name;
    enum bpf_map_type type;
    uint32_t key_size, value_size, entries;
    uint32_t flags; /* BPF_F_MMAPABLE and so on */
};

int sf_bpf_create_map(const struct sf_bpf_map_kind *kind);
int sf_bpf_lookup(int map_fd, const void *key, void *value);
/* `flags`: BPF_ANY, BPF_NOEXIST or BPF_EXIST. */
int sf_bpf_update(int map_fd, const void *key, const void *value, uint64_t flags);
int sf_bpf_delete(int map_fd, const void *key);

struct sf_bpf_program_kind {
    const char *name;
    enum bpf_prog_type type;
    uint32_t flags;       /* BPF_F_XDP_HAS_FRAGS and so on */
    uint32_t attach_type; /* for program types that the kernel checks against it at load */
    int ifindex;          /* BPF_F_XDP_DEV_BOUND_ONLY: the only interface for the program */
};

/* `log` has SF_BPF_LOG_SIZE bytes. It gets the verifier's log of a refused program, else it is empty. */
int sf_bpf_load_program(struct sf_bpf_code *code, const struct sf_bpf_program_kind *kind, char *log);

/* A link goes away with its last descriptor, and so when its process dies. */
int sf_bpf_attach_xdp(int program_fd, int ifindex, uint32_t xdp_flags);
/* Replaces the link's program atomically. Needs no privilege. */
int sf_bpf_update_link(int link_fd, int program_fd);
int sf_bpf_attach_tcx_ingress(int program_fd, int ifindex); /* since Linux 6.6; earlier: -EINVAL */
int sf_bpf_attach_cgroup(int program_fd, int cgroup_fd, uint32_t attach_type);

/* Attaches to a netfilter hook (enum nf_inet_hooks) for an address family. Since Linux 6.4; earlier: -EINVAL. */
int sf_bpf_attach_netfilter(int program_fd, int family, int hook, int priority);

/* Reads the name of a loaded program. Needs CAP_SYS_ADMIN, or CAP_BPF in newer kernels. Empty on failure. */
void sf_bpf_program_name(uint32_t id, char name[SF_BPF_NAME_SIZE]);

#endif
