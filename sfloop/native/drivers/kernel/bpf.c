#define _GNU_SOURCE 1
#include "bpf.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TCX_INGRESS 46 /* BPF_TCX_INGRESS, which headers before 6.6 lack */

/* ---- the assembler ---- */

void sf_bpf_begin(struct sf_bpf_code *code)
{
    memset(code, 0, sizeof(*code));
    memset(code->jump_label, -1, sizeof(code->jump_label));
    memset(code->label_at, -1, sizeof(code->label_at));
}

static void emit(struct sf_bpf_code *code, int opcode, int dst, int src, int offset, int32_t value)
{
    if (code->count == SF_BPF_CODE_MAX) {
        code->broken = true;
        return;
    }
    code->insns[code->count++] = (struct bpf_insn){
        .code = (uint8_t)opcode,
        .dst_reg = (uint8_t)(dst & 15),
        .src_reg = (uint8_t)(src & 15),
        .off = (int16_t)offset,
        .imm = value,
    };
}

void sf_bpf_load(struct sf_bpf_code *code, int size, int dst, int src, int offset)
{
    emit(code, BPF_LDX | BPF_MEM | size, dst, src, offset, 0);
}

void sf_bpf_store(struct sf_bpf_code *code, int size, int dst, int offset, int src)
{
    emit(code, BPF_STX | BPF_MEM | size, dst, src, offset, 0);
}

void sf_bpf_store_value(struct sf_bpf_code *code, int size, int dst, int offset, int32_t value)
{
    emit(code, BPF_ST | BPF_MEM | size, dst, 0, offset, value);
}

void sf_bpf_alu(struct sf_bpf_code *code, int op, int dst, int src)
{
    emit(code, BPF_ALU64 | BPF_X | op, dst, src, 0, 0);
}

void sf_bpf_alu_value(struct sf_bpf_code *code, int op, int dst, int32_t value)
{
    emit(code, BPF_ALU64 | BPF_K | op, dst, 0, 0, value);
}

void sf_bpf_from_network16(struct sf_bpf_code *code, int dst)
{
    emit(code, BPF_ALU | BPF_END | BPF_TO_BE, dst, 0, 0, 16);
}

void sf_bpf_atomic_add(struct sf_bpf_code *code, int dst, int offset, int src)
{
    emit(code, BPF_STX | BPF_ATOMIC | BPF_W, dst, src, offset, BPF_ADD);
}

/* A 64-bit immediate value takes two instructions. */
void sf_bpf_wide_value(struct sf_bpf_code *code, int dst, uint64_t value)
{
    emit(code, BPF_LD | BPF_IMM | BPF_DW, dst, 0, 0, (int32_t)(uint32_t)value);
    emit(code, 0, 0, 0, 0, (int32_t)(uint32_t)(value >> 32));
}

void sf_bpf_map(struct sf_bpf_code *code, int dst, int map_fd)
{
    emit(code, BPF_LD | BPF_IMM | BPF_DW, dst, BPF_PSEUDO_MAP_FD, 0, map_fd);
    emit(code, 0, 0, 0, 0, 0);
}

void sf_bpf_map_value(struct sf_bpf_code *code, int dst, int map_fd)
{
    emit(code, BPF_LD | BPF_IMM | BPF_DW, dst, BPF_PSEUDO_MAP_VALUE, 0, map_fd);
    emit(code, 0, 0, 0, 0, 0);
}

void sf_bpf_call(struct sf_bpf_code *code, enum bpf_func_id function)
{
    emit(code, BPF_JMP | BPF_CALL, 0, 0, 0, (int32_t)function);
}

void sf_bpf_call_kernel(struct sf_bpf_code *code, int btf_id)
{
    emit(code, BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, btf_id);
}

static void jump(struct sf_bpf_code *code, int opcode, int dst, int src, int32_t value, int label)
{
    if (code->count < SF_BPF_CODE_MAX)
        code->jump_label[code->count] = (int8_t)label;
    if (label < 0 || label >= SF_BPF_LABELS)
        code->broken = true;
    emit(code, BPF_JMP | opcode, dst, src, 0, value);
}

