/*
 * The driver seam: Ethernet frames in and out of one NIC queue or its equivalent. The kernel keeps the rest of the interface.
 * The rules:
 *
 *  - Received frames belong to flows that were added with filter_add(), as far as the driver can tell flows apart. It cannot if
 *    caps.flags has SF_DRIVER_UNFILTERED. The reader still checks every header, because a shared queue brings other frames too.
 *  - A received frame is lent. Return it soon with rx_release(), in any order, because a driver has few frames and on some NICs
 *    one lent frame holds back a megabyte. Only rx_burst() gives the NIC new buffers.
 *  - A frame to send is written into memory that tx_reserve() lends. It belongs to the driver after tx_commit(), and may wait
 *    until tx_flush() before it leaves.
 *  - No function blocks. Functions return 0 or a count, or a negative errno. One thread uses a driver.
 *  - Drivers can be stacked: pcap, trace and fault implement the same table and call the driver below.
 */
#ifndef SF_DRIVER_H
#define SF_DRIVER_H

#include "sf/base.h"

#include <stdbool.h>

enum sf_frame_flags {
    /* Flags of received frames. */
    SF_FRAME_CHECKSUM_GOOD = 1,    /* the NIC has verified the IP checksum and the UDP or TCP checksum */
    SF_FRAME_CHECKSUM_PARTIAL = 2, /* a sender on this machine left the checksum to hardware: it covers the pseudo-header only */
    SF_FRAME_MORE = 4,             /* the next frame of the burst continues this one; never set on the last frame of a burst */
    SF_FRAME_OWN = 8,              /* sent by this machine, and seen on its way out */
    /* The driver cannot tell a partial checksum from a full one, so a wrong checksum may be a partial one. */
    SF_FRAME_CHECKSUM_UNSURE = 16,
};

struct sf_frame {
    uint8_t *data; /* the Ethernet header; in a continuation, the bytes that follow */
    uint32_t len;
    uint32_t flags;
    sf_ns timestamp; /* CLOCK_REALTIME at which the NIC or the kernel received the frame; 0: unknown */
    uint64_t token;  /* for the driver's own use */
};

enum sf_flow_flags {
    /*
     * Another program may bind the port later. A driver that has port_changes() leaves the flow's frames to the kernel from the
     * moment any socket is bound to the port until filter_renew(). Thus the kernel loses no frame meanwhile.
     */
    SF_FLOW_WATCHED = 1,
    /* The local address is a directed broadcast address. Only the routing table can tell one from a host's address. */
    SF_FLOW_BROADCAST = 2,
    /*
     * A connection of the kernel. Its frames stay with the kernel although we have a flow for its local address and port. Both
     * ends are given. filter_add() returns -EOPNOTSUPP if the driver cannot exclude part of a flow.
     */
    SF_FLOW_KERNEL = 4,
};

/* Addresses and ports are in network byte order. Zero matches any local address. The remote address and port are both zero,
 * which matches any, or both set. */
struct sf_flow {
    uint32_t local_addr, remote_addr;
    uint16_t local_port, remote_port;
    uint8_t protocol; /* IPPROTO_UDP, IPPROTO_TCP */
    uint8_t flags;    /* enum sf_flow_flags; two flows that differ only in flags are the same flow */
    uint32_t changes; /* SF_FLOW_WATCHED: port_changes() as read before the check that no other program has the port */
};

enum sf_driver_flags {
    SF_DRIVER_UNFILTERED = 1, /* brings every frame */
    SF_DRIVER_SHARES = 2,     /* the kernel receives the same frames too */
    SF_DRIVER_POINT_TO_POINT = 4,
    SF_DRIVER_DEAD = 8, /* the interface or the peer is gone for good */
    SF_DRIVER_SHARES_GROUPS = 16, /* the kernel receives the frames to multicast groups too */
    SF_DRIVER_STAMPS_TX = 32,     /* tx_stamps() tells when frames have left */
    SF_DRIVER_SEES_PORTS = 64,    /* port_changes() tells when programs bind sockets to watched ports */
};

struct sf_driver_caps {
    uint32_t flags;
    uint32_t mtu;      /* of an IP packet, in bytes */
    uint32_t rx_lent;  /* most frames lent at a time */
    uint32_t tx_queue; /* most frames waiting to be sent */
    uint8_t mac[6];
    uint8_t peer_mac[6];  /* point to point: the peer's; zero while there is no peer */
    uint32_t addr;        /* point to point: our address and the peer's, in network byte order; 0 while there is none */
    uint32_t peer_addr;
    int queue;        /* number of the interface's queue */
    int ifindex;      /* 0: the kernel has no such interface */
    char mode[160];   /* the choices made, as text for people: "native, copy, 1 queue" */
};

