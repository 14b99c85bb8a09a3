/*
 * The driver seam: Ethernet frames in and out of one NIC queue (or what stands for one), while the kernel keeps the rest of
 * the interface. The rules:
 *
 *  - Only frames of flows that were added with filter_add() arrive, so far as the driver can tell them apart (caps.flags,
 *    SF_DRIVER_UNFILTERED: it cannot). Whoever reads them still checks every header: a shared queue brings others' too.
 *  - A received frame is lent. It goes back with rx_release(), in any order, soon: a driver has few of them, and on some NICs
 *    one that is kept holds back a megabyte. rx_burst() alone refills what the NIC receives into.
 *  - A frame to send is written into memory that tx_reserve() lends, and belongs to the driver after tx_commit().
 *    What is committed need not have left before tx_flush().
 *  - Nothing blocks. Functions return 0 or a count, or a negative errno. One thread uses a driver.
 *  - Drivers stack: pcap, trace and fault hand out the same table and pass on to the driver below.
 */
#ifndef SF_DRIVER_H
#define SF_DRIVER_H

#include "sf/base.h"

#include <stdbool.h>

enum sf_frame_flags {
    /* Received. */
    SF_FRAME_CHECKSUM_GOOD = 1,    /* the NIC has verified the IP and the UDP or TCP checksum */
    SF_FRAME_CHECKSUM_PARTIAL = 2, /* the sender is on this machine and has left the sum to hardware: only the pseudo-header's is in */
    SF_FRAME_MORE = 4,             /* the next frame of the burst continues this one; a burst never ends with such a frame */
    SF_FRAME_OWN = 8,              /* sent by this machine, seen on its way out */
    /* The driver cannot tell SF_FRAME_CHECKSUM_PARTIAL from a full sum: a sum that is wrong may be a partial one. */
    SF_FRAME_CHECKSUM_UNSURE = 16,
};

struct sf_frame {
    uint8_t *data; /* the Ethernet header; of a continuation, the bytes that follow */
    uint32_t len;
    uint32_t flags;
    sf_ns timestamp; /* of CLOCK_REALTIME when the frame was received, by the NIC or the kernel; 0: not known */
    uint64_t token;  /* the driver's own */
};

enum sf_flow_flags {
    /*
     * Another program may come to share the port. A driver that has port_changes() leaves the flow's frames to the kernel
     * from the moment that any socket is bound to the port, until filter_renew(): the kernel loses nothing meanwhile.
     */
    SF_FLOW_WATCHED = 1,
    /* The local address is a directed broadcast address, which only the routing table can tell from a host's. */
    SF_FLOW_BROADCAST = 2,
    /*
     * A connection of the kernel's: its frames stay with the kernel, although a flow of the address and port is ours. The flow names
     * both ends. -EOPNOTSUPP: the driver cannot leave a part of a flow.
     */
    SF_FLOW_KERNEL = 4,
};

/* Addresses and ports in network byte order. Zero matches any: remote address and port both or neither, local address. */
struct sf_flow {
    uint32_t local_addr, remote_addr;
    uint16_t local_port, remote_port;
    uint8_t protocol; /* IPPROTO_UDP, IPPROTO_TCP */
    uint8_t flags;    /* enum sf_flow_flags; no part of the flow's identity */
    uint32_t changes; /* SF_FLOW_WATCHED: port_changes() before it was checked that no other program has the port */
};

enum sf_driver_flags {
    SF_DRIVER_UNFILTERED = 1, /* brings every frame */
    SF_DRIVER_SHARES = 2,     /* the kernel sees the same frames too */
    SF_DRIVER_POINT_TO_POINT = 4,
    SF_DRIVER_DEAD = 8, /* the interface or the other side is gone for good */
    SF_DRIVER_SHARES_GROUPS = 16, /* the kernel sees the frames to multicast groups too */
    SF_DRIVER_STAMPS_TX = 32,     /* tx_stamps() tells when frames have left */
    SF_DRIVER_SEES_PORTS = 64,    /* port_changes() tells when programs bind sockets to watched ports */
};