void sf_bpf_jump(struct sf_bpf_code *code, int label)
{
    jump(code, BPF_JA, 0, 0, 0, label);
}

void sf_bpf_jump_if(struct sf_bpf_code *code, int op, int dst, int src, int label)
{
    jump(code, op | BPF_X, dst, src, 0, label);
}

void sf_bpf_jump_if_value(struct sf_bpf_code *code, int op, int dst, int32_t value, int label)
{
    jump(code, op | BPF_K, dst, 0, value, label);
}

void sf_bpf_jump_if_int(struct sf_bpf_code *code, int op, int dst, int32_t value, int label)
{
    jump(code, op | BPF_K, dst, 0, value, label);
    if (!code->broken)
        code->insns[code->count - 1].code ^= BPF_JMP ^ BPF_JMP32;
}

void sf_bpf_label(struct sf_bpf_code *code, int label)
{
    if (label < 0 || label >= SF_BPF_LABELS || code->label_at[label] >= 0)
        code->broken = true;
    else
        code->label_at[label] = (int16_t)code->count;
}

void sf_bpf_exit(struct sf_bpf_code *code)
{
    emit(code, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* Offsets count from the instruction after the jump. */
static bool resolve(struct sf_bpf_code *code)
{
    if (code->broken)
        return false;
    for (int i = 0; i < code->count; i++) {
        int label = code->jump_label[i];

        if (label < 0)
            continue;
        if (code->label_at[label] < 0)
            return false;
        code->insns[i].off = (int16_t)(code->label_at[label] - i - 1);
    }
    return true;
}

/* ---- system calls ---- */

static int bpf(enum bpf_cmd command, union bpf_attr *attr)
{
    long result = syscall(SYS_bpf, command, attr, sizeof(*attr));

    return result < 0 ? -errno : (int)result;
}

static uint64_t address(const void *pointer)
{
    return (uint64_t)(uintptr_t)pointer;
}

static void copy_name(char *to, const char *name)
{
    strncpy(to, name, BPF_OBJ_NAME_LEN - 1);
}

int sf_bpf_create_map(const struct sf_bpf_map_kind *kind)
{
    union bpf_attr attr;

    memset(&attr, 0, sizeof(attr));
    attr.map_type = kind->type;
    attr.key_size = kind->key_size;
    attr.value_size = kind->value_size;
    attr.max_entries = kind->entries;
    attr.map_flags = kind->flags;
    copy_name(attr.map_name, kind->name);
    return bpf(BPF_MAP_CREATE, &attr);
}

int sf_bpf_lookup(int map_fd, const void *key, void *value)
{
    union bpf_attr attr;

    memset(&attr, 0, sizeof(attr));
    attr.map_fd = (uint32_t)map_fd;
    attr.key = address(key);
    attr.value = address(value);
    return bpf(BPF_MAP_LOOKUP_ELEM, &attr);
}

int sf_bpf_update(int map_fd, const void *key, const void *value, uint64_t flags)
{
    union bpf_attr attr;

    memset(&attr, 0, sizeof(attr));
    attr.map_fd = (uint32_t)map_fd;
    attr.key = address(key);
    attr.value = address(value);
    attr.flags = flags;
    return bpf(BPF_MAP_UPDATE_ELEM, &attr);
}

int sf_bpf_delete(int map_fd, const void *key)
{
    union bpf_attr attr;

    memset(&attr, 0, sizeof(attr));
    attr.map_fd = (uint32_t)map_fd;
    attr.key = address(key);
    return bpf(BPF_MAP_DELETE_ELEM, &attr);
}

/* Loads without a log first. A log costs the verifier time, and a log that is too small is an error of its own. */
int sf_bpf_load_program(struct sf_bpf_code *code, const struct sf_bpf_program_kind *kind, char *log)
{
    union bpf_attr attr;
    int fd;

    log[0] = 0;
    if (!resolve(code))
        return -ENOEXEC;
    memset(&attr, 0, sizeof(attr));
    attr.prog_type = kind->type;
    attr.insns = address(code->insns);
    attr.insn_cnt = (uint32_t)code->count;
    attr.license = address("Dual MIT/GPL");
    attr.prog_flags = kind->flags;
    attr.prog_ifindex = (uint32_t)kind->ifindex;
    attr.expected_attach_type = kind->attach_type;
    copy_name(attr.prog_name, kind->name);
    fd = bpf(BPF_PROG_LOAD, &attr);
    if (fd == -EACCES || fd == -EINVAL) {
        int again;

        attr.log_level = 1;
        attr.log_buf = address(log);
        attr.log_size = SF_BPF_LOG_SIZE;
        again = bpf(BPF_PROG_LOAD, &attr);
        log[SF_BPF_LOG_SIZE - 1] = 0;
        if (again >= 0)
            return again;
    }
    return fd;
}

/* `target` is an interface's index or the descriptor of a cgroup's folder, because both are one field. */
static int link_create(int program_fd, int target, uint32_t attach_type, uint32_t flags)
{
    union bpf_attr attr;

    memset(&attr, 0, sizeof(attr));
    attr.link_create.prog_fd = (uint32_t)program_fd;
    attr.link_create.target_fd = (uint32_t)target;
    attr.link_create.attach_type = attach_type;
    attr.link_create.flags = flags;
    return bpf(BPF_LINK_CREATE, &attr);
}

int sf_bpf_attach_xdp(int program_fd, int ifindex, uint32_t xdp_flags)
{
    return link_create(program_fd, ifindex, BPF_XDP, xdp_flags);
}

int sf_bpf_attach_tcx_ingress(int program_fd, int ifindex)
{
    return link_create(program_fd, ifindex, TCX_INGRESS, 0);
}

int sf_bpf_attach_cgroup(int program_fd, int cgroup_fd, uint32_t attach_type)
{
    return link_create(program_fd, cgroup_fd, attach_type, 0);
}

int sf_bpf_update_link(int link_fd, int program_fd)
{
    union bpf_attr attr;

    memset(&attr, 0, sizeof(attr));
    attr.link_update.link_fd = (uint32_t)link_fd;
    attr.link_update.new_prog_fd = (uint32_t)program_fd;
    return bpf(BPF_LINK_UPDATE, &attr);
}

/* link_create of union bpf_attr, as of Linux 6.4. */
int sf_bpf_attach_netfilter(int program_fd, int family, int hook, int priority)
{
    const struct {
        uint32_t program, target, type, link_flags, family, hook;
        int32_t priority;
        uint32_t flags;
    } create = {
        .program = (uint32_t)program_fd,
        .type = SF_BPF_NETFILTER,
        .family = (uint32_t)family,
        .hook = (uint32_t)hook,
        .priority = priority,
    };
    union bpf_attr attr;

    memset(&attr, 0, sizeof(attr));
    memcpy(&attr, &create, sizeof(create));
    return bpf(BPF_LINK_CREATE, &attr);
}

void sf_bpf_program_name(uint32_t id, char name[SF_BPF_NAME_SIZE])
{
    struct bpf_prog_info info;
    union bpf_attr attr;
    int fd;

    name[0] = 0;
    memset(&attr, 0, sizeof(attr));
    attr.prog_id = id;
    fd = bpf(BPF_PROG_GET_FD_BY_ID, &attr);
    if (fd < 0)
        return;
    memset(&info, 0, sizeof(info));
    memset(&attr, 0, sizeof(attr));
    attr.info.bpf_fd = (uint32_t)fd;
    attr.info.info = address(&info);
    attr.info.info_len = sizeof(info);
    if (bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) == 0)
        memcpy(name, info.name, SF_BPF_NAME_SIZE);
    name[SF_BPF_NAME_SIZE - 1] = 0;
    close(fd);
}
