/* What became of every frame and datagram that did not take the fast path, counted by reason. */
#ifndef SF_TCPIP_COUNTERS_H
#define SF_TCPIP_COUNTERS_H

#include "../wire/refusal.h"

#include <stdint.h>

/* Besides these there is one for each reason of wire/refusal.h, "rx_refused_" and its name. */
#define SF_COUNTER_LIST(X)                                                                                             \
    X(RX_OWN, "rx_own")                         /* our own frames, seen on their way out */                            \
    X(RX_OTHER_MAC, "rx_other_mac")             /* for another station: the interface is promiscuous */                \
    X(RX_OTHER_VLAN, "rx_other_vlan")           /* of a VLAN, whose interface is another one */                        \
    X(RX_OTHER_ADDR, "rx_other_addr")           /* for an address that is not the interface's */                       \
    X(RX_PIECES, "rx_pieces")                   /* a frame in so many pieces that it cannot be an IP packet */         \
    X(RX_NO_SOCKET, "rx_no_socket")                                                                                    \
    X(RX_NOT_JOINED, "rx_not_joined")           /* of a group, or a source, that the socket has not joined */          \
    X(RX_BACKLOG_FULL, "rx_backlog_full")       /* the program did not read in time */                                 \
    X(RX_BACKLOG_COPIES, "rx_backlog_copies")   /* not lost: copied, since nobody had read it by the next poll */      \
    X(RX_SIDE, "rx_side")                       /* received by the kernel's socket: fragments, loopback, other interfaces */ \
    X(RX_SIDE_REPEATED, "rx_side_repeated")     /* the kernel's copy of what the driver has brought */                 \
    X(TX_SIDE_UNRESOLVED, "tx_side_unresolved") /* sent by the kernel: route or neighbour not known yet */             \
    X(TX_SIDE_ROUTE, "tx_side_route")           /* ... its way is not through the interface */                         \
    X(TX_SIDE_SIZE, "tx_side_size")             /* ... it exceeds the path MTU */                                      \
    X(TX_SIDE_MULTICAST, "tx_side_multicast")   /* ... a group, with loopback or without an interface of ours */       \
    X(TX_SIDE_DOWN, "tx_side_down")             /* ... the interface or the driver does not work */                    \
    X(TX_FULL, "tx_full")                       /* not sent: the driver had no room, the caller was told */            \
    X(ICMP_ERRORS, "icmp_errors")                                                                                      \
    X(PATH_MTU_LEARNED, "path_mtu_learned")                                                                            \
    X(PATH_EVICTED, "path_evicted")                                                                                    \
    X(NEIGHBOUR_FULL, "neighbour_full")                                                                                \
    X(NETLINK_OVERRUN, "netlink_overrun")                                                                              \
    X(NETLINK_ERRORS, "netlink_errors")                                                                                \
    X(SIDE_STALE, "side_stale") /* events of a socket that was closed behind our back */

enum sf_counter_id {
#define X(id, name) SF_COUNT_##id,
    SF_COUNTER_LIST(X)
#undef X
    SF_COUNTERS
};

struct sf_counters {
    uint64_t value[SF_COUNTERS];
    uint64_t refused[SF_REFUSALS];
};

/* The i-th of all, those of refusals included; NULL when there are no more. */
const char *sf_counters_name(int i);
uint64_t sf_counters_value(const struct sf_counters *, int i);

#endif
