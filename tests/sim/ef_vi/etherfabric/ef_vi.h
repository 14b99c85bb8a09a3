/*
 * The simulator's stand-in for the header of the same name (see ../efsim.h). It has the part of the API that sfloop's driver uses,
 * with the vendor's names, values and meanings. Macros that call through a table of functions are plain functions here.
 */
#ifndef EFSIM_EF_VI_H
#define EFSIM_EF_VI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef int ef_driver_handle;
typedef uint64_t ef_addr;
typedef int ef_request_id;
typedef uint32_t ef_eventq_ptr;

struct efsim_vi;

#define EF_VI_EVENT_POLL_MIN_EVS 2
#define EF_REQUEST_ID_MASK 0xffffffff
#define EF_VI_RECEIVE_BATCH 15
#define EF_VI_TRANSMIT_BATCH 64
#define EF_VI_CTPIO_CT_THRESHOLD_SNF 0xffff

/* ---- events ---- */

enum {
    EF_EVENT_TYPE_RX,
    EF_EVENT_TYPE_TX,
    EF_EVENT_TYPE_RX_DISCARD,
    EF_EVENT_TYPE_TX_ERROR,
    EF_EVENT_TYPE_RX_NO_DESC_TRUNC,
    EF_EVENT_TYPE_SW,
    EF_EVENT_TYPE_OFLOW,
    EF_EVENT_TYPE_TX_WITH_TIMESTAMP,
    EF_EVENT_TYPE_RX_PACKED_STREAM,
    EF_EVENT_TYPE_RX_MULTI,
    EF_EVENT_TYPE_TX_ALT,
    EF_EVENT_TYPE_RX_MULTI_DISCARD,
    EF_EVENT_TYPE_RESET,
    EF_EVENT_TYPE_RX_MULTI_PKTS,
    EF_EVENT_TYPE_RX_REF,
    EF_EVENT_TYPE_RX_REF_DISCARD,
};

typedef union {
    unsigned word[4];
    struct {
        unsigned type : 16;
    } generic;
    struct {
        unsigned type : 16, q_id : 8, : 8;
        unsigned rq_id;
        unsigned len : 16, flags : 16;
    } rx;
    struct {
        unsigned type : 16, q_id : 8, : 8;
        unsigned rq_id;
        unsigned len : 16, flags : 16;
        unsigned subtype : 16;
    } rx_discard;
    struct {
        unsigned type : 16, q_id : 8, flags : 4, : 4;
        unsigned desc_id : 16, deferred_evs : 16;
        unsigned subtype : 16;
    } tx, tx_error;
    struct {
        unsigned type : 16, q_id : 8, flags : 4, ts_nsec_frac : 4;
        unsigned rq_id;
        unsigned ts_sec;
        unsigned ts_nsec : 30, ts_flags : 2;
    } tx_timestamp;
    struct {
        unsigned type : 16, q_id : 8, : 8;
        unsigned n_descs : 16, flags : 16;
        unsigned subtype : 16;
    } rx_multi, rx_multi_discard;
    struct {
        unsigned type : 16, q_id : 8, : 8;
        unsigned n_pkts : 16, flags : 16;
    } rx_multi_pkts;
    struct {
        unsigned type : 16, len : 16;
        unsigned pkt_id;
        unsigned q_id : 8, filter_id : 16, user : 8;
        unsigned flags : 16;
    } rx_ref, rx_ref_discard;
} ef_event;

