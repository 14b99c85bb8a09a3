/*
 * Claims tell other loops of this network namespace which TCP ports and UDP sockets this loop serves past the kernel. It claims a
 * TCP port while it listens there or has connections that a listener left behind, and each UDP socket, because a worker may have
 * inherited it. If another loop has the same claim, the kernel keeps the frames, and each loop gets its share.
 *
 * A claim is a socket bound to an abstract name, the first free one of SF_CLAIMS. An abstract name belongs to the network
 * namespace and goes away with its last descriptor. sfloop/transports/claims.py does the same for loops that did not get the
 * interface.
 */
#ifndef SF_TCPIP_SHARING_CLAIMS_H
#define SF_TCPIP_SHARING_CLAIMS_H

#include "sf/base.h"

#include <stdbool.h>

struct sf_tcpip;

enum { SF_CLAIMS = 32 };

struct sf_claim {
    struct sf_claim *next;
    bool tcp;
    uint32_t id; /* the TCP port, or the inode of the UDP socket */
    int fd;      /* -1: no name was free, or no descriptor */
    int number;
    bool crowded; /* no name was free */
    bool shared;  /* another loop has the same claim, from the latest check */
    int asked;    /* names that the check under way has tried */
    uint32_t users;
};

/* Adds a user to the claim, and creates the claim if there is none. NULL: no memory. */
struct sf_claim *sf_claim_take(struct sf_tcpip *, bool tcp, uint32_t id);
void sf_claim_drop(struct sf_tcpip *, struct sf_claim *);
/* Checks whether another loop has the same claim. Takes about 20 us. */
bool sf_claim_is_shared(struct sf_tcpip *, struct sf_claim *);
/* Does one slice of the round that checks all claims. The next slice is due at `claims_at`. True: `shared` of a claim has changed. */
bool sf_claims_look(struct sf_tcpip *, bool starting);
/* For a forked child, because the claims are the parent's. */
void sf_claims_after_fork(struct sf_tcpip *);

#endif
