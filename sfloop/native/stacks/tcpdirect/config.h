/* The configuration of a TCPDirect stack. options.c fills it from the options of the seam. */
#ifndef SF_STACKS_TCPDIRECT_CONFIG_H
#define SF_STACKS_TCPDIRECT_CONFIG_H

#include "libraries/zf.h"
#include "sf/stack.h"

struct sf_tcpdirect_config {
    struct sf_zf functions; /* of the vendor's library */
    struct zf_stack *stack;
    struct zf_attr *attr;   /* the attributes of the library's stack */
    const char *interface;  /* the kernel's name for it */
    uint32_t address;       /* our address with an emulator, which does not use the interface's; 0: the interface's */
    uint8_t emulated_bits;  /* on the kernel's loopback: length of the prefix that served addresses share with ours; 0: 24 */
    bool timestamps;        /* the attribute rx_timestamping is set */
    bool overflow;          /* connections beyond the library's 64 zockets use the kernel; otherwise -ENOBUFS */
    uint32_t max_destinations; /* zfut, by the attribute max_udp_tx_endpoints; 0: 64 */
    sf_ns quiesce;          /* the time that destroy() gives the connections it closes to end; 0: 200 ms */
};

/* As `create` of struct sf_stack_entry. If it succeeds, it owns stack and attr from then on. */
struct sf_stack *sf_stack_tcpdirect_create(const struct sf_tcpdirect_config *, int *error, char *message);

#endif
