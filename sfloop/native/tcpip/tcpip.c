/* The stack as a whole: opening, the turn, the sleep, closing. */
#define _GNU_SOURCE
#include "tcpip.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOAD_PATIENCE SF_SEC
#define CAPS_INTERVAL SF_MS
#define DUMP_INTERVAL SF_MS /* between requests while the kernel is busy with another dump */
#define FULL_INTERVAL (50 * SF_US) /* between attempts during a sleep, after a send found the driver full */

/* ---- the interface ---- */

static void take_link(struct sf_tcpip *t)
{
    struct sf_interface_addr addr = {.addr = t->caps.addr, .subnet_addr = t->caps.addr, .prefix_len = 32};

    t->interface.mtu = t->caps.mtu;
    t->interface.up = true;
    memcpy(t->interface.mac, t->caps.mac, sizeof(t->interface.mac));
    if (sf_interface_owns(&t->interface, addr.addr))
        return;
    sf_interface_free(&t->interface);
    if (addr.addr)
        sf_interface_add(&t->interface, &addr);
}

static bool is_usable(const struct sf_tcpip *t)
{
    return t->driver && t->interface.up && !t->interface.master && !(t->caps.flags & SF_DRIVER_DEAD);
}

void sf_tcpip_link_is(struct sf_tcpip *t, bool up)
{
    t->interface.up = up;
    if (t->usable == is_usable(t))
        return;
    t->usable = is_usable(t);
    sf_paths_flush(t);
}

void sf_tcpip_refresh_caps(struct sf_tcpip *t)
{
    struct sf_driver_caps before = t->caps;
    bool usable;

    if (!t->driver)
        return;
    t->driver->fast.control->caps(t->driver, &t->caps);
    if (sf_tcpip_is_point_to_point(t))
        take_link(t);
    usable = is_usable(t);
    if (usable == t->usable && before.peer_addr == t->caps.peer_addr && before.mtu == t->caps.mtu &&
        !memcmp(before.peer_mac, t->caps.peer_mac, sizeof(before.peer_mac)))
        return;
    t->usable = usable;
    sf_paths_flush(t);
}

static int find_interface(struct sf_tcpip *t, const struct sf_tcpip_setup *setup, char *message)
{
    if (sf_tcpip_is_point_to_point(t)) {
        take_link(t);
        t->usable = is_usable(t);
        return 0;
    }
    t->interface.index = t->caps.ifindex;
    if (!t->interface.index && setup->interface)
        t->interface.index = (int)if_nametoindex(setup->interface);
    if (t->interface.index)
        return 0;
    snprintf(message, SF_DRIVER_ERROR_SIZE, "the tcpip stack finds no interface %s; name one that `ip link` shows",
             setup->interface ? setup->interface : "behind its driver");
    return -ENODEV;
}

/* ---- the turn ---- */

/* Copies unread data of the last poll's frames before it returns them. */
static void give_back(struct sf_tcpip *t)
{
    sf_udp_spill(t);
    sf_tcp_spill(t);
    if (t->n_frames)
        t->driver->fast.rx_release(t->driver, t->frames, t->n_frames);
    t->n_frames = 0;
}

static void flush(struct sf_tcpip *t)
{
    if (t->unflushed && t->driver)
        t->driver->fast.tx_flush(t->driver);
    t->unflushed = false;
}

void sf_tcpip_cork(struct sf_tcpip *t, bool corked)
{
    t->corked = corked;
    if (!corked)
        flush(t);
}

static void look_at_kernel(struct sf_tcpip *t)
{
    struct epoll_event events[SF_WAKE_SOURCES];
    int n;

    t->side_due = t->now + SF_TCPIP_SIDE_INTERVAL;
    if (t->now >= t->caps_due) {
        sf_tcpip_refresh_caps(t);
        t->caps_due = t->now + CAPS_INTERVAL;
    }
    sf_filters_look(t);
    n = epoll_wait(t->epoll_fd, events, SF_WAKE_SOURCES, 0);
    for (int i = 0; i < n; i++) {
        if (events[i].data.u64 == SF_WAKE_SIDES)
            sf_sides_poll(t);
        else if (events[i].data.u64 == SF_WAKE_NETLINK)
            sf_netlink_poll(t);
        else if (events[i].data.u64 == SF_WAKE_ICMP)
            sf_tcp_icmp_poll(t);
        else if (events[i].data.u64 == SF_WAKE_RESETS)
            sf_tcp_stray_resets(t);
        else if (events[i].data.u64 == SF_WAKE_STRAYS)
            sf_tcp_stray_poll(t);
    }
    if (SF_UNLIKELY(t->netlink.wanted && !t->netlink.running))
        sf_netlink_poll(t);
    if (t->now >= t->groups_due)
        sf_udp_groups_look(t);
    sf_tcp_look_at_kernel(t);
}

