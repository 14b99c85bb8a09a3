/* Going on with a connection that another TCP has begun. */
#include "congestion.h"
#include "rto.h"
#include "scoreboard.h"

#include <errno.h>

/* The other TCP's segments are not known. These pieces are at most as long as a segment, and the last one has the FIN. */
static int take_flight(struct sf_tcp_loss *l, uint32_t nxt, sf_ns sent_at, sf_ns now)
{
    while (l->nxt != nxt) {
        uint32_t len = nxt - l->nxt < l->mss ? nxt - l->nxt : l->mss;
        struct sf_tcp_sent *s;

        if (sf_tcp_loss_sent(l, l->nxt, len, now) < 0)
            return -ENOMEM;
        s = sf_tcp_sent_at(l, l->ring_count - 1);
        s->sent_at = sent_at;
        s->flags |= SF_TCP_SENT_TWICE; /* The RTT cannot be measured (Karn's algorithm). */
    }
    return 0;
}

static uint32_t between(uint32_t value, uint32_t least, uint32_t most)
{
    return value < least ? least : value > most ? most : value;
}

/* Without a threshold the connection is in its first slow start. */
static void take_window(struct sf_tcp_loss *l, const struct sf_tcp_resumed *r)
{
    struct sf_tcp_cc *cc = &l->cc;

    if (r->cwnd)
        cc->cwnd = between(r->cwnd, l->mss, SF_TCP_CWND_MAX);
    if (!r->ssthresh || r->ssthresh >= SF_TCP_CWND_MAX)
        return;
    cc->ssthresh = between(r->ssthresh, 2 * l->mss, SF_TCP_CWND_MAX);
    cc->hystart = false;
}

int sf_tcp_loss_resume(struct sf_tcp_loss *l, const struct sf_tcp_resumed *r, sf_ns now)
{
    sf_ns sent_at = now > r->rtt ? now - r->rtt : 1;

    if (r->rtt)
        sf_tcp_rtt_set(&l->rtt, r->rtt, r->rtt_var);
    take_window(l, r);
    if (take_flight(l, r->nxt, sent_at, now) < 0)
        return -ENOMEM;
    l->last_sent = now; /* The window counts as used until now. */
    l->delivered = r->delivered;
    l->round_end = l->nxt;
    return 0;
}
