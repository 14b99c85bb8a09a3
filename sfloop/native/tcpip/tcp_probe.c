/* Asking a peer that says nothing: with its window at zero (RFC 9293, 3.8.6.1), or without anything to say (keepalive, 3.8.4). And
 * when to give up (3.8.3; RFC 5482). */
#define _GNU_SOURCE
#include "tcpip.h"

#include <errno.h>

#define MOST_ORPHAN_PROBES 8 /* as Linux (tcp_orphan_retries): 100 s and more */

/* A segment that the peer has to answer: it is old by one, and carries nothing. */
static void ask(struct sf_tcp_conn *c)
{
    c->n_probes++;
    sf_tcp_transmit(c, c->loss.una - 1, 0, 0);
}

static sf_ns user_timeout(const struct sf_tcp_conn *c)
{
    return c->options.user_timeout ? c->options.user_timeout * SF_MS : c->tcpip->tcp.limits.user_timeout;
}

/* Of a connection that nobody holds any more a peer must not make us keep the memory: it gets so many probes, whether it answers
 * or not. */
static bool is_over(const struct sf_tcp_conn *c)
{
    if (c->orphan && c->retries > MOST_ORPHAN_PROBES)
        return true;
    return c->retries > 2 && c->tcpip->now - c->heard > user_timeout(c);
}

/* A window that is closed for long is not the end, as long as the peer answers. */
void sf_tcp_probe(struct sf_tcp_conn *c)
{
    struct sf_tcpip *t = c->tcpip;

    c->probe_at = SF_NEVER;
    if (c->snd.wnd && sf_tcp_send_one(c, true)) {
        c->retries = 0;
        sf_tcp_conn_timer(c);
        return;
    }
    if (c->retries < UINT8_MAX)
        c->retries++;
    if (is_over(c)) {
        sf_count(t, SF_COUNT_TCP_TIMED_OUT);
        sf_tcp_send_reset(c);
        sf_tcp_conn_end(c, -ETIMEDOUT);
        return;
    }
    ask(c);
    sf_tcp_persist(c);
}

sf_ns sf_tcp_keepalive_at(const struct sf_tcp_conn *c)
{
    sf_ns at;

    if (SF_LIKELY(!c->options.keepalive) || c->state < SF_TCP_ESTABLISHED || c->state == SF_TCP_TIME_WAIT ||
        c->loss.nxt != c->loss.una)
        return SF_NEVER;
    at = c->heard + c->options.keep_idle * SF_SEC;
    return at + c->keep_probes * (c->options.keep_interval * SF_SEC);
}

void sf_tcp_keepalive(struct sf_tcp_conn *c)
{
    struct sf_tcpip *t = c->tcpip;
    bool patient = c->options.user_timeout && t->now - c->heard < c->options.user_timeout * SF_MS;

    if (c->keep_probes >= c->options.keep_count ? !patient : c->options.user_timeout && !patient && c->keep_probes) {
        sf_count(t, SF_COUNT_TCP_TIMED_OUT);
        sf_tcp_send_reset(c);
        sf_tcp_conn_end(c, -ETIMEDOUT);
        return;
    }
    if (c->keep_probes < UINT8_MAX)
        c->keep_probes++;
    ask(c);
}

bool sf_tcp_gives_up(struct sf_tcp_conn *c)
{
    struct sf_tcpip *t = c->tcpip;
    sf_ns patience = user_timeout(c);

    if (c->orphan && patience > t->tcp.limits.orphan_timeout && !c->options.user_timeout)
        patience = t->tcp.limits.orphan_timeout;
    if (!c->loss.first_timeout || (t->now - c->loss.first_timeout < patience && c->loss.rtt.backoff <= t->tcp.limits.retries))
        return false;
    sf_count(t, SF_COUNT_TCP_TIMED_OUT);
    sf_tcp_send_reset(c);
    sf_tcp_conn_end(c, -ETIMEDOUT);
    return true;
}
