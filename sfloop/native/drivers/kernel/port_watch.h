/*
 * Counts the sockets that any program binds to watched ports. An eBPF program at the root of the cgroup hierarchy runs after
 * every bind() on this machine. Binds in other network namespaces are not counted if the kernel can tell namespaces apart (Linux
 * 5.14).
 */
#ifndef SF_DRIVERS_KERNEL_PORT_WATCH_H
#define SF_DRIVERS_KERNEL_PORT_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#define SF_PORT_WATCH_LINKS 2 /* IPv4, IPv6 */

/* Descriptors are -1 if not open. */
struct sf_port_watch {
    int ports; /* the map of watched ports */
    int links[SF_PORT_WATCH_LINKS];
};

#define SF_PORT_WATCH_NONE {-1, {-1, -1}}

/*
 * `counters` is an array map that begins with the 32-bit counters of UDP and TCP. Returns 0, or a negative errno and leaves
 * nothing open: no cgroup2, no privilege, or a kernel before 5.7.
 */
int sf_port_watch_open(struct sf_port_watch *watch, int counters);
void sf_port_watch_close(struct sf_port_watch *watch);

/* Calls are counted, so balance every on with an off. The port is in network byte order. -ENOSPC. -ENOENT: off without on. */
int sf_port_watch_set(const struct sf_port_watch *watch, uint8_t protocol, uint16_t port, bool on);

#endif