#define EF_EVENT_TYPE(e) ((e).generic.type)
#define EF_EVENT_FLAG_SOP 1
#define EF_EVENT_FLAG_CONT 2
#define EF_EVENT_FLAG_CTPIO 1
#define EF_EVENT_RX_BYTES(e) ((e).rx.len)
#define EF_EVENT_RX_RQ_ID(e) ((e).rx.rq_id)
#define EF_EVENT_RX_SOP(e) ((e).rx.flags & EF_EVENT_FLAG_SOP)
#define EF_EVENT_RX_CONT(e) ((e).rx.flags & EF_EVENT_FLAG_CONT)
#define EF_EVENT_RX_DISCARD_RQ_ID(e) ((e).rx_discard.rq_id)
#define EF_EVENT_RX_DISCARD_SOP(e) ((e).rx_discard.flags & EF_EVENT_FLAG_SOP)
#define EF_EVENT_RX_DISCARD_CONT(e) ((e).rx_discard.flags & EF_EVENT_FLAG_CONT)
#define EF_EVENT_RX_DISCARD_TYPE(e) ((e).rx_discard.subtype)
#define EF_EVENT_RX_MULTI_SOP(e) ((e).rx_multi.flags & EF_EVENT_FLAG_SOP)
#define EF_EVENT_RX_MULTI_CONT(e) ((e).rx_multi.flags & EF_EVENT_FLAG_CONT)
#define EF_EVENT_TX_CTPIO(e) ((e).tx.flags & EF_EVENT_FLAG_CTPIO)
#define EF_EVENT_TX_WITH_TIMESTAMP_RQ_ID(e) ((e).tx_timestamp.rq_id)
#define EF_EVENT_TX_WITH_TIMESTAMP_SEC(e) ((e).tx_timestamp.ts_sec)
#define EF_EVENT_TX_WITH_TIMESTAMP_NSEC(e) ((e).tx_timestamp.ts_nsec)
#define EF_EVENT_TX_WITH_TIMESTAMP_SYNC_FLAGS(e) ((e).tx_timestamp.ts_flags)

enum {
    EF_EVENT_RX_DISCARD_CSUM_BAD,
    EF_EVENT_RX_DISCARD_MCAST_MISMATCH,
    EF_EVENT_RX_DISCARD_CRC_BAD,
    EF_EVENT_RX_DISCARD_TRUNC,
    EF_EVENT_RX_DISCARD_RIGHTS,
    EF_EVENT_RX_DISCARD_EV_ERROR,
    EF_EVENT_RX_DISCARD_OTHER,
    EF_EVENT_RX_DISCARD_INNER_CSUM_BAD,
    EF_EVENT_RX_DISCARD_MAX,
};

enum {
    EF_EVENT_TX_ERROR_RIGHTS,
    EF_EVENT_TX_ERROR_OFLOW,
    EF_EVENT_TX_ERROR_2BIG,
    EF_EVENT_TX_ERROR_BUS,
};

/* ---- the virtual interface ---- */

enum ef_vi_flags {
    EF_VI_FLAGS_DEFAULT = 0,
    EF_VI_TX_IP_CSUM_DIS = 0x80,
    EF_VI_TX_TCPUDP_CSUM_DIS = 0x100,
    EF_VI_RX_TIMESTAMPS = 0x10000,
    EF_VI_TX_TIMESTAMPS = 0x20000,
    EF_VI_RX_EVENT_MERGE = 0x200000,
    EF_VI_TX_CTPIO = 0x1000000,
    EF_VI_TX_CTPIO_NO_POISON = 0x2000000,
    EF_VI_RX_FILTER_ID = 0x100000000ull,
};

enum ef_vi_rx_discard_err_flags {
    EF_VI_DISCARD_RX_L4_CSUM_ERR = 0x1,
    EF_VI_DISCARD_RX_L3_CSUM_ERR = 0x2,
    EF_VI_DISCARD_RX_ETH_FCS_ERR = 0x4,
    EF_VI_DISCARD_RX_ETH_LEN_ERR = 0x8,
    EF_VI_DISCARD_RX_INNER_L4_CSUM_ERR = 0x20,
    EF_VI_DISCARD_RX_INNER_L3_CSUM_ERR = 0x40,
    EF_VI_DISCARD_RX_L2_CLASS_OTHER = 0x80,
    EF_VI_DISCARD_RX_L3_CLASS_OTHER = 0x100,
    EF_VI_DISCARD_RX_L4_CLASS_OTHER = 0x200,
};

