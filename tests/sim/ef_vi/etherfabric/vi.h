/* The simulator's stand-in for the header of the same name: see ../efsim.h. */
#ifndef EFSIM_VI_H
#define EFSIM_VI_H

#include <etherfabric/base.h>
#include <etherfabric/pd.h>

int ef_vi_alloc_from_pd(ef_vi *vi, ef_driver_handle handle, struct ef_pd *pd, ef_driver_handle pd_handle, int evq, int rxq,
                        int txq, ef_vi *evq_of, ef_driver_handle evq_handle, enum ef_vi_flags flags);
int ef_vi_free(ef_vi *vi, ef_driver_handle handle);
int ef_vi_prime(ef_vi *vi, ef_driver_handle handle, unsigned current);

/* ---- filters ---- */

enum ef_filter_flags {
    EF_FILTER_FLAG_NONE = 0,
    EF_FILTER_FLAG_EXCLUSIVE_RXQ = 0x4,
    EF_FILTER_FLAG_SHARED_RXQ = 0x8,
    EF_FILTER_FLAG_REQUEST_WAKEUPS = 0x10,
};

typedef struct ef_filter_spec {
    unsigned type, flags;
    unsigned data[12];
} ef_filter_spec;

typedef struct ef_filter_cookie {
    int filter_id, filter_type;
} ef_filter_cookie;

void ef_filter_spec_init(ef_filter_spec *spec, enum ef_filter_flags flags);
int ef_filter_spec_set_ip4_local(ef_filter_spec *spec, int protocol, unsigned host_be32, int port_be16);
int ef_filter_spec_set_ip4_full(ef_filter_spec *spec, int protocol, unsigned host_be32, int port_be16, unsigned remote_be32,
                                int remote_port_be16);
int ef_filter_spec_set_port_sniff(ef_filter_spec *spec, int promiscuous);
int ef_vi_filter_add(ef_vi *vi, ef_driver_handle handle, const ef_filter_spec *spec, ef_filter_cookie *cookie);
int ef_vi_filter_del(ef_vi *vi, ef_driver_handle handle, ef_filter_cookie *cookie);

/* ---- statistics ---- */

typedef struct {
    char *evsfl_name;
    int evsfl_offset, evsfl_size;
} ef_vi_stats_field_layout;

typedef struct {
    int evsl_data_size, evsl_fields_num;
    ef_vi_stats_field_layout evsl_fields[];
} ef_vi_stats_layout;

int ef_vi_stats_query_layout(ef_vi *vi, const ef_vi_stats_layout **const layout);
int ef_vi_stats_query(ef_vi *vi, ef_driver_handle handle, void *data, int reset);

#endif
