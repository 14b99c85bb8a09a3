"""TCPDirect's functions for cffi: declarations of the vendor's ``zf/*.h``. ``zf.h`` has those that C calls, too."""

from __future__ import annotations

from typing import Final

__all__ = ["DECLARATIONS"]

DECLARATIONS: Final = """
struct sockaddr; struct epoll_event; struct iovec; struct iphdr; struct udphdr; struct timespec;
struct zf_attr; struct zf_stack; struct zf_muxer_set; struct zf_waitable; struct zf_ds;
struct zft; struct zft_handle; struct zftl; struct zfur; struct zfut; struct zft_msg; struct zfur_msg;
typedef unsigned int socklen_t;

int zf_init(void);
const char *zf_version(void);
const char *zf_version_short(void);
const char *onload_version_short(void);
int zf_attr_alloc(struct zf_attr **);
void zf_attr_free(struct zf_attr *);
int zf_attr_set_int(struct zf_attr *, const char *, int64_t);
int zf_attr_get_int(struct zf_attr *, const char *, int64_t *);
int zf_attr_get_str(struct zf_attr *, const char *, char **);
int zf_attr_set_from_str(struct zf_attr *, const char *, const char *);
int zf_attr_doc(const char *, const char ***, int *);
int zf_stack_alloc(struct zf_attr *, struct zf_stack **);
int zf_stack_free(struct zf_stack *);
int zf_stack_is_quiescent(struct zf_stack *);
int zf_stack_has_pending_work(const struct zf_stack *);
int zf_stack_query_feature(struct zf_stack *, int);
int zf_reactor_perform(struct zf_stack *);
int zf_muxer_alloc(struct zf_stack *, struct zf_muxer_set **);
void zf_muxer_free(struct zf_muxer_set *);
int zf_muxer_add(struct zf_muxer_set *, struct zf_waitable *, const struct epoll_event *);
int zf_muxer_del(struct zf_waitable *);
int zf_muxer_wait(struct zf_muxer_set *, struct epoll_event *, int, int64_t);
int zf_waitable_fd_get(struct zf_stack *, int *);
int zf_waitable_fd_prime(struct zf_stack *);
int zft_alloc(struct zf_stack *, const struct zf_attr *, struct zft_handle **);
int zft_handle_free(struct zft_handle *);
int zft_addr_bind(struct zft_handle *, const struct sockaddr *, socklen_t, int);
int zft_connect(struct zft_handle *, const struct sockaddr *, socklen_t, struct zft **);
struct zf_waitable *zft_to_waitable(struct zft *);
int zft_shutdown_tx(struct zft *);
int zft_free(struct zft *);
int zft_state(struct zft *);
int zft_error(struct zft *);
void zft_getname(struct zft *, struct sockaddr *, socklen_t *, struct sockaddr *, socklen_t *);
void zft_zc_recv(struct zft *, struct zft_msg *, int);
int zft_zc_recv_done(struct zft *, struct zft_msg *);
int zft_zc_recv_done_some(struct zft *, struct zft_msg *, size_t);
ssize_t zft_send(struct zft *, const struct iovec *, int, int);
ssize_t zft_send_single(struct zft *, const void *, size_t, int);
int zft_send_space(struct zft *, size_t *);
int zft_get_mss(struct zft *);
unsigned int zf_delegated_send_prepare(struct zft *, int, int, unsigned int, struct zf_ds *);
int zftl_listen(struct zf_stack *, const struct sockaddr *, socklen_t, const struct zf_attr *, struct zftl **);
int zftl_accept(struct zftl *, struct zft **);
struct zf_waitable *zftl_to_waitable(struct zftl *);
void zftl_getname(struct zftl *, struct sockaddr *, socklen_t *);
int zftl_free(struct zftl *);
int zfur_alloc(struct zfur **, struct zf_stack *, const struct zf_attr *);
int zfur_free(struct zfur *);
int zfur_addr_bind(struct zfur *, struct sockaddr *, socklen_t, const struct sockaddr *, socklen_t, int);
int zfur_addr_unbind(struct zfur *, const struct sockaddr *, socklen_t, const struct sockaddr *, socklen_t, int);
void zfur_zc_recv(struct zfur *, struct zfur_msg *, int);
void zfur_zc_recv_done(struct zfur *, struct zfur_msg *);
int zfur_pkt_get_header(struct zfur *, const struct zfur_msg *, const struct iphdr **, const struct udphdr **, int);
int zfur_pkt_get_timestamp(struct zfur *, const struct zfur_msg *, struct timespec *, int, unsigned int *);
struct zf_waitable *zfur_to_waitable(struct zfur *);
int zfut_alloc(struct zfut **, struct zf_stack *, const struct sockaddr *, socklen_t, const struct sockaddr *,
               socklen_t, int, const struct zf_attr *);
int zfut_free(struct zfut *);
int zfut_get_mss(struct zfut *);
int zfut_send_single(struct zfut *, const void *, size_t);
int zfut_send(struct zfut *, const struct iovec *, int, int);
struct zf_waitable *zfut_to_waitable(struct zfut *);
void free(void *);
"""