enum ef_vi_arch {
    EF_VI_ARCH_FALCON,
    EF_VI_ARCH_EF10,
    EF_VI_ARCH_EF100,
    EF_VI_ARCH_EFCT,
    EF_VI_ARCH_AF_XDP,
    EF_VI_ARCH_EF10CT,
};

typedef struct ef_vi {
    struct {
        enum ef_vi_arch arch;
    } nic_type;
    enum ef_vi_flags vi_flags;
    struct efsim_vi *sim;
} ef_vi;

typedef struct {
    ef_addr iov_base __attribute__((aligned(8)));
    unsigned iov_len;
} ef_iovec;

/* ---- receiving ---- */

typedef struct {
    int64_t tv_sec;
    uint32_t tv_nsec;
    uint16_t tv_nsec_frac;
    uint16_t tv_flags;
} ef_precisetime;

#define EF_VI_SYNC_FLAG_CLOCK_SET 1
#define EF_VI_SYNC_FLAG_CLOCK_IN_SYNC 2

int ef_vi_receive_prefix_len(const ef_vi *vi);
int ef_vi_receive_buffer_len(const ef_vi *vi);
int ef_vi_receive_space(const ef_vi *vi);
int ef_vi_receive_fill_level(const ef_vi *vi);
int ef_vi_receive_capacity(const ef_vi *vi);
int ef_vi_receive_init(ef_vi *vi, ef_addr addr, ef_request_id id);
void ef_vi_receive_push(ef_vi *vi); /* pushes a multiple of 8; the others wait for the next call */
int ef_vi_receive_get_precise_timestamp(ef_vi *vi, const void *packet, ef_precisetime *out); /* before the next poll */
int ef_vi_receive_get_bytes(ef_vi *vi, const void *packet, uint16_t *bytes);
int ef_vi_receive_unbundle(ef_vi *vi, const ef_event *event, ef_request_id *ids);
ef_request_id ef_vi_rxq_next_desc_id(ef_vi *vi);
int ef_vi_receive_set_discards(ef_vi *vi, unsigned flags);
uint64_t ef_vi_receive_get_discards(ef_vi *vi);

/* ---- sending ---- */

int ef_vi_transmit_space(const ef_vi *vi);
int ef_vi_transmit_space_bytes(const ef_vi *vi);
int ef_vi_transmit_fill_level(const ef_vi *vi);
int ef_vi_transmit_capacity(const ef_vi *vi);
int ef_vi_transmitv_init(ef_vi *vi, const ef_iovec *iov, int n, ef_request_id id);
void ef_vi_transmit_push(ef_vi *vi);
int ef_vi_transmit_copy_pio(ef_vi *vi, int offset, const void *frame, int len, ef_request_id id);
void ef_vi_transmit_ctpio(ef_vi *vi, const void *frame, size_t len, unsigned threshold);
int ef_vi_transmit_ctpio_fallback(ef_vi *vi, ef_addr addr, size_t len, ef_request_id id);
int ef_vi_transmitv_ctpio_fallback(ef_vi *vi, const ef_iovec *iov, int n, ef_request_id id);
int ef_vi_transmit_unbundle(ef_vi *vi, const ef_event *event, ef_request_id *ids);
int efsim_restart_sending(ef_vi *vi);
#define ef_vi_reinit_txq_post_error(vi) efsim_restart_sending(vi)

bool efsim_next_failed(ef_vi *vi, uint32_t *id);
#define ef_vi_for_each_tx_error_failed_transmit(vi, id) while (efsim_next_failed((vi), &(id)))

/* ---- the event queue ---- */

int ef_eventq_has_event(const ef_vi *vi);
int ef_eventq_poll(ef_vi *vi, ef_event *events, int n);
unsigned ef_eventq_current(ef_vi *vi);

#endif
