/*
 * The state of a kernel's TCP connection, by the kernel's repair mode (TCP_REPAIR, linux/tcp.h, which CRIU uses). In that mode a socket
 * tells its queues and numbers, takes them, and ends without a segment. It needs CAP_NET_ADMIN in the network namespace of the socket.
 *
 * Functions return 0 or a negative errno. `why` gets the reason of a refusal, a text that is never freed.
 */
#ifndef SF_STACKS_TCPIP_REPAIR_H
#define SF_STACKS_TCPIP_REPAIR_H

#include "sf/tcp_image.h"

#define SF_REPAIR_KEYS "it has keys of TCP-AO or TCP-MD5"

/* A socket in repair mode. */
struct sf_repair {
    int fd;
    bool reuse_address; /* SO_REUSEADDR, which the kernel forgets when repair mode ends */
};

/* Stores the connection's addresses. -EOPNOTSUPP: there is no connection of TCP over IPv4. */
int sf_repair_names(int fd, struct sf_tcp_image *image, const char **why);
/* Checks whether the connection can go on elsewhere, without a change of the socket. A socket does not tell keys of TCP-MD5. -EBUSY. */
int sf_repair_check(int fd, const char **why);
/* Puts the socket into repair mode and adds its state to the image, with the bytes of both queues. The caller frees the image. The kernel may still
 * receive segments, so the state is read until two readings agree. On failure the socket is as before. */
int sf_repair_read(struct sf_repair *repair, int fd, struct sf_tcp_image *image, const char **why);
/* Ends repair mode, sends nothing, and leaves the connection with the kernel. */
void sf_repair_leave(const struct sf_repair *repair);
/* Ends the kernel's connection, and sends nothing. Duplicates of the descriptor then hold a socket that is not connected. */
void sf_repair_end(const struct sf_repair *repair);

/*
 * repair_write.c. Makes the connection on a new kernel socket. Returns its descriptor, non-blocking and close-on-exec. Nothing may hold the local port but
 * sockets with SO_REUSEADDR.
 *
 * -EBUSY: the peer has sent its FIN, which the kernel cannot be told.
 */
int sf_repair_write(const struct sf_tcp_image *image, const char **why);

#endif
