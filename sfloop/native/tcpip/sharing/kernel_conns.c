#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>

#define AT_ONCE 4              /* connections that one call checks, about 5 us each */
#define LOOK_INTERVAL (25 * SF_MS)
#define ASK_INTERVAL SF_MS     /* between queries on average, so that a flood of segments causes no flood of queries */
#define MOST_QUERIES 4         /* at once, because segments of several connections come together */
#define LIFE (2 * SF_SEC)      /* time after the driver took the port in which unknown segments may be the kernel's */
#define STALL (100 * SF_MS)    /* frames may have waited while the loop did not poll */
#define MOST_SEGMENTS 4096     /* handed to the kernel during LIFE, at about 20 us each */

void sf_kernel_conns_init(struct sf_kernel_conns *conns)
{
    *conns = (struct sf_kernel_conns){.look_at = SF_NEVER};
}

/* ---- the queue ---- */

static void append(struct sf_kernel_conns *conns, struct sf_kernel_conn *c)
{
    c->next = NULL;
    if (conns->last)
        conns->last->next = c;
    else
        conns->first = c;
    conns->last = c;
    conns->n++;
}

static struct sf_kernel_conn *take_first(struct sf_kernel_conns *conns)
{
    struct sf_kernel_conn *c = conns->first;

    conns->first = c->next;
    if (!conns->first)
        conns->last = NULL;
    conns->n--;
    return c;
}

static void end(struct sf_tcpip *t, struct sf_kernel_conn *c)
{
    struct sf_flow flow = sf_tcp_flow(&c->key, SF_FLOW_KERNEL);

    if (t->driver)
        t->driver->fast.control->filter_del(t->driver, &flow);
    free(c);
}

void sf_kernel_conns_free(struct sf_tcpip *t)
{
    while (t->filters.kernel.first)
        end(t, take_first(&t->filters.kernel));
}

void sf_kernel_conns_forget(struct sf_tcpip *t, const struct sf_flow_key *local)
{
    struct sf_kernel_conns *conns = &t->filters.kernel;

    for (uint32_t n = conns->n; n; n--) {
        struct sf_kernel_conn *c = take_first(conns);

        if (c->key.local_addr == local->local_addr && c->key.local_port == local->local_port)
            end(t, c);
        else
            append(conns, c);
    }
}

bool sf_kernel_conns_take_back(struct sf_tcpip *t, const struct sf_flow_key *key)
{
    struct sf_kernel_conns *conns = &t->filters.kernel;
    bool found = false;

    for (uint32_t n = conns->n; n; n--) {
        struct sf_kernel_conn *c = take_first(conns);

        if (!found && !memcmp(&c->key, key, sizeof(*key))) {
            found = true;
            end(t, c);
        } else {
            append(conns, c);
        }
    }
    return found;
}

/* ---- flows of their own ---- */

static bool pass(struct sf_tcpip *t, const struct sf_flow_key *key)
{
    struct sf_kernel_conns *conns = &t->filters.kernel;
    struct sf_flow flow = sf_tcp_flow(key, SF_FLOW_KERNEL);
    struct sf_kernel_conn *c;
    int rc;

    if (conns->n >= SF_KERNEL_CONNS)
        return false;
    c = malloc(sizeof(*c));
    if (!c)
        return false;
    rc = t->driver->fast.control->filter_add(t->driver, &flow);
    if (rc < 0) {
        free(c);
        return rc == -EEXIST;
    }
    c->key = *key;
    append(conns, c);
    if (conns->look_at == SF_NEVER)
        conns->look_at = t->now + LOOK_INTERVAL;
    return true;
}

void sf_kernel_conns_leave(struct sf_tcpip *t, const struct sf_flow_key *key)
{
    if (t->driver && !pass(t, key))
        sf_filters_leave_port(t, key);
}

/* The kernel and the stack have both answered the peer's SYN, and the peer has taken our answer. The kernel repeats its own
 * for a minute. */
