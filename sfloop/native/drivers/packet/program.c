#define _GNU_SOURCE 1
#include "program.h"

#include "drivers/kernel/bpf.h"
#include "drivers/kernel/flow_key.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* On the program's stack, below the key: the type field of the Ethernet header, the IPv4 header without options, and the
 * ports. They are copies, because a socket's program may not read a packet in place. */
#define IPV4_AT (-40)
#define TYPE_AT (IPV4_AT - 2)
#define PORTS_AT (-48)
#define VLAN_ID 0x0fff

#define TCX_NEXT (-1)
#define TCX_DROP 2
#define WHOLE_FRAME (-1)

enum label { ADDRESSED = SF_FLOW_LABELS, DECIDED, NO_ENTRY, OVERFLOW, LABELS = OVERFLOW + SF_OVERFLOW_LABELS };

_Static_assert(LABELS <= SF_BPF_LABELS, "more labels than there are");

enum {
    SCRATCH = BPF_REG_2,
    CONTEXT = BPF_REG_6, /* registers from here on survive calls */
    MATCHES = BPF_REG_7,
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

/* Copies `size` bytes of the packet to the stack at `to`. Register 2 holds the offset in the packet. */
static void copy_bytes(struct sf_bpf_code *code, int to, int size)
{
    sf_bpf_alu(code, BPF_MOV, BPF_REG_1, CONTEXT);
    sf_bpf_alu(code, BPF_MOV, BPF_REG_3, FRAME_POINTER);
    sf_bpf_alu_value(code, BPF_ADD, BPF_REG_3, to);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_4, size);
    sf_bpf_call(code, BPF_FUNC_skb_load_bytes);
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_0, 0, SF_FLOW_PASS); /* the packet is shorter */
}

/* Passes outgoing frames, looped-back frames and frames to other stations. The kernel has compared the MAC address already. */
static void check_mac(struct sf_bpf_code *code)
{
    sf_bpf_alu_value(code, BPF_MOV, FRAME_KIND, 0);
    load_context(code, SCRATCH, offsetof(struct __sk_buff, pkt_type));
    sf_bpf_jump_if_value(code, BPF_JEQ, SCRATCH, PACKET_HOST, ADDRESSED);
    sf_bpf_jump_if_value(code, BPF_JGT, SCRATCH, PACKET_MULTICAST, SF_FLOW_PASS); /* PACKET_BROADCAST lies between */
    sf_bpf_alu_value(code, BPF_MOV, FRAME_KIND, SF_FLOW_KIND_GROUP);
    sf_bpf_label(code, ADDRESSED);
}

/* Passes frames of a VLAN. The kernel has taken the first tag out of the packet. VLAN 0 carries only a priority. A second tag
 * is not ours. */
static void read_ipv4(struct sf_bpf_code *code)
{
    load_context(code, SCRATCH, offsetof(struct __sk_buff, vlan_tci)); /* 0 without a tag */
    sf_bpf_alu_value(code, BPF_AND, SCRATCH, VLAN_ID);
    sf_bpf_jump_if_value(code, BPF_JNE, SCRATCH, 0, SF_FLOW_PASS);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_2, ETH_HLEN - 2);
    copy_bytes(code, TYPE_AT, 22);
    load_stack(code, BPF_H, SCRATCH, TYPE_AT);
    sf_bpf_jump_if_value(code, BPF_JNE, SCRATCH, htons(ETH_P_IP), SF_FLOW_PASS);
}

static void leave_batch(struct sf_bpf_code *code)
{
    load_context(code, SCRATCH, offsetof(struct __sk_buff, gso_size));
    sf_bpf_jump_if_value(code, BPF_JNE, SCRATCH, 0, SF_FLOW_PASS);
}

