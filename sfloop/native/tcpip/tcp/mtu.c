/* The size of a segment. It is bounded by the peer's MSS and by the path's MTU (RFC 1191; RFC 5927, 7.2 tells which ICMP errors to
 * believe). Routers may also drop large packets and not say so; timeouts find such a black hole (RFC 4821 has the reason). */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#define LEAST_MSS 88 /* As in Linux (TCP_MIN_SND_MSS is 48 and options), because tiny segments cost us much for each byte. */
#define TIMESTAMP_OPTION 12
#define BLACK_HOLE_AFTER 3 /* Timeouts in a row. */

/* The steps of the search: a size that passes tunnels, then a size that nearly every path carries. */
static const uint16_t step_mtu[] = {0, 1280, 576};

void sf_tcp_update_mss(struct sf_tcp_conn *c)
{
    const struct sf_tcp *tcp = &c->tcpip->tcp;
    uint32_t mtu = c->way.mtu, mss;

    if (c->state < SF_TCP_ESTABLISHED || !mtu)
        return;
    if (c->way.mtu_step && mtu > step_mtu[c->way.mtu_step])
        mtu = step_mtu[c->way.mtu_step];
    mss = mtu - SF_IPV4_HEADER - SF_TCP_HEADER;
    if (mss > c->agreed.mss)
        mss = c->agreed.mss;
    if (tcp->limits.mss && mss > tcp->limits.mss)
        mss = tcp->limits.mss;
    if (c->options.maxseg && mss > c->options.maxseg)
        mss = c->options.maxseg;
    if (mss < LEAST_MSS)
        mss = LEAST_MSS;
    if (c->agreed.timestamps)
        mss -= TIMESTAMP_OPTION; /* The MSS option does not count options (RFC 6691). */
    if (mss != c->loss.mss)
        sf_tcp_loss_set_mss(&c->loss, mss);
}

/* The caller has checked that the error is about a segment under way. */
void sf_tcp_too_big(struct sf_tcp_conn *c, uint32_t mtu)
{
    struct sf_tcpip *t = c->tcpip;

    if (mtu >= c->way.mtu)
        return; /* The MTU is known already. */
    sf_path_learn_mtu(t, c->flow.key.remote_addr, mtu);
    sf_tcp_output(c); /* Segments that were too long are lost, and go again in smaller pieces. */
}

/* Forgets earlier timeouts, because losses without a way, or on another one, say nothing about this way's MTU. */
void sf_tcp_way_is_back(struct sf_tcp_conn *c)
{
    c->way.backoff_before = c->loss.rtt.backoff;
    if (!c->way.mtu_step)
        return;
    c->way.mtu_step = 0;
    sf_tcp_update_mss(c);
}

void sf_tcp_suspect_black_hole(struct sf_tcp_conn *c)
{
    struct sf_tcpip *t = c->tcpip;
    uint32_t steps = sizeof(step_mtu) / sizeof(step_mtu[0]);

    if (c->loss.rtt.backoff < c->way.backoff_before)
        c->way.backoff_before = 0; /* Something has arrived since. */
    if (sf_tcpip_is_point_to_point(t) || !c->way.direct || !c->snd.wnd || c->loss.nxt - c->loss.una <= 1 || c->way.mtu_step + 1u >= steps ||
        c->loss.rtt.backoff < c->way.backoff_before + BLACK_HOLE_AFTER || c->loss.mss <= step_mtu[c->way.mtu_step + 1u])
        return;
    c->way.mtu_step++;
    sf_count(t, SF_COUNT_TCP_BLACK_HOLES);
    sf_tcp_update_mss(c);
}
