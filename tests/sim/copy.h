/* The copy function for frames and datagrams in the simulators. */
#ifndef SF_SIM_COPY_H
#define SF_SIM_COPY_H

#include <string.h>

/* Hides a bound of `len` from the compiler, because it would copy with a string instruction, which starts slowly. */
static inline void sim_copy(void *to, const void *from, size_t len)
{
    __asm__("" : "+r"(len));
    memcpy(to, from, len);
}

#endif
