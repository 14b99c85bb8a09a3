/*
 * TCPDirect's library for a test: the one that SFLOOP_TCPDIRECT_LIBRARY names, or else the simulator, whose path is the test's
 * argument. ZF_ATTR has the library's attributes. The vendor's library needs emu=2 or the name of a NIC there.
 */
#ifndef SF_TEST_ZF_LIBRARY_H
#define SF_TEST_ZF_LIBRARY_H

#include "sf/stack.h"

#include "stack_seam.h"

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
    const struct sf_stack_entry *entry = sf_stack_find("tcpdirect");
    struct sf_stack_option options[128];
    void *stack = NULL, *attr = NULL;
    char message[SF_STACK_ERROR_SIZE];
    struct sf_stack *made;
    int error = 0, n = 0;

    for (const char *name; (name = entry->option(n)) && strncmp(name, "zf", 2) == 0; n++)
        options[n] = (struct sf_stack_option){.name = name, .number = (intptr_t)zf_function(name)};
    CHECK(((int (*)(void **))zf_function("zf_attr_alloc"))(&attr) == 0);
    CHECK(zf_set(attr, "reactor_spin_count", 1) == 0);
    CHECK(zf_set(attr, "tcp_timewait_ms", 200) == 0);
    CHECK(zf_set(attr, "tcp_finwait_ms", 1000) == 0);
    CHECK(((int (*)(void *, void **))zf_function("zf_stack_alloc"))(attr, &stack) == 0);
    options[n++] = (struct sf_stack_option){.name = "stack", .number = (intptr_t)stack};
    options[n++] = (struct sf_stack_option){.name = "attr", .number = (intptr_t)attr};
    options[n++] = (struct sf_stack_option){.name = "interface", .text = "lo"};
    options[n++] = (struct sf_stack_option){.name = "overflow", .number = overflow};
    made = entry->create(NULL, options, n, &error, message);
    if (!made)
        fprintf(stderr, "%s\n", message);
    CHECK(made);
    return made;
}

#endif
