/*
 * Connections and listeners, and their functions. An idle connection has no buffers and takes less than a KiB, because a server has
 * many idle ones. Memory that only some connections need is allocated when they need it.
 */
#ifndef SF_TCPIP_TCP_CONN_H
#define SF_TCPIP_TCP_CONN_H

#include "parts.h"
#include "sf/tcp_image.h"

enum sf_tcp_state {
    SF_TCP_CLOSED,
    SF_TCP_RESOLVING, /* Not a state of RFC 9293: the SYN waits for a route or a neighbour. */
    SF_TCP_SYN_SENT,
    SF_TCP_SYN_RECEIVED, /* Only after a simultaneous open. A listener's half-open connections are struct sf_tcp_half. */
    SF_TCP_ESTABLISHED,
    SF_TCP_CLOSE_WAIT,
    SF_TCP_FIN_WAIT_1,
    SF_TCP_FIN_WAIT_2,
    SF_TCP_CLOSING,
    SF_TCP_LAST_ACK,
    SF_TCP_TIME_WAIT, /* A struct sf_tcp_wait answers for the connection. The program still holds this. */
};

enum sf_tcp_owed {
    SF_TCP_OWED_ACK = 1,    /* An ACK. It leaves with the program's answer, or at the end of the turn. */
    SF_TCP_OWED_OUTPUT = 2, /* Data for which the driver had no room. */
};

/* The order of the members is the order in which a segment needs them, so that its cache lines are few. */
struct sf_tcp_conn {
    struct sf_flow_link flow;     /* The addresses and ports, and the place among the flows. */
    struct sf_ready_entry ready;  /* Among the sockets that have something to report. */
    struct sf_ready_link pending; /* Among the connections that owe a segment, or that wait for a route or a neighbour. */
    struct sf_ready_link starved; /* Among the connections that were refused memory. */
    struct sf_tcpip *tcpip;
    struct sf_tcp_sock sock;
    struct sf_tcp_deadlines timers;
    struct sf_tcp_probing probe;
    struct sf_tcp_port *port; /* The local port, which the connections of one listener share. NULL: given up. */
    uint8_t state;            /* enum sf_tcp_state. */
    uint8_t owed;             /* enum sf_tcp_owed: why the connection is pending. */
    bool dead : 1;            /* Ended: the connection sends nothing, and keeps only data that the program may still read. */
    bool placed : 1;          /* It is among the flows. */
    struct sf_tcp_agreed agreed;
    struct sf_tcp_socket_options options;
    struct sf_tcp_snd snd;
    struct sf_tcp_rcv rcv;
    struct sf_tcp_way way;
    struct sf_tcp_loss loss; /* SND.UNA, SND.NXT, what is under way, congestion control (loss.h). */
};

struct sf_tcp_listener {
    struct sf_flow_link flow;
    struct sf_ready_entry ready;
    struct sf_tcpip *tcpip;
    void *owner;
    struct sf_tcp_port *port;
    struct sf_tcp_conn *first, *last; /* The accept queue. */
    struct sf_tcp_half *halves; /* SYNs that wait for their ACK. */
    uint32_t n_queued, backlog;
    uint8_t interest;
    bool shares; /* SO_REUSEPORT: other such listeners may have the same key. */
    struct sf_binding binding;
    struct sf_tcp_socket_options options;
};

enum { SF_TCP_READABLE = 1, SF_TCP_WRITABLE = 2 };

/* ---- life (conn.c) ---- */

