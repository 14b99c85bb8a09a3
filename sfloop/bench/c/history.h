/* A sender's counts over time, so that what was sent can be told for any span, such as the one in which a receiver counted. */
#ifndef SFB_HISTORY_H
#define SFB_HISTORY_H

#include <stdint.h>
#include <stdio.h>

enum { SFB_HISTORY_POINTS = 2048 };

struct sfb_point {
    uint64_t ns; /* CLOCK_MONOTONIC; 0: nothing was noted */
    uint64_t sent, waited;
};

/* One point for each step of 2^shift ns, the last of the step. */
struct sfb_history {
    int shift;
    struct sfb_point points[SFB_HISTORY_POINTS];
};

/* The shift of a run of so many seconds. It leaves room for a run that takes twice as long. */
int sfb_history_shift(double seconds);
void sfb_history_note(struct sfb_history *h, uint64_t ns, uint64_t sent, uint64_t waited);
/* Writes a JSON array of [ns, sent, waited], the earliest first. */
void sfb_history_write(struct sfb_history *h, FILE *to);

#endif
