/*
 * The reason for which a frame, packet or message was refused. Each check of a parser has its own reason, so that drops can be
 * counted by reason. The values are dense and begin with 0, which means "not refused".
 */
#ifndef SF_WIRE_REFUSAL_H
#define SF_WIRE_REFUSAL_H

enum sf_refusal {
    SF_ACCEPTED = 0,
    SF_REFUSED_ETH_SHORT,     /* ends within the Ethernet header or a VLAN tag */
    SF_REFUSED_ETH_TAGS,      /* more than two VLAN tags */
    SF_REFUSED_ETH_TYPE,      /* not IPv4 */
    SF_REFUSED_IP_SHORT,      /* ends within the IP header */
    SF_REFUSED_IP_VERSION,    /* IPv4 by the Ethernet header, but not by its own */
    SF_REFUSED_IP_HEADER,     /* a header length below 20 bytes or beyond the total length */
    SF_REFUSED_IP_LENGTH,     /* the frame is shorter than the total length */
    SF_REFUSED_IP_CHECKSUM,
    SF_REFUSED_IP_OPTIONS,    /* malformed, or a source route */
    SF_REFUSED_IP_SOURCE,     /* a source address that no other host can have: multicast, broadcast, loopback, ours */
    SF_REFUSED_IP_FRAGMENT,   /* well formed, but a fragment */
    SF_REFUSED_IP_PROTOCOL,   /* not the expected one */
    SF_REFUSED_UDP_SHORT,     /* the IP payload ends within the UDP header */
    SF_REFUSED_UDP_LENGTH,    /* below 8, or beyond the IP payload */
    SF_REFUSED_UDP_CHECKSUM,
    SF_REFUSED_TCP_SHORT,     /* the IP payload ends within the TCP header or its options */
    SF_REFUSED_TCP_HEADER,    /* a header length below 20 bytes */
    SF_REFUSED_TCP_CHECKSUM,
    SF_REFUSED_ICMP_SHORT,    /* ends within the ICMP header */
    SF_REFUSED_ICMP_CHECKSUM,
    SF_REFUSED_ICMP_TYPE,     /* neither an error about a packet nor echo */
    SF_REFUSED_ICMP_QUOTE,    /* an error about a packet without ports: cut off, not a first fragment, or not UDP or TCP */
    SF_REFUSALS,              /* number of reasons, including SF_ACCEPTED */
};

/* A name for counters, such as "ip_checksum". SF_ACCEPTED is "accepted", and an invalid value "unknown". */
const char *sf_refusal_name(enum sf_refusal);

#endif
