/* A sender's counts over time. They tell the number of messages sent in any span of time, such as a receiver's measurement. */
#ifndef SFB_HISTORY_H
#define SFB_HISTORY_H

#include <stdint.h>
#include <stdio.h>

enum { SFB_HISTORY_POINTS = 2048 };

struct sfb_point {
    uint64_t ns; /* CLOCK_MONOTONIC; 0: nothing was noted */
    uint64_t sent, waited;
};

/* A history has a point for each step of 2^shift ns: the last one of the step. */
struct sfb_history {
    int shift;
    struct sfb_point points[SFB_HISTORY_POINTS];
};

/* Returns the shift for a run of `seconds`. It leaves room for a run that takes twice as long. */
int sfb_history_shift(double seconds);
void sfb_history_note(struct sfb_history *h, uint64_t ns, uint64_t sent, uint64_t waited);
/* Writes a JSON array of [ns, sent, waited], the earliest first. */
void sfb_history_write(struct sfb_history *h, FILE *to);

#endif
