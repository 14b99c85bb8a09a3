/* Probes of a peer with a zero window (RFC 9293, 3.8.6.1) and of an idle peer (keepalive, 3.8.4), and the time after which a connection
 * with a silent peer ends (3.8.3; RFC 5482). */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>

#define MOST_ORPHAN_PROBES 8 /* As in Linux (tcp_orphan_retries): 100 s and more. */

/* Sends an empty segment with the number before SND.UNA, which the peer has to answer. */
static void ask(struct sf_tcp_conn *c)
{
    c->probe.sent++;
    sf_tcp_transmit(c, c->loss.una - 1, 0, 0);
}

static sf_ns user_timeout(const struct sf_tcp_socket_options *options, const struct sf_tcp_limits_set *limits)
{
    return options->user_timeout ? options->user_timeout * SF_MS : limits->user_timeout;
}

/* A peer must not pin the memory of an orphaned connection: drop it after MOST_ORPHAN_PROBES, answered or not. TCP_USER_TIMEOUT also
 * holds even if the peer answers. */
static bool is_over(const struct sf_tcp_conn *c)
{
    sf_ns now = c->tcpip->now, most = user_timeout(&c->options, &c->tcpip->tcp.limits);

    if (c->sock.orphan && c->probe.retries > MOST_ORPHAN_PROBES)
        return true;
    if (c->options.user_timeout && c->loss.first_timeout)
        return now - c->loss.first_timeout >= most;
    return c->probe.retries > 2 && now - c->probe.heard > most;
}

/* As in Linux the peer is not told, because it may have gone long ago. A later segment of the peer is answered by a reset. */
static void give_up(struct sf_tcp_conn *c)
{
    sf_count(c->tcpip, SF_COUNT_TCP_TIMED_OUT);
    sf_tcp_conn_end(c, -ETIMEDOUT);
}

/* A window may stay closed for long, as long as the peer answers. */
void sf_tcp_probe(struct sf_tcp_conn *c)
{
    c->timers.probe_at = SF_NEVER;
    if (c->snd.wnd && sf_tcp_send_one(c, true)) {
        c->probe.retries = 0;
        c->loss.first_timeout = 0;
        sf_tcp_conn_timer(c);
        return;
    }
    if (c->probe.retries < UINT8_MAX)
        c->probe.retries++;
    if (is_over(c)) {
        give_up(c);
        return;
    }
    if (!c->loss.first_timeout)
        c->loss.first_timeout = c->tcpip->now;
    ask(c);
    sf_tcp_persist(c);
}

sf_ns sf_tcp_keepalive_at(const struct sf_tcp_conn *c)
{
    sf_ns at;

    if (SF_LIKELY(!c->options.keepalive) || c->state < SF_TCP_ESTABLISHED || c->state == SF_TCP_TIME_WAIT ||
        c->loss.nxt != c->loss.una)
        return SF_NEVER;
    at = c->probe.heard + c->options.keep_idle * SF_SEC;
    return at + c->probe.keep_probes * (c->options.keep_interval * SF_SEC);
}

void sf_tcp_keepalive(struct sf_tcp_conn *c)
{
    struct sf_tcpip *t = c->tcpip;
    bool patient = c->options.user_timeout && t->now - c->probe.heard < c->options.user_timeout * SF_MS;

    if (c->probe.keep_probes >= c->options.keep_count ? !patient : c->options.user_timeout && !patient && c->probe.keep_probes) {
        sf_count(t, SF_COUNT_TCP_TIMED_OUT);
        sf_tcp_send_reset(c);
        sf_tcp_conn_end(c, -ETIMEDOUT);
        return;
    }
    if (c->probe.keep_probes < UINT8_MAX)
        c->probe.keep_probes++;
    ask(c);
}

sf_ns sf_tcp_patience(const struct sf_tcp_conn *c)
{
    const struct sf_tcp_limits_set *limits = &c->tcpip->tcp.limits;
    sf_ns patience = user_timeout(&c->options, limits), orphans = limits->orphan_timeout;

    return c->sock.orphan && !c->options.user_timeout && patience > orphans ? orphans : patience;
}

void sf_tcp_patience_set(struct sf_tcp_conn *c)
{
    sf_ns at = c->loss.first_timeout + sf_tcp_patience(c);

    if (!c->loss.first_timeout)
        return;
    if (c->timers.probe_at != SF_NEVER && c->timers.probe_at > at && c->options.user_timeout)
        c->timers.probe_at = at;
    if (!sf_tcp_shut_out(c))
        sf_tcp_loss_be_patient(&c->loss, (uint32_t)(sf_tcp_patience(c) / SF_MS), c->tcpip->now);
}

bool sf_tcp_gives_up(struct sf_tcp_conn *c)
{
    bool shut_out = sf_tcp_shut_out(c);
    sf_ns since = c->loss.first_timeout;

    if (!since)
        return false;
    if (shut_out && c->probe.heard > since)
        since = c->probe.heard;
    if (c->tcpip->now - since < sf_tcp_patience(c) &&
        (c->loss.rtt.backoff <= c->tcpip->tcp.limits.retries || c->options.user_timeout || shut_out))
        return false;
    give_up(c);
    return true;
}
