#include "flow_key.h"

#include <arpa/inet.h>
#include <netinet/in.h>

/* Offsets in the IPv4 header. */
#define FRAGMENT_AT 6
#define PROTOCOL_AT 9
#define SOURCE_AT 12
#define DESTINATION_AT 16

#define SCRATCH BPF_REG_4

/* Nearly every header has no options. */
void sf_flow_measure_header(struct sf_bpf_code *code, struct sf_flow_header header)
{
    const int length = SF_FLOW_HEADER_LENGTH;

    sf_bpf_load(code, BPF_B, length, header.base, header.at);
    sf_bpf_jump_if_value(code, BPF_JEQ, length, 0x45, SF_FLOW_PLAIN);
    sf_bpf_alu(code, BPF_MOV, SCRATCH, length);
    sf_bpf_alu_value(code, BPF_AND, SCRATCH, 0xf0);
    sf_bpf_jump_if_value(code, BPF_JNE, SCRATCH, 0x40, SF_FLOW_PASS);
    sf_bpf_alu_value(code, BPF_AND, length, 0x0f);
    sf_bpf_alu_value(code, BPF_LSH, length, 2);
    sf_bpf_jump_if_value(code, BPF_JLT, length, 20, SF_FLOW_PASS);
    sf_bpf_jump(code, SF_FLOW_MEASURED);
    sf_bpf_label(code, SF_FLOW_PLAIN);
    sf_bpf_alu_value(code, BPF_MOV, length, 20);
    sf_bpf_label(code, SF_FLOW_MEASURED);
}

/* Passes every fragment, including the first, because the kernel reassembles them for its own socket. */
void sf_flow_check_protocol(struct sf_bpf_code *code, struct sf_flow_header header)
{
    sf_bpf_load(code, BPF_H, SCRATCH, header.base, header.at + FRAGMENT_AT);
    sf_bpf_alu_value(code, BPF_AND, SCRATCH, htons(0x3fff));
    sf_bpf_jump_if_value(code, BPF_JNE, SCRATCH, 0, SF_FLOW_PASS);
    sf_bpf_load(code, BPF_B, SF_FLOW_PROTOCOL, header.base, header.at + PROTOCOL_AT);
    sf_bpf_jump_if_value(code, BPF_JEQ, SF_FLOW_PROTOCOL, IPPROTO_TCP, SF_FLOW_PORTS);
    sf_bpf_jump_if_value(code, BPF_JNE, SF_FLOW_PROTOCOL, IPPROTO_UDP, SF_FLOW_PASS);
}

/* The packet is received, so its destination is our local address. */
void sf_flow_store_addresses(struct sf_bpf_code *code, struct sf_flow_header header)
{
    sf_bpf_label(code, SF_FLOW_PORTS);
    sf_bpf_store(code, BPF_W, BPF_REG_10, SF_FLOW_KEY(protocol), SF_FLOW_PROTOCOL);
    sf_bpf_load(code, BPF_W, SCRATCH, header.base, header.at + DESTINATION_AT);
    sf_bpf_store(code, BPF_W, BPF_REG_10, SF_FLOW_KEY(local_addr), SCRATCH);
    sf_bpf_load(code, BPF_W, SCRATCH, header.base, header.at + SOURCE_AT);
    sf_bpf_store(code, BPF_W, BPF_REG_10, SF_FLOW_KEY(remote_addr), SCRATCH);
}

void sf_flow_store_ports(struct sf_bpf_code *code, int base, int at)
{
    sf_bpf_load(code, BPF_H, SCRATCH, base, at);
    sf_bpf_store(code, BPF_H, BPF_REG_10, SF_FLOW_KEY(remote_port), SCRATCH);
    sf_bpf_load(code, BPF_H, SCRATCH, base, at + 2);
    sf_bpf_store(code, BPF_H, BPF_REG_10, SF_FLOW_KEY(local_port), SCRATCH);
}
