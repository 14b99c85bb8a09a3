/* The simulator's stand-in for the header of the same name: see ../efsim.h. */
#ifndef EFSIM_EFCT_VI_H
#define EFSIM_EFCT_VI_H

#include <etherfabric/ef_vi.h>

const void *efct_vi_rxpkt_get(struct ef_vi *vi, uint32_t packet);
void efct_vi_rxpkt_release(struct ef_vi *vi, uint32_t packet);

#endif
