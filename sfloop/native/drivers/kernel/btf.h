/* Finds the ids of kernel functions in the kernel's type information (BTF). eBPF programs call kfuncs by these ids. */
#ifndef SF_DRIVERS_KERNEL_BTF_H
#define SF_DRIVERS_KERNEL_BTF_H

#include <stddef.h>

/*
 * Returns the BTF id of the function `name` of the running kernel, not of a module. -ENOENT: the kernel has no such function, or
 * no BTF. -EINVAL: the BTF is damaged. Call this only while a driver is opened, because it reads some megabytes.
 */
int sf_btf_find_function(const char *name);

/* Does the same in BTF that is in memory. The BTF may be from an untrusted source. */
int sf_btf_find_function_in(const void *data, size_t size, const char *name);

#endif
