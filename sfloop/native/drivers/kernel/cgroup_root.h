/* The root of the unified cgroup hierarchy (cgroup2). A program attached there sees every socket of the machine. */
#ifndef SF_DRIVERS_KERNEL_CGROUP_ROOT_H
#define SF_DRIVERS_KERNEL_CGROUP_ROOT_H

/*
 * Returns a descriptor of its folder, or a negative errno. Where no cgroup2 is mounted (`ip netns exec` hides it), opens it
 * without mounting it. That needs CAP_SYS_ADMIN and Linux 5.2. In a container the root is that of the container's cgroup
 * namespace.
 */
int sf_cgroup_open_root(void);

#endif
