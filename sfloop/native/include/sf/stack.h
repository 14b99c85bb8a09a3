/*
 * The stack seam: sockets in, events out.
 *
 * A stack is whatever can carry TCP, UDP and their like: the kernel's sockets today, kernel-bypass stacks beside them.
 * Everything above this header is the same code for all of them. The rules:
 *
 *  - A socket is known above by its slot and generation, never by its address: an event that was taken before its socket
 *    was closed carries a generation that no longer matches, and is dropped.
 *  - READABLE and WRITABLE say what holds now and are repeated by every poll for as long as it holds and the socket's
 *    interest names it. A stack whose own events are edges (TCPDirect's muxer) re-arms what was left over; the code above
 *    may read once per event and go on. A listener is READABLE when accept has something to return, and every socket is
 *    READABLE and WRITABLE when the next recv or send would report an error or the end of the stream.
 *  - Functions return 0 or a count, or a negative errno; errno itself is not part of the contract.
 *  - One thread polls a stack and uses its sockets. No function blocks, except wait().
 */
#ifndef SF_STACK_H
#define SF_STACK_H

#include "sf/base.h"

#include <stdbool.h>

#include <sys/socket.h>
#include <sys/uio.h>

enum sf_what {
    SF_READABLE = 1,
    SF_WRITABLE = 2,
};

enum sf_sock_kind {
    SF_KIND_STREAM,
    SF_KIND_DATAGRAM,
    SF_KIND_LISTENER,
    SF_KIND_WATCH, /* a descriptor of the program's own, behind add_reader and add_writer */
};

struct sf_event {
    uint32_t slot;
    uint32_t generation;
    uint32_t what;
};

/* Counts since the stack was made. bytes and messages are payload; a message is one datagram or one stream read/write. */
struct sf_stack_stats {
    uint64_t polls;
    uint64_t empty_polls;
    uint64_t events;
    uint64_t stale_events;
    uint64_t rx_bytes, rx_messages;
    uint64_t tx_bytes, tx_messages;
    uint64_t tx_would_block;
};

struct sf_stack {
    const struct sf_stack_ops *ops;
    /* Set by whatever may give the next poll something to find: sends, changes of interest. Cleared by the engine. */
    bool touched;
    uint32_t watched; /* sockets of the kernel stack that have an interest */
    struct sf_stack_stats stats;
};

struct sf_sock {
    struct sf_stack *stack;
    uint32_t slot;
    uint32_t generation;
};

/* One datagram of a batch. data points into memory that the stack lends until the next call of recv_batch on it. */
struct sf_datagram {
    const void *data;
    uint32_t len;
    uint32_t addr_len; /* 0: the sender has no address (an unnamed AF_UNIX socket) */
    int flags;         /* MSG_TRUNC */
    sf_ns timestamp;   /* of CLOCK_REALTIME, when the NIC or the kernel received it; 0: not known or not asked for */
    const struct sockaddr *addr;
};

/* What a stack of sfloop's own knows of one TCP connection: for loop.stats(), TCP_INFO, and tests. Times are ns, windows bytes. */
struct sf_stream_info {
    const char *state;      /* "ESTABLISHED", as in RFC 9293 */
    const char *congestion; /* "cubic", "newreno" */
    sf_ns rtt, rtt_var, rtt_min, rto; /* 0: nothing measured yet */
    uint32_t mss, cwnd, ssthresh, snd_wnd, rcv_wnd;
    uint32_t in_flight, unsent, unread; /* bytes */
    uint64_t bytes_sent, bytes_received; /* payload, each byte once */
    uint64_t segments_sent, segments_received;
    uint64_t retransmits, timeouts, recoveries, probes; /* segments; RTOs; entries into loss recovery; TLP, window and keepalive */
    uint64_t duplicate_acks, out_of_order;
};

struct sf_driver;

struct sf_counter {
    const char *name;
    uint64_t value;
};

/* An address and a port that the stack receives at, and who brings the frames. */
struct sf_stack_flow {
    uint32_t addr; /* in network byte order, as the port */
    uint16_t port;
    uint32_t remote_addr; /* of a connected socket; 0: from everywhere */
    uint16_t remote_port;
    uint8_t protocol;
    const char *why; /* NULL: the driver brings them. Otherwise the kernel does, for this reason */
    uint32_t holder; /* the inode of the socket that receives there as well; 0: none, or not known */
    int process;     /* that holds the same socket; 0: none */
};

struct sf_stack_ops {
    const char *name; /* the same as in the registry */

