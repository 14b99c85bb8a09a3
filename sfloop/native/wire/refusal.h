/*
 * Why a frame, packet or message was refused: one reason for each check that a parser makes, so that whoever drops it
 * can count it by reason. The values are dense and begin with 0, which is "not refused".
 */
#ifndef SF_WIRE_REFUSAL_H
#define SF_WIRE_REFUSAL_H

enum sf_refusal {
    SF_ACCEPTED = 0,
    SF_REFUSED_ETH_SHORT,     /* ends within the Ethernet header or a VLAN tag */
    SF_REFUSED_ETH_TAGS,      /* more than two VLAN tags */
    SF_REFUSED_ETH_TYPE,      /* not IPv4 */
    SF_REFUSED_IP_SHORT,      /* ends within the IP header */
    SF_REFUSED_IP_VERSION,    /* says IPv4 in the Ethernet header, something else in its own */
    SF_REFUSED_IP_HEADER,     /* a header length below 20 bytes or beyond the total length */
    SF_REFUSED_IP_LENGTH,     /* the frame is shorter than the total length */
    SF_REFUSED_IP_CHECKSUM,
    SF_REFUSED_IP_OPTIONS,    /* malformed, or a source route */
    SF_REFUSED_IP_SOURCE,     /* a source address that no host can have: multicast, broadcast, loopback, ours */
    SF_REFUSED_IP_FRAGMENT,   /* well formed, but a part only */
    SF_REFUSED_IP_PROTOCOL,   /* not the one that was asked for */
    SF_REFUSED_UDP_SHORT,     /* the IP payload ends within the UDP header */
    SF_REFUSED_UDP_LENGTH,    /* below 8, or beyond the IP payload */
    SF_REFUSED_UDP_CHECKSUM,
    SF_REFUSED_TCP_SHORT,     /* the IP payload ends within the TCP header or its options */
    SF_REFUSED_TCP_HEADER,    /* a header length below 20 bytes */
    SF_REFUSED_TCP_CHECKSUM,
    SF_REFUSED_ICMP_SHORT,    /* ends within the ICMP header */
    SF_REFUSED_ICMP_CHECKSUM,
    SF_REFUSED_ICMP_TYPE,     /* neither an error about a packet nor echo */
    SF_REFUSED_ICMP_QUOTE,    /* an error about a packet without ports: cut off, not a first fragment, not UDP or TCP */
    SF_REFUSALS,              /* how many there are, SF_ACCEPTED included */
};

/* For counters: "ip_checksum"; "accepted" for SF_ACCEPTED and "unknown" for what is no reason. */
const char *sf_refusal_name(enum sf_refusal);

#endif
