/* Local ports: reserved with the kernel by a descriptor, taken from the driver by a filter. */
#define _GNU_SOURCE
#include "tcpip/tcpip.h"

#include "storage/kernel_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define RESERVE_INTERVAL (10 * SF_MS) /* Other programs may go on listening at the port for long. */

int sf_tcp_port_name(struct sf_tcpip *t, int fd, struct sockaddr_in *local)
{
    int rc;

    if (!t->usable || !sf_kernel_socket_is(fd, IPPROTO_TCP) || sf_interface_is_not_of(&t->interface, fd))
        return -EOPNOTSUPP;
    rc = sf_kernel_socket_name(fd, local);
    if (rc < 0)
        return rc;
    if (local->sin_addr.s_addr && !sf_interface_owns(&t->interface, local->sin_addr.s_addr))
        return -EOPNOTSUPP;
    return sf_kernel_socket_reserve(fd, local);
}

struct sf_flow sf_tcp_flow(const struct sf_flow_key *key, uint8_t flags)
{
    return (struct sf_flow){
        .local_addr = key->local_addr,
        .remote_addr = key->remote_addr,
        .local_port = key->local_port,
        .remote_port = key->remote_port,
        .protocol = IPPROTO_TCP,
        .flags = flags,
    };
}

/* ---- reserving ---- */

int sf_tcp_port_hold(int fd, struct sf_tcp_port **out)
{
    struct sf_tcp_port *port = calloc(1, sizeof(*port));
    int rc;

    if (!port)
        return -ENOMEM;
    port->users = 1;
    port->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (port->fd < 0) {
        rc = -errno;
        free(port);
        return rc;
    }
    *out = port;
    return 0;
}

/*
 * Binds a socket of our own to a listener's port until its connections have ended. A duplicate of the program's socket would continue to
 * listen after the program has closed its own. Shutting the duplicate down would end the listening of every process that has inherited
 * the socket. While a process listens there, the kernel refuses the bind, and the port is reserved without us.
 */
static bool reserve(struct sf_tcp_port *port)
{
    struct sockaddr_in name = {
        .sin_family = AF_INET, .sin_port = port->filter.local_port, .sin_addr.s_addr = port->filter.local_addr};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    if (fd < 0)
        return false;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (port->reuse_port)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0) {
        close(fd);
        return false;
    }
    port->fd = fd;
    return true;
}

bool sf_tcp_port_reserve(struct sf_tcp_port *port)
{
    return port->fd >= 0 || reserve(port);
}

struct sf_tcp_port *sf_tcp_port_unreserved(void)
{
    struct sf_tcp_port *port = calloc(1, sizeof(*port));

    if (port)
        *port = (struct sf_tcp_port){.fd = -1, .users = 1};
    return port;
}

struct sf_tcp_port *sf_tcp_port_of_listener(const struct sf_flow_key *key, bool reuse_port)
{
    struct sf_tcp_listeners_port *whole = calloc(1, sizeof(*whole));
    struct sf_tcp_port *port = (struct sf_tcp_port *)whole;

    if (!whole)
        return NULL;
    *port = (struct sf_tcp_port){
        .fd = -1, .users = 1, .filter = sf_tcp_flow(key, 0), .listeners = true, .reuse_port = reuse_port};
    reserve(port);
    return port;
}

static void stop_waiting(struct sf_tcpip *t, struct sf_tcp_port *port)
{
    struct sf_tcp_port **at = &t->tcp.unreserved;

    if (!port->waits)
        return;
    while (*at != port)
        at = &(*at)->next;
    *at = port->next;
    port->waits = false;
}

void sf_tcp_ports_reserve(struct sf_tcpip *t)
{
    if (t->now < t->tcp.reserve_at)
        return;
    t->tcp.reserve_at = t->now + RESERVE_INTERVAL;
    for (struct sf_tcp_port *port = t->tcp.unreserved, *next; port; port = next) {
        next = port->next;
        if (reserve(port))
            stop_waiting(t, port);
    }
}

int sf_tcp_port_filter(struct sf_tcpip *t, struct sf_tcp_port *port, const struct sf_flow_key *key)
{
    int rc;

    port->filter = sf_tcp_flow(key, 0);
    rc = t->driver->fast.control->filter_add(t->driver, &port->filter);
    port->filtered = rc == 0;
    return rc;
}

void sf_tcp_port_drop(struct sf_tcpip *t, struct sf_tcp_port *port)
{
    if (!port || --port->users)
        return;
    stop_waiting(t, port);
    if (port->filtered && t->driver)
        t->driver->fast.control->filter_del(t->driver, &port->filter);
    if (port->fd >= 0)
        close(port->fd);
    if (port->listeners)
        sf_claim_drop(t, ((struct sf_tcp_listeners_port *)port)->claim);
    else if (port->held_by)
        sf_tcp_port_drop(t, port->held_by);
    free(port);
}

/* ---- a listener leaves connections behind ---- */

static struct sf_tcp_port **port_of(struct sf_flow_link *link)
{
    if (link->kind == SF_TCP_CONN)
        return &((struct sf_tcp_conn *)link)->port;
    if (link->kind == SF_TCP_HALF)
        return sf_tcp_half_port((struct sf_tcp_half *)link);
    return link->kind == SF_TCP_WAIT ? &((struct sf_tcp_wait *)link)->port : NULL;
}

bool sf_tcp_port_part(struct sf_tcpip *t, const struct sf_flow_key *key, struct sf_tcp_port **of)
{
    struct sf_tcp_port *own = calloc(1, sizeof(*own));

    if (!own)
        return false;
    *own = (struct sf_tcp_port){.fd = -1, .filter = sf_tcp_flow(key, 0), .filtered = true, .users = 1, .held_by = *of};
    if (t->driver->fast.control->filter_add(t->driver, &own->filter) < 0) {
        free(own);
        return false;
    }
    *of = own;
    return true;
}

void sf_tcp_ports_part(struct sf_tcpip *t, const struct sf_flow_key *listener)
{
    const struct sf_flows *flows = &t->tcp.flows;

    if (!t->driver || sf_tcpip_is_point_to_point(t))
        return;
    for (uint32_t i = 0; flows->slot && i <= flows->mask; i++) {
        const struct sf_flow_key *key = flows->slot[i] ? &flows->slot[i]->key : NULL;
        struct sf_tcp_port **of = key && key->local_port == listener->local_port ? port_of(flows->slot[i]) : NULL;

        if (!of || !*of || (*of)->filtered || (listener->local_addr && key->local_addr != listener->local_addr))
            continue;
        if (!sf_tcp_port_part(t, key, of))
            sf_count(t, SF_COUNT_TCP_FILTERS_FULL);
    }
}

void sf_tcp_port_orphaned(struct sf_tcpip *t, struct sf_tcp_port *port)
{
    struct sf_tcp_listeners_port *whole = (struct sf_tcp_listeners_port *)port;
    struct sf_flow_key local = {.local_addr = port->filter.local_addr, .local_port = port->filter.local_port};

    if (t->interface.index)
        whole->claim = sf_claim_take(t, true, ntohs(local.local_port));
    if (port->fd < 0 && !reserve(port)) {
        t->tcp.reserve_at = 0;
        port->next = t->tcp.unreserved;
        port->waits = true;
        t->tcp.unreserved = port;
    }
    sf_tcp_ports_part(t, &local);
}