    /* The turn. poll returns the number of events written, never more than max. */
    int (*poll)(struct sf_stack *, sf_ns now, struct sf_event *out, int max);
    /* When poll is next needed although nothing arrives (a retransmission timer); SF_NEVER where it is not. */
    sf_ns (*poll_at)(struct sf_stack *, sf_ns now);
    /* Sleep: makes *fd readable when there is work. -EAGAIN: there is work already, poll instead of sleeping. *fd is set in
     * either case, and is the same for the stack's life (until rebuild). */
    int (*arm)(struct sf_stack *, int *fd);
    void (*disarm)(struct sf_stack *);
    /* Sleeps for at most `timeout` ns (SF_NEVER: until an event) on the stack's own descriptors and those of
     * wait_on(). Only the kernel stack has these two: it is the one that the loop sleeps in. */
    int (*wait)(struct sf_stack *, sf_ns timeout, struct sf_event *out, int max);
    int (*wait_on)(struct sf_stack *, int fd, uint32_t slot, uint32_t generation);
    /* Makes the kernel's poll objects anew and keeps the sockets: in a forked child, which must not share them with its
     * parent, and when events of a socket that is long gone keep coming. */
    int (*rebuild)(struct sf_stack *);
    void (*destroy)(struct sf_stack *);

    /* Sockets. adopt takes a kernel descriptor, which stays its caller's to close. */
    int (*adopt)(struct sf_stack *, int fd, enum sf_sock_kind, uint32_t slot, uint32_t generation, struct sf_sock **out);
    void (*release)(struct sf_sock *);
    /* -ENOENT, of SF_KIND_WATCH only: the descriptor was closed, and its number belongs to another file now. */
    int (*interest)(struct sf_sock *, uint32_t what);

    /* Streams. sendv may take part; recv_borrow lends received bytes until recv_done says how many were used. */
    ssize_t (*sendv)(struct sf_sock *, const struct iovec *, int n);
    ssize_t (*recv_borrow)(struct sf_sock *, const void **data);
    void (*recv_done)(struct sf_sock *, size_t used);
    ssize_t (*recv_into)(struct sf_sock *, void *buf, size_t len);
    /* Into several pieces, with the sender's address. addr NULL: the address is not wanted; else *len is in and out, and 0
     * means that there is no address. Watched descriptors only, hence only the kernel stack has it. */
    ssize_t (*recv_from)(struct sf_sock *, const struct iovec *, int n, struct sockaddr *addr, socklen_t *len);
    int (*shutdown_tx)(struct sf_sock *);
    /* A new descriptor, non-blocking and close-on-exec. */
    int (*accept)(struct sf_sock *, struct sockaddr *addr, socklen_t *len);

    /*
     * Streams that are no descriptors of the kernel's. NULL, all of them, where the stack has none (the kernel stack).
     *
     * `fd` is a TCP socket of the kernel's, of IPv4, neither connected nor listening to any effect: it reserves the local port
     * (where it is bound to none it is bound now) and carries the options that the program has set. It stays its caller's to
     * close at any time; a stack that needs the port for longer keeps a duplicate. -EOPNOTSUPP: this address is not for this
     * stack, another is to serve it.
     *
     * connect: the result is there when the socket is WRITABLE. connect_result: 0, -EINPROGRESS, -EOPNOTSUPP (the route has
     * turned out to lead elsewhere: the kernel is to connect, by the same fd), or why it failed, as connect(2) would say.
     *
     * listen: at fd's own address and port; at the interface's own addresses if it is bound to any. The kernel may listen on
     * fd too, for what comes another way. accept_stream: -EAGAIN, or a socket that has slot UINT32_MAX and no interest: its
     * owner writes slot and generation before it asks for events. In the order of arrival.
     *
     * release() ends a stream as close(2) does: what was sent is still delivered, FIN follows, or RST if there is unread data
     * or SO_LINGER says so; the stack sees to it although the socket is gone. abort() resets, and releases.
     */
    int (*connect)(struct sf_stack *, int fd, const struct sockaddr *to, socklen_t len, uint32_t slot, uint32_t generation,
                   struct sf_sock **out);
    int (*connect_result)(struct sf_sock *);
    int (*listen)(struct sf_stack *, int fd, int backlog, uint32_t slot, uint32_t generation, struct sf_sock **out);
    int (*accept_stream)(struct sf_sock *, struct sf_sock **out);
    void (*abort)(struct sf_sock *);
    /* Its own address, or its peer's. *len is in and out, as in getsockname(2). -ENOTCONN. */
    int (*name_of)(struct sf_sock *, bool peer, struct sockaddr *, socklen_t *len);
    /* As setsockopt(2) and getsockopt(2), for the options that mean something here. -ENOPROTOOPT for others. */
    int (*set_option)(struct sf_sock *, int level, int name, const void *value, socklen_t len);
    int (*get_option)(struct sf_sock *, int level, int name, void *value, socklen_t *len);
    int (*stream_info)(struct sf_sock *, struct sf_stream_info *);
    /* How many released streams still have something to deliver: data or a FIN that the other side has not acknowledged.
     * Destroying the stack loses it, so whoever is about to polls until there is nothing, or for as long as it has patience. */
    int (*lingering)(struct sf_stack *);

