/* Which drivers this build has, by name. A driver's open function is declared here and nowhere else. */
#define _GNU_SOURCE
#include "sf/driver.h"

#include <string.h>

struct sf_driver *sf_driver_shm_open(const struct sf_driver_config *, int *error, char *message);
struct sf_driver *sf_driver_af_xdp_open(const struct sf_driver_config *, int *error, char *message);
struct sf_driver *sf_driver_packet_open(const struct sf_driver_config *, int *error, char *message);
/* Further drivers, one line each: declared here … */

struct sf_driver *sf_driver_pcap_open(struct sf_driver *below, const struct sf_driver_config *, int *error, char *message);
struct sf_driver *sf_driver_trace_open(struct sf_driver *below, const struct sf_driver_config *, int *error, char *message);
struct sf_driver *sf_driver_fault_open(struct sf_driver *below, const struct sf_driver_config *, int *error, char *message);

static const struct {
    const char *name;
    sf_driver_open open;
} drivers[] = {
    {"shm", sf_driver_shm_open},
    {"af_xdp", sf_driver_af_xdp_open},
    {"packet", sf_driver_packet_open},
    /* … and listed here. */
};

static const struct {
    const char *name;
    sf_driver_wrap wrap;
} wrappers[] = {
    {"pcap", sf_driver_pcap_open},
    {"trace", sf_driver_trace_open},
    {"fault", sf_driver_fault_open},
};

sf_driver_open sf_driver_find(const char *name)
{
    for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++)
        if (strcmp(drivers[i].name, name) == 0)
            return drivers[i].open;
    return NULL;
}

sf_driver_wrap sf_driver_find_wrapper(const char *name)
{
    for (size_t i = 0; i < sizeof(wrappers) / sizeof(wrappers[0]); i++)
        if (strcmp(wrappers[i].name, name) == 0)
            return wrappers[i].wrap;
    return NULL;
}
