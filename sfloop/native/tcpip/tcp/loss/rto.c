#include "rto.h"

#include "rack.h"

#define FIRST_RTO SF_SEC          /* RFC 6298, 2.1 */
#define MAX_RTO (120 * SF_SEC)    /* 2.5: at least a minute */
#define LEAST_MARGIN (50 * SF_US) /* possible delay of a turn of the loop */
#define MIN_RTT_WINDOW (10 * SF_SEC)

void sf_tcp_rtt_init(struct sf_tcp_rtt *rtt, sf_ns min_rto)
{
    *rtt = (struct sf_tcp_rtt){.rto = FIRST_RTO, .min_rto = min_rto > LEAST_MARGIN ? min_rto : LEAST_MARGIN};
}

static void update_min(struct sf_tcp_rtt *rtt, sf_ns sample, sf_ns now)
{
    if (now >= rtt->min_until) {
        rtt->min = rtt->next_min ? rtt->next_min : sample;
        rtt->next_min = sample;
        rtt->min_until = now + MIN_RTT_WINDOW;
    }
    if (sample < rtt->next_min)
        rtt->next_min = sample;
    if (sample < rtt->min)
        rtt->min = sample;
}

/* RFC 6298 assumes one sample in a round trip. We have one for each ACK, so each counts for less (RFC 7323, appendix G): a
 * shift by the logarithm of their number, which is half of the segments in flight. */
static int sample_shift(uint32_t flight, uint32_t mss)
{
    int shift = flight ? __builtin_clz(2 * mss) - __builtin_clz(flight) : 0;

    return shift < 0 ? 0 : shift > 5 ? 5 : shift;
}

/* RFC 6298, 2.3, with the minimum RTO as the granularity G, as in Linux, because the peer may delay an ACK by that much on any
 * path. */
static void set_rto(struct sf_tcp_rtt *rtt)
{
    sf_ns margin = 4 * rtt->variance > rtt->min_rto ? 4 * rtt->variance : rtt->min_rto, rto = rtt->smoothed + margin;

    rtt->rto = rto > MAX_RTO ? MAX_RTO : rto;
}

void sf_tcp_rtt_set(struct sf_tcp_rtt *rtt, sf_ns smoothed, sf_ns variance)
{
    rtt->latest = rtt->min = rtt->smoothed = smoothed;
    rtt->variance = variance;
    set_rto(rtt);
}

void sf_tcp_rtt_sample(struct sf_tcp_loss *l, sf_ns sample, uint32_t flight, sf_ns now)
{
    struct sf_tcp_rtt *rtt = &l->rtt;
    sf_ns deviation;

    if (sample < 1)
        sample = 1;
    rtt->latest = sample;
    update_min(rtt, sample, now);
    if (!rtt->smoothed) {
        rtt->smoothed = sample;
        rtt->variance = sample / 2;
    } else {
        int shift = sample_shift(flight, l->mss);

        deviation = sample > rtt->smoothed ? sample - rtt->smoothed : rtt->smoothed - sample;
        rtt->variance += (deviation - rtt->variance) / ((sf_ns)4 << shift);
        rtt->smoothed += (sample - rtt->smoothed) / ((sf_ns)8 << shift);
        if (rtt->smoothed < 1)
            rtt->smoothed = 1;
    }
    rtt->backoff = 0;
    set_rto(rtt);
}

void sf_tcp_rto_restart(struct sf_tcp_loss *l, sf_ns now)
{
    sf_ns rto = l->rtt.rto;

    if (SF_LIKELY(!l->rtt.backoff)) {
        l->rto_at = now + rto;
        return;
    }
    for (uint8_t i = 0; i < l->rtt.backoff && rto < MAX_RTO; i++)
        rto *= 2;
    l->rto_at = now + (rto < MAX_RTO ? rto : MAX_RTO);
    if (l->rtt.patience && l->first_timeout && l->rto_at > l->first_timeout + l->rtt.patience * SF_MS)
        l->rto_at = l->first_timeout + l->rtt.patience * SF_MS;
}

void sf_tcp_timer_arm(struct sf_tcp_loss *l, sf_ns now)
{
    sf_ns delay;

    if (l->una == l->nxt) {
        l->timer = SF_TCP_TIMER_NONE;
        return;
    }
    l->timer = SF_TCP_TIMER_RTO;
    l->timer_at = l->rto_at;
    if (SF_UNLIKELY(l->rack_at)) {
        if (l->rack_at < l->rto_at) {
            l->timer = SF_TCP_TIMER_RACK;
            l->timer_at = l->rack_at;
        }
        return;
    }
    delay = sf_tcp_tlp_delay(l);
    if (delay == SF_NEVER)
        return;
    l->timer = SF_TCP_TIMER_TLP; /* replaces the RTO if it is sooner (RFC 8985, 7.2) */
    if (now + delay < l->rto_at)
        l->timer_at = now + delay;
}
