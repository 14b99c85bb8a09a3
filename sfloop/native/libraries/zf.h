/*
 * The part of TCPDirect's API that sfloop uses (zf/zf.h and its includes, release 9 and later): the types, and a table of
 * function addresses. libraries/tcpdirect.py opens the library at run time and fills the table. sfloop is not linked with the
 * library and builds without the vendor's headers.
 *
 * Functions return a negative errno on failure and do not use errno. Only zft_error() returns a positive one.
 */
#ifndef SF_LIBRARIES_ZF_H
#define SF_LIBRARIES_ZF_H

#include "sf/base.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct zf_attr;
struct zf_stack;
struct zf_muxer_set;
struct zf_waitable;
struct zft;
struct zft_handle;
struct zftl;
struct zfur;
struct zfut;
struct iphdr;
struct udphdr;

/* zf_tcp.h and zf_udp.h. The array follows the structure. On entry iovcnt is its capacity, on return the number of entries
 * filled. */
struct zft_msg {
    int reserved[4];
    int pkts_left;
    int flags;
    int iovcnt;
    struct iovec iov[];
};

struct zfur_msg {
    int reserved[4];
    int dgrams_left;
    int flags;
    int iovcnt;
    struct iovec iov[];
};

/* zf_ds.h */
struct zf_ds {
    void *headers;
    int headers_size, headers_len;
    int mss, send_wnd, cong_wnd, delegated_wnd;
    int tcp_seq_offset, ip_len_offset, ip_tcp_hdr_len, reserved;
};

_Static_assert(sizeof(struct zft_msg) == 32 && sizeof(struct zfur_msg) == 32, "zf_tcp.h, zf_udp.h");
_Static_assert(sizeof(struct zf_ds) == 48, "zf_ds.h");

/* IP_DF of <netinet/ip.h>, which keeps zfut_send() from fragmenting. */
#define ZFUT_FLAG_DONT_FRAGMENT 0x4000

/* The functions that C calls, as X(result, name, arguments). */
#define SF_ZF_FUNCTIONS(X)                                                                                                    \
    X(int, zf_stack_free, (struct zf_stack *))                                                                                \
    X(int, zf_stack_is_quiescent, (struct zf_stack *))                                                                        \
    X(int, zf_stack_has_pending_work, (const struct zf_stack *))                                                              \
    X(int, zf_reactor_perform, (struct zf_stack *))                                                                           \
    X(void, zf_attr_free, (struct zf_attr *))                                                                                 \
    X(int, zf_attr_set_int, (struct zf_attr *, const char *, int64_t))                                                        \
    X(int, zf_muxer_alloc, (struct zf_stack *, struct zf_muxer_set **))                                                       \
    X(void, zf_muxer_free, (struct zf_muxer_set *))                                                                           \
    X(int, zf_muxer_add, (struct zf_muxer_set *, struct zf_waitable *, const struct epoll_event *))                           \
    X(int, zf_muxer_del, (struct zf_waitable *))                                                                              \
    X(int, zf_muxer_wait, (struct zf_muxer_set *, struct epoll_event *, int, int64_t))                                        \
    X(int, zf_waitable_fd_get, (struct zf_stack *, int *))                                                                    \
    X(int, zf_waitable_fd_prime, (struct zf_stack *))                                                                         \
    X(int, zft_alloc, (struct zf_stack *, const struct zf_attr *, struct zft_handle **))                                      \
    X(int, zft_handle_free, (struct zft_handle *))                                                                            \
    X(int, zft_addr_bind, (struct zft_handle *, const struct sockaddr *, socklen_t, int))                                     \
    X(int, zft_connect, (struct zft_handle *, const struct sockaddr *, socklen_t, struct zft **))                             \
    X(struct zf_waitable *, zft_to_waitable, (struct zft *))                                                                  \
    X(int, zft_shutdown_tx, (struct zft *))                                                                                   \
    X(int, zft_free, (struct zft *))                                                                                          \
    X(int, zft_state, (struct zft *))                                                                                         \
    X(int, zft_error, (struct zft *))                                                                                         \
    X(void, zft_getname, (struct zft *, struct sockaddr *, socklen_t *, struct sockaddr *, socklen_t *))                      \
    X(void, zft_zc_recv, (struct zft *, struct zft_msg *, int))                                                               \
    X(int, zft_zc_recv_done, (struct zft *, struct zft_msg *))                                                                \
    X(int, zft_zc_recv_done_some, (struct zft *, struct zft_msg *, size_t))                                                   \
    X(ssize_t, zft_send, (struct zft *, const struct iovec *, int, int))                                                      \
    X(ssize_t, zft_send_single, (struct zft *, const void *, size_t, int))                                                    \
    X(int, zft_send_space, (struct zft *, size_t *))                                                                          \
    X(int, zft_get_mss, (struct zft *))                                                                                       \
    X(unsigned, zf_delegated_send_prepare, (struct zft *, int, int, unsigned, struct zf_ds *))                                \
    X(int, zftl_listen, (struct zf_stack *, const struct sockaddr *, socklen_t, const struct zf_attr *, struct zftl **))      \
    X(int, zftl_accept, (struct zftl *, struct zft **))                                                                       \
    X(struct zf_waitable *, zftl_to_waitable, (struct zftl *))                                                                \
    X(void, zftl_getname, (struct zftl *, struct sockaddr *, socklen_t *))                                                    \
    X(int, zftl_free, (struct zftl *))                                                                                        \
    X(int, zfur_alloc, (struct zfur **, struct zf_stack *, const struct zf_attr *))                                           \
    X(int, zfur_free, (struct zfur *))                                                                                        \
    X(int, zfur_addr_bind, (struct zfur *, struct sockaddr *, socklen_t, const struct sockaddr *, socklen_t, int))            \
    X(int, zfur_addr_unbind, (struct zfur *, const struct sockaddr *, socklen_t, const struct sockaddr *, socklen_t, int))    \
    X(void, zfur_zc_recv, (struct zfur *, struct zfur_msg *, int))                                                            \
    X(void, zfur_zc_recv_done, (struct zfur *, struct zfur_msg *))                                                            \
    X(int, zfur_pkt_get_header, (struct zfur *, const struct zfur_msg *, const struct iphdr **, const struct udphdr **, int)) \
    X(int, zfur_pkt_get_timestamp, (struct zfur *, const struct zfur_msg *, struct timespec *, int, unsigned *))              \
    X(struct zf_waitable *, zfur_to_waitable, (struct zfur *))                                                                \
    X(int, zfut_alloc, (struct zfut **, struct zf_stack *, const struct sockaddr *, socklen_t, const struct sockaddr *,       \
                        socklen_t, int, const struct zf_attr *))                                                              \
    X(int, zfut_free, (struct zfut *))                                                                                        \
    X(int, zfut_get_mss, (struct zfut *))                                                                                     \
    X(int, zfut_send_single, (struct zfut *, const void *, size_t))                                                           \
    X(int, zfut_send, (struct zfut *, const struct iovec *, int, int))                                                        \
    X(struct zf_waitable *, zfut_to_waitable, (struct zfut *))

#define SF_ZF_MEMBER(result, name, arguments) result(*name) arguments;

struct sf_zf {
    SF_ZF_FUNCTIONS(SF_ZF_MEMBER)
};

#endif
