/* The source addresses that a received packet may have. */
#ifndef SF_TCPIP_NET_SOURCE_H
#define SF_TCPIP_NET_SOURCE_H

#include "wire/ipv4.h"

struct sf_tcpip;

struct sf_sources {
    uint64_t latest; /* the last one that was found good; what is no IPv4 address: none */
    /* The interface's settings, as read a moment ago: they allow sources of the host's own (accept_local), of 127/8
     * (route_localnet). */
    bool own, loopback;
    sf_ns settings_until;
};

/* The whole of the check, for an address that is not the last one. */
bool sf_source_check(struct sf_tcpip *, const struct sf_ipv4 *);
/* The host's addresses have changed. */
void sf_sources_forget(struct sf_tcpip *);

#endif
