/* Finds the program and process that occupy an interface's XDP hook, for an error message. */
#ifndef SF_DRIVERS_AF_XDP_HOLDER_H
#define SF_DRIVERS_AF_XDP_HOLDER_H

#include <stdbool.h>
#include <stdint.h>

struct sf_xdp_holder {
    uint32_t program_id;
    char name[16]; /* of the program; empty: no name, or not permitted to read it */
    int pid;       /* of a process that holds it; 0: none, or none that this process may inspect */
};

/* Returns false if there is no program. Slow, because it reads all of /proc: for the error path only. */
bool sf_xdp_find_holder(int ifindex, struct sf_xdp_holder *holder);

#endif
