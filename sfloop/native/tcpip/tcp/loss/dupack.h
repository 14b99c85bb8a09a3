/* Peers without SACK: losses told from duplicate ACKs (RFC 5681, 3.2), one in a round trip (NewReno, RFC 6582). */
#ifndef SF_TCPIP_TCP_LOSS_DUPACK_H
#define SF_TCPIP_TCP_LOSS_DUPACK_H

#include "scoreboard.h"

/* Returns true if something is lost. `acked`: by how much una has advanced. d->bytes becomes what has left the network now:
 * each duplicate ACK stands for a segment that has. */
bool sf_tcp_dupack_input(struct sf_tcp_loss *, const struct sf_tcp_ack *, uint32_t acked, struct sf_tcp_delivered *d);
/* No more can have arrived than is under way and not lost; the first segment has not. */
void sf_tcp_dupack_bound(struct sf_tcp_loss *);

#endif
