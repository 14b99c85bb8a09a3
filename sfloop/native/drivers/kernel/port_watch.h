/*
 * Learns that programs bind sockets to ports, whoever they are: an eBPF program at the root of the cgroup hierarchy, which every
 * bind() of this machine passes, counts those to watched ports. Binds in other network namespaces do not count where the kernel tells
 * namespaces apart (Linux 5.14).
 */
#ifndef SF_DRIVERS_KERNEL_PORT_WATCH_H
#define SF_DRIVERS_KERNEL_PORT_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#define SF_PORT_WATCH_LINKS 2 /* IPv4, IPv6 */

/* File descriptors; -1: none. */
struct sf_port_watch {
    int ports; /* the map of watched ports */
    int links[SF_PORT_WATCH_LINKS];
};

#define SF_PORT_WATCH_NONE {-1, {-1, -1}}

/*
 * `counters`: an array map that begins with the 32-bit counters of UDP and of TCP. 0, or a negative errno, and nothing is left: no
 * cgroup2, no privilege, a kernel before 5.7.
 */
int sf_port_watch_open(struct sf_port_watch *watch, int counters);
void sf_port_watch_close(struct sf_port_watch *watch);

/* Calls are counted: balance every on with an off. The port is in network byte order. -ENOSPC, -ENOENT (off without an on). */
int sf_port_watch_set(const struct sf_port_watch *watch, uint8_t protocol, uint16_t port, bool on);

#endif
