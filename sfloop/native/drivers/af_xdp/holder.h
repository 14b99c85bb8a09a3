/* Who has an XDP program on an interface, for the message to whoever wanted to put another one there. */
#ifndef SF_DRIVERS_AF_XDP_HOLDER_H
#define SF_DRIVERS_AF_XDP_HOLDER_H

#include <stdbool.h>
#include <stdint.h>

struct sf_xdp_holder {
    uint32_t program_id;
    char name[16]; /* the program's; empty if it has none, or we may not know */
    int pid;       /* of a process that holds it; 0: none does, or none that we may look at */
};

/* False if there is no program. Reads through /proc: for the way out with an error alone. */
bool sf_xdp_find_holder(int ifindex, struct sf_xdp_holder *holder);

#endif
