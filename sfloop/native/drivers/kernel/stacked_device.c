#define _GNU_SOURCE 1
#include "stacked_device.h"

#include "drivers/driver_util.h"
#include "link_info.h"

#include <net/if_arp.h>
#include <string.h>

/* Refuses a bond. The kernel moves a bond's program to its ports, whose queues are not the bond's, and drops frames redirected
 * to a socket. */
static int refuse_bond(const char *name, int ifindex, char *message)
{
    char ports[80];

    sf_link_ports(ifindex, ports, sizeof(ports));
    return sf_driver_refuse(message, -EOPNOTSUPP,
                  "Interface '%s' is a bond, on which an AF_XDP socket receives nothing; use the packet driver. For raw frames only, "
                  "name one of its ports (%s)",
                  name, ports[0] ? ports : "it has none");
}

int sf_stacked_device_check(const char *name, int ifindex, enum sf_tap_point tap, char *message)
{
    struct sf_link_info link;

    if (sf_link_read(ifindex, &link))
        return 0; /* if the kernel does not answer, opening the driver finds out */
    if (link.hardware == ARPHRD_LOOPBACK)
        return sf_driver_refuse(message, -EMEDIUMTYPE,
                      "Interface '%s' is not an Ethernet but the loopback device: the kernel stack serves it, and the shm driver "
                      "joins programs of this machine",
                      name);
    if (link.hardware != ARPHRD_ETHER)
        return sf_driver_refuse(message, -EMEDIUMTYPE,
                      "Interface '%s' is not an Ethernet (its hardware type is %u): its packets have no Ethernet header. The kernel "
                      "stack serves it%s",
                      name, link.hardware, strcmp(link.kind, "tun") == 0 ? "; a tap device in its place has the header" : "");
    if (strcmp(link.kind, "dummy") == 0)
        return sf_driver_refuse(message, -EOPNOTSUPP,
                      "Interface '%s' is a dummy, where no frame ever arrives. The kernel stack serves its addresses; name the NIC "
                      "that leads to the peers",
                      name);
    if (strcmp(link.kind, "bond") == 0 && tap == SF_TAP_NATIVE)
        return refuse_bond(name, ifindex, message);
    return 0;
}