/* NULL: there is no memory, or the limit of connections is reached. */
struct sf_tcp_conn *sf_tcp_conn_new(struct sf_tcpip *, const struct sf_tcp_socket_options *);
/* Makes a connection with the options of a kernel socket. -ENOBUFS, or an error of sf_tcp_open(). */
int sf_tcp_conn_like(struct sf_tcpip *, int fd, struct sf_tcp_conn **out);
/* Ends the connection: it leaves the flows and sends nothing more. */
void sf_tcp_conn_end(struct sf_tcp_conn *, int error);
/* Puts the connection among the flows. -EADDRNOTAVAIL: another one has its addresses and ports. -ENOMEM. */
int sf_tcp_conn_place(struct sf_tcp_conn *);
/* Leaves the flows, the timers and the port. Bytes that the program may still read stay. */
void sf_tcp_conn_detach(struct sf_tcp_conn *);
/* Has the next poll free the connection. */
void sf_tcp_conn_bury(struct sf_tcp_conn *);
void sf_tcp_conn_free(struct sf_tcp_conn *);
/* The history of the handshake. */
struct sf_tcp_handshake {
    uint8_t repeats;   /* Number of times that a timer has repeated our SYN. */
    bool answered;     /* Our SYN left again because the peer's came again. */
    sf_ns began, left; /* Times at which our SYN was sent first and last. 0: not known (a cookie). */
};

/* The handshake ends with this segment: SND.UNA is iss + 1, RCV.NXT is irs + 1. */
void sf_tcp_conn_establish(struct sf_tcp_conn *, const struct sf_tcp_handshake *, const struct sf_tcp_segment *);
/* The operations that would not block now, SF_TCP_READABLE and SF_TCP_WRITABLE: those of the interest, and all. */
uint32_t sf_tcp_conn_events(struct sf_tcp_conn *);
uint32_t sf_tcp_conn_levels(const struct sf_tcp_conn *);
void sf_tcp_conn_update(struct sf_tcp_conn *);
void sf_tcp_conn_interest(struct sf_tcp_conn *, uint32_t what);
const char *sf_tcp_state_name(enum sf_tcp_state);
/* Puts the connection among those that have something to send. */
void sf_tcp_owe(struct sf_tcp_conn *, enum sf_tcp_owed);
/* Puts the connection among those that were refused memory (memory.c). */
void sf_tcp_starve(struct sf_tcp_conn *);
/* A deadline has changed: sets the timer, if it fires too late. */
void sf_tcp_conn_timer(struct sf_tcp_conn *);
void sf_tcp_conn_timeout(struct sf_tcp_conn *);

static inline struct sf_tcp_conn *sf_tcp_conn_of_ready(struct sf_ready_link *link)
{
    return (struct sf_tcp_conn *)((char *)link - offsetof(struct sf_tcp_conn, ready));
}

static inline struct sf_tcp_listener *sf_tcp_listener_of_ready(struct sf_ready_link *link)
{
    return (struct sf_tcp_listener *)((char *)link - offsetof(struct sf_tcp_listener, ready));
}

static inline struct sf_tcp_conn *sf_tcp_conn_of_pending(struct sf_ready_link *link)
{
    return (struct sf_tcp_conn *)((char *)link - offsetof(struct sf_tcp_conn, pending));
}

static inline struct sf_tcp_conn *sf_tcp_conn_of_timer(struct sf_tcp_timer *timer)
{
    return (struct sf_tcp_conn *)((char *)timer - offsetof(struct sf_tcp_conn, timers.timer));
}

static inline struct sf_tcp_conn *sf_tcp_conn_of_starved(struct sf_ready_link *link)
{
    return (struct sf_tcp_conn *)((char *)link - offsetof(struct sf_tcp_conn, starved));
}

static inline struct sf_tcp_ooo *sf_tcp_ooo_of(struct sf_ready_link *link)
{
    return (struct sf_tcp_ooo *)((char *)link - offsetof(struct sf_tcp_ooo, link));
}

static inline bool sf_tcp_may_send(const struct sf_tcp_conn *c)
{
    return c->state == SF_TCP_ESTABLISHED || c->state == SF_TCP_CLOSE_WAIT;
}

/* States in which the peer may still send data. */
static inline bool sf_tcp_may_receive(const struct sf_tcp_conn *c)
{
    return c->state == SF_TCP_ESTABLISHED || c->state == SF_TCP_FIN_WAIT_1 || c->state == SF_TCP_FIN_WAIT_2;
}

