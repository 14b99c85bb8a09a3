#define _GNU_SOURCE
#include "tcpip/tcpip.h"
#include "slices.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define STARTING (3 * SF_SEC)         /* the workers of a server start together */
#define BLIND_INTERVAL (50 * SF_MS)   /* for new sockets, if the driver does not report them */
#define LISTEN_PATIENCE SF_SEC        /* a program that has bound a TCP socket may be about to listen */
#define CONFIRM_DELAY SF_MS           /* after it the kernel has a record of each SYN that the driver's program has passed */
#define STATIONS_LIFE (100 * SF_MS)

enum { AT_ONCE = 4, MOST_SCANNED = 256 }; /* filters that one slice settles, and that it visits, at most */
enum { STAGE_REST, STAGE_STATIONS, STAGE_ROUTERS, STAGE_SURVEY, STAGE_FILTERS };

void sf_filters_init(struct sf_filters *filters)
{
    filters->others_fd = filters->stations_fd = filters->survey.fd = -1;
    filters->others_which = -1;
    filters->look_at = filters->round_at = filters->claims_at = filters->holders.look_at = SF_NEVER;
    sf_kernel_conns_init(&filters->kernel);
}

const char *sf_filter_why_name(enum sf_filter_why why)
{
    static const char *const names[SF_WHYS] = {
        [SF_WHY_OTHER_SOCKET] = "other socket",       [SF_WHY_OTHER_LOOP] = "other loop",
        [SF_WHY_OTHER_PROCESS] = "other process",   [SF_WHY_CONNECTIONS] = "kernel connections",
        [SF_WHY_STATIONS] = "other stations",        [SF_WHY_DRIVER] = "driver",
    };

    return names[why];
}

static struct sf_flows *table_of(struct sf_tcpip *t, uint8_t protocol)
{
    return protocol == IPPROTO_UDP ? &t->filters.udp : &t->filters.tcp;
}

struct sf_filter *sf_filter_find(struct sf_tcpip *t, uint8_t protocol, const struct sf_flow_key *key)
{
    return (struct sf_filter *)sf_flows_find(table_of(t, protocol), key);
}

/* ---- telling the driver ---- */

static uint32_t changes_of(const struct sf_tcpip *t, uint8_t protocol)
{
    return t->caps.flags & SF_DRIVER_SEES_PORTS ? t->driver->fast.control->port_changes(t->driver, protocol) : 0;
}

bool sf_filter_is_left(const struct sf_tcpip *t, const struct sf_filter *f)
{
    return !f->added || (f->watched && changes_of(t, f->protocol) != t->filters.seen[f->protocol == IPPROTO_TCP]);
}

static struct sf_flow flow_of(const struct sf_filter *f, uint32_t changes)
{
    const struct sf_flow_key *key = &f->link.key;

    return (struct sf_flow){
        .local_addr = key->local_addr,
        .local_port = key->local_port,
        .remote_addr = key->remote_addr,
        .remote_port = key->remote_port,
        .protocol = f->protocol,
        .flags = (uint8_t)((f->watched ? SF_FLOW_WATCHED : 0) | (f->broadcast ? SF_FLOW_BROADCAST : 0)),
        .changes = changes,
    };
}

static void take(struct sf_tcpip *t, struct sf_filter *f, uint32_t changes)
{
    const struct sf_driver_control *control = t->driver->fast.control;
    struct sf_flow flow = flow_of(f, changes);
    int rc = f->added ? 0 : control->filter_add(t->driver, &flow);

    if (rc < 0 && rc != -EEXIST) {
        f->why = SF_WHY_DRIVER;
        f->error = rc;
        return;
    }
    if (f->watched && (f->added || rc == -EEXIST))
        control->filter_renew(t->driver, &flow);
    if (f->protocol == IPPROTO_TCP && !f->added && t->interface.index && !sf_filter_has_copies(t, f)) {
        f->fresh = true;
        f->look_at = t->now + CONFIRM_DELAY;
        sf_kernel_conns_expect(t);
    }
    f->added = true;
}

