/* The TCP layer as a whole: making and ending it, its share of the stack's turn. */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"
#include "storage/kernel_setting.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define LEAST_WAIT_PORTS 16
#define MOST_WAIT_PORTS 1024

int sf_tcp_init(struct sf_tcpip *t, const struct sf_tcp_limits_set *limits)
{
    struct sf_tcp *tcp = &t->tcp;

    sf_ready_init(&tcp->pending);
    sf_ready_init(&tcp->resolving);
    sf_ready_init(&tcp->starved);
    sf_ready_init(&tcp->holding);
    tcp->memory_timer.at = SF_NEVER;
    tcp->limits = *limits;
    tcp->icmp_fd = tcp->detour_fd = tcp->strays.fd = -1;
    if (getrandom(tcp->key, sizeof(tcp->key), 0) != sizeof(tcp->key) ||
        getrandom(tcp->flows.seed, sizeof(tcp->flows.seed), 0) != sizeof(tcp->flows.seed))
        return -errno;
    return 0;
}

/* The options of a fresh socket. */
static int read_defaults(struct sf_tcp *tcp)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(int);

    if (fd < 0)
        return -errno;
    getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &tcp->default_sndbuf, &len);
    len = sizeof(int);
    getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &tcp->default_rcvbuf, &len);
    len = sizeof(tcp->default_congestion) - 1;
    getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, tcp->default_congestion, &len);
    close(fd);
    return 0;
}

int sf_tcp_open(struct sf_tcpip *t)
{
    struct sf_tcp *tcp = &t->tcp;
    struct rlimit files;
    int rc;

    if (tcp->opened)
        return 0;
    rc = read_defaults(tcp);
    if (rc == 0)
        rc = sf_tcp_timer_add(t, &tcp->wait_timer, SF_TCP_TIMER_WAIT);
    if (rc == 0)
        rc = sf_tcp_timer_add(t, &tcp->memory_timer, SF_TCP_TIMER_MEMORY);
    if (rc < 0)
        return rc;
    tcp->rfc1337 = sf_setting_is_on("/proc/sys/net/ipv4/tcp_rfc1337");
    tcp->max_wait_ports = LEAST_WAIT_PORTS;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur / 16 > LEAST_WAIT_PORTS)
        tcp->max_wait_ports = files.rlim_cur / 16 < MOST_WAIT_PORTS ? (uint32_t)(files.rlim_cur / 16) : MOST_WAIT_PORTS;
    sf_tcp_icmp_listen(t);
    tcp->opened = true;
    return 0;
}

static void free_graves(struct sf_tcpip *t)
{
    while (t->tcp.graves) {
        struct sf_tcp_conn *c = t->tcp.graves;

        t->tcp.graves = c->sock.next;
        sf_tcp_conn_free(c);
    }
}

static struct sf_flow_link *any_link(const struct sf_flows *flows)
{
    for (uint32_t i = 0; flows->slot && i <= flows->mask; i++)
        if (flows->slot[i])
            return flows->slot[i];
    return NULL;
}

/* Sends a reset for a connection that ends with the stack, because nobody will answer its peer. A connection that was closed and has
 * delivered everything, including its FIN, gets none, because a late reader would believe that data is missing. */
static void end_conn(struct sf_tcp_conn *c)
{
    if (c->sock.orphan && c->state == SF_TCP_FIN_WAIT_2)
        sf_tcp_conn_bury(c);
    else
        sf_tcp_abort(c);
}

static void end_all(struct sf_tcpip *t)
{
    struct sf_flow_link *link;

    while (!sf_ready_empty(&t->tcp.resolving))
        sf_tcp_conn_bury(sf_tcp_conn_of_pending(t->tcp.resolving.next));
    while ((link = any_link(&t->tcp.flows))) {
        switch ((enum sf_tcp_kind)link->kind) {
        case SF_TCP_CONN:
            end_conn((struct sf_tcp_conn *)link);
            break;
        case SF_TCP_HALF:
            sf_tcp_half_free(t, (struct sf_tcp_half *)link);
            break;
        case SF_TCP_WAIT:
            sf_tcp_wait_free(t, (struct sf_tcp_wait *)link);
            break;
        case SF_TCP_LISTENING:
            sf_tcp_listener_close((struct sf_tcp_listener *)link);
            break;
        }
    }
}