static bool is_only_begun(const struct sf_tcpip *t, const struct sf_other *o, const struct sf_flow_key *key)
{
    return o->state == TCP_SYN_RECV && sf_flows_find(&t->tcp.flows, key);
}

bool sf_kernel_conns_pass(struct sf_tcpip *t, const struct sf_other *o)
{
    struct sf_flow_key key = {o->local_addr, o->remote_addr, o->local_port, o->remote_port};

    if (!o->remote_addr || sf_interface_owns(&t->interface, o->remote_addr)) /* the connection is over loopback */
        return true;
    return is_only_begun(t, o, &key) || pass(t, &key);
}

static struct sf_other other_of(const struct sf_tcpip *t, const struct sf_flow_key *key)
{
    return (struct sf_other){
        .local_addr = key->local_addr,
        .remote_addr = key->remote_addr,
        .local_port = key->local_port,
        .remote_port = key->remote_port,
        .ifindex = t->interface.index,
    };
}

int sf_kernel_conns_have_keys(const struct sf_tcpip *t, const struct sf_flow_key *key)
{
    const struct sf_other o = other_of(t, key);

    return sf_others_has_keys(t->filters.others_fd, &o);
}

/*
 * Returns the connection's TCP state in the kernel, 0 if there is none, or a negative errno. TCP_TIME_WAIT is an ended
 * connection. The stack may have had a later one between the same ends, and the peer would drop the kernel's answers to its
 * segments.
 */
static int kernel_has(const struct sf_tcpip *t, const struct sf_flow_key *key)
{
    const struct sf_other o = other_of(t, key);

    return sf_others_has(t->filters.others_fd, &o);
}

static void look_at_some(struct sf_tcpip *t)
{
    struct sf_kernel_conns *conns = &t->filters.kernel;

    for (uint32_t n = conns->n < AT_ONCE ? conns->n : AT_ONCE; n; n--) {
        struct sf_kernel_conn *c = take_first(conns);

        int state = kernel_has(t, &c->key);

        if (state == 0 || state == TCP_TIME_WAIT)
            end(t, c);
        else
            append(conns, c);
    }
    conns->look_at = conns->n ? t->now + LOOK_INTERVAL : SF_NEVER;
}

/* ---- segments ---- */

void sf_kernel_conns_expect(struct sf_tcpip *t)
{
    struct sf_kernel_conns *conns = &t->filters.kernel;

    conns->until = t->now + LIFE;
    conns->looked = t->now;
    conns->left = MOST_SEGMENTS;
}

/* Segments that waited in the driver's rings while the loop stood still are not late. */
static void watch_time(struct sf_tcpip *t, struct sf_kernel_conns *conns)
{
    if (conns->looked && t->now - conns->looked > STALL)
        conns->until = t->now + LIFE;
    else if (t->now >= conns->until)
        conns->until = 0;
    conns->looked = t->now;
}

void sf_kernel_conns_look(struct sf_tcpip *t)
{
    struct sf_kernel_conns *conns = &t->filters.kernel;

    if (SF_UNLIKELY(conns->until))
        watch_time(t, conns);
    if (SF_UNLIKELY(t->now >= conns->look_at))
        look_at_some(t);
}

/* Sends the segment to our own address, so it reaches only the loopback device. */
static void emit(struct sf_tcpip *t, const struct sf_flow_key *key, const struct sf_tcp_segment *s)
{
    struct sf_ip_peer from = {
        .src_addr = key->remote_addr,
        .dst_addr = key->local_addr,
        .src_port = key->remote_port,
        .dst_port = key->local_port,
        .ttl = SF_IPV4_TTL,
    };
    struct iovec payload = {.iov_base = (void *)(uintptr_t)s->payload, .iov_len = s->payload_len};
    struct sf_tcp_template template;

    sf_tcp_template_init(&template, &from); /* cannot fail, because there are no tags */
    sf_tcp_detour_emit(t, &template, s, &payload, s->payload_len ? 1 : 0, s->payload_len);
}

