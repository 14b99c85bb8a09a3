/* The root of the unified cgroup hierarchy (cgroup2), where programs about every socket of the machine are attached. */
#ifndef SF_DRIVERS_KERNEL_CGROUP_ROOT_H
#define SF_DRIVERS_KERNEL_CGROUP_ROOT_H

/*
 * A descriptor of its folder, or a negative errno. Where no cgroup2 is mounted (`ip netns exec` hides it), it is opened without being
 * mounted anywhere, which needs CAP_SYS_ADMIN and Linux 5.2. In a container the root is that of the container's cgroup namespace.
 */
int sf_cgroup_open_root(void);

#endif
