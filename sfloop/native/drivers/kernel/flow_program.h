/*
 * The map of registered flows, and the XDP program that takes them out of an interface's traffic: IPv4 with options, UDP and TCP.
 * A match goes to the AF_XDP socket of the receive queue it came by, or to the kernel while the queue has no socket.
 *
 * These frames are left to the kernel: fragments; frames of a VLAN other than 0, or with two tags; a frame to another station's MAC
 * address, and one whose MAC and IP addresses disagree about being a group's (RFC 1122, 3.3.6); and those of a flow that is watched
 * (SF_FLOW_WATCHED), from the moment that a program binds a socket to its port until sf_flow_program_renew().
 */
#ifndef SF_DRIVERS_KERNEL_FLOW_PROGRAM_H
#define SF_DRIVERS_KERNEL_FLOW_PROGRAM_H

#include "port_watch.h"
#include "sf/driver.h"
#include "xdp_overflow.h"

/* As `bpftool prog` shows it, and as others find out whose program holds an interface. */
#define SF_FLOW_PROGRAM_NAME "sfloop_flows"

enum sf_flow_hook { SF_FLOW_XDP, SF_FLOW_TCX };

/* The map's key: a frame is looked up with all fields, then with the remote side zero, then with the local address zero, too. */
struct sf_flow_key {
    uint32_t local_addr, remote_addr;
    uint16_t local_port, remote_port;
    uint32_t protocol;
};

enum sf_flow_kind {
    SF_FLOW_KIND_GROUP = 1,   /* the local address is a multicast or a broadcast address */
    SF_FLOW_KIND_WATCHED = 2, /* ours only while `changes` is that of the protocol */
    SF_FLOW_KIND_KERNEL = 4,  /* never ours; no other bit is set */
};

struct sf_flow_value {
    uint32_t kind;
    uint32_t changes;
};

/* The programs and the driver share this memory, the one element of an array map. */
struct sf_flow_config {
    uint32_t changes[2];  /* sockets that were bound to watched ports: UDP, TCP */
    uint8_t mac[6];       /* the interface's */
    uint16_t any_address; /* not 0: there are flows whose local address is 0 */
    uint32_t connected;   /* not 0: there are UDP flows with a remote side */
};

/* The place in `changes` of the protocol's count. */
#define SF_FLOW_CHANGES(protocol) ((protocol) == 6 /* IPPROTO_TCP */ ? 1 : 0)

/* File descriptors; -1: none. */
struct sf_flow_program {
    int flows;   /* the map of flows */
    int config;  /* the map of one sf_flow_config */
    int sockets; /* XDP: the map of receive queue → AF_XDP socket */
    int program;
    int link;
    struct sf_flow_config *shared; /* the config map's element; NULL: not mapped */
    uint32_t any_address;          /* flows whose local address is 0 */
    uint32_t connected;            /* UDP flows with a remote side */
    bool sees_tags;                /* XDP: the loaded program sees VLAN tags that the NIC keeps aside */
    bool overflows;                /* XDP: the loaded program uses limits->overflow */
    struct sf_port_watch ports;
};

#define SF_FLOW_PROGRAM_NONE ((struct sf_flow_program){-1, -1, -1, -1, -1, NULL, 0, 0, false, false, SF_PORT_WATCH_NONE})

struct sf_flow_limits {
    /*
     * UDP in longer IP packets stays with the kernel. A sender on this machine may hand over several datagrams as one
     * (segmentation offload), which are not taken apart before the program where it takes pieces; those whose sum is within the MTU
     * it cannot tell from one datagram.
     */
    uint32_t mtu;
    bool pieces;    /* frames in several buffers are taken */
    int tag_source; /* native mode: the index of an interface whose driver tells VLAN tags that it keeps aside; 0: it does not */
    bool many_cpus; /* skb mode: several CPUs may run the program for one queue at the same time */
    /* Where datagrams wait while their socket is full. NULL: nowhere. */
    const struct sf_overflow *overflow;
};

/* ---- the maps: flow_map.c ---- */

/*
 * Makes the map of flows and the config, and watches ports if the kernel lets us. A negative errno, and nothing is left.
 */
int sf_flow_program_make_maps(struct sf_flow_program *program);
/* Frames to that address are this interface's. */
void sf_flow_program_set_mac(struct sf_flow_program *program, const uint8_t mac[6]);

/*
 * add: -EEXIST, -ENOSPC. del and renew: -ENOENT. All of them: -EINVAL (no port), -EOPNOTSUPP (a remote side without a local address;
 * other protocols).
 */
int sf_flow_program_add(struct sf_flow_program *program, const struct sf_flow *flow);
int sf_flow_program_del(struct sf_flow_program *program, const struct sf_flow *flow);
int sf_flow_program_renew(const struct sf_flow_program *program, const struct sf_flow *flow);

/* As watch_port and port_changes of sf/driver.h. -EOPNOTSUPP: ports are not watched, see sf_flow_program_sees_ports(). */
int sf_flow_program_watch(const struct sf_flow_program *program, uint8_t protocol, uint16_t port, bool on);
uint32_t sf_flow_program_changes(const struct sf_flow_program *program, uint8_t protocol);
bool sf_flow_program_sees_ports(const struct sf_flow_program *program);

/* Takes the program off the interface, too. In a forked child it closes the child's copies and leaves the program where it is. */
void sf_flow_program_close(struct sf_flow_program *program);

/* ---- the program: flow_program.c ---- */

/*
 * Makes the maps for that many receive queues, and loads no program yet. On failure nothing is left, and `message`
 * (SF_DRIVER_ERROR_SIZE bytes) says what is missing; so with sf_flow_program_load().
 */
int sf_flow_program_open(struct sf_flow_program *program, uint32_t queues, char *message);

/*
 * Loads the XDP program, in place of one that is loaded. -EBUSY: that one is attached. Where the kernel refuses a program that asks
 * for VLAN tags, it is loaded without, and sees_tags is false; so with overflows.
 */
int sf_flow_program_load(struct sf_flow_program *program, const struct sf_flow_limits *limits, char *message);

/*
 * Loads an attached program anew and puts it in its own place on the interface. Some drivers (veth) run the program on the queues there
 * were when it was attached, and on no others.
 */
int sf_flow_program_reload(struct sf_flow_program *program, const struct sf_flow_limits *limits);

/* Puts the program in its place on the interface, `xdp_flags`: XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE; tcx: 0. No message. */
int sf_flow_program_attach(struct sf_flow_program *program, enum sf_flow_hook hook, int ifindex, uint32_t xdp_flags);
void sf_flow_program_detach(struct sf_flow_program *program);

/* XDP: matches that come by the queue go to this AF_XDP socket, for as long as it lives. */
int sf_flow_program_set_socket(const struct sf_flow_program *program, uint32_t queue, int fd);

#endif
