/* The sockets that programs of this network namespace have at a port, from the kernel's sock_diag(7). It needs no privilege. */
#ifndef SF_TCPIP_SHARING_OTHERS_H
#define SF_TCPIP_SHARING_OTHERS_H

#include "sf/base.h"

#include <stdbool.h>

/* A kernel socket. Addresses and ports are in network byte order. Address 0: any. */
struct sf_other {
    uint32_t local_addr, remote_addr;
    uint16_t local_port, remote_port;
    uint8_t protocol; /* IPPROTO_UDP or IPPROTO_TCP */
    uint8_t state;    /* the kernel's: 1 ESTABLISHED (or a connected UDP socket), 10 LISTEN */
    bool ipv6;        /* an IPv6 socket that receives IPv4 too */
    int ifindex;      /* SO_BINDTODEVICE; 0: none */
    uint32_t inode;   /* identifies the socket; 0: no process holds it */
};

enum sf_others_which {
    SF_OTHERS_UDP,
    SF_OTHERS_LISTENERS,
    SF_OTHERS_CONNECTIONS, /* TCP connections, including half-open ones, without TIME_WAIT */
};

/* Return false to stop. */
typedef bool (*sf_others_visit)(void *context, const struct sf_other *);

/* Opens a netlink socket for queries. Returns a descriptor or a negative errno. */
int sf_others_open(void);
/* Visits the sockets at the port (0: at every port). Returns 0, or a negative errno if the kernel does not answer. Takes 30 us for UDP
 * sockets and listeners, plus 80 ns for each socket of the namespace. Takes 0.6 ms and more for connections, because the kernel goes
 * over its whole table of them. */
int sf_others_list(int fd, enum sf_others_which which, uint16_t port, sf_others_visit visit, void *context);
/* Asks for the sockets at every port, to be read in pieces of about 20 us. Use a descriptor only for this, because an answer has to be
 * read to its end before the next question. -ENOENT: this kernel lacks the family. */
int sf_others_ask(int fd, enum sf_others_which which, uint8_t family, uint32_t *sequence);
/* Reads one datagram of the answer. 1: more follow. 0: it was the last. */
int sf_others_read_some(int fd, enum sf_others_which which, uint32_t sequence, sf_others_visit visit, void *context);
/* Returns the kernel's state of this TCP connection, 0 if the kernel has none, or a negative errno. Reads only `ifindex`,
 * addresses and ports. Takes about 5 us. */
int sf_others_has(int fd, const struct sf_other *);
/* Returns 1 if this TCP connection has keys of TCP-MD5 (RFC 2385), which no socket option tells, 0 if not, or a negative errno.
 * -ENOENT: the kernel has no such connection. Reads the same. */
int sf_others_has_keys(int fd, const struct sf_other *);
/* Returns the inode of the socket behind a descriptor, as in sf_other.inode; 0: none. */
uint32_t sf_others_inode(int fd);

#endif