static inline uint32_t sf_tcp_unread(const struct sf_tcp_rcv *rcv)
{
    return rcv->nxt - rcv->fin - rcv->read;
}

static inline uint32_t sf_tcp_unsent(const struct sf_tcp_snd *snd, const struct sf_tcp_loss *loss)
{
    return snd->fin_sent ? 0 : snd->ring.end - loss->nxt;
}

/* True: a FIN follows the unsent bytes. */
static inline bool sf_tcp_has_fin(const struct sf_tcp_snd *snd)
{
    return snd->fin && !snd->fin_sent;
}

/* Bytes beyond SND.NXT for which the peer's window has room. */
static inline uint32_t sf_tcp_window_left(const struct sf_tcp_snd *snd, const struct sf_tcp_loss *loss)
{
    int32_t left = (int32_t)(loss->una + snd->wnd - loss->nxt);

    return left > 0 ? (uint32_t)left : 0;
}

/* Bytes that are written and not acknowledged. */
static inline uint32_t sf_tcp_unacked(const struct sf_tcp_snd *snd, const struct sf_tcp_loss *loss)
{
    uint32_t bytes = snd->ring.end - loss->una;

    return (int32_t)bytes > 0 ? bytes : 0; /* An acknowledged FIN counts one more. */
}

/* ---- connecting, listening ---- */

/* -EOPNOTSUPP: the kernel shall connect. */
int sf_tcp_connect(struct sf_tcpip *, int fd, const struct sockaddr_in *to, struct sf_tcp_conn **out);
/* 0, -EINPROGRESS, or the error. */
int sf_tcp_connect_result(struct sf_tcp_conn *);
/* Lets the connections that wait for a route or a neighbour look again. */
void sf_tcp_resolve(struct sf_tcpip *);
void sf_tcp_syn_timeout(struct sf_tcp_conn *);
/* Handles a segment in SYN_SENT (RFC 9293, 3.10.7.3) or SYN_RECEIVED. */
void sf_tcp_syn_sent_input(struct sf_tcp_conn *, const struct sf_tcp_segment *, bool keep);

int sf_tcp_listen(struct sf_tcpip *, int fd, int backlog, struct sf_tcp_listener **out);
void sf_tcp_listener_close(struct sf_tcp_listener *);
int sf_tcp_accept(struct sf_tcp_listener *, struct sf_tcp_conn **out);
/* Chooses one of the listeners that share a key. */
struct sf_tcp_listener *sf_tcp_listener_pick(const struct sf_flows *, struct sf_flow_link *first, const struct sf_flow_key *);
void sf_tcp_listener_interest(struct sf_tcp_listener *, uint32_t what);
/* Makes a connection and puts it into the accept queue. It takes the place of `half`, which is freed. The caller then hands the segment to
 * it. NULL: there is no room in the queue, or no memory. */
struct sf_tcp_conn *sf_tcp_listener_establish(struct sf_tcp_listener *, const struct sf_flow_key *, struct sf_tcp_half *half,
                                              const struct sf_tcp_agreed *, const struct sf_tcp_handshake *,
                                              const struct sf_tcp_segment *);
struct sf_tcp_port *sf_tcp_listener_port(struct sf_tcp_listener *, const struct sf_flow_key *);

/* agree: takes the options of the peer's SYN. syn_options: puts ours into `reply`, which becomes a SYN. */
void sf_tcp_agree(struct sf_tcp_agreed *, const struct sf_tcp_segment *syn);
void sf_tcp_syn_options(struct sf_tcpip *, struct sf_tcp_segment *reply, const struct sf_tcp_agreed *, uint32_t mtu,
                        const struct sf_tcp_socket_options *);
uint8_t sf_tcp_window_scale(uint32_t limit);
/* The window that a SYN advertises. It is never scaled. */
static inline uint16_t sf_tcp_first_window(const struct sf_tcp_socket_options *o)
{
    return o->receive_buffer < UINT16_MAX ? (uint16_t)o->receive_buffer : UINT16_MAX;
}

