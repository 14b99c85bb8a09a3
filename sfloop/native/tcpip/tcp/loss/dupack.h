/* Peers without SACK: detects losses from duplicate ACKs (RFC 5681, 3.2), one in a round trip (NewReno, RFC 6582). */
#ifndef SF_TCPIP_TCP_LOSS_DUPACK_H
#define SF_TCPIP_TCP_LOSS_DUPACK_H

#include "scoreboard.h"

/* Returns true if a segment is lost. `acked`: the advance of una. Sets d->bytes to the bytes that have now left the network,
 * because each duplicate ACK stands for a segment that has. */
bool sf_tcp_dupack_input(struct sf_tcp_loss *, const struct sf_tcp_ack *, uint32_t acked, struct sf_tcp_delivered *d);
/* Limits the bytes announced by duplicate ACKs: the first segment and lost segments have not arrived. */
void sf_tcp_dupack_bound(struct sf_tcp_loss *);

#endif
