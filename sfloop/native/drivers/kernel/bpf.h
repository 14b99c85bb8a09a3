/*
 * As much of bpf(2) as the drivers need, by the kernel's headers alone: an assembler of eBPF instructions with labels, maps,
 * programs and links. File descriptors are close-on-exec. Functions return a descriptor or 0, or a negative errno.
 *
 * Whoever holds a map's descriptor may change its entries without any privilege; making maps, programs and links needs
 * CAP_BPF and CAP_NET_ADMIN.
 */
#ifndef SF_DRIVERS_KERNEL_BPF_H
#define SF_DRIVERS_KERNEL_BPF_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef BPF_F_XDP_DEV_BOUND_ONLY /* headers older than 6.3 lack it */
#define BPF_F_XDP_DEV_BOUND_ONLY (1u << 6)
#endif

/* BPF_PROG_TYPE_NETFILTER and BPF_NETFILTER, which headers older than 6.4 lack. */
#define SF_BPF_PROGRAM_NETFILTER 32
#define SF_BPF_NETFILTER 45

#define SF_BPF_CODE_MAX 256
#define SF_BPF_LABELS 32
#define SF_BPF_LOG_SIZE 4096
#define SF_BPF_NAME_SIZE BPF_OBJ_NAME_LEN

/* A program being written. Begins as all zeroes but for the labels: sf_bpf_begin(). */
struct sf_bpf_code {
    struct bpf_insn insns[SF_BPF_CODE_MAX];
    int8_t jump_label[SF_BPF_CODE_MAX]; /* where a jump goes; -1: no jump */
    int16_t label_at[SF_BPF_LABELS];    /* -1: not placed yet */
    int count;
    bool broken; /* too long, or a label that there is not: sf_bpf_load_program() refuses it */
};

void sf_bpf_begin(struct sf_bpf_code *code);

/* `size` is BPF_B, BPF_H, BPF_W or BPF_DW; registers are BPF_REG_0 and so on. Values are the host's, unswapped. */
void sf_bpf_load(struct sf_bpf_code *code, int size, int dst, int src, int offset);
void sf_bpf_store(struct sf_bpf_code *code, int size, int dst, int offset, int src);
void sf_bpf_store_value(struct sf_bpf_code *code, int size, int dst, int offset, int32_t value);
/* `op` is BPF_MOV, BPF_ADD, BPF_AND, BPF_LSH and so on, of 64 bits. */
void sf_bpf_alu(struct sf_bpf_code *code, int op, int dst, int src);
void sf_bpf_alu_value(struct sf_bpf_code *code, int op, int dst, int32_t value);
/* 16 bits in network byte order, into the host's. */
void sf_bpf_from_network16(struct sf_bpf_code *code, int dst);
/* Adds `src` to 32 bits at `dst` + offset, atomically. */
void sf_bpf_atomic_add(struct sf_bpf_code *code, int dst, int offset, int src);
void sf_bpf_wide_value(struct sf_bpf_code *code, int dst, uint64_t value);
void sf_bpf_map(struct sf_bpf_code *code, int dst, int map_fd);
/* A pointer to the first value of an array map. */
void sf_bpf_map_value(struct sf_bpf_code *code, int dst, int map_fd);
void sf_bpf_call(struct sf_bpf_code *code, enum bpf_func_id function);
/* Call a kernel function (kfunc) by its id: sf_btf_find_function(). */
void sf_bpf_call_kernel(struct sf_bpf_code *code, int btf_id);
/* `op` is BPF_JEQ, BPF_JNE, BPF_JGT and so on. */
void sf_bpf_jump(struct sf_bpf_code *code, int label);
void sf_bpf_jump_if(struct sf_bpf_code *code, int op, int dst, int src, int label);
void sf_bpf_jump_if_value(struct sf_bpf_code *code, int op, int dst, int32_t value, int label);
/* Compares the lower 32 bits alone. */
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
    uint32_t attach_type; /* where the kernel wants to know it when the program is loaded */
    int ifindex;          /* BPF_F_XDP_DEV_BOUND_ONLY: the only interface that the program may be attached to */
};

/* `log` takes SF_BPF_LOG_SIZE bytes of what the verifier says about a program that it refuses; otherwise it is empty. */
int sf_bpf_load_program(struct sf_bpf_code *code, const struct sf_bpf_program_kind *kind, char *log);

/* Links go away with their last descriptor, so also when a process dies. */
int sf_bpf_attach_xdp(int program_fd, int ifindex, uint32_t xdp_flags);
/* Puts another program in the place of the link's, without a moment between them; needs no privilege. */
int sf_bpf_update_link(int link_fd, int program_fd);
int sf_bpf_attach_tcx_ingress(int program_fd, int ifindex); /* since Linux 6.6; -EINVAL on older ones */
int sf_bpf_attach_cgroup(int program_fd, int cgroup_fd, uint32_t attach_type);

/* Packets of an address family at a hook of netfilter's, enum nf_inet_hooks; since Linux 6.4, -EINVAL on older ones. */
int sf_bpf_attach_netfilter(int program_fd, int family, int hook, int priority);

/* The name of a loaded program; needs CAP_SYS_ADMIN, or CAP_BPF in newer kernels. Empty if it cannot be had. */
void sf_bpf_program_name(uint32_t id, char name[SF_BPF_NAME_SIZE]);

#endif
