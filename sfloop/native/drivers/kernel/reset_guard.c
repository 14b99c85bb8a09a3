#define _GNU_SOURCE 1
#include "reset_guard.h"

#include "bpf.h"
#include "btf.h"
#include "drivers/driver_util.h"
#include "flow_match.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#define PROGRAM_NAME "sfloop_resets"
#define RING_BYTES 65536 /* a power of two, and whole pages of every page size */

/* As in linux/netfilter.h, whose types conflict with the C library's. */
#define IPV4_FAMILY 2
#define LOCAL_OUT 3
#define DROP 0
#define ACCEPT 1
/* Before connection tracking, because it would believe the reset. */
#define PRIORITY (-500)

/* Offsets in struct bpf_nf_ctx, struct nf_hook_state and struct sock_common. */
#define CONTEXT_STATE 0
#define CONTEXT_SKB 8
#define STATE_SOCKET 24
#define SOCKET_NUMBER 14
#define SOCKET_STATE 18
#define LISTENING 10 /* TCP_LISTEN */

/* Offsets in the packet. */
#define IP_SIZE 20
#define TCP_SIZE 20
#define PROTOCOL_AT 9
#define SOURCE_AT 12
#define DESTINATION_AT 16
#define TCP_SEQUENCE_AT 4
#define TCP_FLAGS_AT 13
#define TCP_WINDOW_AT 14
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* Places on the program's stack, below the key of flow_match.h. */
#define DYNPTR_AT (-32)
#define RECORD_AT (-48)
#define RECORD(field) (RECORD_AT + (int)offsetof(struct sf_kept_reset, field))
#define HEADERS_AT (-88)  /* for a packet in several pieces */
#define OPTIONS_AT (-112) /* the TCP header after IP options */

_Static_assert(sizeof(struct sf_flow_map_key) == 16 && sizeof(struct sf_kept_reset) == 16, "as they are laid out on the stack");

enum label { CANDIDATE = SF_FLOW_LABELS, TCP_HEADER };

enum {
    IP = BPF_REG_7,
    TCP = BPF_REG_8,
    FRAME_POINTER = BPF_REG_10,
};

/* ---- the program ---- */

static void clear(struct sf_bpf_code *code, int at, int size)
{
    for (int i = 0; i < size; i += 8)
        sf_bpf_store_value(code, BPF_DW, FRAME_POINTER, at + i, 0);
}

static void address_of(struct sf_bpf_code *code, int dst, int at)
{
    sf_bpf_alu(code, BPF_MOV, dst, FRAME_POINTER);
    sf_bpf_alu_value(code, BPF_ADD, dst, at);
}

/* Points register 0 to `size` bytes of the packet, which start at the offset in register 2. */
static void slice(struct sf_bpf_code *code, int function, int buffer, int size)
{
    address_of(code, BPF_REG_1, DYNPTR_AT);
    address_of(code, BPF_REG_3, buffer);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_4, size);
    sf_bpf_call_kernel(code, function);
    sf_bpf_jump_if_value(code, BPF_JEQ, BPF_REG_0, 0, SF_FLOW_PASS);
}

/*
 * Passes nearly every packet before its headers are read. The kernel sends resets from raw sockets of its own, whose number is
 * TCP's, or, since Linux 6.13, from the listening socket that the segment matched. Reading the kernel's structures needs
 * CAP_PERFMON.
 */
static void check_sender(struct sf_bpf_code *code)
{
    sf_bpf_load(code, BPF_DW, BPF_REG_2, BPF_REG_1, CONTEXT_STATE);
    sf_bpf_load(code, BPF_DW, BPF_REG_2, BPF_REG_2, STATE_SOCKET);
    sf_bpf_load(code, BPF_H, BPF_REG_3, BPF_REG_2, SOCKET_NUMBER); /* 0 without a socket */
    sf_bpf_jump_if_value(code, BPF_JEQ, BPF_REG_3, IPPROTO_TCP, CANDIDATE);
    sf_bpf_load(code, BPF_B, BPF_REG_3, BPF_REG_2, SOCKET_STATE);
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_3, LISTENING, SF_FLOW_PASS);
    sf_bpf_label(code, CANDIDATE);
}

/* Points IP and TCP to the two headers. */
static void read_headers(struct sf_bpf_code *code, int from_skb, int slice_of)
{
    sf_bpf_load(code, BPF_DW, BPF_REG_1, BPF_REG_1, CONTEXT_SKB);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_2, 0);
    address_of(code, BPF_REG_3, DYNPTR_AT);
    sf_bpf_call_kernel(code, from_skb);
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_0, 0, SF_FLOW_PASS);
    clear(code, HEADERS_AT, IP_SIZE + TCP_SIZE);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_2, 0);
    slice(code, slice_of, HEADERS_AT, IP_SIZE + TCP_SIZE);
    sf_bpf_alu(code, BPF_MOV, IP, BPF_REG_0);
    sf_bpf_load(code, BPF_B, BPF_REG_1, IP, PROTOCOL_AT);
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_1, IPPROTO_TCP, SF_FLOW_PASS);
    sf_bpf_alu(code, BPF_MOV, TCP, IP);
    sf_bpf_alu_value(code, BPF_ADD, TCP, IP_SIZE);
    sf_bpf_load(code, BPF_B, BPF_REG_2, IP, 0);
    sf_bpf_jump_if_value(code, BPF_JEQ, BPF_REG_2, 0x45, TCP_HEADER);
    sf_bpf_alu_value(code, BPF_AND, BPF_REG_2, 0x0f); /* IP options */
    sf_bpf_alu_value(code, BPF_LSH, BPF_REG_2, 2);
    clear(code, OPTIONS_AT, 24);
    slice(code, slice_of, OPTIONS_AT, TCP_SIZE);
    sf_bpf_alu(code, BPF_MOV, TCP, BPF_REG_0);
    sf_bpf_label(code, TCP_HEADER);
}