/* half_open.c, cookie.c */
void sf_tcp_half_open(struct sf_tcp_listener *, const struct sf_flow_key *, const struct sf_tcp_segment *syn);
struct sf_tcp_port *sf_tcp_half_take_port(struct sf_tcp_half *);
void sf_tcp_half_forget(struct sf_tcp_listener *); /* Frees all of the listener's. */
void sf_tcp_cookie_send(struct sf_tcp_listener *, const struct sf_flow_key *, const struct sf_tcp_segment *syn);
/* True if the ACK carries a cookie of ours. */
bool sf_tcp_cookie_check(struct sf_tcp_listener *, const struct sf_flow_key *, const struct sf_tcp_segment *,
                         struct sf_tcp_agreed *);

/* ---- connections of another TCP (import.c, export.c) ---- */

/*
 * Prepares an import: the connection has its place and its filter, and sends nothing. `fd` is the kernel's socket, whose options are
 * taken. Do not poll before finish() or undo(). -EOPNOTSUPP: the kernel must keep it, because no way or no address of the interface
 * serves it. -EADDRNOTAVAIL: the stack has a connection with these addresses and ports. -ENOBUFS, -ENOMEM, or the driver's error.
 */
int sf_tcp_import_look(struct sf_tcpip *, int fd, const struct sf_flow_key *);
int sf_tcp_import_begin(struct sf_tcpip *, int fd, const struct sf_flow_key *, struct sf_tcp_conn **out);
/* Takes the image. Nothing leaves before the next poll. -EINVAL: the image is not consistent. -ENOBUFS: the limit of memory. -ENOMEM.
 * After an error only undo() is allowed. The image stays the caller's. */
int sf_tcp_import_finish(struct sf_tcp_conn *, const struct sf_tcp_image *);
/* Takes the connection out, and sends nothing. The kernel may go on with it. Allowed after begin() and after finish(). */
void sf_tcp_import_undo(struct sf_tcp_conn *);
/* The kernel's socket is closed: reserves its port. */
void sf_tcp_import_closed(struct sf_tcp_conn *);

/* Copies the connection's state. The caller frees the image. -EOPNOTSUPP: the state has no image. -ENOMEM. */
int sf_tcp_export(const struct sf_tcp_conn *, struct sf_tcp_image *);
/* Takes the exported connection out, and sends nothing. This takes the place of sf_tcp_release(). */
void sf_tcp_export_done(struct sf_tcp_conn *);

/* ---- segments in ---- */

void sf_tcp_conn_input(struct sf_tcp_conn *, struct sf_tcp_segment *, bool keep);
/* ack_in.c. False: drop the segment. It has been answered, if it deserved an answer. */
bool sf_tcp_ack_input(struct sf_tcp_conn *, const struct sf_tcp_segment *);
/* receive_data.c: data of a segment that lies within the window. */
void sf_tcp_rcv_input(struct sf_tcp_conn *, const struct sf_tcp_segment *, bool keep);

/* ---- receiving ---- */

ssize_t sf_tcp_recv_borrow(struct sf_tcp_conn *, const void **data);
void sf_tcp_recv_done(struct sf_tcp_conn *, size_t used);
ssize_t sf_tcp_recv_into(struct sf_tcp_conn *, void *buf, size_t len);
/* Returns the window to advertise now, as it goes into the header. Moves rcv.adv. */
uint16_t sf_tcp_advertise(struct sf_tcp_conn *);
/* Bounds the limit to the largest window that the header can tell. Without window scaling that is 65535 bytes. */
void sf_tcp_bound_window(struct sf_tcp_rcv *, uint8_t scale);
/* Drops all unread bytes. */
void sf_tcp_rcv_forget(struct sf_tcp_rcv *);
void sf_tcp_rcv_free(struct sf_tcp_conn *);
/* The size of the ring that a connection may have even beyond the limit of memory. It has room for two segments, because a peer that
 * sends whole segments makes progress with two. */