static void close_raw_sockets(struct sf_tcp *tcp)
{
    int *fds[] = {&tcp->icmp_fd, &tcp->detour_fd, &tcp->strays.fd};

    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
    tcp->strays.until = 0;
}

void sf_tcp_destroy(struct sf_tcpip *t)
{
    end_all(t);
    free_graves(t);
    close_raw_sockets(&t->tcp);
    free(t->tcp.timers.heap);
    sf_flows_free(&t->tcp.flows);
}

/* The connections are the parent's, because it has the driver. The child's copies end as if the network had gone. */
void sf_tcp_after_fork(struct sf_tcpip *t)
{
    const struct sf_flows *flows = &t->tcp.flows;

    for (int i = 0; i < t->tcp.n_lent; i++)
        if (t->tcp.lent[i].conn)
            sf_tcp_rcv_forget(&t->tcp.lent[i].conn->rcv);
    t->tcp.n_lent = 0;
    while (!sf_ready_empty(&t->tcp.resolving)) {
        struct sf_tcp_conn *c = sf_tcp_conn_of_pending(t->tcp.resolving.next);

        sf_ready_remove(&c->pending);
        sf_tcp_conn_end(c, -ENETDOWN);
    }
    for (uint32_t i = 0; flows->slot && i <= flows->mask;) {
        struct sf_flow_link *link = flows->slot[i];

        if (link && link->kind == SF_TCP_CONN)
            sf_tcp_conn_end((struct sf_tcp_conn *)link, -ENETDOWN);
        else if (link && link->kind == SF_TCP_HALF)
            sf_tcp_half_free(t, (struct sf_tcp_half *)link);
        else if (link && link->kind == SF_TCP_WAIT)
            sf_tcp_wait_free(t, (struct sf_tcp_wait *)link);
        else
            i++; /* An entry that moved into a freed slot is looked at, too. */
    }
    close_raw_sockets(&t->tcp);
}

/* ---- the turn ---- */

bool sf_tcp_is_blocked(const struct sf_tcpip *t)
{
    return !sf_ready_empty(&t->tcp.pending) || t->tcp.relieved;
}

/* If a connection finds the driver full, it stays in the list. The connections after it stay too, because they would find it full. */
void sf_tcp_finish(struct sf_tcpip *t)
{
    struct sf_ready_link *anchor = &t->tcp.pending;

    free_graves(t);
    if (SF_UNLIKELY(t->tcp.relieved))
        sf_tcp_memory_serve(t);
    while (!sf_ready_empty(anchor)) {
        struct sf_tcp_conn *c = sf_tcp_conn_of_pending(anchor->next);
        bool output = c->owed & SF_TCP_OWED_OUTPUT;

        sf_ready_remove(&c->pending);
        c->owed &= (uint8_t)~SF_TCP_OWED_OUTPUT;
        if (output)
            sf_tcp_output(c);
        if (c->owed & SF_TCP_OWED_ACK) { /* Otherwise another segment has carried the ACK. */
            c->owed &= (uint8_t)~SF_TCP_OWED_ACK;
            sf_tcp_ack_now(c);
        }
        if (c->owed)
            break;
    }
}

void sf_tcp_look_at_kernel(struct sf_tcpip *t)
{
    if (!sf_ready_empty(&t->tcp.resolving))
        sf_tcp_resolve(t);
    if (SF_UNLIKELY(t->tcp.unreserved != NULL))
        sf_tcp_ports_reserve(t);
    if (SF_UNLIKELY(t->tcp.strays.until) && t->now >= t->tcp.strays.until)
        sf_tcp_stray_close_up(t);
}

uint32_t sf_tcp_lingering(const struct sf_tcpip *t)
{
    const struct sf_flows *flows = &t->tcp.flows;
    uint32_t n = 0;

    if (!t->usable || (sf_tcpip_is_point_to_point(t) && !t->caps.peer_addr)) /* There is no peer that could take it. */
        return 0;
    for (uint32_t i = 0; flows->slot && i <= flows->mask; i++) {
        const struct sf_tcp_conn *c = (const struct sf_tcp_conn *)flows->slot[i];

        if (!c || c->flow.kind != SF_TCP_CONN || !c->sock.orphan)
            continue;
        n += c->loss.una != c->loss.nxt || sf_tcp_unsent(&c->snd, &c->loss) || !c->snd.fin_sent;
    }
    return n;
}
