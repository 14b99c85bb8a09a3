/* RACK-TLP (RFC 8985): detects losses by the time at which segments were sent, and probes for a lost tail. */
#ifndef SF_TCPIP_TCP_LOSS_RACK_H
#define SF_TCPIP_TCP_LOSS_RACK_H

#include "scoreboard.h"

/* Steps 1 to 3: a segment has arrived. Call this in order of sequence for the segments of an ACK. */
void sf_tcp_rack_delivered(struct sf_tcp_loss *, const struct sf_tcp_sent *, const struct sf_tcp_ack *, sf_ns now);
/* Step 4: an ACK with or without a DSACK. */
void sf_tcp_rack_dsack(struct sf_tcp_loss *, bool dsack);
/* Step 4: a recovery has ended. */
void sf_tcp_rack_recovered(struct sf_tcp_loss *);
/* Step 5: marks lost segments, and sets rack_at for those that may be lost. Returns true if any is lost. */
bool sf_tcp_rack_detect(struct sf_tcp_loss *, sf_ns now);
/* On a retransmission timeout: segments sent more than an RTT ago are lost, later ones may be in flight (6.3). */
void sf_tcp_rack_timeout(struct sf_tcp_loss *, sf_ns now);

/* The time from the last segment sent, or the last ACK, to the probe (7.2). SF_NEVER: no probe. */
sf_ns sf_tcp_tlp_delay(const struct sf_tcp_loss *);
/* Tells whether the probe has repaired a loss (7.4). True once: then reduce the window as for any loss. `advanced`: una has
 * advanced. */
bool sf_tcp_tlp_repaired(struct sf_tcp_loss *, const struct sf_tcp_ack *, const struct sf_tcp_delivered *, bool advanced);

#endif
