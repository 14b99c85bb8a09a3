/* Stands in for the tcpip stack and its drivers where they are not built. */
#include "sf/stack.h"

#include <errno.h>

__attribute__((weak)) struct sf_stack *sf_stack_tcpip_create(const struct sf_tcpip_config *config, int *error, char *message)
{
    (void)config;
    message[0] = 0;
    *error = -EOPNOTSUPP;
    return NULL;
}

__attribute__((weak)) int sf_stack_tcpip_counters(struct sf_stack *stack, struct sf_counter *out, int max)
{
    (void)stack;
    (void)out;
    (void)max;
    return 0;
}

__attribute__((weak)) void *sf_driver_find(const char *name)
{
    (void)name;
    return NULL;
}
