/* RTT, RTO and the timer (RFC 6298). */
#ifndef SF_TCPIP_TCP_LOSS_RTO_H
#define SF_TCPIP_TCP_LOSS_RTO_H

#include "loss.h"

void sf_tcp_rtt_init(struct sf_tcp_rtt *, sf_ns min_rto);
/* `flight`: bytes in flight, which give the number of samples in a round trip; 0: this is the only one. */
void sf_tcp_rtt_sample(struct sf_tcp_loss *, sf_ns rtt, uint32_t flight, sf_ns now);
/* Takes estimates that were made elsewhere. */
void sf_tcp_rtt_set(struct sf_tcp_rtt *, sf_ns smoothed, sf_ns variance);
/* Starts the RTO at `now`. */
void sf_tcp_rto_restart(struct sf_tcp_loss *, sf_ns now);
/* Chooses the next timer: RTO, TLP or RACK. */
void sf_tcp_timer_arm(struct sf_tcp_loss *, sf_ns now);

#endif
