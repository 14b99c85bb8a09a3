/*
 * The intervals between the checks for other programs. A check is cut into slices of about 20 us of CPU time, so that it does not
 * hold up a spinning loop. A round is the series of slices that checks everything once.
 */
#ifndef SF_TCPIP_SHARING_SLICES_H
#define SF_TCPIP_SHARING_SLICES_H

#include "sf/base.h"

#include <stdbool.h>

#define SF_SLICE_INTERVAL (2 * SF_MS)
#define SF_SLICE_INTERVAL_STARTING (200 * SF_US)
#define SF_ROUND_INTERVAL SF_SEC
#define SF_ROUND_INTERVAL_STARTING (100 * SF_MS)

/* The time of the round's next slice. */
static inline sf_ns sf_next_slice(sf_ns now, bool starting)
{
    return now + (starting ? SF_SLICE_INTERVAL_STARTING : SF_SLICE_INTERVAL);
}

/* The time of the next round's first slice. The last round began at `begun` and is over. */
static inline sf_ns sf_next_round(sf_ns now, sf_ns begun, bool starting)
{
    sf_ns slice = sf_next_slice(now, starting), round = begun + (starting ? SF_ROUND_INTERVAL_STARTING : SF_ROUND_INTERVAL);

    return slice > round ? slice : round;
}

#endif