void sf_tcpip_look(struct sf_tcpip *t)
{
    if (t->now >= t->side_due)
        look_at_kernel(t);
    sf_tcp_timers_run(t);
    sf_tcpip_flush(t);
    t->due = sf_tcp_next_timer(t);
    if (t->side_due < t->due)
        t->due = t->side_due;
}

/* At the next poll. */
static void look_soon(struct sf_tcpip *t)
{
    t->due = t->side_due = t->caps_due = 0;
}

void sf_tcpip_finish(struct sf_tcpip *t)
{
    if (t->n_frames)
        give_back(t);
    if (t->unfinished) {
        t->unfinished = false;
        sf_tcp_finish(t);
    }
    flush(t);
}

/* ---- sleep ---- */

uint32_t sf_tcpip_events(struct sf_ready_link *link)
{
    switch (sf_ready_kind_of(link)) {
    case SF_READY_UDP:
        return sf_udp_events((struct sf_udp_socket *)link);
    case SF_READY_TCP:
        return sf_tcp_conn_events(sf_tcp_conn_of_ready(link));
    default:
        return SF_TCP_READABLE; /* a listener is in the ring only if it has an event */
    }
}

static bool has_events(struct sf_tcpip *t)
{
    for (struct sf_ready_link *link = t->ready.next; link != &t->ready; link = link->next)
        if (sf_tcpip_events(link))
            return true;
    return false;
}

static bool waits_for_driver(const struct sf_ready_link *link)
{
    const struct sf_udp_socket *s = (const struct sf_udp_socket *)link;

    return sf_ready_kind_of(link) == SF_READY_UDP && s->blocked && !s->blocked_by_side;
}

sf_ns sf_tcpip_poll_at(struct sf_tcpip *t, sf_ns now)
{
    sf_ns at = sf_tcp_next_timer(t), due = t->driver ? sf_driver_due(t->driver) : SF_NEVER, look = sf_filters_poll_at(t, now);

    if (due < at)
        at = due;
    if (look < at)
        at = look;
    if (sf_tcp_is_blocked(t) && now + FULL_INTERVAL < at)
        at = now + FULL_INTERVAL;
    for (struct sf_ready_link *link = t->ready.next; link != &t->ready; link = link->next)
        if (waits_for_driver(link) && now + FULL_INTERVAL < at)
            at = now + FULL_INTERVAL;
    if (t->netlink.wanted && !t->netlink.running && now + DUMP_INTERVAL < at)
        at = now + DUMP_INTERVAL;
    if (t->tcp.strays.until && t->tcp.strays.until < at)
        at = t->tcp.strays.until;
    return at;
}

int sf_tcpip_watch(struct sf_tcpip *t, int fd, enum sf_wake_source source)
{
    return sf_epoll_add(t->epoll_fd, fd, EPOLLIN, source);
}

int sf_tcpip_arm(struct sf_tcpip *t, int *fd)
{
    int driver_fd = -1, rc = 0;

    *fd = t->epoll_fd;
    sf_tcpip_finish(t);
    if (has_events(t))
        return -EAGAIN;
    if (t->driver) {
        rc = t->driver->fast.control->arm(t->driver, &driver_fd);
        if (rc < 0) {
            look_soon(t); /* the driver's state may have changed */
            return rc;
        }
        t->armed = true;
        if (t->driver_fd < 0 && driver_fd >= 0) {
            rc = sf_tcpip_watch(t, driver_fd, SF_WAKE_DRIVER);
            t->driver_fd = rc == 0 ? driver_fd : -1;
        }
    }
    if (rc < 0) {
        sf_tcpip_disarm(t);
        return rc;
    }
    return 0;
}

void sf_tcpip_disarm(struct sf_tcpip *t)
{
    if (t->armed && t->driver)
        t->driver->fast.control->disarm(t->driver);
    t->armed = false;
    t->filters.kernel.looked = 0;
    look_soon(t);
}

/* ---- life ---- */

static int open_kernel_side(struct sf_tcpip *t)
{
    int rc;

    t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (t->epoll_fd < 0)
        return -errno;
    rc = sf_sides_open(&t->sides);
    if (rc < 0)
        return rc;
    return sf_tcpip_watch(t, t->sides.epoll_fd, SF_WAKE_SIDES);
}

static int refuse_port(const struct sf_tcpip *t, char *message)
{
    char port[IF_NAMESIZE] = "?", master[IF_NAMESIZE] = "?";

    if_indextoname((unsigned)t->interface.index, port);
    if_indextoname((unsigned)t->interface.master, master);
    snprintf(message, SF_DRIVER_ERROR_SIZE,
             "the tcpip stack would receive nothing on '%s', because it is a port of '%s', which gets its frames and has "
             "the addresses; name '%s' instead",
             port, master, master);
    return -EOPNOTSUPP;
}

