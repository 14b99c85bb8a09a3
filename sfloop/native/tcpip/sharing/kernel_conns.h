/*
 * TCP connections of the kernel at an address and port of ours. While the driver leaves a listener's port to the kernel, the
 * program's kernel socket listens there and accepts connections. They stay with the kernel to their end, even after the driver
 * has the port again: each gets an exact flow of its own (SF_FLOW_KERNEL) until it has ended.
 *
 * A connection may be missing from the kernel's list, because its SYN was on its way through the kernel when the driver took the
 * port, or because the kernel answered with a cookie and kept no record. So for a while after that moment, segments that match no
 * connection of ours are handed to the kernel. It answers with a reset where appropriate.
 */
#ifndef SF_TCPIP_SHARING_KERNEL_CONNS_H
#define SF_TCPIP_SHARING_KERNEL_CONNS_H

#include "tcpip/flows.h"

#include <stdbool.h>

struct sf_other;
struct sf_tcpip;
struct sf_tcp_segment;

enum { SF_KERNEL_CONNS = 1024 }; /* beyond, the kernel keeps the port */

enum sf_whose {
    SF_WHOSE_OURS,    /* not the kernel's */
    SF_WHOSE_ENDED,   /* the kernel has it in TIME_WAIT: its own, or an earlier one between the same ends */
    SF_WHOSE_UNKNOWN, /* not asked, because the kernel was asked about another a moment ago */
    SF_WHOSE_BEGUN,   /* the kernel's, which has answered the SYN and waits for the ACK */
    SF_WHOSE_KERNELS, /* the kernel's, and the peer knows its sequence numbers */
};

struct sf_kernel_conn {
    struct sf_kernel_conn *next;
    struct sf_flow_key key;
};

struct sf_kernel_conns {
    struct sf_kernel_conn *first, *last; /* in the order of the checks */
    uint32_t n;
    sf_ns look_at; /* time of the next check; SF_NEVER: there are no connections */
    sf_ns until;   /* end of handing unknown segments to the kernel; 0: they are not handed over */
    sf_ns looked; /* last reading of the time; 0: the loop has slept since, and a frame would have woken it */
    uint32_t left; /* segments that may still be handed over */
    sf_ns ask_at; /* time of the next query about a connection, if queries came at even intervals */
};

void sf_kernel_conns_init(struct sf_kernel_conns *);
void sf_kernel_conns_free(struct sf_tcpip *);
/* Leaves the connection to the kernel. False: there are too many, or the driver cannot leave it. */
bool sf_kernel_conns_pass(struct sf_tcpip *, const struct sf_other *);
/* The stack imports the connection: removes its flow. False: it had none. */
bool sf_kernel_conns_take_back(struct sf_tcpip *, const struct sf_flow_key *);
/* The kernel keeps the connection after all: gives it a flow again. */
void sf_kernel_conns_leave(struct sf_tcpip *, const struct sf_flow_key *);
/* Call this when the driver takes a port from the kernel. */
void sf_kernel_conns_expect(struct sf_tcpip *);
/* Call this when the driver no longer has a flow for this local address and port. */
void sf_kernel_conns_forget(struct sf_tcpip *, const struct sf_flow_key *local);
/* Looks at some connections if it is time, and removes the flows of ended ones. Called every 20 us. */
void sf_kernel_conns_look(struct sf_tcpip *);
/*
 * Handles a SYN for a listener that the driver received before it left the port to the kernel. If the loop was late, the kernel
 * may have got the peer's second SYN, and two answers would end in a reset. True: the kernel gets this one too.
 */
bool sf_kernel_conns_take_syn(struct sf_tcpip *, const struct sf_flow_key *, const struct sf_tcp_segment *);
/*
 * Finds the owner of a segment that no record of ours accepts. The kernel may have got the SYN, through another interface or
 * while an address was new.
 */
enum sf_whose sf_kernel_conns_find(struct sf_tcpip *, const struct sf_flow_key *);
/* Returns 1 if the kernel's connection has keys of TCP-MD5, 0 if not, or a negative errno. */
int sf_kernel_conns_have_keys(const struct sf_tcpip *, const struct sf_flow_key *);
/* Hands the segment to the kernel. */
void sf_kernel_conns_hand(struct sf_tcpip *, const struct sf_flow_key *, const struct sf_tcp_segment *);
/* Leaves the connection to the kernel and hands over its segment. The stack must have no record for the key. */
void sf_kernel_conns_give(struct sf_tcpip *, const struct sf_flow_key *, const struct sf_tcp_segment *);
/* Finds the segment's owner, and gives it to the kernel if it is the kernel's. True: do not answer the segment. */
bool sf_kernel_conns_claim(struct sf_tcpip *, const struct sf_flow_key *, const struct sf_tcp_segment *);
/* Handles a segment for a listener's address that matches no connection of ours. True: it may be the kernel's, and was handed
 * to it. */
bool sf_kernel_conns_take(struct sf_tcpip *, const struct sf_flow_key *, const struct sf_tcp_segment *);

#endif
