/*
 * Connections that move between the kernel's TCP and ours, in the order that loses nothing.
 *
 * Import: the driver brings the connection's frames from now on, and this thread does not look at them until the connection is complete.
 * Then the kernel's state is read, and the kernel's connection ends without a segment. A segment that the kernel received in between is
 * part of its state, or the peer sends it again.
 *
 * Export: the kernel's connection is complete before the driver leaves it its frames, because the kernel would reset the peer otherwise.
 */
#define _GNU_SOURCE
#include "socket.h"

#include "repair.h"

#include <errno.h>

/* The kernel may have the addresses of a wire as well, for other connections. */
static const char wire[] = "the stack is on a wire, which the kernel does not know";

static const char *why_not_begun(int error)
{
    switch (error) {
    case -EOPNOTSUPP:
        return "its route does not lead through the interface of the stack";
    case -EADDRNOTAVAIL:
        return "the stack has a connection between the same addresses and ports";
    case -ENOSPC:
        return "the driver has no room for another flow";
    default:
        return "the stack has no room for another connection";
    }
}

/* Our TCP does not sign its segments (RFC 2385). */
static int check_keys(const struct sf_tcpip *t, const struct sf_flow_key *key, const char **why)
{
    int keys = sf_kernel_conns_have_keys(t, key);

    if (keys == 0)
        return 0;
    *why = keys < 0 ? "the kernel does not tell whether it has keys of TCP-MD5" : SF_REPAIR_KEYS;
    return -EBUSY;
}

/* Stores the connection's addresses and ports, if the stack can carry it. */
static int look(struct sf_stack *stack, int fd, struct sf_tcp_image *image, struct sf_flow_key *key, const char **why)
{
    int rc;

    if (sf_tcpip_is_point_to_point(tcpip_of(stack))) {
        *why = wire;
        return -EOPNOTSUPP;
    }
    rc = sf_repair_names(fd, image, why);

    if (rc < 0)
        return rc;
    *key = (struct sf_flow_key){
        .local_addr = image->local_addr,
        .remote_addr = image->remote_addr,
        .local_port = image->local_port,
        .remote_port = image->remote_port,
    };
    rc = sf_tcp_import_look(tcpip_of(stack), fd, key);
    if (rc == 0)
        rc = sf_repair_check(fd, why);
    else
        *why = why_not_begun(rc);
    return rc < 0 ? rc : check_keys(tcpip_of(stack), key, why);
}

/* Reads the kernel's state, lets the connection go on with it, and ends the kernel's. `place`: the stream's stack, slot and generation. */
static int complete(struct sf_tcp_conn *conn, int fd, struct sf_tcp_image *image, const struct sf_sock *place, struct sf_sock **out,
                    const char **why)
{
    struct sf_repair repair;
    int rc = sf_repair_read(&repair, fd, image, why);

    if (rc < 0)
        return rc;
    rc = sf_tcp_import_finish(conn, image);
    sf_tcp_image_free(image);
    if (rc == 0)
        rc = tcpip_stream_around(place->stack, conn, place->slot, place->generation, out);
    if (rc == 0) {
        sf_repair_end(&repair);
        return 0;
    }
    *why = rc == -EINVAL ? "its state is unusual" : "the stack's memory does not hold its data";
    sf_repair_leave(&repair);
    return rc;
}

int tcpip_import_stream(struct sf_stack *stack, int fd, uint32_t slot, uint32_t generation, struct sf_sock **out, const char **why)
{
    const struct sf_sock place = {.stack = stack, .slot = slot, .generation = generation};
    struct sf_tcp_image image;
    struct sf_tcp_conn *conn;
    struct sf_flow_key key;
    int rc = look(stack, fd, &image, &key, why);

    if (rc < 0)
        return rc;
    rc = sf_tcp_import_begin(tcpip_of(stack), fd, &key, &conn);
    if (rc < 0) {
        *why = why_not_begun(rc);
        return rc;
    }
    rc = complete(conn, fd, &image, &place, out, why);
    if (rc < 0) {
        sf_tcp_import_undo(conn);
        return rc;
    }
    sf_tcp_import_closed(conn);
    stack->touched = true;
    return 0;
}

int tcpip_export_stream(struct sf_sock *sock, const char **why)
{
    struct tcpip_sock *s = (struct tcpip_sock *)sock;
    struct sf_tcp_image image = {0};
    int fd;

    if (s->kind != TCPIP_STREAM || sf_tcpip_is_point_to_point(tcpip_of(sock->stack))) {
        *why = s->kind != TCPIP_STREAM ? "it is no connection" : wire;
        return -EOPNOTSUPP;
    }
    fd = sf_tcp_export(((struct tcpip_stream *)s)->conn, &image);
    if (fd < 0) {
        *why = fd == -ENOMEM ? "there is no memory" : "it is not established, or has ended";
        return fd;
    }
    fd = sf_repair_write(&image, why);
    sf_tcp_image_free(&image);
    if (fd < 0)
        return fd;
    tcpip_stream_exported(sock);
    return fd;
}
