/* The tcpip stack's sockets behind the seam. */
#ifndef SF_STACKS_TCPIP_SOCKET_H
#define SF_STACKS_TCPIP_SOCKET_H

#include "config.h"

#include "tcpip/tcpip.h"

struct tcpip_stream;
struct tcpip_listener;

struct tcpip_stack {
    struct sf_stack base;
    struct tcpip_stream *streams; /* all that are not released */
    struct tcpip_listener *listeners;
    struct sf_tcpip tcpip;
};

enum tcpip_kind { TCPIP_DATAGRAM, TCPIP_STREAM, TCPIP_LISTENER };

struct tcpip_sock {
    struct sf_sock base;
    enum tcpip_kind kind;
};

struct tcpip_datagram {
    struct tcpip_sock sock;
    struct sf_udp_socket udp;
};

/* Small, because the connection outlives it. */
struct tcpip_stream {
    struct tcpip_sock sock;
    struct sf_tcp_conn *conn;
    struct tcpip_stream *next, *prev;
};

struct tcpip_listener {
    struct tcpip_sock sock;
    struct sf_tcp_listener *listener;
    struct tcpip_listener *next, *prev;
};

_Static_assert((int)SF_TCP_READABLE == (int)SF_READABLE && (int)SF_TCP_WRITABLE == (int)SF_WRITABLE, "the same bits");

static inline struct sf_tcpip *tcpip_of(struct sf_stack *stack)
{
    return &((struct tcpip_stack *)stack)->tcpip;
}

/* stream.c: the seam's functions for streams and listeners. */
int tcpip_connect(struct sf_stack *, int fd, const struct sockaddr *to, socklen_t len, uint32_t slot, uint32_t generation,
                  struct sf_sock **out);
/* Makes a socket for a connection that has none. -ENOMEM. */
int tcpip_stream_around(struct sf_stack *, struct sf_tcp_conn *, uint32_t slot, uint32_t generation, struct sf_sock **out);
/* Another TCP goes on with the stream's connection: frees the socket, and sends nothing. */
void tcpip_stream_exported(struct sf_sock *);
int tcpip_connect_result(struct sf_sock *);
int tcpip_listen(struct sf_stack *, int fd, int backlog, uint32_t slot, uint32_t generation, struct sf_sock **out);
int tcpip_accept_stream(struct sf_sock *, struct sf_sock **out);
ssize_t tcpip_sendv(struct sf_sock *, const struct iovec *, int n);
ssize_t tcpip_recv_borrow(struct sf_sock *, const void **data);
void tcpip_recv_done(struct sf_sock *, size_t used);
ssize_t tcpip_recv_into(struct sf_sock *, void *buf, size_t len);
int tcpip_shutdown_tx(struct sf_sock *);
void tcpip_abort(struct sf_sock *);
int tcpip_name_of(struct sf_sock *, bool peer, struct sockaddr *, socklen_t *len);
int tcpip_set_option(struct sf_sock *, int level, int name, const void *value, socklen_t len);
int tcpip_get_option(struct sf_sock *, int level, int name, void *value, socklen_t *len);
int tcpip_stream_info(struct sf_sock *, struct sf_stream_info *);
uint32_t tcpip_levels(struct sf_sock *);
int tcpip_lingering(struct sf_stack *);
void tcpip_stream_release(struct sf_sock *);
int tcpip_stream_interest(struct sf_sock *, uint32_t what);
/* The socket of a connection or listener. */
struct sf_sock *tcpip_stream_of(struct sf_ready_link *);
/* moving.c */
int tcpip_import_stream(struct sf_stack *, int fd, uint32_t slot, uint32_t generation, struct sf_sock **out, const char **why);
int tcpip_export_stream(struct sf_sock *, const char **why);
/* test_clock.c */
void tcpip_use_test_clock(struct sf_stack *);
void tcpip_streams_destroy(struct tcpip_stack *);
/* Replaces zeros with the defaults. */
struct sf_tcp_limits_set tcpip_limits(const struct sf_tcp_limits *, bool point_to_point);

#endif
