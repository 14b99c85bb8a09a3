/* The simulator's stand-in for the header of the same name: see ../efsim.h. */
#ifndef EFSIM_BASE_H
#define EFSIM_BASE_H

#include <etherfabric/ef_vi.h>

/* Opens a descriptor, which becomes readable at the first event after ef_vi_prime(). */
int ef_driver_open(ef_driver_handle *handle);
int ef_driver_close(ef_driver_handle handle);

#endif