void sf_kernel_conns_hand(struct sf_tcpip *t, const struct sf_flow_key *key, const struct sf_tcp_segment *s)
{
    sf_count(t, SF_COUNT_TCP_RX_KERNELS);
    if (t->tcp.detour_fd >= 0) /* else the peer retransmits it */
        emit(t, key, s);
}

/* The kernel keeps its TIME_WAIT record for a retransmitted FIN. */
static bool wants_time_wait(const struct sf_tcp_segment *s)
{
    return s->flags & SF_TCP_FIN;
}

/* A query takes about 5 us. */
static bool may_ask(struct sf_kernel_conns *conns, sf_ns now)
{
    if (conns->ask_at < now)
        conns->ask_at = now;
    if (conns->ask_at - now > (MOST_QUERIES - 1) * ASK_INTERVAL)
        return false;
    conns->ask_at += ASK_INTERVAL;
    return true;
}

enum sf_whose sf_kernel_conns_find(struct sf_tcpip *t, const struct sf_flow_key *key)
{
    struct sf_kernel_conns *conns = &t->filters.kernel;
    int state;

    if (sf_tcpip_is_point_to_point(t) || t->filters.others_fd < 0)
        return SF_WHOSE_OURS;
    if (!may_ask(conns, t->now))
        return SF_WHOSE_UNKNOWN;
    state = kernel_has(t, key);
    if (state <= 0)
        return SF_WHOSE_OURS;
    if (state == TCP_TIME_WAIT)
        return SF_WHOSE_ENDED;
    return state == TCP_SYN_RECV ? SF_WHOSE_BEGUN : SF_WHOSE_KERNELS;
}

void sf_kernel_conns_give(struct sf_tcpip *t, const struct sf_flow_key *key, const struct sf_tcp_segment *s)
{
    if (!pass(t, key))
        sf_filters_leave_port(t, key);
    sf_kernel_conns_hand(t, key, s);
}

bool sf_kernel_conns_claim(struct sf_tcpip *t, const struct sf_flow_key *key, const struct sf_tcp_segment *s)
{
    enum sf_whose whose = sf_kernel_conns_find(t, key);

    if (whose == SF_WHOSE_ENDED) {
        if (!wants_time_wait(s))
            return false;
        sf_kernel_conns_hand(t, key, s);
    }
    if (whose >= SF_WHOSE_BEGUN)
        sf_kernel_conns_give(t, key, s);
    return whose != SF_WHOSE_OURS;
}

bool sf_kernel_conns_take_syn(struct sf_tcpip *t, const struct sf_flow_key *key, const struct sf_tcp_segment *s)
{
    struct sf_flow_key local = {.local_addr = key->local_addr, .local_port = key->local_port};
    const struct sf_filter *f;

    if (sf_tcpip_is_point_to_point(t) || t->tcp.detour_fd < 0)
        return false;
    f = sf_filter_find(t, IPPROTO_TCP, &local);
    if (!f || !sf_filter_is_left(t, f))
        return false;
    sf_kernel_conns_hand(t, key, s);
    return true;
}

bool sf_kernel_conns_take(struct sf_tcpip *t, const struct sf_flow_key *key, const struct sf_tcp_segment *s)
{
    struct sf_kernel_conns *conns = &t->filters.kernel;
    int state;

    if (SF_LIKELY(!conns->until) || sf_tcpip_is_point_to_point(t))
        return false;
    if (!conns->left) {
        sf_count(t, SF_COUNT_TCP_RX_KERNELS);
        return true;
    }
    conns->left--;
    state = kernel_has(t, key);
    if (state == TCP_TIME_WAIT && !wants_time_wait(s))
        return false;
    if (state > 0 && state != TCP_TIME_WAIT)
        pass(t, key);
    sf_kernel_conns_hand(t, key, s);
    return true;
}