struct sf_driver_stats {
    uint64_t rx_frames, rx_bytes, tx_frames, tx_bytes;
    uint64_t rx_dropped;  /* by the NIC or the kernel, because there was no buffer or a ring was full */
    uint64_t rx_no_frames; /* af_xdp: times that the NIC or the kernel found no free frame to receive into */
    uint64_t rx_invalid;  /* refused by the driver: too long or incomplete */
    uint64_t tx_full;     /* times that tx_reserve() had no memory to lend */
    uint64_t tx_errors;
    uint64_t wakeups;     /* system calls that started the kernel's receive or send work */
};

/* A reset (RST without ACK) that the kernel tried to send. Addresses and ports are in network byte order, `seq` in host order. */
struct sf_kept_reset {
    uint32_t local_addr, remote_addr;
    uint16_t local_port, remote_port;
    uint32_t seq;
};

struct sf_driver;

/* The functions that run in every turn. The table fills one cache line. */
struct sf_driver_fast {
    /* Receives up to n frames and returns the count. Also reclaims sent frames. An empty call must be cheap, because most are. */
    int (*rx_burst)(struct sf_driver *, struct sf_frame *, int n);
    void (*rx_release)(struct sf_driver *, struct sf_frame *, int n);
    /* Lends memory for a frame of `len` bytes. Returns the number of pieces, in order and with their lengths set. -EAGAIN:
     * full. -EMSGSIZE: more than the MTU and an Ethernet header, or more than `max` pieces. -EINVAL: shorter than an Ethernet
     * header. -ENETDOWN. */
    int (*tx_reserve)(struct sf_driver *, uint32_t len, struct sf_frame *pieces, int max);
    void (*tx_cancel)(struct sf_driver *, struct sf_frame *pieces, int n);
    /* Commits one frame of n pieces. Errors are counted, not returned. */
    void (*tx_commit)(struct sf_driver *, struct sf_frame *pieces, int n);
    void (*tx_flush)(struct sf_driver *);
    const struct sf_driver_control *control;
};

struct sf_driver_control {
    const char *name;
    void (*close)(struct sf_driver *); /* also frees the driver; lent frames become invalid */
    void (*caps)(struct sf_driver *, struct sf_driver_caps *);
    void (*stats)(struct sf_driver *, struct sf_driver_stats *);
    /* -EEXIST: added already. -ENOSPC: no room. -EOPNOTSUPP: the driver cannot match such a flow. filter_del: -ENOENT. */
    int (*filter_add)(struct sf_driver *, const struct sf_flow *);
    int (*filter_del)(struct sf_driver *, const struct sf_flow *);
    /* Before a sleep, arm() makes the descriptor readable when frames arrive or the driver's state changes. -EAGAIN: there is
     * work already. The descriptor stays the same for the driver's life. The driver itself reads it empty. */
    int (*arm)(struct sf_driver *, int *fd);
    void (*disarm)(struct sf_driver *);
    /* May be NULL. sniff: copy all frames that the interface receives, whatever their destination. The kernel and other
     * programs still get them. -EOPNOTSUPP. tx_stamps: take up to `max` known times at which frames left, numbered in the
     * order of tx_commit(). A driver keeps a limited number and forgets the oldest. */
    int (*sniff)(struct sf_driver *, bool on);
    int (*tx_stamps)(struct sf_driver *, struct sf_stamp *, int max);
    /* Turn receive timestamps on or off. Calls are counted, so balance every on with an off. NULL: always on, or not
     * supported. */
    void (*rx_stamps)(struct sf_driver *, bool on);
    /*
     * These three go together. They may be NULL, and need SF_DRIVER_SEES_PORTS.
     * watch_port: count the sockets that any program binds to the port from now on. Calls are counted, so balance every on with
     * an off. -ENOSPC. The port is in network byte order.
     * port_changes: the number of such sockets so far, for all watched ports of the protocol together, modulo 2^32. One load.
     * filter_renew: a flow that was added had no other owner when port_changes() was flow->changes. -ENOENT: no such flow.
     */
    int (*watch_port)(struct sf_driver *, uint8_t protocol, uint16_t port, bool on);
    uint32_t (*port_changes)(struct sf_driver *, uint8_t protocol);
    int (*filter_renew)(struct sf_driver *, const struct sf_flow *);
    /*
     * Replaces close() in a forked child: closes the child's copies of all descriptors and mappings and frees the driver. The
     * parent's driver is not disturbed, and nothing of it is left once the parent dies. NULL: a child inherits nothing.
     *
     * Lent frames stay readable, because the callback that forked may still hold views of them. Their contents may become zeroes.
     * Trust only the fields that open() set, because another thread may have forked in the middle of any call.
     */
    void (*abandon)(struct sf_driver *);
    /*
     * These two go together and may be NULL. Segments of our flows that the driver does not see (IP fragments, another interface)
     * reach the kernel. The kernel has no socket for them and would reset the connection. The driver holds such resets back.
     * kept_resets: take up to n of them. The caller sends those that are not for a connection of its own.
     * kept_resets_fd: a descriptor that is readable while resets are held back, the same for the driver's life. -1: this kernel
     * cannot hold resets back, or does not permit it.
     */
    int (*kept_resets)(struct sf_driver *, struct sf_kept_reset *, int n);
    int (*kept_resets_fd)(struct sf_driver *);
    /* The time (sf_now) at which rx_burst() has work although nothing arrives, such as a frame that a wrapper delays.
     * SF_NEVER: no such work. NULL: never any. */
    sf_ns (*due)(struct sf_driver *);
};

