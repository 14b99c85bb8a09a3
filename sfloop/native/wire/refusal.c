#include "refusal.h"

static const char *const names[SF_REFUSALS] = {
    [SF_ACCEPTED] = "accepted",
    [SF_REFUSED_ETH_SHORT] = "eth_short",
    [SF_REFUSED_ETH_TAGS] = "eth_tags",
    [SF_REFUSED_ETH_TYPE] = "eth_type",
    [SF_REFUSED_IP_SHORT] = "ip_short",
    [SF_REFUSED_IP_VERSION] = "ip_version",
    [SF_REFUSED_IP_HEADER] = "ip_header",
    [SF_REFUSED_IP_LENGTH] = "ip_length",
    [SF_REFUSED_IP_CHECKSUM] = "ip_checksum",
    [SF_REFUSED_IP_OPTIONS] = "ip_options",
    [SF_REFUSED_IP_SOURCE] = "ip_source",
    [SF_REFUSED_IP_FRAGMENT] = "ip_fragment",
    [SF_REFUSED_IP_PROTOCOL] = "ip_protocol",
    [SF_REFUSED_UDP_SHORT] = "udp_short",
    [SF_REFUSED_UDP_LENGTH] = "udp_length",
    [SF_REFUSED_UDP_CHECKSUM] = "udp_checksum",
    [SF_REFUSED_TCP_SHORT] = "tcp_short",
    [SF_REFUSED_TCP_HEADER] = "tcp_header",
    [SF_REFUSED_TCP_CHECKSUM] = "tcp_checksum",
    [SF_REFUSED_ICMP_SHORT] = "icmp_short",
    [SF_REFUSED_ICMP_CHECKSUM] = "icmp_checksum",
    [SF_REFUSED_ICMP_TYPE] = "icmp_type",
    [SF_REFUSED_ICMP_QUOTE] = "icmp_quote",
};

const char *sf_refusal_name(enum sf_refusal reason)
{
    return (unsigned)reason < SF_REFUSALS ? names[reason] : "unknown";
}
