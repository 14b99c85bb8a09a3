/*
 * How the looks at other programs are cut, so that none holds up a loop that spins: a look is one slice of some 20 us of CPU time,
 * and the next slice is due after a multiple of that.
 */
#ifndef SF_TCPIP_SHARING_SLICES_H
#define SF_TCPIP_SHARING_SLICES_H

#include "sf/base.h"

#include <stdbool.h>

#define SF_SLICE_INTERVAL (2 * SF_MS)
#define SF_SLICE_INTERVAL_STARTING (200 * SF_US)
#define SF_ROUND_INTERVAL SF_SEC
#define SF_ROUND_INTERVAL_STARTING (100 * SF_MS)

/* When the next slice of a round is due. */
static inline sf_ns sf_next_slice(sf_ns now, bool starting)
{
    return now + (starting ? SF_SLICE_INTERVAL_STARTING : SF_SLICE_INTERVAL);
}

/* When the next round begins, after one that began at `begun` and is over. */
static inline sf_ns sf_next_round(sf_ns now, sf_ns begun, bool starting)
{
    sf_ns slice = sf_next_slice(now, starting), round = begun + (starting ? SF_ROUND_INTERVAL_STARTING : SF_ROUND_INTERVAL);

    return slice > round ? slice : round;
}

#endif
