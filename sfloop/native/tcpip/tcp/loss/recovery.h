/* What a loss does to the window, and how that is undone if there was none. */
#ifndef SF_TCPIP_TCP_LOSS_RECOVERY_H
#define SF_TCPIP_TCP_LOSS_RECOVERY_H

#include "scoreboard.h"

/* After the scoreboard is up to date: ends recoveries, undoes spurious ones, begins one if there is something lost. */
void sf_tcp_recovery_input(struct sf_tcp_loss *, const struct sf_tcp_ack *, const struct sf_tcp_delivered *, bool advanced,
                           sf_ns now);
/* Something is lost and no recovery is under way: fast recovery. */
void sf_tcp_recovery_enter(struct sf_tcp_loss *);
/* The window in fast recovery, by proportional rate reduction (RFC 6937), after `delivered` bytes have arrived. `safe`: and
 * with them una has moved, while nothing more was lost. */
void sf_tcp_recovery_reduce(struct sf_tcp_loss *, uint32_t delivered, bool safe);
/* A loss that has been repaired already: the window alone. */
void sf_tcp_recovery_repaired(struct sf_tcp_loss *);
/* The retransmission timeout. */
void sf_tcp_recovery_timeout(struct sf_tcp_loss *, sf_ns now);

#endif
