#define _GNU_SOURCE 1
#include "flow_program.h"

#include "bpf.h"
#include "btf.h"
#include "flow_key.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TAG_FUNCTION "bpf_xdp_metadata_rx_vlan_tag" /* since Linux 6.8 */

#define ETH_IPV4_SIZE (14 + 20)
#define TAG_SIZE 4
#define TCI_AT 14
#define TAGGED_TYPE_AT 16
#define VLAN_ID 0x0fff

/* Offsets in the packet from the Ethernet header. With a tag, they are relative to four bytes later. */
#define TYPE_AT 12
#define IPV4_AT 14
#define TOTAL_LENGTH_AT 16
#define PORTS_AT 14 /* plus the length of the IPv4 header */

/* On the program's stack, below the key: a tag that the NIC has removed, and the number of tags in the frame itself. */
#define ASIDE_TYPE_AT (-20)
#define ASIDE_TCI_AT (-18)
#define TAGS_AT (-24)

enum label { TAGGED = SF_FLOW_LABELS, IPV4, GROUP, ADDRESSED, UNTAGGED, OVERFLOW, LABELS = OVERFLOW + SF_OVERFLOW_LABELS };

_Static_assert(LABELS <= SF_BPF_LABELS, "more labels than there are");

enum {
    SCRATCH = BPF_REG_2,
    VALUE = BPF_REG_3,
    CONTEXT = BPF_REG_6, /* registers from here on survive calls */
    PACKET = BPF_REG_7,
    PACKET_END = BPF_REG_8,
    FRAME_KIND = SF_FLOW_FRAME_KIND,
    FRAME_POINTER = BPF_REG_10,
};

/* ---- the program ---- */

/* Goes to `label` if the packet is shorter than `bytes`. */
static void need(struct sf_bpf_code *code, int bytes, int label)
{
    sf_bpf_alu(code, BPF_MOV, SCRATCH, PACKET);
    sf_bpf_alu_value(code, BPF_ADD, SCRATCH, bytes);
    sf_bpf_jump_if(code, BPF_JGT, SCRATCH, PACKET_END, label);
}

/* Passes frames to other stations. Frames with a group address may be ours, because the interface accepted them. */
static void check_mac(struct sf_bpf_code *code, const struct sf_flow_program *program)
{
    sf_bpf_map_value(code, BPF_REG_4, program->config);
    sf_bpf_load(code, BPF_W, SCRATCH, PACKET, 0);
    sf_bpf_load(code, BPF_W, VALUE, BPF_REG_4, offsetof(struct sf_flow_config, mac));
    sf_bpf_alu_value(code, BPF_MOV, FRAME_KIND, 0);
    sf_bpf_jump_if(code, BPF_JNE, SCRATCH, VALUE, GROUP);
    sf_bpf_load(code, BPF_H, SCRATCH, PACKET, 4);
    sf_bpf_load(code, BPF_H, VALUE, BPF_REG_4, offsetof(struct sf_flow_config, mac) + 4);
    sf_bpf_jump_if(code, BPF_JEQ, SCRATCH, VALUE, ADDRESSED);
    sf_bpf_label(code, GROUP);
    sf_bpf_load(code, BPF_B, FRAME_KIND, PACKET, 0);
    sf_bpf_alu_value(code, BPF_AND, FRAME_KIND, SF_FLOW_KIND_GROUP);
    sf_bpf_jump_if_value(code, BPF_JEQ, FRAME_KIND, 0, SF_FLOW_PASS);
    sf_bpf_label(code, ADDRESSED);
}

/* Moves PACKET so that the offsets above hold. Passes frames of a VLAN or with two tags. A tag of VLAN 0 carries only a
 * priority. */
static void skip_tag(struct sf_bpf_code *code, bool sees_tags)
{
    if (sees_tags)
        sf_bpf_store_value(code, BPF_W, FRAME_POINTER, TAGS_AT, 0);
    sf_bpf_load(code, BPF_H, VALUE, PACKET, TYPE_AT);
    sf_bpf_jump_if_value(code, BPF_JEQ, VALUE, htons(ETH_P_IP), IPV4);
    sf_bpf_jump_if_value(code, BPF_JEQ, VALUE, htons(ETH_P_8021Q), TAGGED);
    sf_bpf_jump_if_value(code, BPF_JNE, VALUE, htons(ETH_P_8021AD), SF_FLOW_PASS);
    sf_bpf_label(code, TAGGED);
    sf_bpf_load(code, BPF_H, VALUE, PACKET, TCI_AT);
    sf_bpf_alu_value(code, BPF_AND, VALUE, htons(VLAN_ID));
    sf_bpf_jump_if_value(code, BPF_JNE, VALUE, 0, SF_FLOW_PASS);
    sf_bpf_load(code, BPF_H, VALUE, PACKET, TAGGED_TYPE_AT);
    sf_bpf_jump_if_value(code, BPF_JNE, VALUE, htons(ETH_P_IP), SF_FLOW_PASS);
    if (sees_tags)
        sf_bpf_store_value(code, BPF_W, FRAME_POINTER, TAGS_AT, 1);
    sf_bpf_alu_value(code, BPF_ADD, PACKET, TAG_SIZE);
    need(code, ETH_IPV4_SIZE, SF_FLOW_PASS);
    sf_bpf_label(code, IPV4);
}

