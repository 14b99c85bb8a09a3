/* The source addresses that a received packet may have. */
#ifndef SF_TCPIP_NET_SOURCE_H
#define SF_TCPIP_NET_SOURCE_H

#include "wire/ipv4.h"

struct sf_tcpip;

struct sf_sources {
    uint64_t latest; /* the last good source; not an IPv4 address: none */
    /* The interface's settings, as last read. They permit the host's own addresses (accept_local) and 127/8 (route_localnet)
     * as sources. */
    bool own, loopback;
    sf_ns settings_until;
};

/* The full check, for an address that differs from the last one. */
bool sf_source_check(struct sf_tcpip *, const struct sf_ipv4 *);
/* Call this after the host's addresses have changed. */
void sf_sources_forget(struct sf_tcpip *);

#endif
