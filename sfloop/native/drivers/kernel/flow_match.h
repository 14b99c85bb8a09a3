/*
 * The lookup of a flow in eBPF programs. The programs that select flows, for XDP and for packet sockets, build the key of a
 * received frame on their stack (flow_key.h) and let sf_flow_match() decide whether the frame is ours. The reset guard builds the
 * key of a sent reset and looks it up in the same way.
 */
#ifndef SF_DRIVERS_KERNEL_FLOW_MATCH_H
#define SF_DRIVERS_KERNEL_FLOW_MATCH_H

#include "bpf.h"
#include "flow_program.h"

/* The key's place on the program's stack, relative to the frame pointer. */
#define SF_FLOW_KEY_AT (-16)
#define SF_FLOW_KEY(field) (SF_FLOW_KEY_AT + (int)offsetof(struct sf_flow_map_key, field))

/* The labels that every program has. Its own labels follow. */
enum sf_flow_label {
    SF_FLOW_PASS, /* leave the frame to the kernel; the program places this label */
    SF_FLOW_PLAIN,
    SF_FLOW_MEASURED,
    SF_FLOW_PORTS,
    SF_FLOW_CONNECTED,
    SF_FLOW_UNCONNECTED,
    SF_FLOW_FOUND,
    SF_FLOW_COUNTER,
    SF_FLOW_OURS,
    SF_FLOW_LABELS,
};

/* The register with SF_FLOW_KIND_GROUP if the frame's MAC address is a group address, else 0. It survives calls. */
#define SF_FLOW_FRAME_KIND BPF_REG_9

/* Points register 0 to the flow's value: of the flow with all fields of the key, else without its remote side, else of any local
 * address. Goes to SF_FLOW_PASS if there is none. Changes the key and registers 1 to 5. */
void sf_flow_find(struct sf_bpf_code *code, const struct sf_flow_program *program);

/* Continues after this code if the frame is ours, else at SF_FLOW_PASS. Changes registers 0 to 5. */
void sf_flow_match(struct sf_bpf_code *code, const struct sf_flow_program *program);

#endif