/* Gives the filter's frames to the kernel. Existing connections continue, because they get filters of their own. */
static void leave(struct sf_tcpip *t, struct sf_filter *f)
{
    struct sf_flow flow = flow_of(f, 0);

    if (f->added && f->protocol == IPPROTO_TCP)
        sf_tcp_ports_part(t, &f->link.key);
    if (f->added && t->driver)
        t->driver->fast.control->filter_del(t->driver, &flow);
    f->added = f->fresh = false;
}

/* Makes the driver watch the port of a filter that other programs may share, unless they get copies anyway. */
static void set_watch(struct sf_tcpip *t, struct sf_filter *f, bool wanted)
{
    wanted = wanted && t->driver && t->caps.flags & SF_DRIVER_SEES_PORTS && !sf_filter_has_copies(t, f);
    if (wanted == f->watched || !t->driver)
        return;
    leave(t, f); /* the driver has the flow with or without the flag, so add it again */
    if (t->driver->fast.control->watch_port(t->driver, f->protocol, f->link.key.local_port, wanted) < 0 && wanted)
        return; /* no room: look at intervals instead */
    f->watched = wanted;
    t->filters.n_watched += wanted ? 1u : UINT32_MAX;
}

/* Makes sockets read the kernel's datagrams before those that the driver brings from now on. */
static void read_kernel_first(struct sf_tcpip *t, const struct sf_filter *f)
{
    for (uint32_t i = 0; f->protocol == IPPROTO_UDP && i < t->n_sockets; i++) {
        struct sf_udp_socket *s = t->sockets[i];

        if (!s || s->local_port != f->link.key.local_port)
            continue;
        s->side_ready = s->side_first = true;
        sf_udp_update(s);
    }
}

static void look_by(struct sf_filters *filters, sf_ns at)
{
    if (at < filters->round_at)
        filters->round_at = at;
    if (filters->stage == STAGE_REST)
        filters->look_at = filters->round_at;
}

static bool is_starting(const struct sf_filters *filters, sf_ns now)
{
    return now - filters->opened < STARTING || sf_holders_are_unknown(&filters->holders);
}

static void plan(struct sf_tcpip *t, const struct sf_filter *f)
{
    if (f->fresh)
        look_by(&t->filters, f->look_at);
    if (f->shared && !f->watched && !sf_filter_has_copies(t, f))
        look_by(&t->filters, t->now + BLIND_INTERVAL);
    else if (t->interface.index)
        look_by(&t->filters, sf_next_round(t->now, t->now, is_starting(&t->filters, t->now)));
}

/* Checks for other receivers, and takes the frames or leaves them. Read `changes` first, because the driver then leaves the
 * frames by itself after any later change. */
static void settle(struct sf_tcpip *t, struct sf_filter *f)
{
    enum sf_filter_why before = f->why;
    uint32_t changes;

    if (!t->driver)
        return;
    set_watch(t, f, f->shared);
    changes = f->protocol == IPPROTO_UDP && t->filters.by_survey ? t->filters.survey.changes : changes_of(t, f->protocol);
    if (f->protocol == IPPROTO_TCP && f->added && sf_filter_is_left(t, f)) {
        plan(t, f); /* do not renew the filter, because port_changed() must come first */
        return;
    }
    f->why = sf_filter_judge(t, f);
    if (f->why == SF_WHY_OURS)
        take(t, f, changes);
    else
        leave(t, f);
    if (before != SF_WHY_OURS && f->why == SF_WHY_OURS)
        read_kernel_first(t, f);
    plan(t, f);
}

/* Gives the kernel all frames of the port until its connections there are over, because the driver cannot leave them to it one
 * by one. */
static void leave_to_connections(struct sf_tcpip *t, struct sf_filter *f)
{
    leave(t, f);
    f->why = SF_WHY_CONNECTIONS;
    f->look_at = t->now + SF_CONNECTIONS_INTERVAL;
    look_by(&t->filters, f->look_at);
}

/* Repeats the look at the kernel's connections, because a SYN may have come between the first look and the driver's filter. */
static void confirm(struct sf_tcpip *t, struct sf_filter *f)
{
    f->fresh = false;
    sf_kernel_conns_expect(t);
    if (!sf_filter_pass_connections(t, f))
        leave_to_connections(t, f);
    plan(t, f);
}