static void check_reset(struct sf_bpf_code *code)
{
    sf_bpf_load(code, BPF_B, BPF_REG_1, TCP, TCP_FLAGS_AT);
    sf_bpf_alu_value(code, BPF_AND, BPF_REG_1, TCP_RST | TCP_ACK);
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_1, TCP_RST, SF_FLOW_PASS);
    sf_bpf_load(code, BPF_H, BPF_REG_1, TCP, TCP_WINDOW_AT);
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_1, 0, SF_FLOW_PASS);
}

static void copy(struct sf_bpf_code *code, int size, int from, int at, int to)
{
    sf_bpf_load(code, size, BPF_REG_1, from, at);
    sf_bpf_store(code, size, FRAME_POINTER, to, BPF_REG_1);
}

/* The packet is sent, so its source is our local address. */
static void build_key(struct sf_bpf_code *code)
{
    copy(code, BPF_W, IP, SOURCE_AT, SF_FLOW_KEY(local_addr));
    copy(code, BPF_W, IP, DESTINATION_AT, SF_FLOW_KEY(remote_addr));
    copy(code, BPF_H, TCP, 0, SF_FLOW_KEY(local_port));
    copy(code, BPF_H, TCP, 2, SF_FLOW_KEY(remote_port));
    sf_bpf_store_value(code, BPF_W, FRAME_POINTER, SF_FLOW_KEY(protocol), IPPROTO_TCP);
    copy(code, BPF_DW, FRAME_POINTER, SF_FLOW_KEY(local_addr), RECORD(local_addr)); /* and the remote address */
    copy(code, BPF_W, FRAME_POINTER, SF_FLOW_KEY(local_port), RECORD(local_port));  /* and the remote port */
    copy(code, BPF_W, TCP, TCP_SEQUENCE_AT, RECORD(seq));
}

/* The kernel answers the segments of a connection that it keeps. */
static void check_flow(struct sf_bpf_code *code)
{
    sf_bpf_load(code, BPF_W, BPF_REG_1, BPF_REG_0, offsetof(struct sf_flow_value, kind));
    sf_bpf_jump_if_value(code, BPF_JEQ, BPF_REG_1, SF_FLOW_KIND_KERNEL, SF_FLOW_PASS);
}

/* Drops the reset even if the ring has no room for its record. */
static void keep(struct sf_bpf_code *code, int ring)
{
    sf_bpf_map(code, BPF_REG_1, ring);
    address_of(code, BPF_REG_2, RECORD_AT);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_3, sizeof(struct sf_kept_reset));
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_4, 0);
    sf_bpf_call(code, BPF_FUNC_ringbuf_output);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_0, DROP);
    sf_bpf_exit(code);
    sf_bpf_label(code, SF_FLOW_PASS);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_0, ACCEPT);
    sf_bpf_exit(code);
}

static int load(const struct sf_flow_program *flows, int ring)
{
    int from_skb = sf_btf_find_function("bpf_dynptr_from_skb"), slice_of = sf_btf_find_function("bpf_dynptr_slice");
    const struct sf_bpf_program_kind kind = {
        .name = PROGRAM_NAME,
        .type = (enum bpf_prog_type)SF_BPF_PROGRAM_NETFILTER,
        .attach_type = SF_BPF_NETFILTER,
    };
    char log[SF_BPF_LOG_SIZE];
    struct sf_bpf_code code;
    int fd = -EOPNOTSUPP;

    if (from_skb < 0 || slice_of < 0)
        return -EOPNOTSUPP;
    for (int quick = 1; quick >= 0 && fd < 0; quick--) {
        sf_bpf_begin(&code);
        if (quick)
            check_sender(&code);
        read_headers(&code, from_skb, slice_of);
        check_reset(&code);
        build_key(&code);
        sf_flow_find(&code, flows);
        check_flow(&code);
        keep(&code, ring);
        fd = sf_bpf_load_program(&code, &kind, log);
    }
    return fd;
}

/* ---- opening and reading ---- */

void sf_reset_guard_none(struct sf_reset_guard *g)
{
    sf_bpf_ring_none(&g->ring);
    g->link = -1;
}

int sf_reset_guard_take(struct sf_reset_guard *g, struct sf_kept_reset *out, int n)
{
    const struct sf_kept_reset *record;
    int got = 0;

    for (; got < n && (record = sf_bpf_ring_peek(&g->ring)); got++) {
        out[got] = *record;
        out[got].seq = ntohl(record->seq);
        sf_bpf_ring_skip(&g->ring);
    }
    sf_bpf_ring_free(&g->ring);
    return got;
}

int sf_reset_guard_open(struct sf_reset_guard *g, const struct sf_flow_program *flows)
{
    int program = -1, error;

    sf_reset_guard_none(g);
    error = sf_bpf_ring_open(&g->ring, PROGRAM_NAME, RING_BYTES);
    if (!error) {
        program = load(flows, g->ring.fd);
        error = program < 0 ? program : 0;
    }
    if (!error) {
        g->link = sf_bpf_attach_netfilter(program, IPV4_FAMILY, LOCAL_OUT, PRIORITY);
        error = g->link < 0 ? g->link : 0;
    }
    sf_close_descriptor(program); /* the link holds the program */
    if (error)
        sf_reset_guard_close(g);
    return error;
}

void sf_reset_guard_close(struct sf_reset_guard *g)
{
    sf_close_descriptor(g->link);
    sf_bpf_ring_close(&g->ring);
    sf_reset_guard_none(g);
}