struct sf_driver_caps {
    uint32_t flags;
    uint32_t mtu;      /* the largest IP packet, in bytes */
    uint32_t rx_lent;  /* frames that may be lent at a time */
    uint32_t tx_queue; /* frames that may wait for sending */
    uint8_t mac[6];
    uint8_t peer_mac[6];  /* point to point: the other side's; all zero while there is none */
    uint32_t addr;        /* point to point: our address and the other side's (0: there is none yet) */
    uint32_t peer_addr;
    int queue;        /* of the interface */
    int ifindex;      /* 0: not an interface of the kernel's */
    char mode[160];   /* what was chosen, for people: "native, copy, 1 queue" */
};

struct sf_driver_stats {
    uint64_t rx_frames, rx_bytes, tx_frames, tx_bytes;
    uint64_t rx_dropped;  /* by the NIC or the kernel: no buffer, ring full */
    uint64_t rx_no_frames; /* af_xdp: how often the NIC or the kernel found no free frame to receive into */
    uint64_t rx_invalid;  /* refused by the driver: too long, torn */
    uint64_t tx_full;     /* tx_reserve() had nothing to lend */
    uint64_t tx_errors;
    uint64_t wakeups;     /* system calls made to get the kernel going */
};

/* A reset without ACK that the kernel wanted to send. Addresses and ports are in network byte order, `seq` is in the host's. */
struct sf_kept_reset {
    uint32_t local_addr, remote_addr;
    uint16_t local_port, remote_port;
    uint32_t seq;
};

struct sf_driver;

/* Called every turn; one cache line. */
struct sf_driver_fast {
    /* Up to n frames. Also takes back what was sent. 0: nothing, which is most calls and has to be cheap. */
    int (*rx_burst)(struct sf_driver *, struct sf_frame *, int n);
    void (*rx_release)(struct sf_driver *, struct sf_frame *, int n);
    /* Memory for a frame of len bytes: the number of pieces, in order and with their lengths set, or -EAGAIN (full),
     * -EMSGSIZE (longer than the MTU and an Ethernet header allow, or more pieces than max), -EINVAL (less than an Ethernet
     * header), -ENETDOWN. */
    int (*tx_reserve)(struct sf_driver *, uint32_t len, struct sf_frame *pieces, int max);
    void (*tx_cancel)(struct sf_driver *, struct sf_frame *pieces, int n);
    /* One frame of n pieces. Cannot fail: what goes wrong is counted. */
    void (*tx_commit)(struct sf_driver *, struct sf_frame *pieces, int n);
    void (*tx_flush)(struct sf_driver *);
    const struct sf_driver_control *control;
};

struct sf_driver_control {
    const char *name;
    void (*close)(struct sf_driver *); /* also frees it; frames that are lent become invalid */
    void (*caps)(struct sf_driver *, struct sf_driver_caps *);
    void (*stats)(struct sf_driver *, struct sf_driver_stats *);
    int (*filter_add)(struct sf_driver *, const struct sf_flow *); /* -EEXIST, -ENOSPC, -EOPNOTSUPP */
    int (*filter_del)(struct sf_driver *, const struct sf_flow *);
    /* For sleeping. arm() makes the descriptor readable when frames arrive or the driver's state changes; -EAGAIN: there
     * is something already. The descriptor stays the same for the driver's life, and the driver reads it empty. */
    int (*arm)(struct sf_driver *, int *fd);
    void (*disarm)(struct sf_driver *);
    /* These may be NULL. sniff: copies of all frames that the interface receives, whoever they are for; the kernel and
     * other programs go on getting them. -EOPNOTSUPP. tx_stamps: when frames have left, numbered as they were committed;
     * at most max of those that have come to be known. A driver keeps some and forgets the oldest. */
    int (*sniff)(struct sf_driver *, bool on);
    int (*tx_stamps)(struct sf_driver *, struct sf_stamp *, int max);
    /* Frames shall have their time of reception, or need not any more: as many offs as ons. NULL: they have it for nothing, or
     * never. */
    void (*rx_stamps)(struct sf_driver *, bool on);
    /*
     * These three go together. They may be NULL, and are of use only with SF_DRIVER_SEES_PORTS.
     * watch_port: count the sockets that any program binds to the port from now on. Calls are counted: balance every on with
     * an off. -ENOSPC.
     * port_changes: how often that has happened, for all watched ports of the protocol together (modulo 2^32). Costs a load.
     * filter_renew: the flow was added and is still ours alone, as of flow->changes. -ENOENT.
     */
    int (*watch_port)(struct sf_driver *, uint8_t protocol, uint16_t port, bool on);
    uint32_t (*port_changes)(struct sf_driver *, uint8_t protocol);
    int (*filter_renew)(struct sf_driver *, const struct sf_flow *);
    /*
     * In a forked child, in place of close(): closes the child's copies of all descriptors and mappings and frees the driver.
     * The parent's driver goes on undisturbed, and when the parent dies nothing of the driver is left. NULL: there is
     * nothing that a child inherits.
     *
     * Frames that are lent stay readable, because the callback that forked may still hold views of them; their contents may
     * be zeroes. The fork may have come from another thread in the middle of any call, so believe only what open() has set.
     */
    void (*abandon)(struct sf_driver *);
    /*
     * These two go together. They may be NULL. Segments of our flows that the driver does not see (IP fragments, another interface)
     * reach the kernel. The kernel has no socket for them and would reset the connection. The driver holds such resets back.
     * kept_resets: takes up to n of them. The caller has to send those that are not for a connection of its own.
     * kept_resets_fd: a descriptor that is readable while there are some, the same for the driver's life. -1: this kernel cannot
     * hold resets back, or does not let us.
     */
    int (*kept_resets)(struct sf_driver *, struct sf_kept_reset *, int n);
    int (*kept_resets_fd)(struct sf_driver *);
    /* When rx_burst() has something to do although nothing arrives: a frame that a wrapper has held back. SF_NEVER: it has not.
     * NULL: never. */
    sf_ns (*due)(struct sf_driver *);
};

