/* The simulator's stand-in for the header of the same name: see ../efsim.h. */
#ifndef EFSIM_PIO_H
#define EFSIM_PIO_H

#include <etherfabric/pd.h>

typedef struct ef_pio {
    struct efsim_nic *nic;
} ef_pio;

int ef_pio_alloc(ef_pio *pio, ef_driver_handle handle, struct ef_pd *pd, unsigned size, ef_driver_handle pd_handle);
int ef_pio_free(ef_pio *pio, ef_driver_handle handle);
int ef_pio_link_vi(ef_pio *pio, ef_driver_handle handle, struct ef_vi *vi, ef_driver_handle vi_handle);
int ef_pio_unlink_vi(ef_pio *pio, ef_driver_handle handle, struct ef_vi *vi, ef_driver_handle vi_handle);
int ef_vi_get_pio_size(ef_vi *vi);

#endif
