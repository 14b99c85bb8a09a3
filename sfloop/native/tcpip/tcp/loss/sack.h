/* What an ACK says beside its number: selective acknowledgments (RFC 2018), duplicates that the peer has seen (RFC 2883). */
#ifndef SF_TCPIP_TCP_LOSS_SACK_H
#define SF_TCPIP_TCP_LOSS_SACK_H

#include "scoreboard.h"

/* After una is the ACK's. Returns true if something new was selectively acknowledged; *d has how much, and the DSACK. */
bool sf_tcp_sack_input(struct sf_tcp_loss *, const struct sf_tcp_ack *, struct sf_tcp_delivered *d, sf_ns now);

#endif
