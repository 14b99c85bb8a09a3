/*
 * TCP connections that the kernel has at an address and port of ours. While the driver leaves a listener's port to the kernel, the
 * program's kernel socket listens there and begins connections. They stay the kernel's to their end, also after the driver has the
 * port again: each gets an exact flow of its own (SF_FLOW_KERNEL) until it has ended.
 *
 * A connection may be missing from the kernel's list: its SYN was on its way through the kernel when the driver took the port, or the
 * kernel has answered with a cookie and remembers nothing. So for a while after that moment a segment that no connection of ours
 * knows is handed to the kernel, which answers with a reset where that is right.
 */
#ifndef SF_TCPIP_SHARING_KERNEL_CONNS_H
#define SF_TCPIP_SHARING_KERNEL_CONNS_H

#include "tcpip/flows.h"

#include <stdbool.h>

struct sf_other;
struct sf_tcpip;
struct sf_tcp_segment;

enum { SF_KERNEL_CONNS = 1024 }; /* more of them keep the port with the kernel */

enum sf_whose {
    SF_WHOSE_OURS,    /* not the kernel's */
    SF_WHOSE_ENDED,   /* the kernel has one in TIME_WAIT: an earlier one with the same ends, or its own */
    SF_WHOSE_UNKNOWN, /* the kernel was asked about another one a moment ago */
    SF_WHOSE_BEGUN,   /* the kernel's, which has answered a SYN and waits for the ACK */
    SF_WHOSE_KERNELS, /* the kernel's, and the peer knows the kernel's numbers */
};

struct sf_kernel_conn {
    struct sf_kernel_conn *next;
    struct sf_flow_key key;
};

struct sf_kernel_conns {
    struct sf_kernel_conn *first, *last; /* in the order in which they are looked at */
    uint32_t n;
    sf_ns look_at; /* SF_NEVER: there are none */
    sf_ns until;   /* segments for nobody are handed to the kernel; 0: they are not */
    sf_ns looked; /* when the time was looked at; 0: the loop has slept since, and a frame would have woken it */
    uint32_t left; /* so many segments */
    sf_ns asked_at; /* whether the kernel has a connection */
};

void sf_kernel_conns_init(struct sf_kernel_conns *);
void sf_kernel_conns_free(struct sf_tcpip *);
/* The connection stays with the kernel. False: there are too many, or the driver cannot leave it. */
bool sf_kernel_conns_pass(struct sf_tcpip *, const struct sf_other *);
/* The driver has taken a port from the kernel. */
void sf_kernel_conns_expect(struct sf_tcpip *);
/* The driver has no flow of this local address and port any more. */
void sf_kernel_conns_forget(struct sf_tcpip *, const struct sf_flow_key *local);
/* Looks at some of them, if it is time: those that have ended lose their flows. Called every 20 us. */
void sf_kernel_conns_look(struct sf_tcpip *);
/*
 * A SYN at a listener that was in the driver's hands already when the driver left the port to the kernel. If the loop has stood still
 * meanwhile, the peer's second SYN is the kernel's, and two answers to one SYN would end in a reset. True: the kernel has it.
 */
bool sf_kernel_conns_take_syn(struct sf_tcpip *, const struct sf_flow_key *, const struct sf_tcp_segment *);
/*
 * A segment that no record of ours accepts may be for a connection whose SYN the kernel has got: by another interface, or while an
 * address was new.
 */
enum sf_whose sf_kernel_conns_find(struct sf_tcpip *, const struct sf_flow_key *);
/* The kernel receives the segment. */
void sf_kernel_conns_hand(struct sf_tcpip *, const struct sf_flow_key *, const struct sf_tcp_segment *);
/* The connection is the kernel's, and so is its segment. There is no record of ours for the key any more. */
void sf_kernel_conns_give(struct sf_tcpip *, const struct sf_flow_key *, const struct sf_tcp_segment *);
/* Finds out, and gives. True: the segment is not to be answered. */
bool sf_kernel_conns_claim(struct sf_tcpip *, const struct sf_flow_key *, const struct sf_tcp_segment *);
/* A segment at a listener, for no connection of ours. True: it may be for one of the kernel's, and has been handed to it. */
bool sf_kernel_conns_take(struct sf_tcpip *, const struct sf_flow_key *, const struct sf_tcp_segment *);

#endif
