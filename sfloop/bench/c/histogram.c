#include "histogram.h"

#include <inttypes.h>
#include <string.h>

uint64_t sfb_histogram_value(unsigned slot)
{
    unsigned bucket;

    if (slot < 2 * SFB_HIST_HALF)
        return slot;
    bucket = slot / SFB_HIST_HALF - 1;
    return (uint64_t)(slot - bucket * SFB_HIST_HALF) << bucket;
}

void sfb_histogram_reset(struct sfb_histogram *h)
{
    memset(h, 0, sizeof *h);
}

void sfb_histogram_write(const struct sfb_histogram *h, FILE *out)
{
    const char *comma = "";

    fputc('[', out);
    for (unsigned slot = 0; slot < SFB_HIST_SLOTS; slot++) {
        if (!h->counts[slot])
            continue;
        fprintf(out, "%s[%" PRIu64 ",%" PRIu64 "]", comma, sfb_histogram_value(slot), h->counts[slot]);
        comma = ",";
    }
    fputc(']', out);
}
