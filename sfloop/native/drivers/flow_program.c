#define _GNU_SOURCE 1
#include "flow_program.h"

#include "bpf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FLOWS_MAX 16384

#define ETH_IPV4_SIZE (14 + 20)
#define TAG_SIZE 4
#define TAGGED_TYPE_AT 16

/* The packet as the program sees it, from the Ethernet header; with a tag, from four bytes after it. */
#define TYPE_AT 12
#define VERSION_AT 14
#define TOTAL_LENGTH_AT 16
#define FRAGMENT_AT 20
#define PROTOCOL_AT 23
#define SOURCE_AT 26
#define DESTINATION_AT 30
#define PORTS_AT 14 /* plus the length of the IPv4 header */

/* The key is built on the stack, below the frame pointer. */
#define KEY_AT (-16)
#define KEY(field) (KEY_AT + (int)offsetof(struct sf_flow_key, field))

enum label { TAGGED, IPV4, PORTS, MATCH, PASS };

enum {
    SCRATCH = BPF_REG_2,
    VALUE = BPF_REG_3,
    CONTEXT = BPF_REG_6, /* from here on they survive calls */
    PACKET = BPF_REG_7,
    PACKET_END = BPF_REG_8,
    FRAME_POINTER = BPF_REG_10,
};

/* ---- the program ---- */

/* Goes to `label` when the packet is shorter than that many bytes. */
static void need(struct sf_bpf_code *code, int bytes, enum label label)
{
    sf_bpf_alu(code, BPF_MOV, SCRATCH, PACKET);
    sf_bpf_alu_value(code, BPF_ADD, SCRATCH, bytes);
    sf_bpf_jump_if(code, BPF_JGT, SCRATCH, PACKET_END, label);
}

/* Leaves PACKET such that the offsets above hold, and the length of the IPv4 header in VALUE. */
static void parse_to_ipv4(struct sf_bpf_code *code)
{
    need(code, ETH_IPV4_SIZE, PASS);
    sf_bpf_load(code, BPF_H, VALUE, PACKET, TYPE_AT);
    sf_bpf_jump_if_value(code, BPF_JEQ, VALUE, htons(ETH_P_IP), IPV4);
    sf_bpf_jump_if_value(code, BPF_JEQ, VALUE, htons(ETH_P_8021Q), TAGGED);
    sf_bpf_jump_if_value(code, BPF_JNE, VALUE, htons(ETH_P_8021AD), PASS);
    sf_bpf_label(code, TAGGED);
    sf_bpf_load(code, BPF_H, VALUE, PACKET, TAGGED_TYPE_AT);
    sf_bpf_jump_if_value(code, BPF_JNE, VALUE, htons(ETH_P_IP), PASS);
    sf_bpf_alu_value(code, BPF_ADD, PACKET, TAG_SIZE);
    need(code, ETH_IPV4_SIZE, PASS);
    sf_bpf_label(code, IPV4);
    sf_bpf_load(code, BPF_B, VALUE, PACKET, VERSION_AT);
    sf_bpf_alu(code, BPF_MOV, BPF_REG_4, VALUE);
    sf_bpf_alu_value(code, BPF_AND, BPF_REG_4, 0xf0);
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_4, 0x40, PASS);
    sf_bpf_alu_value(code, BPF_AND, VALUE, 0x0f);
    sf_bpf_alu_value(code, BPF_LSH, VALUE, 2);
    sf_bpf_jump_if_value(code, BPF_JLT, VALUE, 20, PASS);
}

static void leave_oversized(struct sf_bpf_code *code, uint32_t mtu)
{
    sf_bpf_load(code, BPF_B, BPF_REG_4, PACKET, TOTAL_LENGTH_AT);
    sf_bpf_alu_value(code, BPF_LSH, BPF_REG_4, 8);
    sf_bpf_load(code, BPF_B, SCRATCH, PACKET, TOTAL_LENGTH_AT + 1);
    sf_bpf_alu(code, BPF_OR, BPF_REG_4, SCRATCH);
    sf_bpf_jump_if_value(code, BPF_JGT, BPF_REG_4, (int32_t)mtu, PASS);
}