/* A driver's own state follows. */
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

/* What drivers are opened with. Fields that a driver has no use for are ignored. */
struct sf_driver_config {
    const char *interface; /* the kernel's name; of shm: the wire's */
    int queue;             /* -1: all of them, or whatever suits */
    uint32_t addr;         /* shm: our address */
    uint32_t rx_frames, tx_frames, frame_size; /* 0: the driver's choice */
    const char *mode;      /* af_xdp: "auto", "zerocopy", "native", "skb"; packet: "auto", "shared"; NULL: auto */
    const char *file;      /* pcap, trace */
    const char *faults;    /* fault: its description */
    uint64_t seed;         /* fault */
    bool stamp_tx;         /* asks for SF_DRIVER_STAMPS_TX, which may cost */
};

#define SF_DRIVER_ERROR_SIZE 256

/*
 * Opens. Returns NULL, sets *error to a negative errno and writes a sentence into `message` (SF_DRIVER_ERROR_SIZE bytes) that
 * says what was asked for, what is missing and what to do.
 */
typedef struct sf_driver *(*sf_driver_open)(const struct sf_driver_config *, int *error, char *message);
/* The same for one that stands on another, which it closes with itself; when it fails, the one below stays open. */
typedef struct sf_driver *(*sf_driver_wrap)(struct sf_driver *below, const struct sf_driver_config *, int *error, char *message);

/* Of a driver in a shared object of its own (sf_driver_load): what it was compiled against. Changes with this header. */
#define SF_DRIVER_EXPORT __attribute__((visibility("default")))
#define SF_DRIVER_ABI \
    ((uint32_t)(2u << 24 | (sizeof(struct sf_driver_caps) + sizeof(struct sf_driver_config)) << 12 | \
                (sizeof(struct sf_driver_fast) + sizeof(struct sf_driver_control) + sizeof(struct sf_frame))))

/*
 * drivers/registry.c: takes the driver `name` from a shared object, which exports
 *
 *     const uint32_t sf_driver_abi = SF_DRIVER_ABI;
 *     struct sf_driver *sf_driver_<name>_open(const struct sf_driver_config *, int *error, char *message);
 *     int sf_driver_<name>_probe(char *message);     0 if the driver can work on this machine at all; may be left out
 *
 * 0, or a negative errno and a sentence in `message`. What was loaded stays loaded.
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

/* drivers/wrappers/fault.c: the clock of all faults. sf_now, unless a test brings its own. */
extern sf_ns (*sf_fault_now)(void);

#endif
