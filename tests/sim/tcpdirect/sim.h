/*
 * A simulator of the TCPDirect library for tests. It has the API of libraries/zf.h over sfloop's own TCP/IP. Its link is a wire in
 * shared memory, or a loop back to the stack itself. It is not TCPDirect, but it has TCPDirect's peculiarities:
 *
 *  - The muxer's events are edges. Its list of ready zockets is last in, first out. HUP and ERR come only if asked for.
 *  - zftl_accept() returns the latest connection first. A listener's port stays in use until its connections are gone.
 *  - There are 64 zockets of each kind, including those in TIME_WAIT. Queues have 64 entries. Further datagrams are dropped without
 *    a report.
 *  - The end of a stream is a marker that stays in the queue.
 *  - The order of calls is checked. The real library silently corrupts memory after a violation; this one ends the process with a
 *    message.
 *  - Its backing sockets bind as the vendor's do.
 *
 * It has attributes of its own (ZF_ATTR, Options(tcpdirect=…)). sim_wire: the wire's name. sim_address: the address of our end.
 * sim_fault makes functions fail: "function:errno:times", several separated by ','. Example: "zft_alloc:105:1".
 */
#ifndef SF_TEST_ZF_SIM_H
#define SF_TEST_ZF_SIM_H

#include "../copy.h"
#include "stacks/tcpip/config.h"
#include "libraries/zf.h"

#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIM_API __attribute__((visibility("default")))

#define SIM_MUST(condition, what)                                                                                      \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "tcpdirect simulator: %s: %s\n", __func__, what);                                          \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

enum { SIM_ZOCKETS = 64, SIM_QUEUE = 64, SIM_MSS = 1460, SIM_TEXT = 64, SIM_BINDS = 24 };

struct zf_attr {
    int64_t number[64];
    char text[64][SIM_TEXT];
};

struct zf_waitable {
    struct zf_stack *stack;
    struct zf_muxer_set *set;
    struct epoll_event event;
    uint32_t ready;
    struct zf_waitable *next;
    bool listed;
};

struct zf_muxer_set {
    struct zf_stack *stack;
    struct zf_waitable *ready;
    int members;
};

struct sim_packet {
    char *data;
    size_t at, len; /* unread bytes: from `at` to `len` */
};

enum sim_kind { SIM_NONE, SIM_TCP, SIM_LISTENER, SIM_UDP };

/* The owner of an event of the inner stack. */
struct sim_slot {
    enum sim_kind kind;
    void *owner;
    uint32_t generation;
};

struct zft {
    struct zf_waitable w;
    struct zf_stack *stack;
    bool used, freed; /* freed: by its owner, but TIME_WAIT keeps the zocket in use */
    sf_ns gone_at;
    struct sf_sock *inner;
    uint32_t slot;
    int backing;
    int state, error;
    bool accepted, delegated, shut, ended, reading;
    struct zftl *parent;
    struct zft *accept_next;
    struct sockaddr_in local, remote;
    struct sim_packet queue[SIM_QUEUE + 1];
    int first, count; /* of packets, including the marker of the end */
    int lent;
    struct iovec lent_iov[SIM_QUEUE + 1];
    char buffers[SIM_QUEUE + 1][SIM_MSS]; /* for the packet in each place of the queue */
};

struct zftl {
    struct zf_waitable w;
    struct zf_stack *stack;
    bool used, freed;
    struct sf_sock *inner;
    uint32_t slot;
    int backing, children;
    struct sockaddr_in local;
    struct zft *newest;
};

struct sim_datagram {
    char *data;
    size_t len;
    struct iphdr ip;
    struct udphdr udp;
    struct timespec timestamp;
};

struct sim_bind {
    bool used;
    struct sf_sock *inner;
    uint32_t slot;
    int fd;
    struct sockaddr_in local, remote;
};

struct zfur {
    struct zf_waitable w;
    struct zf_stack *stack;
    bool used;
    int bound;
    struct sim_bind bind[SIM_BINDS];
    struct sim_datagram queue[SIM_QUEUE];
    int first, count, lent;
    uint64_t dropped;
};

struct zfut {
    struct zf_waitable w;
    struct zf_stack *stack;
    bool used;
    struct sockaddr_in local, remote;
    struct sim_bind own;   /* used if no zfur has the address */
    struct sf_sock *inner; /* the sender that was found when the stack's `binds` was this one's */
    uint32_t binds;
    bool blocked;
};

struct zf_stack {
    struct sf_stack *inner;
    struct zf_waitable w;
    struct zf_muxer_set muxer[SIM_ZOCKETS];
    struct sim_slot slots[4 * SIM_ZOCKETS + SIM_ZOCKETS * SIM_BINDS];
    struct zft tcp[SIM_ZOCKETS];
    struct zftl listener[SIM_ZOCKETS];
    struct zfur udp_rx[SIM_ZOCKETS];
    struct zfut udp_tx[SIM_ZOCKETS];
    int max_tcp, max_listen, max_rx, max_tx;
    sf_ns time_wait;
    bool timestamps;
    uint32_t binds; /* grows when a zfur binds or unbinds */
    uint32_t waiting; /* zockets that wait for room to send */
    char *buffers[SIM_ZOCKETS * SIM_QUEUE]; /* for datagrams */
    int epoll_fd, timer_fd;
    bool armed, pending, more;
    unsigned passes; /* calls of zf_reactor_perform() */
    sf_ns now;
    long tick;
};

/* sim_attr.c */
int sim_attr_index(const char *name);
int64_t sim_number(const struct zf_attr *, const char *name);
const char *sim_text(const struct zf_attr *, const char *name);
/* Returns the negative errno with which this call has to fail, or 0. */
int sim_fault(const char *function);
extern bool sim_any_faults;
SIM_API void sim_faults_set(const char *description); /* exported for tests */
#define SIM_FAULT()                                                                                                    \
    do {                                                                                                               \
        int fault = SF_UNLIKELY(sim_any_faults) ? sim_fault(__func__) : 0;                                             \
        if (fault)                                                                                                     \
            return fault;                                                                                              \
    } while (0)

/* sim_muxer.c */
void sim_mark(struct zf_waitable *, uint32_t bits);
void sim_unmark(struct zf_waitable *, uint32_t bits);
void sim_waitable_init(struct zf_waitable *, struct zf_stack *);

/* sim_stack.c */
uint32_t sim_slot_take(struct zf_stack *, enum sim_kind, void *owner);
void sim_slot_give(struct zf_stack *, uint32_t slot);
/* Makes a kernel socket that reserves the port, bound as the vendor's library does it. */
int sim_backing(int type, struct sockaddr_in *local, uint32_t group_source);
int sim_check_address(const struct sockaddr *, socklen_t);

/* sim_tcp.c, sim_listener.c, sim_udp.c. sim_*_event() handles an event of the inner stack. sim_*_look() checks the zockets that wait
 * for room, because they get no event. Both return 1 if the program can see a change. */
int sim_tcp_event(struct zft *, uint32_t what);
int sim_tcp_look(struct zf_stack *);
struct zft *sim_tcp_take(struct zf_stack *);
void sim_tcp_drop(struct zft *);
int sim_listener_event(struct zftl *);
void sim_listener_release(struct zftl *);
int sim_udp_event(struct zfur *);
int sim_udp_look(struct zf_stack *);

/* sim_wire.c */
struct sf_driver *sim_wire_open(const char *wire, uint32_t addr, int *error, char *message);

#endif
