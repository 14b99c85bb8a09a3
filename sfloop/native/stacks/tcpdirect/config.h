/* The configuration of a TCPDirect stack. options.c fills it from the options of the seam. */
#ifndef SF_STACKS_TCPDIRECT_CONFIG_H
#define SF_STACKS_TCPDIRECT_CONFIG_H

#include "libraries/zf.h"
#include "sf/stack.h"

struct sf_tcpdirect_config {
    struct sf_zf functions; /* of the vendor's library */
    struct zf_stack *stack;
    struct zf_attr *attr;   /* that the stack was made with */
    const char *interface;  /* the kernel's name */
    uint32_t address;       /* what to use as our address where the interface's own are not it (an emulator); 0: those */
    uint8_t emulated_bits;  /* on the kernel's loopback: how much of an address has to be as ours to be served; 0: 24 */
    bool timestamps;        /* the attribute rx_timestamping is set */
    bool overflow;          /* connections beyond the library's 64 zockets are the kernel's; else -ENOBUFS */
    uint32_t max_destinations; /* zfut, by the attribute max_udp_tx_endpoints; 0: 64 */
    sf_ns quiesce;          /* how long destroy() lets what it closes itself end; 0: 200 ms */
};

/* As create of struct sf_stack_entry. Owns stack and attr from then on, if it succeeds. */
struct sf_stack *sf_stack_tcpdirect_create(const struct sf_tcpdirect_config *, int *error, char *message);

#endif
