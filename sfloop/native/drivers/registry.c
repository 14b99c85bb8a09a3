/* The drivers of this build, and those that were loaded from shared objects. */
#define _GNU_SOURCE
#include "sf/driver.h"

#include "driver_util.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LOADED_MAX 8

/* One line each: the name and a description. The open function is sf_driver_NAME_open in the driver's folder. */
#define DRIVERS(X)                                                               \
    X(shm, "a wire in shared memory between two processes; for tests and demos") \
    X(af_xdp, "Linux AF_XDP sockets on one NIC queue")                           \
    X(packet, "Linux AF_PACKET rings on any interface")

#define WRAPPERS(X)                                \
    X(pcap, "writes frames to a file")             \
    X(trace, "writes a line of text on each frame") \
    X(fault, "loses, delays and changes frames")

#define DECLARE(name, description) \
    struct sf_driver *sf_driver_##name##_open(const struct sf_driver_config *, int *error, char *message);
#define DECLARE_WRAPPER(name, description) \
    struct sf_driver *sf_driver_##name##_open(struct sf_driver *below, const struct sf_driver_config *, int *error, char *message);
DRIVERS(DECLARE)
WRAPPERS(DECLARE_WRAPPER)

#define LIST(name, description) {#name, description, sf_driver_##name##_open, NULL},
#define LIST_WRAPPER(name, description) {#name, description, NULL, sf_driver_##name##_open},
static const struct sf_driver_entry entries[] = {DRIVERS(LIST) WRAPPERS(LIST_WRAPPER)};

static struct {
    char name[32];
    sf_driver_open open;
} loaded[LOADED_MAX];

const struct sf_driver_entry *sf_driver_at(int i)
{
    return i >= 0 && i < (int)(sizeof(entries) / sizeof(entries[0])) ? &entries[i] : NULL;
}

static const struct sf_driver_entry *find(const char *name)
{
    for (int i = 0; sf_driver_at(i); i++)
        if (strcmp(sf_driver_at(i)->name, name) == 0)
            return sf_driver_at(i);
    return NULL;
}

sf_driver_open sf_driver_find(const char *name)
{
    const struct sf_driver_entry *built = find(name);

    if (built)
        return built->open;
    for (size_t i = 0; i < LOADED_MAX && loaded[i].open; i++)
        if (strcmp(loaded[i].name, name) == 0)
            return loaded[i].open;
    return NULL;
}

sf_driver_wrap sf_driver_find_wrapper(const char *name)
{
    const struct sf_driver_entry *built = find(name);

    return built ? built->wrap : NULL;
}

/* ---- shared objects ---- */

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
        return sf_driver_refuse(message, -ENOSPC, "%s: %d drivers have been loaded, which is all that there is room for", path,
                                LOADED_MAX);
    loaded[i].open = open;
    strcpy(loaded[i].name, name);
    return 0;
}

/* A loaded object is never unloaded, because a driver of an earlier load may still be open. */
int sf_driver_load(const char *name, const char *path, char *message)
{
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const uint32_t *abi;
    int (*probe)(char *);
    sf_driver_open open;
    int rc;

    if (!object)
        return sf_driver_refuse(message, -ENOENT, "cannot be loaded: %s", dlerror());
    abi = dlsym(object, "sf_driver_abi");
    *(void **)&open = find_symbol(object, name, "open");
    *(void **)&probe = find_symbol(object, name, "probe");
    if (!abi || !open)
        return sf_driver_refuse(message, -ENOEXEC, "%s is no frame driver %s: it exports no sf_driver_%s", path, name,
                                abi ? name : "abi");
    if (*abi != SF_DRIVER_ABI)
        return sf_driver_refuse(message, -ENOEXEC, "%s was built for another version of sfloop: build it again", path);
    rc = probe ? probe(message) : 0;
    return rc < 0 ? rc : keep(name, path, open, message);
}
