/*
 * The parts of a connection. Each part has the data of one concern of TCP. A function that takes a part can change only that part. A
 * function that takes a struct sf_tcp_conn (conn.h) needs several parts.
 *
 * Sequence numbers, windows and sizes are in bytes. Sequence numbers wrap, so compare them with sf_seq_lt(). Times are ns of the
 * stack's clock. A deadline that is not set is SF_NEVER.
 */
#ifndef SF_TCPIP_TCP_PARTS_H
#define SF_TCPIP_TCP_PARTS_H

#include "tcp.h"
#include "storage/byte_ring.h"
#include "tcpip/tcp/loss/loss.h"

/*
 * The socket options (tcp(7), socket(7), ip(7)). The program sets them. A listener has this part too, and its connections begin with
 * a copy.
 */
struct sf_tcp_socket_options {
    const char *congestion;    /* TCP_CONGESTION: a name that loss.h knows. */
    uint32_t send_buffer;      /* SO_SNDBUF: the most that may be written and not acknowledged. */
    uint32_t receive_buffer;   /* SO_RCVBUF: the most that the window may grow to. */
    uint32_t user_timeout;     /* TCP_USER_TIMEOUT in ms (RFC 5482). 0: the stack's limit holds. */
    int32_t linger;            /* SO_LINGER in s. -1: off. Only 0, which resets, makes a difference. */
    uint16_t keep_idle;        /* TCP_KEEPIDLE in s: silence before the first keepalive probe (RFC 9293, 3.8.4). */
    uint16_t keep_interval;    /* TCP_KEEPINTVL in s: between two probes. */
    uint16_t maxseg;           /* TCP_MAXSEG. 0: no cap. */
    uint8_t ttl, tos;          /* IP_TTL, IP_TOS. */
    uint8_t keep_count;        /* TCP_KEEPCNT: unanswered probes that end the connection. */
    bool keepalive;            /* SO_KEEPALIVE. */
    bool nodelay;              /* TCP_NODELAY: Nagle's algorithm is off (RFC 9293, 3.7.4). */
    bool cork;                 /* TCP_CORK: only full segments leave, for a while. */
    bool quickack;             /* TCP_QUICKACK: no ACK is delayed. */
    bool receive_fixed;        /* SO_RCVBUF was set, so the window does not grow by itself. */
};

/* The program's end of a connection: its owner, and the news that the program has not been told yet. */
struct sf_tcp_sock {
    void *owner;                      /* The seam's socket. NULL: not accepted yet, or released. */
    struct sf_tcp_listener *listener; /* The listener whose accept queue has the connection. NULL: none. */
    struct sf_tcp_conn *next;         /* The next connection in the accept queue, or among the graves. */
    int16_t error;                    /* A negative errno that the program has not seen. 0: none. */
    uint8_t interest;                 /* SF_TCP_READABLE, SF_TCP_WRITABLE: the events that the program wants. */
    bool orphan : 1;                  /* The program has released the connection: nobody will read. */
    bool connecting : 1;              /* connect_result() has not told yet how connecting ended. */
};

/* The handshake's result: the numbers that both sides began with, and the options that both sides have (RFC 7323, RFC 2018). */
struct sf_tcp_agreed {
    uint32_t iss, irs;   /* The initial sequence numbers: ours, and the peer's (RFC 9293, 3.3.1). */
    uint16_t mss;        /* The peer's MSS option, or the default of 536 (RFC 9293, 3.7.1). */
    uint8_t snd_scale;   /* Windows that the peer advertises are shifted left by this. */
    uint8_t rcv_scale;   /* Windows that we advertise are shifted right by this. */
    bool scaling, sack, timestamps;
    uint32_t ts_recent;  /* TS.Recent: the peer's timestamp that the next segment echoes (RFC 7323, 4.3). */
    uint32_t ts_offset;  /* Added to the stack's clock, so that a timestamp does not tell how long the host is up. */
};

/*
 * The sending side: bytes that the program has written, and the peer's window (RFC 9293, 3.3.1). SND.UNA and SND.NXT are in struct
 * sf_tcp_loss, which knows which of the bytes are under way, acknowledged or lost.
 */
struct sf_tcp_snd {
    struct sf_byte_ring ring; /* Bytes from SND.UNA on. The end is the number after the last byte that the program has written. */
    uint32_t wnd;             /* SND.WND: the peer's window, from SND.UNA on. */
    uint32_t max_wnd;         /* The largest window that the peer has ever offered (RFC 9293, 3.8.6.2.1). */
    uint64_t n_bytes;         /* Number of bytes that the program has written. */
    uint32_t n_segments;      /* Number of segments sent, modulo 2^32 as in Linux. */
    uint32_t wl1, wl2;        /* SND.WL1 and SND.WL2: sequence and ACK number of the segment that the window is from. */
    bool fin;                 /* The program will write no more: the FIN has the number ring.end. */
    bool fin_sent;
    bool blocked;             /* The program found less room than it wanted, and waits to be told of more. */
    bool starved;             /* The ring could not grow, because there was no memory (memory.c). */
};