/* The answer lasts STATIONS_LIFE, because sockets are often opened many at a time. */
static void look_for_stations(struct sf_tcpip *t)
{
    struct sf_filters *filters = &t->filters;

    if (t->now < filters->stations_until || !t->interface.index || t->caps.flags & (SF_DRIVER_SHARES | SF_DRIVER_SHARES_GROUPS))
        return;
    filters->stations = sf_stations_exist(t) || sf_stations_route_groups(t);
    filters->stations_until = t->now + STATIONS_LIFE;
}

/* ---- the table ---- */

static struct sf_filter *make(struct sf_tcpip *t, uint8_t protocol, const struct sf_flow_key *key)
{
    struct sf_filter *f = calloc(1, sizeof(*f));

    if (!f)
        return NULL;
    f->link.key = *key;
    f->protocol = protocol;
    f->broadcast = key->local_addr && sf_interface_is_broadcast(&t->interface, key->local_addr);
    f->group = f->broadcast || sf_is_multicast(key->local_addr);
    if (sf_flows_add(table_of(t, protocol), &f->link) < 0) {
        free(f);
        return NULL;
    }
    f->next = t->filters.first;
    if (f->next)
        f->next->prev = f;
    t->filters.first = f;
    if (f->group)
        look_for_stations(t);
    return f;
}

static void drop(struct sf_tcpip *t, struct sf_filter *f)
{
    leave(t, f);
    set_watch(t, f, false);
    if (f->protocol == IPPROTO_TCP)
        sf_kernel_conns_forget(t, &f->link.key);
    sf_flows_remove(table_of(t, f->protocol), &f->link);
    if (t->filters.next == f)
        t->filters.next = f->next;
    if (f->prev)
        f->prev->next = f->next;
    else
        t->filters.first = f->next;
    if (f->next)
        f->next->prev = f->prev;
    free(f);
}

static void count(struct sf_filter *f, const struct sf_binding *b, uint32_t by)
{
    f->users += by;
    if (b->key.local_addr)
        f->specific += by;
    if (b->mapped)
        f->mapped += by;
    if (b->shared)
        f->shared += by;
    if (b->unclaimed)
        f->unclaimed += by;
    if (b->held_by) {
        f->held += by;
        f->process = b->held_by;
    }
}

static int retain_unsettled(struct sf_tcpip *t, const struct sf_binding *b, const struct sf_flow_key *key)
{
    struct sf_filter *f = sf_filter_find(t, b->protocol, key);

    if (!f)
        f = make(t, b->protocol, key);
    if (!f)
        return -ENOMEM;
    count(f, b, 1);
    return 0;
}

int sf_filter_retain(struct sf_tcpip *t, const struct sf_binding *b, const struct sf_flow_key *key)
{
    int rc = retain_unsettled(t, b, key);

    if (rc == 0)
        settle(t, sf_filter_find(t, b->protocol, key));
    return rc;
}

void sf_filter_release(struct sf_tcpip *t, const struct sf_binding *b, const struct sf_flow_key *key)
{
    struct sf_filter *f = sf_filter_find(t, b->protocol, key);

    if (!f)
        return;
    count(f, b, UINT32_MAX); /* minus one */
    if (!f->users)
        drop(t, f);
}

/* ---- changes ---- */

/* Counts the users of all filters again, and drops filters without users. */
void sf_filters_addresses_changed(struct sf_tcpip *t)
{
    struct sf_filter *f, *next;

    for (f = t->filters.first; f; f = f->next)
        f->users = f->specific = f->mapped = f->shared = f->unclaimed = f->held = 0;
    for (const struct sf_binding *b = t->filters.bindings; b; b = b->next)
        sf_binding_keys(t, b, retain_unsettled); /* without memory, some frames stay with the kernel */
    t->filters.others_which = -1;
    for (f = t->filters.first; f; f = next) {
        next = f->next;
        if (f->users)
            settle(t, f);
        else
            drop(t, f);
    }
}

