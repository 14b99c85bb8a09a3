/*
 * The stack seam: sockets in, events out.
 *
 * A stack carries TCP, UDP and the like: the kernel's sockets, or a kernel-bypass stack beside them. All code above this header
 * is the same for every stack. The rules:
 *
 *  - The layers above name a socket by slot and generation, never by its address. An event taken before its socket was closed
 *    has an old generation, and is dropped.
 *  - READABLE and WRITABLE are levels: every poll repeats them for as long as they hold and the socket's interest names them. So
 *    the caller may read once per event and return. A stack whose own events are edges (TCPDirect's muxer) re-arms the rest. A
 *    listener is READABLE when accept has a connection to return. Every socket is READABLE and WRITABLE when the next recv or
 *    send would report an error or the end of the stream.
 *  - Functions return 0 or a count, or a negative errno. They may leave any value in errno.
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
    SF_KIND_WATCH, /* a descriptor of the program, for add_reader and add_writer */
};

struct sf_event {
    uint32_t slot;
    uint32_t generation;
    uint32_t what; /* enum sf_what */
};

/* Counts since the stack was created. Bytes are payload. A message is one datagram, or one read or write of a stream. */
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
    /* Set by sends and changes of interest, because the next poll may find more after them. Cleared by the engine. */
    bool touched;
    uint32_t watched; /* kernel stack: the number of sockets that have an interest */
    struct sf_stack_stats stats;
};

struct sf_sock {
    struct sf_stack *stack;
    uint32_t slot;
    uint32_t generation;
};

/* The state of a TCP connection of sfloop's own stack, for loop.stats(), TCP_INFO and tests. Windows are in bytes. */
struct sf_stream_info {
    const char *state;      /* "ESTABLISHED", as in RFC 9293 */
    const char *congestion; /* "cubic", "newreno" */
    sf_ns rtt, rtt_var, rtt_min, rto; /* 0: not measured yet */
    uint32_t mss, cwnd, ssthresh, snd_wnd, rcv_wnd;
    uint32_t in_flight, unsent, unread; /* bytes */
    uint64_t bytes_sent, bytes_received; /* payload, each byte once */
    uint64_t segments_sent, segments_received;
    uint64_t retransmits, timeouts, recoveries, probes; /* segments; RTOs; recoveries entered; TLP, window, keepalive */
    uint64_t duplicate_acks, out_of_order;
};

struct sf_driver;

struct sf_counter {
    const char *name;
    uint64_t value;
};

/* An address and port at which the stack receives, and whether the driver or the kernel brings the frames. */
struct sf_stack_flow {
    uint32_t addr; /* in network byte order, like the port */
    uint16_t port;
    uint32_t remote_addr; /* of a connected socket; 0: any sender */
    uint16_t remote_port;
    uint8_t protocol;
    const char *why; /* NULL: the driver brings them. Otherwise the kernel does, for this reason */
    uint32_t holder; /* the inode of the socket that receives there as well; 0: none, or not known */
    int process;     /* that holds the same socket; 0: none */
};

struct sf_stack_ops {
    const char *name; /* the same as in the registry */

    /* Polls at the time `now`. Returns the number of events written, `max` at most. */
    int (*poll)(struct sf_stack *, sf_ns now, struct sf_event *out, int max);
    /* The time at which the stack needs a poll although nothing arrives, such as a retransmission timer. SF_NEVER: none. */
    sf_ns (*poll_at)(struct sf_stack *, sf_ns now);
    /* Before a sleep: makes *fd readable when there is work. -EAGAIN: there is work already, so poll instead of sleeping. *fd
     * is set in both cases, and is the same until rebuild() or destroy(). */
    int (*arm)(struct sf_stack *, int *fd);
    void (*disarm)(struct sf_stack *);
    /* Sleeps up to `timeout` ns (SF_NEVER: without limit) for an event on the stack's own descriptors and those of wait_on().
     * Only the kernel stack has these two, because the loop sleeps in it. */
    int (*wait)(struct sf_stack *, sf_ns timeout, struct sf_event *out, int max);
    int (*wait_on)(struct sf_stack *, int fd, uint32_t slot, uint32_t generation);
    /* Replaces the kernel's poll objects and keeps the sockets. A forked child needs this because it must not share them with
     * its parent. It also ends events of sockets that are long closed. */
    int (*rebuild)(struct sf_stack *);
    void (*destroy)(struct sf_stack *);

    /* adopt() takes a kernel descriptor. The caller still owns the descriptor and closes it. */
    int (*adopt)(struct sf_stack *, int fd, enum sf_sock_kind, uint32_t slot, uint32_t generation, struct sf_sock **out);
    void (*release)(struct sf_sock *);
    /* Sets the events (enum sf_what) to report. -ENOENT (SF_KIND_WATCH only): the descriptor was closed, and another file now
     * has its number. */
    int (*interest)(struct sf_sock *, uint32_t what);

    /* Streams. sendv() may take fewer bytes than offered. recv_borrow() lends received bytes until recv_done() tells how many
     * were used. Receiving returns 0 at the end of the stream. */
    ssize_t (*sendv)(struct sf_sock *, const struct iovec *, int n);
    ssize_t (*recv_borrow)(struct sf_sock *, const void **data);
    void (*recv_done)(struct sf_sock *, size_t used);
    ssize_t (*recv_into)(struct sf_sock *, void *buf, size_t len);
    /* Receives into several buffers, with the sender's address unless `addr` is NULL. *len is in and out; 0: no address. Only
     * the kernel stack has this, because only watched descriptors use it. */
    ssize_t (*recv_from)(struct sf_sock *, const struct iovec *, int n, struct sockaddr *addr, socklen_t *len);
    int (*shutdown_tx)(struct sf_sock *);
    /* Returns a new descriptor, non-blocking and close-on-exec. */
    int (*accept)(struct sf_sock *, struct sockaddr *addr, socklen_t *len);