/* From the IPv4 header and the ports. We receive: what is the destination on the wire is local. */
static void build_key(struct sf_bpf_code *code, uint32_t mtu)
{
    /* A fragment, the first one too: the kernel puts them together for its own socket. */
    sf_bpf_load(code, BPF_H, BPF_REG_4, PACKET, FRAGMENT_AT);
    sf_bpf_alu_value(code, BPF_AND, BPF_REG_4, htons(0x3fff));
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_4, 0, PASS);
    sf_bpf_load(code, BPF_B, BPF_REG_5, PACKET, PROTOCOL_AT);
    sf_bpf_jump_if_value(code, BPF_JEQ, BPF_REG_5, IPPROTO_TCP, PORTS);
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_5, IPPROTO_UDP, PASS);
    leave_oversized(code, mtu);
    sf_bpf_label(code, PORTS);
    sf_bpf_store(code, BPF_W, FRAME_POINTER, KEY(protocol), BPF_REG_5);
    sf_bpf_load(code, BPF_W, BPF_REG_4, PACKET, DESTINATION_AT);
    sf_bpf_store(code, BPF_W, FRAME_POINTER, KEY(local_addr), BPF_REG_4);
    sf_bpf_load(code, BPF_W, BPF_REG_4, PACKET, SOURCE_AT);
    sf_bpf_store(code, BPF_W, FRAME_POINTER, KEY(remote_addr), BPF_REG_4);
    sf_bpf_alu(code, BPF_ADD, PACKET, VALUE);
    need(code, PORTS_AT + 4, PASS);
    sf_bpf_load(code, BPF_H, BPF_REG_4, PACKET, PORTS_AT);
    sf_bpf_store(code, BPF_H, FRAME_POINTER, KEY(remote_port), BPF_REG_4);
    sf_bpf_load(code, BPF_H, BPF_REG_4, PACKET, PORTS_AT + 2);
    sf_bpf_store(code, BPF_H, FRAME_POINTER, KEY(local_port), BPF_REG_4);
}

static void look_up(struct sf_bpf_code *code, int flows)
{
    sf_bpf_map(code, BPF_REG_1, flows);
    sf_bpf_alu(code, BPF_MOV, BPF_REG_2, FRAME_POINTER);
    sf_bpf_alu_value(code, BPF_ADD, BPF_REG_2, KEY_AT);
    sf_bpf_call(code, BPF_FUNC_map_lookup_elem);
}

/* The most particular flow first, though all of them lead to the same place: it is what connected sockets have. */
static void match_flow(struct sf_bpf_code *code, int flows)
{
    look_up(code, flows);
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_0, 0, MATCH);
    sf_bpf_store_value(code, BPF_W, FRAME_POINTER, KEY(remote_addr), 0);
    sf_bpf_store_value(code, BPF_H, FRAME_POINTER, KEY(remote_port), 0);
    look_up(code, flows);
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_0, 0, MATCH);
    sf_bpf_store_value(code, BPF_W, FRAME_POINTER, KEY(local_addr), 0);
    look_up(code, flows);
    sf_bpf_jump_if_value(code, BPF_JEQ, BPF_REG_0, 0, PASS);
    sf_bpf_label(code, MATCH);
}

static void redirect(struct sf_bpf_code *code, int sockets)
{
    sf_bpf_load(code, BPF_W, BPF_REG_2, CONTEXT, offsetof(struct xdp_md, rx_queue_index));
    sf_bpf_map(code, BPF_REG_1, sockets);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_3, XDP_PASS); /* what it returns when the queue has no socket */
    sf_bpf_call(code, BPF_FUNC_redirect_map);
    sf_bpf_exit(code);
    sf_bpf_label(code, PASS);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_0, XDP_PASS);
    sf_bpf_exit(code);
}

static void write_program(struct sf_bpf_code *code, const struct sf_flow_program *program, uint32_t mtu)
{
    sf_bpf_begin(code);
    sf_bpf_alu(code, BPF_MOV, CONTEXT, BPF_REG_1);
    sf_bpf_load(code, BPF_W, PACKET, CONTEXT, offsetof(struct xdp_md, data));
    sf_bpf_load(code, BPF_W, PACKET_END, CONTEXT, offsetof(struct xdp_md, data_end));
    parse_to_ipv4(code);
    build_key(code, mtu);
    match_flow(code, program->flows);
    redirect(code, program->sockets);
}

/* ---- making and attaching ---- */

static const char *hint(int error)
{
    switch (error) {
    case -EPERM:
        return "it needs the capabilities CAP_BPF and CAP_NET_ADMIN: run as root, or grant them with setcap or the service's "
               "AmbientCapabilities=";
    case -ENOMEM:
        return "no memory was left; on kernels before 5.11 raise the limit on locked memory (ulimit -l)";
    case -ENOSYS:
        return "this kernel is built without bpf(2) (CONFIG_BPF_SYSCALL)";
    default:
        return strerror(-error);
    }
}