static void build_key(struct sf_bpf_code *code)
{
    const struct sf_flow_header header = {FRAME_POINTER, IPV4_AT};

    sf_flow_measure_header(code, header);
    sf_flow_check_protocol(code, header);
    leave_batch(code);
    sf_flow_store_addresses(code, header);
    sf_bpf_alu(code, BPF_MOV, BPF_REG_2, SF_FLOW_HEADER_LENGTH);
    sf_bpf_alu_value(code, BPF_ADD, BPF_REG_2, ETH_HLEN);
    copy_bytes(code, PORTS_AT, 4);
    sf_flow_store_ports(code, FRAME_POINTER, PORTS_AT);
}

/* Sets MATCHES to 1 if the frame is ours, else to 0. */
static void decide(struct sf_bpf_code *code, const struct sf_flow_program *flow)
{
    sf_bpf_alu_value(code, BPF_MOV, MATCHES, 0);
    check_mac(code);
    read_ipv4(code);
    build_key(code);
    sf_flow_match(code, flow);
    sf_bpf_alu_value(code, BPF_MOV, MATCHES, 1);
    sf_bpf_label(code, SF_FLOW_PASS);
}

/* Points register 0 to this CPU's decision. Reuses the flow key's place for the map's key, which is 0. */
static void find_decision(struct sf_bpf_code *code, int decisions)
{
    sf_bpf_store_value(code, BPF_W, FRAME_POINTER, SF_FLOW_KEY_AT, 0);
    sf_bpf_map(code, BPF_REG_1, decisions);
    sf_bpf_alu(code, BPF_MOV, BPF_REG_2, FRAME_POINTER);
    sf_bpf_alu_value(code, BPF_ADD, BPF_REG_2, SF_FLOW_KEY_AT);
    sf_bpf_call(code, BPF_FUNC_map_lookup_elem);
    sf_bpf_jump_if_value(code, BPF_JEQ, BPF_REG_0, 0, NO_ENTRY); /* never happens, but the verifier requires the check */
}

/* Ends the program for a datagram that went to the overflow or was lost. The code after this handles a frame that enters the ring. */
static void overflow(struct sf_bpf_code *code, const struct sf_packet_program *program)
{
    const struct sf_overflow_program part = {
        .is_filter = true,
        .context = CONTEXT,
        .protocol_at = SF_FLOW_KEY(protocol),
        .first_label = OVERFLOW,
        .mtu = program->mtu,
        .many_cpus = true,
    };

    sf_overflow_write(code, program->overflow, &part);
}

/* Lets matches into the ring, or every frame if `everything`. */
static void write_filter(struct sf_bpf_code *code, const struct sf_packet_program *program, bool everything)
{
    sf_bpf_begin(code);
    sf_bpf_alu(code, BPF_MOV, CONTEXT, BPF_REG_1);
    decide(code, &program->flow);
    if (program->decisions >= 0) {
        find_decision(code, program->decisions);
        sf_bpf_store(code, BPF_W, BPF_REG_0, 0, MATCHES);
        sf_bpf_label(code, NO_ENTRY);
    }
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_0, 0);
    if (!everything)
        sf_bpf_jump_if_value(code, BPF_JEQ, MATCHES, 0, DECIDED);
    if (!everything && program->overflow)
        overflow(code, program);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_0, WHOLE_FRAME);
    sf_bpf_label(code, DECIDED);
    sf_bpf_exit(code);
}

/* Reads and resets the decision, so that a frame which the filter has not seen goes to the kernel. */
static void write_tcx(struct sf_bpf_code *code, const struct sf_packet_program *program)
{
    sf_bpf_begin(code);
    find_decision(code, program->decisions);
    sf_bpf_load(code, BPF_W, MATCHES, BPF_REG_0, 0);
    sf_bpf_store_value(code, BPF_W, BPF_REG_0, 0, 0);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_0, TCX_DROP);
    sf_bpf_jump_if_value(code, BPF_JNE, MATCHES, 0, DECIDED);
    sf_bpf_label(code, NO_ENTRY);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_0, TCX_NEXT);
    sf_bpf_label(code, DECIDED);
    sf_bpf_exit(code);
}

/* ---- making and attaching ---- */