static void leave_oversized(struct sf_bpf_code *code, uint32_t mtu)
{
    sf_bpf_load(code, BPF_H, BPF_REG_4, PACKET, TOTAL_LENGTH_AT);
    sf_bpf_from_network16(code, BPF_REG_4);
    sf_bpf_jump_if_value(code, BPF_JGT, BPF_REG_4, (int32_t)mtu, SF_FLOW_PASS);
}

/* Builds the key from the IPv4 header and the ports. */
static void build_key(struct sf_bpf_code *code, uint32_t mtu)
{
    const struct sf_flow_header header = {PACKET, IPV4_AT};

    sf_flow_measure_header(code, header);
    sf_flow_check_protocol(code, header);
    leave_oversized(code, mtu);
    sf_flow_store_addresses(code, header);
    sf_bpf_alu(code, BPF_ADD, PACKET, SF_FLOW_HEADER_LENGTH);
    need(code, PORTS_AT + 4, SF_FLOW_PASS);
    sf_flow_store_ports(code, PACKET, PORTS_AT);
}

/* Checked last, so that frames of other flows do not pay for it. */
static void check_tag_aside(struct sf_bpf_code *code, int function)
{
    sf_bpf_store_value(code, BPF_W, FRAME_POINTER, ASIDE_TYPE_AT, 0);
    sf_bpf_alu(code, BPF_MOV, BPF_REG_1, CONTEXT);
    sf_bpf_alu(code, BPF_MOV, BPF_REG_2, FRAME_POINTER);
    sf_bpf_alu_value(code, BPF_ADD, BPF_REG_2, ASIDE_TYPE_AT);
    sf_bpf_alu(code, BPF_MOV, BPF_REG_3, FRAME_POINTER);
    sf_bpf_alu_value(code, BPF_ADD, BPF_REG_3, ASIDE_TCI_AT);
    sf_bpf_call_kernel(code, function);
    sf_bpf_jump_if_int(code, BPF_JNE, BPF_REG_0, 0, UNTAGGED);
    sf_bpf_load(code, BPF_H, BPF_REG_1, FRAME_POINTER, ASIDE_TCI_AT); /* in host byte order */
    sf_bpf_alu_value(code, BPF_AND, BPF_REG_1, VLAN_ID);
    sf_bpf_load(code, BPF_W, BPF_REG_2, FRAME_POINTER, TAGS_AT);
    sf_bpf_alu(code, BPF_OR, BPF_REG_1, BPF_REG_2);
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_1, 0, SF_FLOW_PASS);
    sf_bpf_label(code, UNTAGGED);
}

static void redirect(struct sf_bpf_code *code, int sockets)
{
    sf_bpf_load(code, BPF_W, BPF_REG_2, CONTEXT, offsetof(struct xdp_md, rx_queue_index));
    sf_bpf_map(code, BPF_REG_1, sockets);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_3, XDP_PASS); /* returned if the queue has no socket */
    sf_bpf_call(code, BPF_FUNC_redirect_map);
    sf_bpf_exit(code);
    sf_bpf_label(code, SF_FLOW_PASS);
    sf_bpf_alu_value(code, BPF_MOV, BPF_REG_0, XDP_PASS);
    sf_bpf_exit(code);
}

static void overflow(struct sf_bpf_code *code, const struct sf_flow_limits *limits)
{
    const struct sf_overflow_program program = {
        .context = CONTEXT,
        .protocol_at = SF_FLOW_KEY(protocol),
        .first_label = OVERFLOW,
        .mtu = limits->mtu,
        .many_cpus = limits->many_cpus,
    };

    sf_overflow_write(code, limits->overflow, &program);
}

/* Parts of a program that some kernels refuse. */
struct extras {
    int tag_function; /* id of a kfunc; 0: none */
    bool overflow;
};

static void write_program(struct sf_bpf_code *code, const struct sf_flow_program *program, const struct sf_flow_limits *limits,
                          const struct extras *extras)
{
    sf_bpf_begin(code);
    sf_bpf_alu(code, BPF_MOV, CONTEXT, BPF_REG_1);
    sf_bpf_load(code, BPF_W, PACKET, CONTEXT, offsetof(struct xdp_md, data));
    sf_bpf_load(code, BPF_W, PACKET_END, CONTEXT, offsetof(struct xdp_md, data_end));
    need(code, ETH_IPV4_SIZE, SF_FLOW_PASS);
    check_mac(code, program);
    skip_tag(code, extras->tag_function != 0);
    build_key(code, limits->mtu);
    sf_flow_match(code, program);
    if (extras->tag_function)
        check_tag_aside(code, extras->tag_function);
    if (extras->overflow)
        overflow(code, limits);
    redirect(code, program->sockets);
}

