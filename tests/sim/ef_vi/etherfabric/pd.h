/* The simulator's stand-in for the header of the same name: see ../efsim.h. */
#ifndef EFSIM_PD_H
#define EFSIM_PD_H

#include <etherfabric/base.h>

enum ef_pd_flags {
    EF_PD_DEFAULT = 0,
    EF_PD_EXPRESS = 0x80,
};

struct efsim_nic;

typedef struct ef_pd {
    struct efsim_nic *nic;
} ef_pd;

int ef_pd_alloc(ef_pd *pd, ef_driver_handle handle, int ifindex, enum ef_pd_flags flags);
int ef_pd_free(ef_pd *pd, ef_driver_handle handle);

#endif
