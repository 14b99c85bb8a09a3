#define _GNU_SOURCE 1
#include "packet_program.h"

#include "bpf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The key is built on the program's stack. */
#define KEY_AT (-16)
#define KEY(field) (KEY_AT + (int)offsetof(struct sf_flow_key, field))

/* On the program's stack below the key: the type field of the Ethernet header or of its tag, the IPv4 header without
 * its options, and the ports. A socket's program may not read a packet in place. */
#define IPV4_AT (-40)
#define TYPE_AT (IPV4_AT - 2)
#define PORTS_AT (-48)
#define TYPE_OFFSET 12
#define TAG_SIZE 4

#define TCX_NEXT (-1)
#define TCX_DROP 2
#define WHOLE_FRAME (-1)

enum label { TAGGED, IPV4, PORTS, MATCH, PASS };

enum {
    SCRATCH = BPF_REG_2,
    CONTEXT = BPF_REG_6, /* from here on they survive calls */
    OFFSET = BPF_REG_7,  /* of the IPv4 header in the packet, later of the ports */
    FRAME_POINTER = BPF_REG_10,
};

/* ---- the program ---- */

/* Copies `size` bytes from OFFSET + `offset` of the packet to the stack at `to`. */
static void copy_bytes(struct sf_bpf_code *code, int offset, int to, int size)
{
    sf_bpf_alu(code, BPF_MOV, BPF_REG_1, CONTEXT);
    sf_bpf_alu(code, BPF_MOV, BPF_REG_2, OFFSET);
    sf_bpf_alu_value(code, BPF_ADD, BPF_REG_2, offset);
    sf_bpf_alu(code, BPF_MOV, BPF_REG_3, FRAME_POINTER);
    sf_bpf_alu_value(code, BPF_ADD, BPF_REG_3, to);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_4, size);
    sf_bpf_call(code, BPF_FUNC_skb_load_bytes);
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_0, 0, PASS); /* the packet is shorter */
}

static void load_stack(struct sf_bpf_code *code, int size, int dst, int at)
{
    sf_bpf_load(code, size, dst, FRAME_POINTER, at);
}

/* The kernel has taken one tag out of the packet already; the type may stand behind one more. */
static void read_ipv4(struct sf_bpf_code *code)
{
    sf_bpf_alu_value(code, BPF_MOV, OFFSET, ETH_HLEN);
    copy_bytes(code, -2, TYPE_AT, 22);
    load_stack(code, BPF_H, SCRATCH, TYPE_AT);
    sf_bpf_jump_if_value(code, BPF_JEQ, SCRATCH, htons(ETH_P_IP), IPV4);
    sf_bpf_jump_if_value(code, BPF_JEQ, SCRATCH, htons(ETH_P_8021Q), TAGGED);
    sf_bpf_jump_if_value(code, BPF_JNE, SCRATCH, htons(ETH_P_8021AD), PASS);
    sf_bpf_label(code, TAGGED);
    sf_bpf_alu_value(code, BPF_ADD, OFFSET, TAG_SIZE);
    copy_bytes(code, -2, TYPE_AT, 22);
    load_stack(code, BPF_H, SCRATCH, TYPE_AT);
    sf_bpf_jump_if_value(code, BPF_JNE, SCRATCH, htons(ETH_P_IP), PASS);
    sf_bpf_label(code, IPV4);
}

/* Whole datagrams and segments of UDP and TCP go on to PORTS. */
static void check_protocol(struct sf_bpf_code *code)
{
    load_stack(code, BPF_H, SCRATCH, IPV4_AT + 6);
    sf_bpf_alu_value(code, BPF_AND, SCRATCH, htons(0x3fff));
    sf_bpf_jump_if_value(code, BPF_JNE, SCRATCH, 0, PASS);
    load_stack(code, BPF_B, SCRATCH, IPV4_AT + 9);
    sf_bpf_store(code, BPF_W, FRAME_POINTER, KEY(protocol), SCRATCH);
    sf_bpf_jump_if_value(code, BPF_JEQ, SCRATCH, IPPROTO_TCP, PORTS);
    sf_bpf_jump_if_value(code, BPF_JNE, SCRATCH, IPPROTO_UDP, PASS);
    sf_bpf_load(code, BPF_W, SCRATCH, CONTEXT, offsetof(struct __sk_buff, gso_size));
    sf_bpf_jump_if_value(code, BPF_JNE, SCRATCH, 0, PASS);
    sf_bpf_label(code, PORTS);
}