/* Data out of order: the parts of the receive ring beyond RCV.NXT that are filled (reassembly.c). */
struct sf_tcp_ooo {
    struct sf_ready_link link; /* In the list of all connections that hold such data, for memory.c. */
    struct sf_tcp_conn *conn;
    uint32_t n, capacity;
    struct sf_tcp_range range[]; /* The latest first, as SACK wants them (RFC 2018, 4). */
};

/*
 * The receiving side (RFC 9293, 3.3.1). Unread bytes: [read, ring.end) lie in the ring, [ring.end, nxt) in frames that the driver has
 * lent until the next poll. A FIN that was received counts one in nxt.
 */
struct sf_tcp_rcv {
    struct sf_byte_ring ring;
    uint32_t read;   /* The first byte that the program has not read. */
    uint32_t nxt;    /* RCV.NXT. */
    uint32_t adv;    /* The right edge of the largest window that was advertised: RCV.NXT + RCV.WND. */
    uint32_t acked;  /* The last ACK number that left. */
    uint32_t limit;  /* The most unread bytes. Unread bytes reduce the window. The limit grows if the program reads fast. */
    uint32_t copied; /* Bytes that the program has read since `measured`. */
    struct sf_tcp_lent *lent_first, *lent_last; /* The frames, in order. */
    struct sf_tcp_ooo *ooo;        /* NULL: nothing came out of order. */
    sf_ns measured;                /* Start of the present measurement of the program's reading. */
    struct sf_tcp_range duplicate; /* The bytes that the next ACK reports as received twice (D-SACK, RFC 2883). Empty: none. */
    uint64_t n_bytes;   /* Number of bytes received in order. */
    uint32_t n_segments, n_out_of_order; /* Number of all segments, and of those out of order, modulo 2^32 as in Linux. */
    uint32_t fin_at;    /* The FIN's sequence number, if fin_known. */
    uint16_t mss;       /* The largest payload seen, as an estimate of the peer's segments. */
    uint8_t quick;      /* Number of next ACKs that are not delayed. */
    bool fin : 1;       /* The FIN was received, and everything before it. */
    bool fin_known : 1; /* The FIN was received, but something before it is missing. */
    bool refused : 1;   /* Data was refused because there was no memory, so the peer is told of a smaller window than before. */
};

/* The part of a segment that is new and within the window. */
struct sf_tcp_piece {
    uint32_t seq, len;
    const uint8_t *data;
    bool fin;
};

/*
 * The way to the peer: a template of the headers, and the size of packets. The template is current until `until`, unless the paths'
 * generation has changed since it was built (tcpip/net/path.h).
 */
struct sf_tcp_way {
    struct sf_tcp_template template;
    uint32_t generation;
    uint16_t mtu;           /* The path's MTU in bytes (RFC 1191). 0: not known yet. */
    uint8_t mtu_step : 6;   /* The present step of the search for a black hole (mtu.c). */
    bool direct : 1;        /* The template is good for the interface. */
    bool detour : 1;        /* The template is good for segments that the kernel routes (detour.c). */
    uint8_t backoff_before; /* The RTO's backoff when the direct way came back. Earlier timeouts say nothing about the MTU. */
    sf_ns until;
};

/* The checks whether the peer is alive: the times of its segments, and the counts of probes (probe.c; RFC 9293, 3.8.4 and 3.8.6.1). */
struct sf_tcp_probing {
    sf_ns heard;         /* Time of the last acceptable segment. */
    sf_ns challenged;    /* Time of the last challenge ACK (RFC 5961, 7). 0: none, or the next one may be sent at once. */
    uint32_t sent;       /* Number of all probes, modulo 2^32 as in Linux. */
    uint8_t retries;     /* During the handshake: repeated SYNs. Afterwards: probes of a zero window since there was room. */
    uint8_t keep_probes; /* Keepalive probes since the last acceptable segment. */
};

/* The deadlines of a connection. Struct sf_tcp_loss has the deadlines of loss recovery. The keepalive's follows from `heard`. */
struct sf_tcp_deadlines {
    struct sf_tcp_timer timer; /* In the heap. It fires at the earliest of all deadlines, or before. */
    sf_ns ack_at;   /* A delayed ACK leaves (RFC 9293, 3.8.6.3). */
    sf_ns probe_at; /* A zero window is probed, or small data leaves that waited for more (RFC 9293, 3.8.6.1). */
    sf_ns end_at;   /* The SYN is repeated, or connecting fails; or FIN_WAIT_2 of an orphan ends. */
    sf_ns idle_at;  /* Empty buffers are given back. */
};

/* Returns the earliest deadline. */
static inline sf_ns sf_tcp_earliest(const struct sf_tcp_deadlines *d)
{
    sf_ns a = d->ack_at < d->probe_at ? d->ack_at : d->probe_at, b = d->end_at < d->idle_at ? d->end_at : d->idle_at;

    return a < b ? a : b;
}

#endif
