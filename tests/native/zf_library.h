/*
 * TCPDirect's library for a test: that of SFLOOP_TCPDIRECT_LIBRARY, or the simulator whose path the test was built with.
 * What it is to do is in ZF_ATTR: of the vendor's library, emu=2 or the name of a NIC.
 */
#ifndef SF_TEST_ZF_LIBRARY_H
#define SF_TEST_ZF_LIBRARY_H

#include "sf/stack.h"

#include "check.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

static void *zf_library;

static inline void *zf_function(const char *name)
{
    void *function = dlsym(zf_library, name);

    if (!function)
        fprintf(stderr, "the library has no %s\n", name);
    CHECK(function);
    return function;
}

static inline void zf_library_open(const char *otherwise)
{
    const char *path = getenv("SFLOOP_TCPDIRECT_LIBRARY");

    zf_library = dlopen(path ? path : otherwise, RTLD_NOW | RTLD_LOCAL);
    if (!zf_library)
        fprintf(stderr, "%s\n", dlerror());
    CHECK(zf_library);
    if (!path || strstr(path, "zfsim"))
        setenv("ZF_ATTR", "interface=lo", 0);
    CHECK(((int (*)(void))zf_function("zf_init"))() == 0);
}

static inline int zf_set(void *attr, const char *name, int64_t value)
{
    return ((int (*)(void *, const char *, int64_t))zf_function("zf_attr_set_int"))(attr, name, value);
}

static inline struct sf_stack *make_tcpdirect(bool overflow)
{
    void *functions[128], *stack = NULL, *attr = NULL;
    struct sf_tcpdirect_config config = {.functions = functions, .interface = "lo", .overflow = overflow};
    char message[256];
    struct sf_stack *made;
    int error = 0;

    for (int i = 0; sf_tcpdirect_function(i); i++)
        functions[i] = zf_function(sf_tcpdirect_function(i));
    CHECK(((int (*)(void **))zf_function("zf_attr_alloc"))(&attr) == 0);
    CHECK(zf_set(attr, "reactor_spin_count", 1) == 0);
    CHECK(zf_set(attr, "tcp_timewait_ms", 200) == 0);
    CHECK(zf_set(attr, "tcp_finwait_ms", 1000) == 0);
    CHECK(((int (*)(void *, void **))zf_function("zf_stack_alloc"))(attr, &stack) == 0);
    config.stack = stack;
    config.attr = attr;
    made = sf_stack_tcpdirect_create(&config, &error, message);
    if (!made)
        fprintf(stderr, "%s\n", message);
    CHECK(made);
    return made;
}

static inline uint64_t tcpdirect_counter(struct sf_stack *stack, const char *name)
{
    struct sf_counter counters[64];
    int n = sf_stack_tcpdirect_counters(stack, counters, 64);

    for (int i = 0; i < n; i++)
        if (!strcmp(counters[i].name, name))
            return counters[i].value;
    CHECK(!"a counter of that name");
    return 0;
}

#endif