/* We receive: what is the destination on the wire is local. */
static void build_key(struct sf_bpf_code *code)
{
    load_stack(code, BPF_B, SCRATCH, IPV4_AT);
    sf_bpf_alu(code, BPF_MOV, BPF_REG_3, SCRATCH);
    sf_bpf_alu_value(code, BPF_AND, BPF_REG_3, 0xf0);
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_3, 0x40, PASS);
    sf_bpf_alu_value(code, BPF_AND, SCRATCH, 0x0f);
    sf_bpf_alu_value(code, BPF_LSH, SCRATCH, 2);
    sf_bpf_jump_if_value(code, BPF_JLT, SCRATCH, 20, PASS);
    sf_bpf_alu(code, BPF_ADD, OFFSET, SCRATCH);
    copy_bytes(code, 0, PORTS_AT, 4);
    load_stack(code, BPF_W, SCRATCH, IPV4_AT + 16);
    sf_bpf_store(code, BPF_W, FRAME_POINTER, KEY(local_addr), SCRATCH);
    load_stack(code, BPF_W, SCRATCH, IPV4_AT + 12);
    sf_bpf_store(code, BPF_W, FRAME_POINTER, KEY(remote_addr), SCRATCH);
    load_stack(code, BPF_H, SCRATCH, PORTS_AT + 2);
    sf_bpf_store(code, BPF_H, FRAME_POINTER, KEY(local_port), SCRATCH);
    load_stack(code, BPF_H, SCRATCH, PORTS_AT);
    sf_bpf_store(code, BPF_H, FRAME_POINTER, KEY(remote_port), SCRATCH);
}

static void look_up(struct sf_bpf_code *code, int flows)
{
    sf_bpf_map(code, BPF_REG_1, flows);
    sf_bpf_alu(code, BPF_MOV, BPF_REG_2, FRAME_POINTER);
    sf_bpf_alu_value(code, BPF_ADD, BPF_REG_2, KEY_AT);
    sf_bpf_call(code, BPF_FUNC_map_lookup_elem);
}

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

static void write_program(struct sf_bpf_code *code, int flows, int match, int miss)
{
    sf_bpf_begin(code);
    sf_bpf_alu(code, BPF_MOV, CONTEXT, BPF_REG_1);
    sf_bpf_load(code, BPF_W, SCRATCH, CONTEXT, offsetof(struct __sk_buff, pkt_type));
    sf_bpf_jump_if_value(code, BPF_JEQ, SCRATCH, PACKET_LOOPBACK, PASS);
    read_ipv4(code);
    check_protocol(code);
    build_key(code);
    match_flow(code, flows);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_0, match);
    sf_bpf_exit(code);
    sf_bpf_label(code, PASS);
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

static int load(int flows, bool tcx, int *fd, char *message)
{
    enum bpf_prog_type type = tcx ? BPF_PROG_TYPE_SCHED_CLS : BPF_PROG_TYPE_SOCKET_FILTER;
    char log[SF_BPF_LOG_SIZE];
    struct sf_bpf_code code;

    write_program(&code, flows, tcx ? TCX_DROP : WHOLE_FRAME, tcx ? TCX_NEXT : 0);
    *fd = sf_bpf_load_program(&code, type, 0, SF_FLOW_PROGRAM_NAME, log);
    if (*fd >= 0)
        return 0;
    explain(tcx ? "the tcx program that keeps flows from the kernel" : "the packet socket's filter of flows", *fd, log,
            message);
    return *fd;
}

int sf_packet_program_open(struct sf_packet_program *program, bool tcx, char *message)
{
    int error;

    *program = (struct sf_packet_program){.flow = {-1, -1, -1, -1}, .filter = -1};
    program->flow.flows = sf_flow_map_create();
    error = program->flow.flows < 0 ? program->flow.flows : 0;
    if (error)
        explain("the map of flows", error, "", message);
    if (!error && tcx)
        error = load(program->flow.flows, true, &program->flow.program, message);
    if (!error)
        error = load(program->flow.flows, false, &program->filter, message);
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
