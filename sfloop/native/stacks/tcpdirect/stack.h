/*
 * TCPDirect behind the stack seam: the declarations that its files share.
 *
 * stack.c (the turn, opening and closing), zocket.c (tags of the muxer, levels from edges), stream.c, connect.c, listener.c,
 * udp.c, udp_send.c, groups.c, ports.c (kernel sockets that hold ports), route.c (addresses and destinations of the interface).
 */
#ifndef SF_STACKS_TCPDIRECT_STACK_H
#define SF_STACKS_TCPDIRECT_STACK_H

#include "config.h"
#include "storage/ready_ring.h"

enum {
    TD_ADDRS = 16,        /* of the interface */
    TD_EVENTS = 64,       /* taken from the muxer at a time */
    TD_PACKETS = 64,      /* in a zocket's receive queue */
    TD_TAGS = 320,        /* 64 each of zft, zftl, zfur and zfut, and as many again that linger for a turn */
    TD_DESTINATIONS = 64, /* zfut: the library's hard limit */
    TD_GROUPS = 16,       /* of one socket */
    TD_SCRATCH = 128 * 1024,
};

#define TD_RETRY (SF_MS)
#define TD_SIDE_INTERVAL (20 * SF_US)

struct td_stack;
struct td_sock;

/* The owner of a muxer event. The event's data has the tag's index and generation. */
enum td_tag_kind { TD_TAG_FREE, TD_TAG_SOCK, TD_TAG_DESTINATION };

struct td_tag {
    enum td_tag_kind kind;
    uint32_t generation;
    void *owner;
};

enum td_state {
    TD_RESOLVING, /* the neighbour is not known yet, so zft_connect() is tried again */
    TD_CONNECTING,
    TD_CONNECTED,
    TD_FAILED, /* before it was connected; `error` has the reason */
};

struct td_stream {
    enum td_state state;
    struct zft *ts;
    struct zft_handle *handle; /* while resolving */
    struct sockaddr_in peer;
    sf_ns give_up, again;
    int error;
    bool ended;       /* the end of the stream, or an error, was read */
    bool shut;        /* shutdown_tx was called */
    bool shut_queued; /* the shutdown waits for a packet buffer */
    bool reset_on_release; /* SO_LINGER with zero seconds */
};

struct td_listener {
    struct zftl *tl[TD_ADDRS];
    uint32_t tag[TD_ADDRS];
    int n;
    struct td_sock *first, **last; /* accepted by the stack, not yet by the program */
};

struct td_group {
    uint32_t group, source; /* source 0: any */
    bool seen;
};

struct td_udp {
    int fd; /* the kernel socket beside the zockets */
    struct sf_sock *side;
    uint32_t side_index;
    bool side_ready, timestamps, multicast;
    struct zfur *ur;
    bool lent; /* msg is not done yet */
    uint32_t local_addr, remote_addr;
    uint16_t local_port, remote_port;
    struct td_destination *latest;
    struct td_destination *blocked; /* the last send found no room there */
    bool blocked_by_side;
    sf_ns groups_due, groups_busy_until;
    int n_groups;
    struct td_group groups[TD_GROUPS];
    struct zfur_msg *msg; /* with one iovec */
    char msg_space[sizeof(struct zfur_msg) + sizeof(struct iovec)] __attribute__((aligned(16)));
};

struct td_sock {
    struct sf_sock base;
    struct sf_ready_link ready; /* next NULL: no events to report */
    struct sf_ready_link all;
    enum sf_sock_kind kind;
    uint32_t interest, level;
    uint32_t tag;
    bool retry; /* its event may never come */
    struct td_sock *next; /* in a listener's queue */
    union {
        struct td_stream stream;
        struct td_listener listener;
        struct td_udp udp;
    };
};

/* A destination of one socket: a zfut, or the fact that the kernel sends. */
struct td_destination {
    struct td_sock *owner; /* NULL: unused */
    struct zfut *ut;       /* NULL: the kernel sends, until `until` */
    uint32_t addr;
    uint16_t port;
    uint8_t ttl;
    uint32_t mss, tag;
    uint64_t used;
    sf_ns until; /* the time to check routes and options again */
};