static int load(struct sf_tcpip *t, const struct sf_tcpip_setup *setup, char *message)
{
    int rc = find_interface(t, setup, message);

    if (rc < 0 || sf_tcpip_is_point_to_point(t))
        return rc;
    sf_filters_open(t);
    rc = sf_netlink_open(&t->netlink);
    if (rc == 0)
        rc = sf_host_groups_open(&t->host_groups);
    if (rc == 0)
        rc = sf_tcpip_watch(t, t->netlink.fd, SF_WAKE_NETLINK);
    if (rc == 0)
        rc = sf_netlink_load(t, LOAD_PATIENCE);
    if (rc < 0) {
        snprintf(message, SF_DRIVER_ERROR_SIZE, "the tcpip stack cannot read routes and neighbours by rtnetlink: %s",
                 strerror(-rc));
        return rc;
    }
    if (t->interface.master)
        return refuse_port(t, message);
    sf_tcpip_refresh_caps(t);
    return 0;
}

static void close_all(struct sf_tcpip *t)
{
    sf_netlink_close(&t->netlink);
    sf_host_groups_close(&t->host_groups);
    sf_sides_close(&t->sides);
    if (t->epoll_fd >= 0)
        close(t->epoll_fd);
    sf_paths_free(&t->paths);
    sf_neighbours_free(&t->neighbours);
    sf_filters_free(t);
    sf_interface_free(&t->interface);
    sf_flows_free(&t->udp);
    free(t->sockets);
    free(t->generations);
}

int sf_tcpip_init(struct sf_tcpip *t, const struct sf_tcpip_setup *setup, char *message)
{
    int rc;

    memset(t, 0, offsetof(struct sf_tcpip, frames));
    sf_ready_init(&t->ready);
    sf_filters_init(&t->filters);
    t->driver = setup->driver;
    t->now = setup->now;
    t->backlog_limit = setup->backlog_limit;
    t->ttl = setup->ttl;
    t->epoll_fd = t->sides.epoll_fd = t->netlink.fd = t->host_groups.fd = t->driver_fd = -1;
    sf_sources_forget(t);
    message[0] = 0;
    t->driver->fast.control->caps(t->driver, &t->caps);
    t->burst = t->caps.rx_lent && t->caps.rx_lent < SF_TCPIP_BURST ? (int)t->caps.rx_lent : SF_TCPIP_BURST;
    rc = sf_tcp_init(t, &setup->tcp);
    if (rc == 0)
        rc = sf_paths_init(&t->paths);
    if (rc == 0)
        rc = open_kernel_side(t);
    if (rc == 0)
        rc = load(t, setup, message);
    if (rc == 0) {
        sf_tcp_icmp_open(t); /* now, because a program may drop its privileges before it connects */
        sf_tcp_detour_open(t);
        sf_tcp_stray_open(t);
        return 0;
    }
    if (!message[0])
        snprintf(message, SF_DRIVER_ERROR_SIZE, "cannot create the tcpip stack: %s", strerror(-rc));
    close_all(t);
    return rc;
}

void sf_tcpip_destroy(struct sf_tcpip *t)
{
    sf_tcp_destroy(t);
    flush(t);
    if (t->driver) {
        if (t->n_frames)
            t->driver->fast.rx_release(t->driver, t->frames, t->n_frames);
        t->driver->fast.control->close(t->driver);
    }
    close_all(t);
}

/* The parent still uses the driver, the epoll sets and netlink. Nothing here may affect them: shared objects are left alone,
 * or closed, which ends only our share. The driver is abandoned first, so that the child never shares it, even if a later step
 * fails. */
int sf_tcpip_after_fork(struct sf_tcpip *t)
{
    int rc;

    if (t->driver)
        sf_driver_abandon(t->driver);
    t->driver = NULL;
    for (int i = 0; i < t->n_lent; i++) {
        struct sf_udp_socket *s = t->lent[i].socket;

        if (!s)
            continue;
        s->lent_first = NULL;
        s->lent_last = &s->lent_first;
        sf_udp_update(s);
    }
    t->n_lent = t->n_frames = 0;
    sf_tcp_after_fork(t);
    sf_filters_after_fork(t);
    t->driver_fd = -1;
    t->usable = t->armed = t->unflushed = false;
    sf_netlink_close(&t->netlink);
    sf_host_groups_close(&t->host_groups);
    close(t->epoll_fd);
    close(t->sides.epoll_fd);
    t->sides.epoll_fd = -1;
    rc = open_kernel_side(t);
    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < t->n_sockets; i++) {
        if (!t->sockets[i])
            continue;
        t->sockets[i]->side_watched = 0;
        sf_side_watch(t->sockets[i]);
    }
    return 0;
}
