/* The configuration of a tcpip stack. options.c fills it from the options of the seam; tests in C fill it themselves. */
#ifndef SF_STACKS_TCPIP_CONFIG_H
#define SF_STACKS_TCPIP_CONFIG_H

#include "sf/stack.h"

/* Of the stack's TCP. 0: the default in brackets. Bounds of memory, all of them. */
struct sf_tcp_limits {
    const char *congestion;    /* NULL: "cubic"; or "newreno" */
    uint32_t max_connections;  /* [65536] those that linger after their release included */
    uint32_t max_half_open;    /* [1024] SYNs that wait for their ACK; beyond, SYN cookies */
    uint32_t max_time_wait;    /* [16384] beyond, the oldest goes */
    uint32_t send_buffer;      /* [4 MiB] bytes that a connection takes and has not had acknowledged; SO_SNDBUF overrides */
    uint32_t receive_buffer;   /* [4 MiB] the largest window a connection grows to; SO_RCVBUF overrides */
    uint64_t memory;           /* [1 GiB] of all buffers together; beyond, windows close and sends find no room */
    sf_ns time_wait;           /* [60 s] 2 MSL */
    sf_ns orphan_timeout;      /* [60 s] FIN_WAIT_2 without anybody who could read */
    sf_ns user_timeout;        /* [about 15 min] unacknowledged data (RFC 5482); TCP_USER_TIMEOUT overrides */
    sf_ns min_rto;             /* [5 ms on a point-to-point wire, else 200 ms, as Linux; RFC 6298 says 1 s] */
    sf_ns delayed_ack;         /* [1 ms on a wire, else 40 ms] at most 500 ms (RFC 9293, 3.8.6.3) */
    uint32_t syn_retries, retries; /* [6, 15] */
    uint16_t mss;              /* [by the MTU] a cap */
    uint32_t first_sequence;   /* [RFC 6528] where every connection starts: for tests of what happens at the wrap */
};

struct sf_tcpip_config {
    struct sf_driver *driver;  /* owned by the stack from then on */
    const char *interface;     /* the kernel's name; of a point-to-point driver's wire, only for messages */
    sf_ns (*now)(void);        /* NULL: sf_now */
    uint32_t rx_backlog_bytes; /* what a UDP socket may hold unread if its SO_RCVBUF was not set; 0: 4 MiB */
    uint8_t ttl;               /* 0: 64 */
    struct sf_tcp_limits tcp;
};

/* As create of struct sf_stack_entry. The driver is the config's. */
struct sf_stack *sf_stack_tcpip_create(const struct sf_tcpip_config *, int *error, char *message);

#endif