enum td_counter {
    TD_COUNT_STALE,
    TD_COUNT_ZOCKETS_FULL,
    TD_COUNT_TO_KERNEL_FULL,
    TD_COUNT_CONNECT_RETRIED,
    TD_COUNT_SEND_RETRIED,
    TD_COUNT_ABORT_AS_FIN,
    TD_COUNT_COPIED,
    TD_COUNT_RX_SIDE,
    TD_COUNT_TX_SIDE_ROUTE,
    TD_COUNT_TX_SIDE_UNRESOLVED,
    TD_COUNT_TX_SIDE_MULTICAST,
    TD_COUNT_TX_SIDE_FULL,
    TD_COUNT_TX_EVICTED,
    TD_COUNT_NOT_QUIESCENT,
    TD_COUNTERS
};

struct td_stack {
    struct sf_stack base;
    struct zf_muxer_set *muxer;
    struct sf_ready_link ready;
    sf_ns now, due; /* due: the next check of sockets that get no event */
    bool dead;      /* a forked child, or the library's stack is gone */
    struct sf_zf zf;
    struct zf_stack *zs;
    struct zf_attr *attr;

    struct sf_ready_link all;
    struct td_tag tags[TD_TAGS];
    uint32_t tag_hint;
    uint32_t retries;
    int released; /* streams released since the library was last quiet */
    sf_ns released_at;
    struct td_sock *loan; /* the socket whose packets are in msg */
    size_t loan_len;
    struct td_destination destinations[TD_DESTINATIONS];
    uint32_t max_destinations;
    uint64_t uses;
    int attr_ttl; /* the value of udp_ttl in attr */

    struct sf_stack *side; /* the kernel sockets beside the zockets */
    struct td_sock *sides[TD_DESTINATIONS];
    uint32_t side_generation[TD_DESTINATIONS];
    int n_sides;

    int ifindex;
    uint32_t mtu;
    bool loopback; /* the interface is the kernel's loopback: an emulator, which reaches only 127/8 */
    uint32_t address; /* our address with an emulator; 0: the interface's */
    uint32_t emulated_mask; /* of the addresses that an emulator reaches */
    int n_addrs;
    uint32_t addrs[TD_ADDRS];
    char interface[16];
    int netlink;
    uint32_t netlink_sequence;

    int epoll_fd, zf_fd; /* zf_fd -1: the library cannot wake us, so sleeps are short */
    bool zf_fd_watched;
    bool timestamps, overflow;
    sf_ns quiesce;
    uint64_t counters[TD_COUNTERS];

    struct epoll_event events[TD_EVENTS];
    struct zft_msg *msg;
    char msg_space[sizeof(struct zft_msg) + TD_PACKETS * sizeof(struct iovec)] __attribute__((aligned(16)));
    struct sockaddr_in from[TD_PACKETS]; /* senders of the last batch */
    char scratch[TD_SCRATCH];            /* the last batch's datagrams, without the last one */
};

static inline struct td_stack *td_of(struct sf_stack *stack)
{
    return (struct td_stack *)stack;
}

static inline struct td_sock *td_sock_of(struct sf_sock *sock)
{
    return (struct td_sock *)sock;
}

static inline struct td_stack *td_stack_of(struct td_sock *s)
{
    return (struct td_stack *)s->base.stack;
}

static inline void td_count(struct td_stack *t, enum td_counter id)
{
    t->counters[id]++;
}

