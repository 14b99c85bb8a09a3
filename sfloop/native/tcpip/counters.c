#include "counters.h"

#include <stddef.h>

static const char *const names[SF_COUNTERS] = {
#define X(id, name) [SF_COUNT_##id] = name,
    SF_COUNTER_LIST(X)
#undef X
};

/* sf_refusal_name() with a prefix. Written out, because a name has to outlive its caller. */
static const char *const refused[SF_REFUSALS] = {
    [SF_REFUSED_ETH_SHORT] = "rx_refused_eth_short",
    [SF_REFUSED_ETH_TAGS] = "rx_refused_eth_tags",
    [SF_REFUSED_ETH_TYPE] = "rx_refused_eth_type",
    [SF_REFUSED_IP_SHORT] = "rx_refused_ip_short",
    [SF_REFUSED_IP_VERSION] = "rx_refused_ip_version",
    [SF_REFUSED_IP_HEADER] = "rx_refused_ip_header",
    [SF_REFUSED_IP_LENGTH] = "rx_refused_ip_length",
    [SF_REFUSED_IP_CHECKSUM] = "rx_refused_ip_checksum",
    [SF_REFUSED_IP_OPTIONS] = "rx_refused_ip_options",
    [SF_REFUSED_IP_SOURCE] = "rx_refused_ip_source",
    [SF_REFUSED_IP_FRAGMENT] = "rx_refused_ip_fragment",
    [SF_REFUSED_IP_PROTOCOL] = "rx_refused_ip_protocol",
    [SF_REFUSED_UDP_SHORT] = "rx_refused_udp_short",
    [SF_REFUSED_UDP_LENGTH] = "rx_refused_udp_length",
    [SF_REFUSED_UDP_CHECKSUM] = "rx_refused_udp_checksum",
    [SF_REFUSED_TCP_SHORT] = "rx_refused_tcp_short",
    [SF_REFUSED_TCP_HEADER] = "rx_refused_tcp_header",
    [SF_REFUSED_TCP_CHECKSUM] = "rx_refused_tcp_checksum",
    [SF_REFUSED_ICMP_SHORT] = "rx_refused_icmp_short",
    [SF_REFUSED_ICMP_CHECKSUM] = "rx_refused_icmp_checksum",
    [SF_REFUSED_ICMP_TYPE] = "rx_refused_icmp_type",
    [SF_REFUSED_ICMP_QUOTE] = "rx_refused_icmp_quote",
};

const char *sf_counters_name(int i)
{
    if (i < SF_COUNTERS)
        return names[i];
    i -= SF_COUNTERS;
    if (i >= SF_REFUSALS - 1) /* SF_ACCEPTED is not counted */
        return NULL;
    return refused[i + 1] ? refused[i + 1] : sf_refusal_name((enum sf_refusal)(i + 1));
}

uint64_t sf_counters_value(const struct sf_counters *c, int i)
{
    return i < SF_COUNTERS ? c->value[i] : c->refused[i - SF_COUNTERS + 1];
}
