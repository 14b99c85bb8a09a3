#include "history.h"

#include <inttypes.h>
#include <stdlib.h>

int sfb_history_shift(double seconds)
{
    int shift = 20;

    while ((double)((uint64_t)1 << shift) * (SFB_HISTORY_POINTS / 2) < seconds * 1e9)
        shift++;
    return shift;
}

void sfb_history_note(struct sfb_history *h, uint64_t ns, uint64_t sent, uint64_t waited)
{
    h->points[ns >> h->shift & (SFB_HISTORY_POINTS - 1)] = (struct sfb_point){ns, sent, waited};
}

static int by_time(const void *left, const void *right)
{
    uint64_t a = ((const struct sfb_point *)left)->ns, b = ((const struct sfb_point *)right)->ns;

    return (a > b) - (a < b);
}

void sfb_history_write(struct sfb_history *h, FILE *to)
{
    const char *before = "";

    qsort(h->points, SFB_HISTORY_POINTS, sizeof *h->points, by_time);
    fputc('[', to);
    for (int i = 0; i < SFB_HISTORY_POINTS; i++) {
        const struct sfb_point *p = &h->points[i];

        if (!p->ns)
            continue;
        fprintf(to, "%s[%" PRIu64 ", %" PRIu64 ", %" PRIu64 "]", before, p->ns, p->sent, p->waited);
        before = ", ";
    }
    fputc(']', to);
}
