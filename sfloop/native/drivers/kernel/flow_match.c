#include "flow_match.h"

#include <netinet/in.h>
#include <stddef.h>

static void look_up(struct sf_bpf_code *code, const struct sf_flow_program *program)
{
    sf_bpf_map(code, BPF_REG_1, program->flows);
    sf_bpf_alu(code, BPF_MOV, BPF_REG_2, BPF_REG_10);
    sf_bpf_alu_value(code, BPF_ADD, BPF_REG_2, SF_FLOW_KEY_AT);
    sf_bpf_call(code, BPF_FUNC_map_lookup_elem);
}

/* Looks for the flow of a connected socket first. Skips this for UDP while no UDP socket is connected, to save time for feeds. */
static void find_connected(struct sf_bpf_code *code, const struct sf_flow_program *program)
{
    sf_bpf_load(code, BPF_W, BPF_REG_1, BPF_REG_10, SF_FLOW_KEY(protocol));
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_1, IPPROTO_UDP, SF_FLOW_CONNECTED);
    sf_bpf_map_value(code, BPF_REG_1, program->config);
    sf_bpf_load(code, BPF_W, BPF_REG_1, BPF_REG_1, offsetof(struct sf_flow_config, connected));
    sf_bpf_jump_if_value(code, BPF_JEQ, BPF_REG_1, 0, SF_FLOW_UNCONNECTED);
    sf_bpf_label(code, SF_FLOW_CONNECTED);
    look_up(code, program);
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_0, 0, SF_FLOW_FOUND);
    sf_bpf_label(code, SF_FLOW_UNCONNECTED);
}

void sf_flow_find(struct sf_bpf_code *code, const struct sf_flow_program *program)
{
    find_connected(code, program);
    sf_bpf_store_value(code, BPF_W, BPF_REG_10, SF_FLOW_KEY(remote_addr), 0);
    sf_bpf_store_value(code, BPF_H, BPF_REG_10, SF_FLOW_KEY(remote_port), 0);
    look_up(code, program);
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_0, 0, SF_FLOW_FOUND);
    sf_bpf_map_value(code, BPF_REG_1, program->config);
    sf_bpf_load(code, BPF_H, BPF_REG_1, BPF_REG_1, offsetof(struct sf_flow_config, any_address));
    sf_bpf_jump_if_value(code, BPF_JEQ, BPF_REG_1, 0, SF_FLOW_PASS);
    sf_bpf_store_value(code, BPF_W, BPF_REG_10, SF_FLOW_KEY(local_addr), 0);
    look_up(code, program);
    sf_bpf_jump_if_value(code, BPF_JEQ, BPF_REG_0, 0, SF_FLOW_PASS);
    sf_bpf_label(code, SF_FLOW_FOUND);
}

/* An unwatched flow of the frame's kind takes two instructions. No frame has SF_FLOW_KIND_KERNEL, so such a flow never
 * matches. */
static void check(struct sf_bpf_code *code, const struct sf_flow_program *program)
{
    sf_bpf_load(code, BPF_W, BPF_REG_1, BPF_REG_0, offsetof(struct sf_flow_value, kind));
    sf_bpf_jump_if(code, BPF_JEQ, BPF_REG_1, SF_FLOW_FRAME_KIND, SF_FLOW_OURS);
    sf_bpf_alu(code, BPF_XOR, BPF_REG_1, SF_FLOW_FRAME_KIND);
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_1, SF_FLOW_KIND_WATCHED, SF_FLOW_PASS);
    sf_bpf_map_value(code, BPF_REG_1, program->config);
    sf_bpf_load(code, BPF_W, BPF_REG_2, BPF_REG_10, SF_FLOW_KEY(protocol));
    sf_bpf_jump_if_value(code, BPF_JNE, BPF_REG_2, IPPROTO_TCP, SF_FLOW_COUNTER);
    sf_bpf_alu_value(code, BPF_ADD, BPF_REG_1, 4);
    sf_bpf_label(code, SF_FLOW_COUNTER);
    sf_bpf_load(code, BPF_W, BPF_REG_2, BPF_REG_1, offsetof(struct sf_flow_config, changes));
    sf_bpf_load(code, BPF_W, BPF_REG_1, BPF_REG_0, offsetof(struct sf_flow_value, changes));
    sf_bpf_jump_if(code, BPF_JNE, BPF_REG_1, BPF_REG_2, SF_FLOW_PASS);
    sf_bpf_label(code, SF_FLOW_OURS);
}

void sf_flow_match(struct sf_bpf_code *code, const struct sf_flow_program *program)
{
    sf_flow_find(code, program);
    check(code, program);
}
