/*
 * The end of the eBPF programs that pick out flows, the same for XDP, the packet socket and tcx: from the key on the program's stack
 * to the decision whether the frame is ours.
 */
#ifndef SF_DRIVERS_KERNEL_FLOW_MATCH_H
#define SF_DRIVERS_KERNEL_FLOW_MATCH_H

#include "bpf.h"
#include "flow_program.h"

/* The key is built on the program's stack, below the frame pointer. */
#define SF_FLOW_KEY_AT (-16)
#define SF_FLOW_KEY(field) (SF_FLOW_KEY_AT + (int)offsetof(struct sf_flow_key, field))

/* The labels of every program; its own follow. */
enum sf_flow_label {
    SF_FLOW_PASS, /* the kernel's: the program places it */
    SF_FLOW_CONNECTED,
    SF_FLOW_UNCONNECTED,
    SF_FLOW_FOUND,
    SF_FLOW_COUNTER,
    SF_FLOW_OURS,
    SF_FLOW_LABELS,
};

/* SF_FLOW_KIND_GROUP if the frame's MAC address is a group's, else 0. Survives calls. */
#define SF_FLOW_FRAME_KIND BPF_REG_9

/* Goes on behind this when the frame is ours, and to SF_FLOW_PASS when it is not. Spoils registers 0 to 5. */
void sf_flow_match(struct sf_bpf_code *code, const struct sf_flow_program *program);

#endif
