/* The tcpip stack in the registry: its options, by the names of struct sf_tcpip_config and struct sf_tcp_limits. */
#include "config.h"
#include "stacks/options.h"

#define OPTION(kind, member) SF_STACK_FIELD(kind, struct sf_tcpip_config, member, #member)
#define LIMIT(kind, member) SF_STACK_FIELD(kind, struct sf_tcpip_config, tcp.member, #member)

static const struct sf_stack_field fields[] = {
    OPTION(SF_FIELD_TEXT, interface),
    OPTION(SF_FIELD_NUMBER, rx_backlog_bytes),
    OPTION(SF_FIELD_NUMBER, ttl),
    LIMIT(SF_FIELD_TEXT, congestion),
    LIMIT(SF_FIELD_NUMBER, max_connections),
    LIMIT(SF_FIELD_NUMBER, max_half_open),
    LIMIT(SF_FIELD_NUMBER, max_time_wait),
    LIMIT(SF_FIELD_NUMBER, send_buffer),
    LIMIT(SF_FIELD_NUMBER, receive_buffer),
    LIMIT(SF_FIELD_NUMBER, memory),
    LIMIT(SF_FIELD_TIME, time_wait),
    LIMIT(SF_FIELD_TIME, orphan_timeout),
    LIMIT(SF_FIELD_TIME, user_timeout),
    LIMIT(SF_FIELD_TIME, min_rto),
    LIMIT(SF_FIELD_TIME, delayed_ack),
    LIMIT(SF_FIELD_NUMBER, syn_retries),
    LIMIT(SF_FIELD_NUMBER, retries),
    LIMIT(SF_FIELD_NUMBER, mss),
    LIMIT(SF_FIELD_NUMBER, first_sequence),
    {.name = NULL},
};

static const char *option(int i)
{
    return sf_stack_field_name(fields, i);
}

static struct sf_stack *create(struct sf_driver *driver, const struct sf_stack_option *options, int n, int *error, char *message)
{
    struct sf_tcpip_config config = {.driver = driver};

    *error = sf_stack_read_options("tcpip", fields, options, n, &config, message);
    return *error < 0 ? NULL : sf_stack_tcpip_create(&config, error, message);
}

const struct sf_stack_entry sf_stack_tcpip = {
    .name = "tcpip",
    .description = "sfloop's own TCP/UDP/IPv4 over a frame driver",
    .over_driver = true,
    .create = create,
    .option = option,
};