uint32_t sf_tcp_rcv_least(uint32_t mss);
/* Called after memory was given back: the window opens, if the gain is worth an ACK. */
void sf_tcp_rcv_relieved(struct sf_tcp_conn *);
/* Makes the ring as small as its bytes in order allow. It stays as it is if there are bytes out of order. */
void sf_tcp_rcv_trim(struct sf_tcp_conn *);
/* The purpose of room in the ring. It decides how much is done for the room when memory is short. */
enum sf_tcp_room {
    SF_TCP_ROOM_LATER, /* Data out of order: nothing. */
    SF_TCP_ROOM_NEXT,  /* Data in order: others' out-of-order data is dropped, and sf_tcp_rcv_least() is always allowed. */
    SF_TCP_ROOM_OWED,  /* Acknowledged data: the limit does not hold. */
};
/* Makes room for bytes up to rcv.read + need. -ENOBUFS: the memory's limit is reached; the ring may still have grown. -ENOMEM. */
int sf_tcp_rcv_room(struct sf_tcp_conn *, uint32_t need, enum sf_tcp_room);
/* reassembly.c */
void sf_tcp_out_of_order(struct sf_tcp_conn *, const struct sf_tcp_piece *);
/* RCV.NXT has reached data that came before its turn: moves RCV.NXT behind it. */
void sf_tcp_reassemble(struct sf_tcp_conn *);
/* Reports the part of [left, right), FIN included, that lies before RCV.NXT as a duplicate. */
void sf_tcp_repeated(struct sf_tcp_conn *, uint32_t left, uint32_t right);
/* The right edge of the range as SACK tells it: behind the FIN, if the FIN follows the range's data. */
uint32_t sf_tcp_range_end(const struct sf_tcp_rcv *, const struct sf_tcp_range *);
/* Drops the list of ranges, and with it the data. */
void sf_tcp_ooo_free(struct sf_tcp_rcv *);
/* Puts the SACK option into the next ACK: the duplicate, if there is one, and the latest ranges. */
void sf_tcp_sack_blocks(struct sf_tcp_rcv *, const struct sf_tcp_agreed *, struct sf_tcp_segment *);

/* ---- sending ---- */

ssize_t sf_tcp_sendv(struct sf_tcp_conn *, const struct iovec *, int n);
/* Sends as much as the windows allow: first lost segments, then new ones. */
void sf_tcp_output(struct sf_tcp_conn *);
uint32_t sf_tcp_send_room(const struct sf_tcp_conn *);
int sf_tcp_shutdown(struct sf_tcp_conn *);
void sf_tcp_snd_free(struct sf_tcp_conn *);
/* Makes the ring smaller, if most of it is not used. */
void sf_tcp_snd_trim(struct sf_tcp_conn *);
/* Called after memory was given back: the program may find room now. */
void sf_tcp_snd_relieved(struct sf_tcp_conn *);
/* Sends one segment of new data, even beyond the congestion window (TLP). `small`: also a segment that is_worth_sending() would hold
 * back, because the peer's window stays small. False: there is no such segment, or it could not be sent. */
bool sf_tcp_send_one(struct sf_tcp_conn *, bool small);
void sf_tcp_send_again(struct sf_tcp_conn *, uint32_t seq, uint32_t len);
/* False: the peer has shrunk its window, and `seq` lies beyond it. The first segment is nevertheless sent again. */
bool sf_tcp_may_send_again(const struct sf_tcp_snd *, const struct sf_tcp_loss *, uint32_t seq);
/* The part of sf_tcp_persist() while nothing is under way. */
void sf_tcp_persist_idle(struct sf_tcp_conn *);
/* Sets or clears the timer that ends a zero window, or a wait for more data. An ACK ends both, so the timer is needed only while nothing
 * is under way that could bring one. */
static inline void sf_tcp_persist(struct sf_tcp_conn *c)
{
    if (SF_LIKELY(c->loss.nxt != c->loss.una))
        c->timers.probe_at = SF_NEVER;
    else
        sf_tcp_persist_idle(c);
}

