#define _GNU_SOURCE 1
#include "packet_program.h"

#include "bpf.h"
#include "flow_match.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEY(field) SF_FLOW_KEY(field)

/* On the program's stack below the key: the type field of the Ethernet header, the IPv4 header without its options, and the
 * ports. A socket's program may not read a packet in place. */
#define IPV4_AT (-40)
#define TYPE_AT (IPV4_AT - 2)
#define PORTS_AT (-48)
#define VLAN_ID 0x0fff

#define TCX_NEXT (-1)
#define TCX_DROP 2
#define WHOLE_FRAME (-1)

enum label { PORTS = SF_FLOW_LABELS, ADDRESSED, LABELS };

_Static_assert(LABELS <= SF_BPF_LABELS, "more labels than there are");

enum {
    SCRATCH = BPF_REG_2,
    CONTEXT = BPF_REG_6, /* from here on they survive calls */
    FRAME_KIND = SF_FLOW_FRAME_KIND,
    FRAME_POINTER = BPF_REG_10,
};

/* ---- the program ---- */

static void load_context(struct sf_bpf_code *code, int dst, int at)
{
    sf_bpf_load(code, BPF_W, dst, CONTEXT, at);
}

static void load_stack(struct sf_bpf_code *code, int size, int dst, int at)
{
    sf_bpf_load(code, size, dst, FRAME_POINTER, at);
}

/* Copies `size` bytes of the packet to the stack at `to`, from the offset in register 2 on. */
static void copy_bytes(struct sf_bpf_code *code, int to, int size)
{
    sf_bpf_alu(code, BPF_MOV, BPF_REG_1, CONTEXT);
    sf_bpf_alu(code, BPF_MOV, BPF_REG_3, FRAME_POINTER);
    sf_bpf_alu_value(code, BPF_ADD, BPF_REG_3, to);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_4, size);
    sf_bpf_call(code, BPF_FUNC_skb_load_bytes);
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_0, 0, SF_FLOW_PASS); /* the packet is shorter */
}

/* The kernel has compared the MAC address already. Passes what goes out, what is looped back, and what is for other stations. */
static void check_mac(struct sf_bpf_code *code)
{
    sf_bpf_alu_value(code, BPF_MOV, FRAME_KIND, 0);
    load_context(code, SCRATCH, offsetof(struct __sk_buff, pkt_type));
    sf_bpf_jump_if_value(code, BPF_JEQ, SCRATCH, PACKET_HOST, ADDRESSED);
    sf_bpf_jump_if_value(code, BPF_JGT, SCRATCH, PACKET_MULTICAST, SF_FLOW_PASS); /* PACKET_BROADCAST is between */
    sf_bpf_alu_value(code, BPF_MOV, FRAME_KIND, SF_FLOW_KIND_GROUP);
    sf_bpf_label(code, ADDRESSED);
}

/* The kernel has taken the first tag out of the packet. VLAN 0 has a priority alone; a second tag is not ours. */
static void read_ipv4(struct sf_bpf_code *code)
{
    load_context(code, SCRATCH, offsetof(struct __sk_buff, vlan_tci)); /* 0 if there is no tag */
    sf_bpf_alu_value(code, BPF_AND, SCRATCH, VLAN_ID);
    sf_bpf_jump_if_value(code, BPF_JNE, SCRATCH, 0, SF_FLOW_PASS);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_2, ETH_HLEN - 2);
    copy_bytes(code, TYPE_AT, 22);
    load_stack(code, BPF_H, SCRATCH, TYPE_AT);
    sf_bpf_jump_if_value(code, BPF_JNE, SCRATCH, htons(ETH_P_IP), SF_FLOW_PASS);
}

/* Whole datagrams and segments of UDP and TCP go on to PORTS. */
static void check_protocol(struct sf_bpf_code *code)
{
    load_stack(code, BPF_H, SCRATCH, IPV4_AT + 6);
    sf_bpf_alu_value(code, BPF_AND, SCRATCH, htons(0x3fff));
    sf_bpf_jump_if_value(code, BPF_JNE, SCRATCH, 0, SF_FLOW_PASS);
    load_stack(code, BPF_B, SCRATCH, IPV4_AT + 9);
    sf_bpf_store(code, BPF_W, FRAME_POINTER, KEY(protocol), SCRATCH);
    sf_bpf_jump_if_value(code, BPF_JEQ, SCRATCH, IPPROTO_TCP, PORTS);
    sf_bpf_jump_if_value(code, BPF_JNE, SCRATCH, IPPROTO_UDP, SF_FLOW_PASS);
    load_context(code, SCRATCH, offsetof(struct __sk_buff, gso_size));
    sf_bpf_jump_if_value(code, BPF_JNE, SCRATCH, 0, SF_FLOW_PASS);
    sf_bpf_label(code, PORTS);
}