/* Another program has bound a socket to a watched port. Until it is clear whether that socket listens, the kernel gets new
 * connections. */
static void port_changed(struct sf_tcpip *t, uint8_t protocol)
{
    sf_count(t, SF_COUNT_PORT_CHANGES);
    t->filters.survey.stale |= protocol == IPPROTO_UDP;
    t->filters.others_which = -1;
    for (struct sf_filter *f = t->filters.first; f; f = f->next) {
        if (f->protocol != protocol || !f->watched)
            continue;
        if (protocol == IPPROTO_UDP) {
            settle(t, f);
            continue;
        }
        leave(t, f);
        f->why = SF_WHY_OTHER_SOCKET;
        f->look_at = t->now + LISTEN_PATIENCE;
        look_by(&t->filters, f->look_at);
    }
}

static void look_at_changes(struct sf_tcpip *t)
{
    static const uint8_t protocols[] = {IPPROTO_UDP, IPPROTO_TCP};

    for (int i = 0; i < 2; i++) {
        uint32_t changes = changes_of(t, protocols[i]);

        if (SF_LIKELY(changes == t->filters.seen[i]))
            continue;
        t->filters.seen[i] = changes;
        port_changed(t, protocols[i]);
    }
}

static bool needs_look(const struct sf_tcpip *t, const struct sf_filter *f)
{
    return f->shared || f->why != SF_WHY_OURS || (f->group && t->filters.stations_changed);
}

static bool needs_survey(const struct sf_tcpip *t, const struct sf_filter *f)
{
    return f->protocol == IPPROTO_UDP && f->shared && !sf_filter_has_copies(t, f);
}

/* False: this filter needs no check in this round. */
static bool look_at_filter(struct sf_tcpip *t, struct sf_filter *f)
{
    struct sf_filters *filters = &t->filters;

    if (t->now < f->look_at) {
        look_by(filters, f->look_at);
        return false;
    }
    if (f->fresh) {
        confirm(t, f);
        return true;
    }
    if (!needs_look(t, f) || (needs_survey(t, f) && !sf_survey_has_port(&filters->survey, f->link.key.local_port))) {
        plan(t, f); /* a filter that the survey lacks is newer, and was settled when it was added */
        return false;
    }
    settle(t, f);
    return true;
}

/* Uses the kernel's answer about other sockets for one slice only, because the driver may count another socket later. Ends the slice
 * at a filter of another port if it has asked the kernel about the first one. */
static void look_at_filters(struct sf_tcpip *t)
{
    struct sf_filters *filters = &t->filters;
    int settled = 0;

    filters->others_which = -1;
    filters->by_survey = true;
    for (int i = 0; i < MOST_SCANNED && filters->next && settled < AT_ONCE; i++) {
        struct sf_filter *f = filters->next;

        if (filters->others_which != -1 && f->link.key.local_port != filters->others_port)
            break;
        filters->next = f->next;
        settled += look_at_filter(t, f);
    }
    filters->by_survey = false;
    if (!filters->next)
        filters->stage = STAGE_REST;
}

static void begin_survey(struct sf_tcpip *t)
{
    struct sf_filters *filters = &t->filters;

    filters->stage = STAGE_FILTERS;
    filters->next = filters->first;
    sf_survey_begin(&filters->survey, changes_of(t, IPPROTO_UDP));
    for (const struct sf_filter *f = filters->first; f; f = f->next) {
        if (!needs_survey(t, f))
            continue;
        sf_survey_add_port(&filters->survey, f->link.key.local_port);
        filters->stage = STAGE_SURVEY;
    }
}

static void begin_round(struct sf_tcpip *t)
{
    struct sf_filters *filters = &t->filters;
    bool stations = filters->stations_until && t->now >= filters->stations_until;

    filters->round_at = SF_NEVER;
    filters->stations_changed = false;
    if (stations)
        filters->stage = STAGE_STATIONS;
    else
        begin_survey(t);
}

static void end_stations(struct sf_tcpip *t, bool found)
{
    struct sf_filters *filters = &t->filters;

    filters->stations_changed = found != filters->stations;
    filters->stations = found;
    filters->stations_until = t->now + STATIONS_LIFE;
    begin_survey(t);
}

