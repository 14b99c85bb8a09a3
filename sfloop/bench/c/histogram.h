/*
 * A latency histogram in the layout of HdrHistogram with three significant digits. It keeps values from 1 ns
 * to 2^SFB_HIST_BITS ns with an error of at most one part in 1,024. Its buckets are those of the Python
 * package hdrhistogram, so common/histogram.py rebuilds the histogram without loss.
 */
#ifndef SFB_HISTOGRAM_H
#define SFB_HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

enum {
    SFB_HIST_SUB_BITS = 11,
    SFB_HIST_HALF = 1 << (SFB_HIST_SUB_BITS - 1),
    SFB_HIST_BITS = 37, /* 137 s */
    SFB_HIST_SLOTS = (SFB_HIST_BITS - SFB_HIST_SUB_BITS + 2) * SFB_HIST_HALF,
};

struct sfb_histogram {
    uint64_t total;
    uint64_t counts[SFB_HIST_SLOTS];
};

static inline unsigned sfb_histogram_slot(uint64_t value)
{
    uint64_t mask = (1u << SFB_HIST_SUB_BITS) - 1;
    unsigned bucket;

    if (value >= (UINT64_C(1) << SFB_HIST_BITS))
        value = (UINT64_C(1) << SFB_HIST_BITS) - 1;
    bucket = 64u - (unsigned)__builtin_clzll(value | mask) - SFB_HIST_SUB_BITS;
    return bucket * SFB_HIST_HALF + (unsigned)(value >> bucket);
}

static inline void sfb_histogram_record(struct sfb_histogram *h, uint64_t value)
{
    h->counts[sfb_histogram_slot(value)]++;
    h->total++;
}

/* Returns the lowest value of a slot. */
uint64_t sfb_histogram_value(unsigned slot);
void sfb_histogram_reset(struct sfb_histogram *h);
/* Writes the slots that have a count as JSON: [[value, count], ...]. */
void sfb_histogram_write(const struct sfb_histogram *h, FILE *out);

#endif
