/* The kernel sockets beside ours (side sockets): readiness, receiving, sending, and errors. */
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
/* Marks the sockets that have events. */
void sf_sides_poll(struct sf_tcpip *);

/* Makes the kernel report the details that is_repeated() needs. */
void sf_side_details_on(struct sf_udp_socket *);
/* Watches for the socket's interest and for room after a blocked send. */
int sf_side_watch(struct sf_udp_socket *);
int sf_side_receive(struct sf_udp_socket *, struct sf_datagram *out, int max);
ssize_t sf_side_send(struct sf_udp_socket *, const void *data, size_t len, const struct sockaddr *addr, socklen_t addr_len);

/* side_errors.c: requests errors with details. */
void sf_side_errors_on(struct sf_udp_socket *);
/* Reads all errors. Leaves the one that the kernel would have reported to the program in socket->error. Returns their number. */
int sf_side_errors(struct sf_udp_socket *);

#endif