static void look_at_stage(struct sf_tcpip *t)
{
    struct sf_filters *filters = &t->filters;

    if (filters->stage >= STAGE_SURVEY && filters->survey.stale && filters->survey.state != SF_SURVEY_RUNNING)
        begin_survey(t); /* again, because the finished survey may lack a socket */
    switch (filters->stage) {
    case STAGE_STATIONS:
        filters->stage = STAGE_ROUTERS;
        if (sf_stations_exist(t))
            end_stations(t, true);
        break;
    case STAGE_ROUTERS:
        end_stations(t, sf_stations_route_groups(t));
        break;
    case STAGE_SURVEY:
        if (!sf_survey_step(&filters->survey))
            filters->stage = STAGE_FILTERS;
        break;
    default:
        look_at_filters(t);
    }
}

static void look_at_slice(struct sf_tcpip *t)
{
    struct sf_filters *filters = &t->filters;
    bool hasty = is_starting(filters, t->now) || !(t->caps.flags & SF_DRIVER_SEES_PORTS);

    if (filters->stage == STAGE_REST)
        begin_round(t);
    look_at_stage(t);
    filters->look_at = filters->stage == STAGE_REST ? filters->round_at : sf_next_slice(t->now, hasty);
}

/* Does one slice of the search for other processes or for other loops' claims. */
static void look_for_loops(struct sf_tcpip *t)
{
    struct sf_filters *filters = &t->filters;
    bool starting = is_starting(filters, t->now);

    if (t->now >= filters->holders.look_at ? sf_holders_look(t, starting) : sf_claims_look(t, starting))
        sf_bindings_claim(t);
}

void sf_filters_look(struct sf_tcpip *t)
{
    struct sf_filters *filters = &t->filters;

    if (!t->driver)
        return;
    if (filters->n_watched)
        look_at_changes(t);
    if (SF_UNLIKELY(t->now >= filters->look_at))
        look_at_slice(t);
    else if (SF_UNLIKELY(t->now >= filters->claims_at || t->now >= filters->holders.look_at))
        look_for_loops(t);
    sf_kernel_conns_look(t);
}

static sf_ns sooner(sf_ns a, sf_ns b)
{
    return a < b ? a : b;
}

sf_ns sf_filters_poll_at(const struct sf_tcpip *t, sf_ns now)
{
    const struct sf_filters *filters = &t->filters;
    bool starting = is_starting(filters, now);
    sf_ns at = SF_NEVER;

    if (!t->driver || !filters->holders.n_inodes)
        return SF_NEVER;
    if (starting || filters->stage != STAGE_REST)
        at = sooner(at, filters->look_at);
    if (starting || filters->next_claim)
        at = sooner(at, filters->claims_at);
    if (starting || filters->holders.phase != SF_HOLDERS_REST)
        at = sooner(at, filters->holders.look_at);
    return at;
}

void sf_filters_leave_port(struct sf_tcpip *t, const struct sf_flow_key *key)
{
    struct sf_flow_key local = {.local_addr = key->local_addr, .local_port = key->local_port};
    struct sf_filter *f = sf_filter_find(t, IPPROTO_TCP, &local);

    if (f && f->added)
        leave_to_connections(t, f);
}

void sf_filters_free(struct sf_tcpip *t)
{
    while (t->filters.first)
        drop(t, t->filters.first);
    sf_flows_free(&t->filters.udp);
    sf_flows_free(&t->filters.tcp);
    sf_kernel_conns_free(t);
    sf_holders_free(&t->filters.holders);
    free(t->filters.others);
    sf_survey_free(&t->filters.survey);
    if (t->filters.others_fd >= 0)
        close(t->filters.others_fd);
    if (t->filters.stations_fd >= 0)
        close(t->filters.stations_fd);
}

void sf_filters_open(struct sf_tcpip *t)
{
    t->filters.others_fd = sf_others_open();
    sf_survey_open(&t->filters.survey);
    t->filters.stations_fd = sf_stations_open();
}