/* zocket.c */
struct td_sock *td_sock_new(struct td_stack *, enum sf_sock_kind, uint32_t slot, uint32_t generation);
void td_sock_free(struct td_sock *);
/* Puts the socket into the ring of those with events to report, or takes it out. */
void td_update(struct td_sock *);
void td_raise(struct td_sock *, uint32_t what);
void td_clear(struct td_sock *, uint32_t what);
int td_watch(struct td_stack *, struct zf_waitable *, uint32_t events, enum td_tag_kind, void *owner, uint32_t *tag);
void td_unwatch(struct td_stack *, uint32_t tag);
/* Looks at the socket every TD_RETRY, because its event may never come. */
void td_retry(struct td_sock *, bool on);
/* Tells whether any event was a datagram socket's. */
bool td_take_muxer_events(struct td_stack *, int n);
int td_take_events(struct td_stack *, struct sf_event *out, int max);

/* connect.c */
int td_connect(struct sf_stack *, int fd, const struct sockaddr *to, socklen_t len, uint32_t slot, uint32_t generation,
               struct sf_sock **out);
int td_connect_result(struct sf_sock *);
void td_connect_again(struct td_sock *);
void td_stream_settle(struct td_sock *);

/* stream.c */
void td_stream_event(struct td_sock *, uint32_t events);
void td_stream_tick(struct td_sock *);
ssize_t td_sendv(struct sf_sock *, const struct iovec *, int n);
ssize_t td_recv_borrow(struct sf_sock *, const void **data);
void td_recv_done(struct sf_sock *, size_t used);
uint32_t td_levels(struct sf_sock *);
ssize_t td_recv_into(struct sf_sock *, void *buf, size_t len);
int td_shutdown_tx(struct sf_sock *);
void td_stream_release(struct td_sock *);
void td_abort(struct sf_sock *);

/* socket_options.c */
int td_name_of(struct sf_sock *, bool peer, struct sockaddr *, socklen_t *len);
int td_set_option(struct sf_sock *, int level, int name, const void *value, socklen_t len);
int td_get_option(struct sf_sock *, int level, int name, void *value, socklen_t *len);
int td_stream_info(struct sf_sock *, struct sf_stream_info *);

/* listener.c */
int td_listen(struct sf_stack *, int fd, int backlog, uint32_t slot, uint32_t generation, struct sf_sock **out);
int td_accept_stream(struct sf_sock *, struct sf_sock **out);
void td_listener_event(struct td_sock *);
void td_listener_release(struct td_sock *);

/* udp.c */
int td_udp_open(struct td_stack *, int fd, uint32_t slot, uint32_t generation, struct sf_sock **out);
void td_udp_release(struct td_sock *);
int td_udp_interest(struct td_sock *);
int td_recv_batch(struct sf_sock *, struct sf_datagram *out, int max);
int td_want_timestamps(struct sf_sock *, bool wanted);
void td_udp_tick(struct td_sock *);
void td_sides_poll(struct td_stack *);

/* udp_send.c */
ssize_t td_send_to(struct sf_sock *, const void *data, size_t len, const struct sockaddr *addr, socklen_t addr_len);
void td_destination_free(struct td_stack *, struct td_destination *);
void td_destination_event(struct td_stack *, struct td_destination *);
void td_destinations_forget(struct td_stack *, const struct td_sock *owner);

/* groups.c: the zfur receives the groups that the program has joined, and the kernel socket no longer does. */
void td_groups_refresh(struct td_sock *);

/* ports.c */
int td_is_ipv4(int fd, int type);
int td_port_leave(int fd);
int td_port_return(int fd, const struct sockaddr_in *, int backlog);
bool td_port_is_shared(int fd);
int td_backing_hint(void);
int td_backing_find(int hint, int except, int type, const struct sockaddr_in *);
void td_backing_share(int backing);
void td_backing_mute(int backing, const struct sockaddr_in *);

/* route.c */
int td_interface_open(struct td_stack *, const char *name);
bool td_owns(struct td_stack *, uint32_t addr);
/* True: our interface leads to the destination, with the source address `src`. */
bool td_reaches(struct td_stack *, uint32_t dst, uint32_t *src);

static inline bool td_is_multicast(uint32_t addr)
{
    return (((const uint8_t *)&addr)[0] & 0xf0) == 224;
}

#endif
