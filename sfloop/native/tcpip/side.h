/* The kernel's sockets beside ours: who of them has something, receiving from them, sending by them, their errors. */
#ifndef SF_TCPIP_SIDE_H
#define SF_TCPIP_SIDE_H

#include "tcpip/udp/socket.h"

struct sf_side_scratch;

struct sf_sides {
    int epoll_fd;
    uint32_t stale; /* events of sockets that are gone, since the set was made */
    struct sf_side_scratch *scratch;
};

int sf_sides_open(struct sf_sides *);
void sf_sides_close(struct sf_sides *);
/* Marks the sockets that have something. */
void sf_sides_poll(struct sf_tcpip *);
/* A new epoll set with the same sockets. */
int sf_sides_rebuild(struct sf_tcpip *);

/* Has the kernel tell what is_repeated() needs to know. */
void sf_side_details_on(struct sf_udp_socket *);
/* Watches for what the socket's interest and its blocked sends need. */
int sf_side_watch(struct sf_udp_socket *);
int sf_side_receive(struct sf_udp_socket *, struct sf_udp_received *out, int max);
ssize_t sf_side_send(struct sf_udp_socket *, const void *data, size_t len, const struct sockaddr *addr, socklen_t addr_len);

/* side_errors.c: asks for errors with their details; reads them. */
void sf_side_errors_on(struct sf_udp_socket *);
/* Takes all that there are. What the kernel would have reported to the program is left in socket->error. Returns how many. */
int sf_side_errors(struct sf_udp_socket *);

#endif
