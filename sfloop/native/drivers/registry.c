/* Which drivers this build has, by name, and those that were loaded from elsewhere. A driver's open function is declared here
 * and nowhere else. */
#define _GNU_SOURCE
#include "sf/driver.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LOADED_MAX 8

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

static struct {
    char name[32];
    sf_driver_open open;
} loaded[LOADED_MAX];

sf_driver_open sf_driver_find(const char *name)
{
    for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++)
        if (strcmp(drivers[i].name, name) == 0)
            return drivers[i].open;
    for (size_t i = 0; i < LOADED_MAX && loaded[i].open; i++)
        if (strcmp(loaded[i].name, name) == 0)
            return loaded[i].open;
    return NULL;
}

sf_driver_wrap sf_driver_find_wrapper(const char *name)
{
    for (size_t i = 0; i < sizeof(wrappers) / sizeof(wrappers[0]); i++)
        if (strcmp(wrappers[i].name, name) == 0)
            return wrappers[i].wrap;
    return NULL;
}

/* ---- shared objects ---- */

__attribute__((format(printf, 3, 4))) static int refuse(char *message, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(message, SF_DRIVER_ERROR_SIZE, format, args);
    va_end(args);
    return code;
}

static void *find_symbol(void *object, const char *name, const char *function)
{
    char symbol[96];

    snprintf(symbol, sizeof(symbol), "sf_driver_%s_%s", name, function);
    return dlsym(object, symbol);
}

static int keep(const char *name, const char *path, sf_driver_open open, char *message)
{
    size_t i = 0;

    while (i < LOADED_MAX && loaded[i].open && strcmp(loaded[i].name, name) != 0)
        i++;
    if (i == LOADED_MAX || strlen(name) >= sizeof(loaded[i].name))
        return refuse(message, -ENOSPC, "%s: %d drivers have been loaded, which is all that there is room for", path, LOADED_MAX);
    loaded[i].open = open;
    strcpy(loaded[i].name, name);
    return 0;
}

/* It is never unloaded: a driver of an earlier load may still be open. */
int sf_driver_load(const char *name, const char *path, char *message)
{
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const uint32_t *abi;
    int (*probe)(char *);
    sf_driver_open open;
    int rc;

    if (!object)
        return refuse(message, -ENOENT, "cannot be loaded: %s", dlerror());
    abi = dlsym(object, "sf_driver_abi");
    *(void **)&open = find_symbol(object, name, "open");
    *(void **)&probe = find_symbol(object, name, "probe");
    if (!abi || !open)
        return refuse(message, -ENOEXEC, "%s is no frame driver %s: it exports no sf_driver_%s", path, name, abi ? name : "abi");
    if (*abi != SF_DRIVER_ABI)
        return refuse(message, -ENOEXEC, "%s was built for another version of sfloop: build it again", path);
    rc = probe ? probe(message) : 0;
    return rc < 0 ? rc : keep(name, path, open, message);
}
