/* The simulator's stand-in for the header of the same name: see ../efsim.h. */
#ifndef EFSIM_CAPABILITIES_H
#define EFSIM_CAPABILITIES_H

#include <etherfabric/pd.h>

enum ef_vi_capability {
    EF_VI_CAP_PIO = 0,
    EF_VI_CAP_HW_RX_TIMESTAMPING = 5,
    EF_VI_CAP_HW_TX_TIMESTAMPING = 6,
    EF_VI_CAP_RX_MERGE = 40,
    EF_VI_CAP_CTPIO = 46,
    EF_VI_CAP_RX_FORCE_EVENT_MERGING = 48,
    EF_VI_CAP_CTPIO_ONLY = 50,
    EF_VI_CAP_RX_SHARED = 51,
    EF_VI_CAP_RX_REF = 55,
};

int ef_pd_capabilities_get(ef_driver_handle handle, ef_pd *pd, ef_driver_handle pd_handle, enum ef_vi_capability which,
                           unsigned long *value);

#endif