    /* Datagrams. addr NULL: the connected peer. */
    int (*recv_batch)(struct sf_sock *, struct sf_datagram *out, int max);
    ssize_t (*send_to)(struct sf_sock *, const void *data, size_t len, const struct sockaddr *addr, socklen_t addr_len);
    /* Asks for sf_datagram.timestamp. NULL: the stack has them anyway, or never. */
    int (*want_timestamps)(struct sf_sock *, bool);
    /* The program has changed an option of the descriptor that was adopted. NULL: the stack need not be told. */
    void (*options_changed)(struct sf_sock *);
    /* NULL: never. When what was sent has left the NIC, by the number of the send_to() that took it; at most max. */
    int (*tx_stamps)(struct sf_sock *, struct sf_stamp *, int max);

    /* What the loop asks for now and then. NULL: the stack has none. */

    /* The stack's own counters, beside struct sf_stack_stats. Returns how many were written. The names are never freed. */
    int (*counters)(struct sf_stack *, struct sf_counter *, int max);
    /* Where the stack receives: at most max entries from the first-th on. Returns how many were written. */
    int (*flows)(struct sf_stack *, int first, struct sf_stack_flow *, int max);
    /* The frame driver below. NULL in a forked child, because the driver is the parent's. */
    struct sf_driver *(*driver)(struct sf_stack *);
    /* Between true and false, datagrams are collected. They leave together at the end, or at the next poll. */
    void (*cork)(struct sf_stack *, bool corked);
    /* The stack goes by sf_test_clock_now() from now on, for good. */
    void (*use_test_clock)(struct sf_stack *);
};

/* ---- the stacks of this build (stacks/registry.c) ---- */

#define SF_STACK_ERROR_SIZE 256

/* One option of a stack. A time is a number of nanoseconds, an address of memory is a number, too. */
struct sf_stack_option {
    const char *name;
    const char *text; /* NULL: the value is the number */
    int64_t number;
};

/*
 * How a stack is made.
 *
 * create: NULL of the kernel stack, because every engine has one already. `driver` is NULL where over_driver is false. Texts of
 * options need not outlive the call. On success the stack owns the driver, and everything else that its options hand over. On
 * failure create returns NULL, sets *error to a negative errno and writes a sentence into `message` (SF_STACK_ERROR_SIZE bytes);
 * everything is then still the caller's. An option that the stack does not have is an error.
 */
struct sf_stack_entry {
    const char *name;
    const char *description;
    bool over_driver; /* the stack needs a frame driver */
    struct sf_stack *(*create)(struct sf_driver *driver, const struct sf_stack_option *, int n, int *error, char *message);
    /* The name of the i-th option; NULL beyond the last. */
    const char *(*option)(int i); /* NULL: the stack has none */
};

/* NULL: this build has no stack of that name; no i-th stack. */
const struct sf_stack_entry *sf_stack_find(const char *name);
const struct sf_stack_entry *sf_stack_at(int i);

/* The kernel stack by itself (stacks/kernel/stack.c), because every engine has one. NULL sets *error to a negative errno. */
struct sf_stack *sf_stack_kernel_create(int *error);

/* Raw frames (stacks/ethernet/stack.c): a stack of one socket, which is there already. send_to takes a frame, recv_batch brings them.
 * Owns the driver, if it succeeds. A program asks for one by an interface and not by a name, so the registry has no entry. */
struct sf_stack *sf_stack_ethernet_create(struct sf_driver *, uint32_t slot, uint32_t generation, struct sf_sock **, int *error);

/* ---- a clock that a test sets (stacks/tcpip/test_clock.c) ---- */

/* One for the process, in ns, at first sf_now(). It stands still once it is set, and goes again from where it stands. It has to be
 * set and let go by one thread. */
void sf_test_clock_set(sf_ns now);
void sf_test_clock_go(void);
sf_ns sf_test_clock_now(void);

#endif