/* We receive: the destination on the wire is local. */
static void build_key(struct sf_bpf_code *code)
{
    load_stack(code, BPF_B, BPF_REG_2, IPV4_AT);
    sf_bpf_alu(code, BPF_MOV, BPF_REG_3, BPF_REG_2);
    sf_bpf_alu_value(code, BPF_AND, BPF_REG_3, 0xf0);
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_3, 0x40, SF_FLOW_PASS);
    sf_bpf_alu_value(code, BPF_AND, BPF_REG_2, 0x0f);
    sf_bpf_alu_value(code, BPF_LSH, BPF_REG_2, 2);
    sf_bpf_jump_if_value(code, BPF_JLT, BPF_REG_2, 20, SF_FLOW_PASS);
    sf_bpf_alu_value(code, BPF_ADD, BPF_REG_2, ETH_HLEN);
    copy_bytes(code, PORTS_AT, 4);
    load_stack(code, BPF_W, SCRATCH, IPV4_AT + 16);
    sf_bpf_store(code, BPF_W, FRAME_POINTER, KEY(local_addr), SCRATCH);
    load_stack(code, BPF_W, SCRATCH, IPV4_AT + 12);
    sf_bpf_store(code, BPF_W, FRAME_POINTER, KEY(remote_addr), SCRATCH);
    load_stack(code, BPF_H, SCRATCH, PORTS_AT + 2);
    sf_bpf_store(code, BPF_H, FRAME_POINTER, KEY(local_port), SCRATCH);
    load_stack(code, BPF_H, SCRATCH, PORTS_AT);
    sf_bpf_store(code, BPF_H, FRAME_POINTER, KEY(remote_port), SCRATCH);
}

static void write_program(struct sf_bpf_code *code, const struct sf_flow_program *program, int match, int miss)
{
    sf_bpf_begin(code);
    sf_bpf_alu(code, BPF_MOV, CONTEXT, BPF_REG_1);
    check_mac(code);
    read_ipv4(code);
    check_protocol(code);
    build_key(code);
    sf_flow_match(code, program);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_0, match);
    sf_bpf_exit(code);
    sf_bpf_label(code, SF_FLOW_PASS);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_0, miss);
    sf_bpf_exit(code);
}

/* ---- making and attaching ---- */

static void explain(const char *what, int error, const char *log, char *message)
{
    size_t length = strlen(log);

    if (error == -EPERM)
        snprintf(message, SF_DRIVER_ERROR_SIZE,
                 "Cannot make %s: it needs the capabilities CAP_BPF and CAP_NET_ADMIN; run as root, or grant them with "
                 "setcap or the service's AmbientCapabilities=", what);
    else if (length) /* the verifier's reason is at the end of what it says */
        snprintf(message, SF_DRIVER_ERROR_SIZE, "The kernel refuses %s: ...%s", what,
                 log + (length > 150 ? length - 150 : 0));
    else
        snprintf(message, SF_DRIVER_ERROR_SIZE, "Cannot make %s: %s", what, strerror(-error));
}

static int load(const struct sf_flow_program *program, bool tcx, int *fd, char *message)
{
    const struct sf_bpf_program_kind kind = {
        .name = SF_FLOW_PROGRAM_NAME,
        .type = tcx ? BPF_PROG_TYPE_SCHED_CLS : BPF_PROG_TYPE_SOCKET_FILTER,
    };
    char log[SF_BPF_LOG_SIZE];
    struct sf_bpf_code code;

    write_program(&code, program, tcx ? TCX_DROP : WHOLE_FRAME, tcx ? TCX_NEXT : 0);
    *fd = sf_bpf_load_program(&code, &kind, log);
    if (*fd >= 0)
        return 0;
    explain(tcx ? "the tcx program that keeps flows from the kernel" : "the packet socket's filter of flows", *fd, log,
            message);
    return *fd;
}

int sf_packet_program_open(struct sf_packet_program *program, bool tcx, char *message)
{
    int error;

    *program = SF_PACKET_PROGRAM_NONE;
    error = sf_flow_program_make_maps(&program->flow);
    if (error)
        explain("the map of flows", error, "", message);
    if (!error && tcx)
        error = load(&program->flow, true, &program->flow.program, message);
    if (!error)
        error = load(&program->flow, false, &program->filter, message);
    if (error)
        sf_packet_program_close(program);
    return error;
}

int sf_packet_program_filter(struct sf_packet_program *program, int fd)
{
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &program->filter, sizeof(program->filter)) < 0)
        return -errno;
    return 0;
}

void sf_packet_program_close(struct sf_packet_program *program)
{
    if (program->filter >= 0)
        close(program->filter);
    program->filter = -1;
    sf_flow_program_close(&program->flow);
}
