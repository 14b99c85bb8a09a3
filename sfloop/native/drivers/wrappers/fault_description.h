/*
 * The description of faults: "loss=1%,rx.delay=50us..2ms,seed=7". A word applies to both directions, or to one if it begins with
 * "rx." or "tx.".
 *
 *   loss, duplicate, corrupt, reorder   a share of the frames: 1%, 0.25%
 *   delay                               a time, or two with ".." between them: 50us, 50us..2ms
 *   rate                                bits per second: 100mbit, 64kbit, 1gbit
 *   seed                                a number; the same seed makes the same choices
 */
#ifndef SF_DRIVERS_WRAPPERS_FAULT_DESCRIPTION_H
#define SF_DRIVERS_WRAPPERS_FAULT_DESCRIPTION_H

#include "sf/driver.h"

struct fault_direction {
    /* Shares of 2^32. */
    uint64_t loss, duplicate, corrupt, reorder;
    sf_ns delay_min, delay_max;
    uint64_t rate; /* bits per second; 0: no limit */
    bool active;   /* one of these is set */
};

struct fault_description {
    struct fault_direction rx, tx;
    uint64_t seed;
};

/* Returns 0, or -EINVAL and a sentence in `message`. NULL and "" mean no faults. */
int sf_fault_describe(const char *text, struct fault_description *description, char *message);

#endif
