/* Takes a connection out of its stack and imports it again, as if another TCP had had it in between. */
#ifndef SF_TEST_TCP_MOVE_H
#define SF_TEST_TCP_MOVE_H

#include "tcp_hosts.h"

#include "stacks/tcpip/socket.h"

#include <netinet/tcp.h>

static inline struct sf_tcp_conn *conn_in(struct sf_sock *sock)
{
    return ((struct tcpip_stream *)sock)->conn;
}

static inline struct sf_flow_key key_of(const struct sf_tcp_image *i)
{
    return (struct sf_flow_key){i->local_addr, i->remote_addr, i->local_port, i->remote_port};
}

/* Begins and finishes an import. After an error it is undone. */
static inline int import_into(struct sf_stack *stack, const struct sf_tcp_image *image, uint32_t slot, struct sf_sock **out)
{
    struct sf_flow_key key = key_of(image);
    int fd = tcp_socket(NULL, 0), rc;
    struct sf_tcp_conn *conn;

    rc = sf_tcp_import_begin(tcpip_of(stack), fd, &key, &conn);
    close(fd);
    if (rc < 0)
        return rc;
    rc = sf_tcp_import_finish(conn, image);
    if (rc < 0) {
        sf_tcp_import_undo(conn);
        return rc;
    }
    sf_tcp_import_closed(conn);
    return tcpip_stream_around(stack, conn, slot, slot + 100, out);
}

static inline bool has_same_bytes(const uint8_t *a_bytes, const uint8_t *b_bytes, uint32_t n)
{
    return !n || !memcmp(a_bytes, b_bytes, n);
}

/* Everything is equal, but for the congestion control, which bounds what it is told. */
static inline void check_equal(const struct sf_tcp_image *x, const struct sf_tcp_image *y)
{
    CHECK(x->state == y->state && x->scaling == y->scaling && x->sack == y->sack && x->timestamps == y->timestamps);
    CHECK(x->snd_scale == y->snd_scale && x->rcv_scale == y->rcv_scale && x->mss == y->mss);
    CHECK(x->snd_una == y->snd_una && x->snd_nxt == y->snd_nxt && x->snd_end == y->snd_end);
    CHECK(x->snd_wl1 == y->snd_wl1 && x->snd_wnd == y->snd_wnd && x->max_window == y->max_window);
    CHECK(x->rcv_nxt == y->rcv_nxt && x->rcv_wnd == y->rcv_wnd && x->rcv_wup == y->rcv_wup);
    CHECK(!x->timestamps || (x->ts_clock == y->ts_clock && x->ts_recent == y->ts_recent));
    CHECK(x->rtt == y->rtt && x->rtt_var == y->rtt_var);
    CHECK(x->n_unread == y->n_unread && has_same_bytes(x->unread, y->unread, x->n_unread));
    CHECK(x->n_unacked == y->n_unacked && has_same_bytes(x->unacked, y->unacked, x->n_unacked));
}

/* False: the connection's state has no image, and the connection stays. */
static inline bool move(struct sf_sock **sock)
{
    struct sf_stack *stack = (*sock)->stack;
    struct sf_tcp_image image, again;
    uint32_t slot = (*sock)->slot;

    if (sf_tcp_export(conn_in(*sock), &image) < 0)
        return false;
    tcpip_stream_exported(*sock);
    CHECK(import_into(stack, &image, slot, sock) == 0);
    CHECK(sf_tcp_export(conn_in(*sock), &again) == 0);
    check_equal(&image, &again);
    sf_tcp_image_free(&image);
    sf_tcp_image_free(&again);
    return true;
}

#endif
