/* The program ends a connection: shutdown, close, abort (RFC 9293, 3.10.4 and 3.10.5; RFC 1122, 4.2.2.13). */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>

int sf_tcp_shutdown(struct sf_tcp_conn *c)
{
    if (c->state < SF_TCP_ESTABLISHED)
        return -ENOTCONN;
    if (c->snd.fin)
        return 0;
    if (!sf_tcp_may_send(c))
        return -ENOTCONN;
    c->snd.fin = true;
    c->state = c->state == SF_TCP_ESTABLISHED ? SF_TCP_FIN_WAIT_1 : SF_TCP_LAST_ACK;
    sf_tcp_output(c);
    sf_tcp_conn_update(c);
    return 0;
}

void sf_tcp_abort(struct sf_tcp_conn *c)
{
    c->sock.owner = NULL;
    if (!c->dead && c->state != SF_TCP_TIME_WAIT) {
        sf_count(c->tcpip, SF_COUNT_TCP_ABORTED);
        if (c->tcpip->driver)
            sf_tcp_send_reset(c);
    }
    sf_tcp_conn_bury(c);
}

/* A program that closes with data unread tells the peer so by a reset (RFC 2525, 2.17). SO_LINGER with a time changes nothing: on
 * Linux it is the time for which close() waits, and the kernel still delivers the rest afterwards. */
void sf_tcp_release(struct sf_tcp_conn *c)
{
    struct sf_tcpip *t = c->tcpip;

    c->sock.owner = NULL;
    sf_tcp_conn_interest(c, 0);
    if (c->dead || c->state == SF_TCP_TIME_WAIT || c->state < SF_TCP_SYN_RECEIVED || !t->driver) {
        sf_tcp_conn_bury(c);
        return;
    }
    if (c->state == SF_TCP_SYN_RECEIVED || c->options.linger == 0 || sf_tcp_unread(&c->rcv)) {
        sf_tcp_abort(c);
        return;
    }
    c->sock.orphan = true;
    c->probe.retries = 0;
    if (c->state == SF_TCP_FIN_WAIT_2)
        c->timers.end_at = t->now + t->tcp.limits.orphan_timeout;
    if (sf_tcp_may_send(c))
        sf_tcp_shutdown(c);
    else
        sf_tcp_conn_timer(c);
}
