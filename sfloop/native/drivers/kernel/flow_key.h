/*
 * The part of the eBPF programs that reads a received frame's IPv4 header and makes the key of its flow. XDP reads the packet in
 * place, and a socket's filter reads copies on its stack, so both name where the header is.
 *
 * The program that the reset guard attaches is not among them: it looks up sent packets, whose source is the local address, and
 * gets its headers from the kernel.
 */
#ifndef SF_DRIVERS_KERNEL_FLOW_KEY_H
#define SF_DRIVERS_KERNEL_FLOW_KEY_H

#include "flow_match.h"

/* The register with the header's length and the one with its protocol. */
#define SF_FLOW_HEADER_LENGTH BPF_REG_3
#define SF_FLOW_PROTOCOL BPF_REG_5

/* The place of the IPv4 header: an offset from the pointer in the register `base`. */
struct sf_flow_header {
    int base, at;
};

/* Puts the header's length into SF_FLOW_HEADER_LENGTH. Goes to SF_FLOW_PASS if this is not IPv4. Changes register 4. */
void sf_flow_measure_header(struct sf_bpf_code *code, struct sf_flow_header header);

/* Puts the protocol into SF_FLOW_PROTOCOL. Goes to SF_FLOW_PASS with fragments and other protocols, and to SF_FLOW_PORTS with
 * TCP; continues after this code with UDP. Changes register 4. */
void sf_flow_check_protocol(struct sf_bpf_code *code, struct sf_flow_header header);

/* Places the label SF_FLOW_PORTS, and stores the protocol and the addresses in the key. Changes register 4. */
void sf_flow_store_addresses(struct sf_bpf_code *code, struct sf_flow_header header);

/* Stores the ports in the key. They are at this offset from the pointer in the register `base`. Changes register 4. */
void sf_flow_store_ports(struct sf_bpf_code *code, int base, int at);

#endif
