/* Selective acknowledgments (RFC 2018), and duplicates that the peer reports (RFC 2883). */
#ifndef SF_TCPIP_TCP_LOSS_SACK_H
#define SF_TCPIP_TCP_LOSS_SACK_H

#include "scoreboard.h"

/* Call this after una is the ACK's. Returns true if a range reports new data; *d gets the amount and the DSACK. */
bool sf_tcp_sack_input(struct sf_tcp_loss *, const struct sf_tcp_ack *, struct sf_tcp_delivered *d, sf_ns now);

#endif