static int load(struct sf_flow_program *program, const struct sf_flow_limits *limits, char *message)
{
    char log[SF_BPF_LOG_SIZE];
    struct sf_bpf_code code;

    write_program(&code, program, limits->mtu);
    program->program = sf_bpf_load_program(&code, BPF_PROG_TYPE_XDP, limits->pieces ? BPF_F_XDP_HAS_FRAGS : 0,
                                           SF_FLOW_PROGRAM_NAME, log);
    if (program->program >= 0)
        return 0;
    if (log[0]) /* the verifier's reason is at the end of what it says */
        snprintf(message, SF_DRIVER_ERROR_SIZE, "The kernel refuses the XDP program that picks out flows: ...%s",
                 log + (strlen(log) > 150 ? strlen(log) - 150 : 0));
    else
        snprintf(message, SF_DRIVER_ERROR_SIZE, "Cannot load the XDP program that picks out flows: %s", hint(program->program));
    return program->program;
}

int sf_flow_map_create(void)
{
    return sf_bpf_create_map(BPF_MAP_TYPE_HASH, sizeof(struct sf_flow_key), sizeof(uint32_t), FLOWS_MAX, "sfloop_flows");
}

static int make_maps(struct sf_flow_program *program, uint32_t queues)
{
    program->flows = sf_flow_map_create();
    if (program->flows < 0)
        return program->flows;
    program->sockets = sf_bpf_create_map(BPF_MAP_TYPE_XSKMAP, sizeof(uint32_t), sizeof(uint32_t), queues, "sfloop_sockets");
    return program->sockets < 0 ? program->sockets : 0;
}

int sf_flow_program_open(struct sf_flow_program *program, const struct sf_flow_limits *limits, char *message)
{
    int error;

    *program = (struct sf_flow_program){-1, -1, -1, -1};
    error = make_maps(program, limits->queues);
    if (error)
        snprintf(message, SF_DRIVER_ERROR_SIZE, "Cannot make the map of flows: %s", hint(error));
    else
        error = load(program, limits, message);
    if (error)
        sf_flow_program_close(program);
    return error;
}

int sf_flow_program_take_pieces(struct sf_flow_program *program, const struct sf_flow_limits *limits)
{
    struct sf_flow_limits with = *limits;
    struct sf_flow_program other = *program;
    char message[SF_DRIVER_ERROR_SIZE];
    int error;

    if (program->link >= 0)
        return -EBUSY;
    with.pieces = true;
    error = load(&other, &with, message);
    if (error)
        return error;
    close(program->program);
    program->program = other.program;
    return 0;
}

int sf_flow_program_attach(struct sf_flow_program *program, enum sf_flow_hook hook, int ifindex, uint32_t xdp_flags)
{
    int fd = hook == SF_FLOW_XDP ? sf_bpf_attach_xdp(program->program, ifindex, xdp_flags)
                                 : sf_bpf_attach_tcx_ingress(program->program, ifindex);

    if (fd < 0)
        return fd;
    program->link = fd;
    return 0;
}

static void close_descriptor(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void sf_flow_program_detach(struct sf_flow_program *program)
{
    close_descriptor(&program->link);
}

int sf_flow_program_set_socket(const struct sf_flow_program *program, uint32_t queue, int fd)
{
    return sf_bpf_update(program->sockets, &queue, &fd, BPF_ANY);
}

void sf_flow_program_close(struct sf_flow_program *program)
{
    close_descriptor(&program->link);
    close_descriptor(&program->program);
    close_descriptor(&program->sockets);
    close_descriptor(&program->flows);
}

/* ---- flows ---- */

static int key_of(const struct sf_flow *flow, struct sf_flow_key *key)
{
    bool connected = flow->remote_addr && flow->remote_port;

    if (flow->protocol != IPPROTO_UDP && flow->protocol != IPPROTO_TCP)
        return -EOPNOTSUPP;
    if (!flow->local_port || (!connected && (flow->remote_addr || flow->remote_port)))
        return -EINVAL;
    if (connected && !flow->local_addr)
        return -EOPNOTSUPP;
    *key = (struct sf_flow_key){
        .local_addr = flow->local_addr,
        .remote_addr = flow->remote_addr,
        .local_port = flow->local_port,
        .remote_port = flow->remote_port,
        .protocol = flow->protocol,
    };
    return 0;
}

int sf_flow_program_add(const struct sf_flow_program *program, const struct sf_flow *flow)
{
    const uint32_t present = 1;
    struct sf_flow_key key;
    int error = key_of(flow, &key);

    if (error)
        return error;
    error = sf_bpf_update(program->flows, &key, &present, BPF_NOEXIST);
    return error == -E2BIG ? -ENOSPC : error;
}

int sf_flow_program_del(const struct sf_flow_program *program, const struct sf_flow *flow)
{
    struct sf_flow_key key;
    int error = key_of(flow, &key);

    return error ? error : sf_bpf_delete(program->flows, &key);
}
