/* Counts of frames and datagrams that did not take the fast path, by reason. */
#ifndef SF_TCPIP_COUNTERS_H
#define SF_TCPIP_COUNTERS_H

#include "wire/refusal.h"

#include <stdint.h>

/* There is also a counter for each reason of wire/refusal.h, named "rx_refused_" and the reason. */
#define SF_COUNTER_LIST(X)                                                                                             \
    X(RX_OWN, "rx_own")                         /* our own frames, seen on their way out */                            \
    X(RX_OTHER_MAC, "rx_other_mac")             /* for another station, because the interface is promiscuous */        \
    X(RX_OTHER_VLAN, "rx_other_vlan")           /* of a VLAN, which has another interface */                           \
    X(RX_OTHER_ADDR, "rx_other_addr")           /* for an address that is not the interface's */                       \
    X(RX_PIECES, "rx_pieces")                   /* a frame in more pieces than an IP packet can have */                \
    X(RX_NO_SOCKET, "rx_no_socket")                                                                                    \
    X(RX_NOT_JOINED, "rx_not_joined")           /* of a group or source that the socket has not joined */              \
    X(RX_BACKLOG_FULL, "rx_backlog_full")       /* the program did not read in time */                                 \
    X(RX_BACKLOG_COPIES, "rx_backlog_copies")   /* not lost: copied, because it was unread at the next poll */         \
    X(OTHERS_UNKNOWN, "others_unknown")         /* the kernel did not tell which other sockets have a port */          \
    X(PORT_CHANGES, "port_changes")             /* other programs bound a shared port, so all was checked again */     \
    X(RX_SIDE, "rx_side")                       /* received by the kernel socket: fragments, loopback, other interfaces */ \
    X(RX_SIDE_REPEATED, "rx_side_repeated")     /* the kernel's copy of a datagram that the driver brought */          \
    X(TX_SIDE_UNRESOLVED, "tx_side_unresolved") /* sent by the kernel: route or neighbour not known yet */             \
    X(TX_SIDE_ROUTE, "tx_side_route")           /* ... the route leads through another interface */                    \
    X(TX_SIDE_SIZE, "tx_side_size")             /* ... it exceeds the path MTU */                                      \
    X(TX_SIDE_MULTICAST, "tx_side_multicast")   /* ... a group, with loopback or without an interface of ours */       \
    X(TX_SIDE_DOWN, "tx_side_down")             /* ... the interface or the driver does not work */                    \
    X(TX_SIDE_IPV6, "tx_side_ipv6")             /* ... an IPv6 socket's datagram to an IPv6 address */                 \
    X(TX_FULL, "tx_full")                       /* not sent: the driver had no room, and the caller was told */        \
    X(ICMP_ERRORS, "icmp_errors")                                                                                      \
    X(PATH_MTU_LEARNED, "path_mtu_learned")                                                                            \
    X(PATH_EVICTED, "path_evicted")                                                                                    \
    X(NEIGHBOUR_FULL, "neighbour_full")                                                                                \
    X(NETLINK_OVERRUN, "netlink_overrun")                                                                              \
    X(NETLINK_ERRORS, "netlink_errors")                                                                                \
    X(SIDE_STALE, "side_stale") /* events of a socket that the program closed */                                       \
    X(TCP_CONNECTED, "tcp_connected")                                                                                  \
    X(TCP_ACCEPTED, "tcp_accepted")                                                                                    \
    X(TCP_IMPORTED, "tcp_imported")             /* the kernel has opened the connection */                             \
    X(TCP_IMPORTS_UNDONE, "tcp_imports_undone") /* the kernel keeps the connection */                                  \
    X(TCP_EXPORTED, "tcp_exported")             /* another TCP goes on with the connection */                          \
    X(TCP_PORTS_UNRESERVED, "tcp_ports_unreserved") /* of imported connections: another socket has the port too */     \
    X(TCP_RESETS_SENT, "tcp_resets_sent")                                                                              \
    X(TCP_RESETS_RECEIVED, "tcp_resets_received")                                                                      \
    X(TCP_ABORTED, "tcp_aborted")               /* by the program: abort, unread data, SO_LINGER */                    \
    X(TCP_TIMED_OUT, "tcp_timed_out")           /* the peer no longer answers */                                       \
    X(TCP_ORPHANS_ENDED, "tcp_orphans_ended")   /* released, and the peer did not finish in time */                    \
    X(TCP_DATA_AFTER_CLOSE, "tcp_data_after_close")                                                                    \
    X(TCP_SYN_RETRANSMITS, "tcp_syn_retransmits")                                                                      \
    X(TCP_HALF_OPEN_TIMED_OUT, "tcp_half_open_timed_out")                                                              \
    X(TCP_ACCEPT_FULL, "tcp_accept_full")       /* the program does not accept in time */                              \
    X(TCP_COOKIES_SENT, "tcp_cookies_sent")                                                                            \
    X(TCP_COOKIES_GOOD, "tcp_cookies_good")                                                                            \
    X(TCP_COOKIES_BAD, "tcp_cookies_bad")                                                                              \
    X(TCP_CONNECTIONS_FULL, "tcp_connections_full")                                                                    \
    X(TCP_MEMORY_FULL, "tcp_memory_full")       /* a buffer could not grow: the limit of all buffers */                \
    X(TCP_NO_MEMORY, "tcp_no_memory")           /* a connection was ended for lack of memory */                        \
    X(TCP_RX_PRUNED, "tcp_rx_pruned")           /* out-of-order data dropped to free memory for others */              \
    X(TCP_RX_REFUSED, "tcp_rx_refused")         /* data in order refused for lack of memory; the peer resends it */    \
    X(TCP_TIME_WAIT_EVICTED, "tcp_time_wait_evicted")                                                                  \
    X(TCP_TIME_WAIT_REUSED, "tcp_time_wait_reused")                                                                    \
    X(TCP_CHALLENGES, "tcp_challenges")         /* ACKs that ask whether a segment was meant (RFC 5961) */             \
    X(TCP_CHALLENGE_LIMITED, "tcp_challenge_limited")                                                                  \
    X(TCP_RX_NO_SOCKET, "tcp_rx_no_socket")                                                                            \
    X(TCP_RX_BAD_ACK, "tcp_rx_bad_ack")         /* acknowledges unsent data, or has no ACK */                          \
    X(TCP_RX_OUTSIDE_WINDOW, "tcp_rx_outside_window")                                                                  \
    X(TCP_RX_BEYOND_WINDOW, "tcp_rx_beyond_window") /* in part */                                                      \
    X(TCP_RX_PAWS, "tcp_rx_paws")               /* an old timestamp */                                                 \
    X(TCP_RX_NO_TIMESTAMPS, "tcp_rx_no_timestamps") /* not lost: a segment without the agreed timestamps */            \
    X(TCP_RX_DUPLICATE, "tcp_rx_duplicate")                                                                            \
    X(TCP_RX_OUT_OF_ORDER, "tcp_rx_out_of_order") /* not lost: kept until the data before it arrives */                \
    X(TCP_RX_RANGES_FULL, "tcp_rx_ranges_full") /* out of order in more pieces than we keep */                         \
    X(TCP_FILTERS_FULL, "tcp_filters_full")     /* the driver had no filter for a connection of a closed listener */   \
    X(TCP_TX_NO_WAY, "tcp_tx_no_way")           /* not sent: no route, no neighbour, or the interface is down */       \
    X(TCP_RX_OTHER_WAY, "tcp_rx_other_way")     /* not lost: received by the kernel: fragments, or another interface */ \
    X(TCP_RESETS_KEPT, "tcp_resets_kept")       /* of the kernel's, which had no socket for a segment of ours */       \
    X(TCP_RESETS_LET_GO, "tcp_resets_let_go")   /* ... which were right after all */                                   \
    X(TCP_RX_KERNELS, "tcp_rx_kernels")         /* not lost: handed to the kernel, which has the port or the connection */ \
    X(TCP_TX_OTHER_WAY, "tcp_tx_other_way")     /* not lost: the kernel has another route, or looks for the neighbour */ \
    X(TCP_TX_LOST, "tcp_tx_lost")               /* refused by the driver: too large, or the driver is down */          \
    X(TCP_ICMP_IGNORED, "tcp_icmp_ignored")     /* not about data under way */                                         \
    X(TCP_BLACK_HOLES, "tcp_black_holes")       /* smaller segments tried, because large ones are lost */

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

/* The name of counter number i, including the refusals; NULL beyond the last. */
const char *sf_counters_name(int i);
uint64_t sf_counters_value(const struct sf_counters *, int i);

#endif
