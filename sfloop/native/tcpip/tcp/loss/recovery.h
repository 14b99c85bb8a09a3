/* The effect of a loss on the window, and undoing it if the loss was spurious. */
#ifndef SF_TCPIP_TCP_LOSS_RECOVERY_H
#define SF_TCPIP_TCP_LOSS_RECOVERY_H

#include "scoreboard.h"

/* Call this once the scoreboard is up to date. Ends recoveries, undoes spurious ones, and begins one after a loss. */
void sf_tcp_recovery_input(struct sf_tcp_loss *, const struct sf_tcp_ack *, const struct sf_tcp_delivered *, bool advanced,
                           sf_ns now);
/* Begins fast recovery. Call this after a loss if there is no recovery yet. */
void sf_tcp_recovery_enter(struct sf_tcp_loss *);
/* Sets the window in fast recovery by proportional rate reduction (RFC 6937), after `delivered` bytes have arrived. `safe`:
 * una has advanced, and nothing more was lost. */
void sf_tcp_recovery_reduce(struct sf_tcp_loss *, uint32_t delivered, bool safe);
/* Reduces only the window, for a loss that is repaired already. */
void sf_tcp_recovery_repaired(struct sf_tcp_loss *);
/* Handles the retransmission timeout. */
void sf_tcp_recovery_timeout(struct sf_tcp_loss *, sf_ns now);

#endif
