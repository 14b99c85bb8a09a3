/* The simulator's stand-in for the header of the same name: see ../efsim.h. */
#ifndef EFSIM_MEMREG_H
#define EFSIM_MEMREG_H

#include <etherfabric/pd.h>

typedef struct ef_memreg {
    struct efsim_nic *nic;
    unsigned first_page;
} ef_memreg;

int ef_memreg_alloc(ef_memreg *mr, ef_driver_handle handle, struct ef_pd *pd, ef_driver_handle pd_handle, void *memory,
                    size_t size);
int ef_memreg_free(ef_memreg *mr, ef_driver_handle handle);
ef_addr ef_memreg_dma_addr(ef_memreg *mr, size_t offset); /* contiguous only within 4 KiB */

#endif