/* segment_out.c: sends [seq, seq + len) of the ring. 0: the segment was sent, or counts as lost. -EAGAIN: the driver is full. */
int sf_tcp_transmit(struct sf_tcp_conn *, uint32_t seq, uint32_t len, uint8_t flags);
void sf_tcp_ack_now(struct sf_tcp_conn *);
/* Renews the template and the MTU if the path has changed. False: no way leads through the interface. way.detour: another way exists. */
bool sf_tcp_find_way(struct sf_tcp_conn *);
/* Our timestamp clock now, with the connection's offset. */
static inline uint32_t sf_tcp_ts_now(const struct sf_tcpip *t, const struct sf_tcp_agreed *agreed)
{
    return sf_tcp_ts_clock(t) + agreed->ts_offset;
}

/* Puts the timestamps into a segment, if they were agreed on (RFC 7323, 3.2). `has` is set before. */
static inline void sf_tcp_stamp(const struct sf_tcpip *t, const struct sf_tcp_agreed *agreed, struct sf_tcp_segment *segment)
{
    if (SF_UNLIKELY(!agreed->timestamps))
        return;
    segment->has |= SF_TCP_HAS_TIMESTAMPS;
    segment->ts_val = sf_tcp_ts_now(t, agreed);
    segment->ts_ecr = agreed->ts_recent;
}

/* mtu.c: sets the segment size by the path's MTU, the peer's MSS and the options. */
void sf_tcp_update_mss(struct sf_tcp_conn *);
void sf_tcp_too_big(struct sf_tcp_conn *, uint32_t mtu);
void sf_tcp_suspect_black_hole(struct sf_tcp_conn *);
/* Call this when there is a direct way, or again one. */
void sf_tcp_way_is_back(struct sf_tcp_conn *);

/* ---- the end (close.c, reset.c) ---- */

void sf_tcp_release(struct sf_tcp_conn *);
void sf_tcp_abort(struct sf_tcp_conn *);
void sf_tcp_send_reset(struct sf_tcp_conn *);
/* Sends an ACK that asks whether the peer meant the segment (RFC 5961), if the rate allows it. */
void sf_tcp_challenge(struct sf_tcp_conn *);
/* The segment's ACK is not acceptable: challenges the peer, unless the connection has gone over to the kernel. */
void sf_tcp_bad_ack(struct sf_tcp_conn *, const struct sf_tcp_segment *);

/* ---- waiting (probe.c) ---- */

sf_ns sf_tcp_keepalive_at(const struct sf_tcp_conn *);
void sf_tcp_keepalive(struct sf_tcp_conn *);
void sf_tcp_probe(struct sf_tcp_conn *);
/* True: the peer's window is 0. If the peer has shrunk it while segments are under way, our retransmissions serve as probes. The
 * connection lives as long as the peer answers (RFC 9293, 3.8.6.1), unless the program has set TCP_USER_TIMEOUT. */
static inline bool sf_tcp_shut_out(const struct sf_tcp_conn *c)
{
    return !c->snd.wnd && !c->sock.orphan && !c->options.user_timeout;
}

/* The time that data may stay unacknowledged, from its first timeout on. */
sf_ns sf_tcp_patience(const struct sf_tcp_conn *);
/* True: data was unacknowledged for too long, and the connection has ended. */
bool sf_tcp_gives_up(struct sf_tcp_conn *);
/* Call this after TCP_USER_TIMEOUT was set. */
void sf_tcp_patience_set(struct sf_tcp_conn *);

/* ---- options (socket_options.c) ---- */

void sf_tcp_options_read(struct sf_tcpip *, int fd, struct sf_tcp_socket_options *);
int sf_tcp_set_option(struct sf_tcp_conn *, int level, int name, const void *value, socklen_t len);
int sf_tcp_get_option(struct sf_tcp_conn *, int level, int name, void *value, socklen_t *len);
int sf_tcp_listener_set_option(struct sf_tcp_listener *, int level, int name, const void *value, socklen_t len);
int sf_tcp_listener_get_option(struct sf_tcp_listener *, int level, int name, void *value, socklen_t *len);

#endif