/* The common head of a driver. Each driver's own state follows it. */
struct sf_driver {
    struct sf_driver_fast fast;
};

static inline void sf_driver_abandon(struct sf_driver *driver)
{
    if (driver->fast.control->abandon)
        driver->fast.control->abandon(driver);
}

static inline sf_ns sf_driver_due(struct sf_driver *driver)
{
    return driver->fast.control->due ? driver->fast.control->due(driver) : SF_NEVER;
}

static inline void sf_driver_rx_stamps(struct sf_driver *driver, bool on)
{
    if (driver->fast.control->rx_stamps)
        driver->fast.control->rx_stamps(driver, on);
}

/* The options to open a driver with. A driver ignores fields that it does not need. */
struct sf_driver_config {
    const char *interface; /* the kernel's name for it; shm: the wire's name */
    int queue;             /* -1: all queues, or the driver's choice */
    uint32_t addr;         /* shm: our address, in network byte order */
    uint32_t rx_frames, tx_frames, frame_size; /* 0: the driver's choice */
    const char *mode;      /* NULL: auto. af_xdp: "auto", "zerocopy", "native", "skb"; packet: "auto", "shared" */
    const char *file;      /* pcap, trace: the file to write */
    const char *faults;    /* fault: the description of the faults */
    uint64_t seed;         /* fault: of its random numbers */
    bool stamp_tx;         /* asks for SF_DRIVER_STAMPS_TX, which may have a cost */
};

#define SF_DRIVER_ERROR_SIZE 256

/*
 * Opens a driver. On failure, returns NULL, sets *error to a negative errno and writes a sentence into `message`
 * (SF_DRIVER_ERROR_SIZE bytes): the request, the missing condition, and a remedy.
 */
typedef struct sf_driver *(*sf_driver_open)(const struct sf_driver_config *, int *error, char *message);
/* Opens a wrapper around `below`. Closing the wrapper closes `below`. On failure `below` stays open. */
typedef struct sf_driver *(*sf_driver_wrap)(struct sf_driver *below, const struct sf_driver_config *, int *error, char *message);

/* The layout of this header. A driver in a shared object exports the value that it was compiled with (see sf_driver_load). */
#define SF_DRIVER_EXPORT __attribute__((visibility("default")))
#define SF_DRIVER_ABI \
    ((uint32_t)(2u << 24 | (sizeof(struct sf_driver_caps) + sizeof(struct sf_driver_config)) << 12 | \
                (sizeof(struct sf_driver_fast) + sizeof(struct sf_driver_control) + sizeof(struct sf_frame))))

/*
 * Loads the driver `name` from a shared object (drivers/registry.c), which exports
 *
 *     const uint32_t sf_driver_abi = SF_DRIVER_ABI;
 *     struct sf_driver *sf_driver_<name>_open(const struct sf_driver_config *, int *error, char *message);
 *     int sf_driver_<name>_probe(char *message);     0 if the driver can work on this machine at all; optional
 *
 * Returns 0, or a negative errno and a sentence in `message`. A loaded driver stays loaded.
 */
int sf_driver_load(const char *name, const char *path, char *message);

/* A driver of this build, or a wrapper: one of open and wrap is NULL. */
struct sf_driver_entry {
    const char *name;
    const char *description;
    sf_driver_open open;
    sf_driver_wrap wrap;
};

/* drivers/registry.c: the i-th that is part of this build, drivers first; NULL beyond the last. Loaded drivers are not listed. */
const struct sf_driver_entry *sf_driver_at(int i);
/* By name; NULL if there is none. */
sf_driver_open sf_driver_find(const char *name);
sf_driver_wrap sf_driver_find_wrapper(const char *name);

/* The clock of every fault driver (drivers/wrappers/fault.c). It is sf_now unless a test replaces it. */
extern sf_ns (*sf_fault_now)(void);

#endif