static void explain(const char *what, int error, const char *log, char *message)
{
    size_t length = strlen(log);

    if (error == -EPERM)
        snprintf(message, SF_DRIVER_ERROR_SIZE,
                 "Cannot create %s without the capabilities CAP_BPF and CAP_NET_ADMIN; run as root, or grant them with "
                 "setcap or the service's AmbientCapabilities=", what);
    else if (length) /* the verifier's reason is at the end of its log */
        snprintf(message, SF_DRIVER_ERROR_SIZE, "The kernel refuses %s: ...%s", what,
                 log + (length > 150 ? length - 150 : 0));
    else
        snprintf(message, SF_DRIVER_ERROR_SIZE, "Cannot create %s: %s", what, strerror(-error));
}

static int make_decisions(struct sf_packet_program *program, char *message)
{
    const struct sf_bpf_map_kind kind = {
        "sfloop_decision", BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(uint32_t), sizeof(uint32_t), 1, 0,
    };

    program->decisions = sf_bpf_create_map(&kind);
    if (program->decisions >= 0)
        return 0;
    explain("the map of decisions", program->decisions, "", message);
    return program->decisions;
}

enum purpose { FILTER, FILTER_NOTHING, TCX };

static int load(const struct sf_packet_program *program, enum purpose purpose, int *fd, char *message)
{
    const struct sf_bpf_program_kind kind = {
        .name = SF_FLOW_PROGRAM_NAME,
        .type = purpose == TCX ? BPF_PROG_TYPE_SCHED_CLS : BPF_PROG_TYPE_SOCKET_FILTER,
    };
    char log[SF_BPF_LOG_SIZE];
    struct sf_bpf_code code;

    if (purpose == TCX)
        write_tcx(&code, program);
    else
        write_filter(&code, program, purpose == FILTER_NOTHING);
    *fd = sf_bpf_load_program(&code, &kind, log);
    if (*fd >= 0)
        return 0;
    explain(purpose == TCX ? "the tcx program that keeps flows from the kernel" : "the packet socket's filter of flows", *fd, log,
            message);
    return *fd;
}

static int load_filter(struct sf_packet_program *program, char *message)
{
    int error = load(program, FILTER, &program->filter, message);

    if (!error || !program->overflow)
        return error;
    program->overflow = NULL;
    return load(program, FILTER, &program->filter, message);
}

int sf_packet_program_open(struct sf_packet_program *program, const struct sf_packet_program_kind *kind, char *message)
{
    bool tcx = kind->tcx;
    int error;

    *program = SF_PACKET_PROGRAM_NONE;
    program->overflow = kind->overflow;
    program->mtu = kind->mtu;
    error = sf_flow_program_make_maps(&program->flow);
    if (error)
        explain("the map of flows", error, "", message);
    if (!error && tcx)
        error = make_decisions(program, message);
    if (!error && tcx)
        error = load(program, TCX, &program->flow.program, message);
    if (!error)
        error = load_filter(program, message);
    if (error)
        sf_packet_program_close(program);
    return error;
}

static int set_filter(int socket, int filter)
{
    return setsockopt(socket, SOL_SOCKET, SO_ATTACH_BPF, &filter, sizeof(filter)) < 0 ? -errno : 0;
}

int sf_packet_program_filter(struct sf_packet_program *program, int fd)
{
    return set_filter(fd, program->filter);
}

/* The socket holds the program after its descriptor is closed. */
int sf_packet_program_filter_nothing(const struct sf_packet_program *program, int fd)
{
    char message[SF_DRIVER_ERROR_SIZE];
    int filter, error = load(program, FILTER_NOTHING, &filter, message);

    if (error)
        return error;
    error = set_filter(fd, filter);
    close(filter);
    return error;
}

void sf_packet_program_close(struct sf_packet_program *program)
{
    if (program->filter >= 0)
        close(program->filter);
    program->filter = -1;
    if (program->decisions >= 0)
        close(program->decisions);
    program->decisions = -1;
    sf_flow_program_close(&program->flow);
}
