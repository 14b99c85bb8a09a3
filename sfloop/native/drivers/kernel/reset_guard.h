/*
 * Keeps the kernel from resetting our connections. Segments of a driver's flows may reach the kernel by another interface, or as
 * IP fragments. The kernel has no socket for them and answers with a reset. A netfilter program at the hook LOCAL_OUT (Linux 6.4)
 * drops the resets of flows in the driver's map, on every interface, and records them in a ring. The program goes away with its
 * link's last descriptor.
 *
 * The program drops resets without ACK and with a window of 0: the kernel's answers to segments that carry an ACK. It passes the
 * kernel's refusal of a SYN and the resets that sockets of programs send, because these carry an ACK. It passes the resets that
 * the stack sends by a raw socket, because these have another window.
 */
#ifndef SF_DRIVERS_KERNEL_RESET_GUARD_H
#define SF_DRIVERS_KERNEL_RESET_GUARD_H

#include "bpf_ring.h"
#include "flow_program.h"

struct sf_reset_guard {
    struct sf_bpf_ring ring; /* of struct sf_kept_reset, whose `seq` is in network byte order */
    int link;                /* -1: no guard */
};

void sf_reset_guard_none(struct sf_reset_guard *);

/* Guards the flows in this program's map. Returns 0 or a negative errno. On failure there is no guard, and nothing is left
 * open. */
int sf_reset_guard_open(struct sf_reset_guard *, const struct sf_flow_program *flows);
int sf_reset_guard_take(struct sf_reset_guard *, struct sf_kept_reset *, int n);
/* For a forked child too. The parent's descriptors then keep the program attached. */
void sf_reset_guard_close(struct sf_reset_guard *);

#endif
