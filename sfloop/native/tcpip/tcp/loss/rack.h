/* Which segments are lost, told by when they were sent, and probes for a lost tail: RACK-TLP (RFC 8985). */
#ifndef SF_TCPIP_TCP_LOSS_RACK_H
#define SF_TCPIP_TCP_LOSS_RACK_H

#include "scoreboard.h"

/* Steps 1 to 3: one has arrived, those of an ACK in order of sequence. */
void sf_tcp_rack_delivered(struct sf_tcp_loss *, const struct sf_tcp_sent *, const struct sf_tcp_ack *, sf_ns now);
/* Step 4: an ACK with a DSACK, or without. */
void sf_tcp_rack_dsack(struct sf_tcp_loss *, bool dsack);
/* ... and a recovery that has ended. */
void sf_tcp_rack_recovered(struct sf_tcp_loss *);
/* Step 5: marks what is lost, and sets rack_at for what may be. Returns true if something is. */
bool sf_tcp_rack_detect(struct sf_tcp_loss *, sf_ns now);
/* A retransmission timeout: what was sent before an RTT is lost, what was sent since may be on its way (6.3). */
void sf_tcp_rack_timeout(struct sf_tcp_loss *, sf_ns now);

/* From the last segment sent, or the last ACK, to the probe (7.2); SF_NEVER: there is to be none. */
sf_ns sf_tcp_tlp_delay(const struct sf_tcp_loss *);
/* Whether the probe repaired a loss (7.4): true once, and the window is to be reduced as for any other. `advanced`: una has. */
bool sf_tcp_tlp_repaired(struct sf_tcp_loss *, const struct sf_tcp_ack *, const struct sf_tcp_delivered *, bool advanced);

#endif