    /*
     * Streams that have no kernel descriptor. All of these are NULL in a stack without such streams (the kernel stack).
     *
     * `fd` is an IPv4 TCP socket of the kernel, not connected. It reserves the local port and carries the options that the
     * program has set. If it is not bound, the stack binds it. The caller still owns it and may close it at any time. A stack
     * that needs the port for longer keeps a duplicate. -EOPNOTSUPP: another stack has to serve this address.
     *
     * connect: the socket becomes WRITABLE when the result is known. connect_result: 0, -EINPROGRESS, or the error that
     * connect(2) would report. -EOPNOTSUPP: the route leads elsewhere, so let the kernel connect with the same fd.
     *
     * listen: at fd's address and port, or at the interface's own addresses if fd is bound to any address. The kernel may listen
     * on fd too, for connections that arrive another way. accept_stream: -EAGAIN, or a socket with slot UINT32_MAX and no
     * interest, in the order of arrival. Its owner sets slot and generation before it asks for events.
     *
     * release() ends a stream as close(2) does: the stack still delivers sent data and a FIN, or sends RST if there is unread
     * data or SO_LINGER requires it. abort() resets the connection and releases the socket.
     */
    int (*connect)(struct sf_stack *, int fd, const struct sockaddr *to, socklen_t len, uint32_t slot, uint32_t generation,
                   struct sf_sock **out);
    int (*connect_result)(struct sf_sock *);
    int (*listen)(struct sf_stack *, int fd, int backlog, uint32_t slot, uint32_t generation, struct sf_sock **out);
    int (*accept_stream)(struct sf_sock *, struct sf_sock **out);
    void (*abort)(struct sf_sock *);
    /* The socket's own address, or its peer's. *len is in and out, as in getsockname(2). -ENOTCONN. */
    int (*name_of)(struct sf_sock *, bool peer, struct sockaddr *, socklen_t *len);
    /* As setsockopt(2) and getsockopt(2). -ENOPROTOOPT: the option has no meaning in this stack. */
    int (*set_option)(struct sf_sock *, int level, int name, const void *value, socklen_t len);
    int (*get_option)(struct sf_sock *, int level, int name, void *value, socklen_t *len);
    int (*stream_info)(struct sf_sock *, struct sf_stream_info *);
    /* The events that hold now (enum sf_what), whatever the stream's interest is. NULL: the stack cannot tell. */
    uint32_t (*levels)(struct sf_sock *);
    /*
     * import_stream takes over the connection of a connected kernel socket: it goes on as a stream, and its peer notices nothing. The
     * kernel's socket is then not connected any more, and the caller closes it. export_stream gives a stream's connection to a new kernel
     * socket, whose descriptor it returns, non-blocking and close-on-exec, and releases the stream. On failure everything is as before,
     * and *why is the reason, a text that is never freed: -EOPNOTSUPP if the connection or its way does not allow it, or another error.
     * NULL: the stack cannot.
     */
    int (*import_stream)(struct sf_stack *, int fd, uint32_t slot, uint32_t generation, struct sf_sock **out, const char **why);
    int (*export_stream)(struct sf_sock *, const char **why);
    /* The number of released streams with data or a FIN that the peer has not acknowledged. Destroying the stack loses them,
     * so poll until the number is 0, or for as long as the caller can wait. */
    int (*lingering)(struct sf_stack *);

    /* Datagrams. `addr` NULL: send to the connected peer. An adopted IPv6 socket may serve IPv4 peers too. Their addresses are mapped
     * (::ffff:a.b.c.d) for send_to. recv_batch may return them mapped or as IPv4 addresses. */
    int (*recv_batch)(struct sf_sock *, struct sf_datagram *out, int max);
    ssize_t (*send_to)(struct sf_sock *, const void *data, size_t len, const struct sockaddr *addr, socklen_t addr_len);
    /* Turns sf_datagram.timestamp on or off. NULL: always on, or not supported. */
    int (*want_timestamps)(struct sf_sock *, bool);
    /* The program has changed an option of the adopted descriptor. NULL: the stack need not know. */
    void (*options_changed)(struct sf_sock *);
    /* Takes up to `max` times at which datagrams left the NIC. The number is that of the send_to() which took the datagram.
     * NULL: not supported. */
    int (*tx_stamps)(struct sf_sock *, struct sf_stamp *, int max);

    /* Reports for stats() and describe(), outside the hot path. NULL: the stack has none. */

    /* The stack's own counters, beside struct sf_stack_stats. Returns how many were written. The names are never freed. */
    int (*counters)(struct sf_stack *, struct sf_counter *, int max);
    /* Lists the flows at which the stack receives: at most `max` entries, beginning with entry `first`. Returns the number of entries
     * written. */
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

/* One test clock for the process, in ns. It follows sf_now() until it is set, then stands still. After sf_test_clock_go() it
 * runs on from the time it shows. Set it and release it in the same thread. */
void sf_test_clock_set(sf_ns now);
void sf_test_clock_go(void);
sf_ns sf_test_clock_now(void);

#endif
