/* The ids of kernel functions in the kernel's type information (BTF), by which eBPF programs call kfuncs. */
#ifndef SF_DRIVERS_KERNEL_BTF_H
#define SF_DRIVERS_KERNEL_BTF_H

#include <stddef.h>

/*
 * The BTF id of the function `name` of the running kernel itself, not of a module. -ENOENT: the kernel has no such function, or no
 * BTF; -EINVAL: the BTF is damaged. Reads some megabytes, so call this only while a driver is opened.
 */
int sf_btf_find_function(const char *name);

/* The same in BTF that is in memory, whoever wrote it. */
int sf_btf_find_function_in(const void *data, size_t size, const char *name);

#endif