/* ---- loading and attaching ---- */

static const char *hint(int error)
{
    switch (error) {
    case -EPERM:
        return "it needs the capabilities CAP_BPF and CAP_NET_ADMIN; run as root, or grant them with setcap or the service's "
               "AmbientCapabilities=";
    case -ENOMEM:
        return "there is no memory; on kernels before 5.11, raise the limit on locked memory (ulimit -l)";
    case -ENOSYS:
        return "this kernel is built without bpf(2) (CONFIG_BPF_SYSCALL)";
    default:
        return strerror(-error);
    }
}

static int load(const struct sf_flow_program *program, const struct sf_flow_limits *limits, const struct extras *extras, char *log)
{
    const struct sf_bpf_program_kind kind = {
        .name = SF_FLOW_PROGRAM_NAME,
        .type = BPF_PROG_TYPE_XDP,
        .flags = (limits->pieces ? BPF_F_XDP_HAS_FRAGS : 0) | (extras->tag_function ? BPF_F_XDP_DEV_BOUND_ONLY : 0),
        .ifindex = extras->tag_function ? limits->tag_source : 0,
    };
    struct sf_bpf_code code;

    write_program(&code, program, limits, extras);
    return sf_bpf_load_program(&code, &kind, log);
}

static void explain_load(int error, const char *log, char *message)
{
    size_t length = strlen(log);

    if (length) /* the verifier's reason is at the end of its log */
        snprintf(message, SF_DRIVER_ERROR_SIZE, "The kernel refuses the XDP program that selects flows: ...%s",
                 log + (length > 150 ? length - 150 : 0));
    else
        snprintf(message, SF_DRIVER_ERROR_SIZE, "Cannot load the XDP program that picks out flows: %s", hint(error));
}

/* Returns a descriptor of the new program, or a negative errno. If the kernel refuses the program, tries without the overflow
 * first, then without the tags. */
static int load_any(struct sf_flow_program *program, const struct sf_flow_limits *limits, char *message)
{
    int function = limits->tag_source ? sf_btf_find_function(TAG_FUNCTION) : 0, fd = -ENOENT;
    char log[SF_BPF_LOG_SIZE];

    for (int tags = function > 0; tags >= 0 && fd < 0; tags--)
        for (int overflow = limits->overflow != NULL; overflow >= 0 && fd < 0; overflow--) {
            const struct extras extras = {tags ? function : 0, overflow};

            fd = load(program, limits, &extras, log);
            program->sees_tags = tags;
            program->overflows = overflow;
        }
    if (fd < 0)
        explain_load(fd, log, message);
    return fd;
}

int sf_flow_program_load(struct sf_flow_program *program, const struct sf_flow_limits *limits, char *message)
{
    int fd = program->link >= 0 ? -EBUSY : load_any(program, limits, message);

    if (fd < 0)
        return fd;
    if (program->program >= 0)
        close(program->program);
    program->program = fd;
    return 0;
}

int sf_flow_program_reload(struct sf_flow_program *program, const struct sf_flow_limits *limits)
{
    bool saw_tags = program->sees_tags, overflowed = program->overflows;
    char message[SF_DRIVER_ERROR_SIZE];
    int error, fd = load_any(program, limits, message);

    if (fd < 0 || program->sees_tags != saw_tags || program->overflows != overflowed)
        error = fd < 0 ? fd : -EOPNOTSUPP;
    else
        error = sf_bpf_update_link(program->link, fd);
    program->sees_tags = saw_tags;
    program->overflows = overflowed;
    if (error) {
        if (fd >= 0)
            close(fd);
        return error;
    }
    close(program->program);
    program->program = fd;
    return 0;
}

int sf_flow_program_open(struct sf_flow_program *program, uint32_t queues, char *message)
{
    const struct sf_bpf_map_kind sockets = {
        "sfloop_sockets", BPF_MAP_TYPE_XSKMAP, sizeof(uint32_t), sizeof(uint32_t), queues, 0,
    };
    int error = sf_flow_program_make_maps(program);

    if (!error) {
        program->sockets = sf_bpf_create_map(&sockets);
        error = program->sockets < 0 ? program->sockets : 0;
    }
    if (error) {
        snprintf(message, SF_DRIVER_ERROR_SIZE, "Cannot make the map of flows: %s", hint(error));
        sf_flow_program_close(program);
    }
    return error;
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

void sf_flow_program_detach(struct sf_flow_program *program)
{
    if (program->link >= 0)
        close(program->link);
    program->link = -1;
}

int sf_flow_program_set_socket(const struct sf_flow_program *program, uint32_t queue, int fd)
{
    return sf_bpf_update(program->sockets, &queue, &fd, BPF_ANY);
}
