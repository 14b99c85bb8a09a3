/*
 * The map of flows, and the XDP program that selects them in an interface's traffic: IPv4 with options, UDP and TCP. A match goes
 * to the AF_XDP socket of its receive queue, or to the kernel while the queue has no socket.
 *
 * The kernel keeps these frames: fragments; frames of a VLAN other than 0, or with two tags; frames to another station's MAC
 * address; frames with a group MAC address and a host IP address, or the reverse (RFC 1122, 3.3.6); and frames of a watched flow
 * (SF_FLOW_WATCHED) from the moment that a program binds a socket to its port until sf_flow_program_renew().
 */
#ifndef SF_DRIVERS_KERNEL_FLOW_PROGRAM_H
#define SF_DRIVERS_KERNEL_FLOW_PROGRAM_H

#include "port_watch.h"
#include "sf/driver.h"
#include "xdp_overflow.h"

/* The name in `bpftool prog`. Other processes recognize an interface's XDP program by it. */
#define SF_FLOW_PROGRAM_NAME "sfloop_flows"

enum sf_flow_hook { SF_FLOW_XDP, SF_FLOW_TCX };

/* The map's key. A frame is looked up with all fields, then with the remote fields zero, then with the local address zero too. */
struct sf_flow_map_key {
    uint32_t local_addr, remote_addr;
    uint16_t local_port, remote_port;
    uint32_t protocol;
};

enum sf_flow_kind {
    SF_FLOW_KIND_GROUP = 1,   /* the local address is a multicast or broadcast address */
    SF_FLOW_KIND_WATCHED = 2, /* ours only while `changes` equals the protocol's count */
    SF_FLOW_KIND_KERNEL = 4,  /* never ours; no other bit is set */
};

struct sf_flow_value {
    uint32_t kind;
    uint32_t changes;
};

/* Memory that the programs and the driver share: the only element of an array map. */
struct sf_flow_config {
    uint32_t changes[2];  /* sockets bound to watched ports: UDP, TCP */
    uint8_t mac[6];       /* of the interface */
    uint16_t any_address; /* not 0: some flows have the local address 0 */
    uint32_t connected;   /* not 0: there are UDP flows with a remote side */
};

/* The index of the protocol's count in `changes`. */
#define SF_FLOW_CHANGES(protocol) ((protocol) == 6 /* IPPROTO_TCP */ ? 1 : 0)

/* Descriptors are -1 if not open. */
struct sf_flow_program {
    int flows;   /* the map of flows */
    int config;  /* the map of one sf_flow_config */
    int sockets; /* XDP: the map from receive queue to AF_XDP socket */
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
     * (segmentation offload). A program that takes pieces gets them unsplit. It cannot tell such a batch from one datagram if the
     * batch fits the MTU.
     */
    uint32_t mtu;
    bool pieces;    /* take frames in several buffers */
    int tag_source; /* native mode: index of an interface whose driver reports removed VLAN tags; 0: it does not */
    bool many_cpus; /* skb mode: several CPUs may run the program for one queue at a time */
    /* Holds datagrams while their socket is full. NULL: no overflow. */
    const struct sf_overflow *overflow;
};

/* ---- the maps: flow_map.c ---- */

/*
 * Makes the map of flows and the config, and watches ports if the kernel lets us. A negative errno, and nothing is left.
 */
int sf_flow_program_make_maps(struct sf_flow_program *program);
/* Sets the interface's MAC address, which received frames must have. */
void sf_flow_program_set_mac(struct sf_flow_program *program, const uint8_t mac[6]);

/*
 * Errors: add: -EEXIST, -ENOSPC; del and renew: -ENOENT; all: -EINVAL (no port), -EOPNOTSUPP (a remote address without a local
 * one, or another protocol).
 */
int sf_flow_program_add(struct sf_flow_program *program, const struct sf_flow *flow);
int sf_flow_program_del(struct sf_flow_program *program, const struct sf_flow *flow);
int sf_flow_program_renew(const struct sf_flow_program *program, const struct sf_flow *flow);

/* As watch_port and port_changes of sf/driver.h. -EOPNOTSUPP: ports are not watched, see sf_flow_program_sees_ports(). */
int sf_flow_program_watch(const struct sf_flow_program *program, uint8_t protocol, uint16_t port, bool on);
uint32_t sf_flow_program_changes(const struct sf_flow_program *program, uint8_t protocol);
bool sf_flow_program_sees_ports(const struct sf_flow_program *program);

/* Also detaches the program. In a forked child, closes only the child's copies, and the program stays attached. */
void sf_flow_program_close(struct sf_flow_program *program);

/* ---- the program: flow_program.c ---- */

/*
 * Creates the maps for `queues` receive queues, without a program. On failure, returns a negative errno, leaves nothing open, and
 * writes the missing condition into `message` (SF_DRIVER_ERROR_SIZE bytes). So does sf_flow_program_load().
 */
int sf_flow_program_open(struct sf_flow_program *program, uint32_t queues, char *message);

/*
 * Loads the XDP program and replaces a loaded one. Returns -EBUSY if the loaded program is attached. Some kernels cannot read
 * VLAN tags that the NIC has removed, and some cannot copy frames to the overflow. If the kernel refuses a program because of
 * either, loads one that does without it, and sets `sees_tags` or `overflows` to false.
 */
int sf_flow_program_load(struct sf_flow_program *program, const struct sf_flow_limits *limits, char *message);

/*
 * Loads an attached program again and replaces it. Needed because some drivers (veth) run a program only on the queues that
 * existed when it was attached.
 */
int sf_flow_program_reload(struct sf_flow_program *program, const struct sf_flow_limits *limits);

/* Attaches the program to the interface. `xdp_flags`: XDP_FLAGS_SKB_MODE or XDP_FLAGS_DRV_MODE; tcx: 0. Writes no message. */
int sf_flow_program_attach(struct sf_flow_program *program, enum sf_flow_hook hook, int ifindex, uint32_t xdp_flags);
void sf_flow_program_detach(struct sf_flow_program *program);

/* XDP: sends the queue's matches to this AF_XDP socket while the socket exists. */
int sf_flow_program_set_socket(const struct sf_flow_program *program, uint32_t queue, int fd);

#endif
