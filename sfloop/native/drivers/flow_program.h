/*
 * The map of registered flows, and the XDP program that takes them out of an interface's traffic: IPv4 with options, after at
 * most one VLAN tag, UDP and TCP. What matches goes to the AF_XDP socket of the receive queue it came by, or to the kernel
 * while there is none; fragments and all else stay with the kernel.
 */
#ifndef SF_DRIVERS_FLOW_PROGRAM_H
#define SF_DRIVERS_FLOW_PROGRAM_H

#include "sf/driver.h"

/* As `bpftool prog` shows it, and as others find out whose program holds an interface. */
#define SF_FLOW_PROGRAM_NAME "sfloop_flows"

enum sf_flow_hook { SF_FLOW_XDP, SF_FLOW_TCX };

/* The map's key: a frame is looked up with all fields, then with the remote side zero, then with the local address zero, too. */
struct sf_flow_key {
    uint32_t local_addr, remote_addr;
    uint16_t local_port, remote_port;
    uint32_t protocol;
};

/* File descriptors; -1: none. */
struct sf_flow_program {
    int flows;   /* the map of flows */
    int sockets; /* XDP: the map of receive queue → AF_XDP socket */
    int program;
    int link;
};

struct sf_flow_limits {
    uint32_t queues; /* receive queues */
    /*
     * UDP in longer IP packets stays with the kernel. A sender on this machine may hand over several datagrams as one
     * (segmentation offload), which in SKB mode are not taken apart before the program; those whose sum is within the MTU it
     * cannot tell from one datagram.
     */
    uint32_t mtu;
    bool pieces; /* frames in several buffers are taken */
};

/*
 * Makes the maps and loads the XDP program. On failure nothing is left, and `message` (SF_DRIVER_ERROR_SIZE bytes) says what
 * is missing.
 */
int sf_flow_program_open(struct sf_flow_program *program, const struct sf_flow_limits *limits, char *message);

/* Loads it anew, to take frames in several buffers. -EBUSY: it is attached; on failure the one that was loaded stays. */
int sf_flow_program_take_pieces(struct sf_flow_program *program, const struct sf_flow_limits *limits);

/* The map alone: a descriptor or a negative errno. Values are 32 bits that mean nothing. */
int sf_flow_map_create(void);

/* Puts the program in its place on the interface, `xdp_flags`: XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE; tcx: 0. No message. */
int sf_flow_program_attach(struct sf_flow_program *program, enum sf_flow_hook hook, int ifindex, uint32_t xdp_flags);

void sf_flow_program_detach(struct sf_flow_program *program);
/* XDP: matches that come by the queue go to this AF_XDP socket, for as long as it lives. */
int sf_flow_program_set_socket(const struct sf_flow_program *program, uint32_t queue, int fd);

/* -EEXIST, -ENOSPC, -ENOENT, -EINVAL (no port), -EOPNOTSUPP (a remote side without a local address; other protocols). */
int sf_flow_program_add(const struct sf_flow_program *program, const struct sf_flow *flow);
int sf_flow_program_del(const struct sf_flow_program *program, const struct sf_flow *flow);

/* Takes the program off the interface, too. */
void sf_flow_program_close(struct sf_flow_program *program);

#endif
