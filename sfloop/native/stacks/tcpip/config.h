/* The configuration of a tcpip stack. options.c fills it from the options of the seam; tests in C fill it themselves. */
#ifndef SF_STACKS_TCPIP_CONFIG_H
#define SF_STACKS_TCPIP_CONFIG_H

#include "sf/stack.h"

/* Limits of the stack's TCP. 0: the default, in brackets. */
struct sf_tcp_limits {
    const char *congestion;    /* NULL: "cubic"; or "newreno" */
    uint32_t max_connections;  /* [65536] including orphans */
    uint32_t max_half_open;    /* [1024] SYNs that wait for their ACK. Beyond it the stack sends SYN cookies */
    uint32_t max_time_wait;    /* [16384] Beyond it the oldest record is evicted */
    uint32_t send_buffer;      /* [4 MiB] of a connection, for unacknowledged bytes; SO_SNDBUF overrides it */
    uint32_t receive_buffer;   /* [4 MiB] the largest window of a connection; SO_RCVBUF overrides it */
    uint64_t memory;           /* [1 GiB] all buffers together. Beyond it windows close and sends find no room */
    sf_ns time_wait;           /* [60 s] 2 MSL */
    sf_ns orphan_timeout;      /* [60 s] the time of an orphan in FIN_WAIT_2 */
    sf_ns user_timeout;        /* [about 15 min] for unacknowledged data (RFC 5482); TCP_USER_TIMEOUT overrides it */
    sf_ns min_rto;             /* [5 ms on a point-to-point link, else 200 ms as in Linux; RFC 6298 says 1 s] */
    sf_ns delayed_ack;         /* [1 ms on a point-to-point link, else 40 ms] at most 500 ms (RFC 9293, 3.8.6.3) */
    uint32_t syn_retries, retries; /* [6, 15] */
    uint16_t mss;              /* [by the MTU] cap of the segment size, in both directions */
    uint32_t first_sequence;   /* [RFC 6528] the initial sequence number of every connection, for tests of the wrap */
};

struct sf_tcpip_config {
    struct sf_driver *driver;  /* owned by the stack from then on */
    const char *interface;     /* the kernel's name for it; for a point-to-point link, the wire's name, only for messages */
    sf_ns (*now)(void);        /* NULL: sf_now */
    uint32_t rx_backlog_bytes; /* bound of the backlog of a UDP socket whose SO_RCVBUF was not set; 0: 4 MiB */
    uint8_t ttl;               /* 0: 64 */
    struct sf_tcp_limits tcp;
};

/* As `create` of struct sf_stack_entry. Uses the driver of the configuration. */
struct sf_stack *sf_stack_tcpip_create(const struct sf_tcpip_config *, int *error, char *message);

#endif
