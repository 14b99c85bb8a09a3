/* IPv4 addresses in the form of IPv6 sockets, ::ffff:a.b.c.d (RFC 4291, 2.5.5.2). */
#ifndef SF_STORAGE_MAPPED_ADDRESS_H
#define SF_STORAGE_MAPPED_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

/* Converts an IPv4-mapped address, or "any address" of IPv6, to IPv4. False: it is an address that IPv4 lacks. */
static inline bool sf_unmap_name(const struct sockaddr_in6 *name, struct sockaddr_in *out)
{
    uint32_t addr = INADDR_ANY;

    if (IN6_IS_ADDR_V4MAPPED(&name->sin6_addr))
        memcpy(&addr, &name->sin6_addr.s6_addr[12], sizeof(addr));
    else if (!IN6_IS_ADDR_UNSPECIFIED(&name->sin6_addr))
        return false;
    *out = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = name->sin6_port, .sin_addr.s_addr = addr};
    return true;
}

/* Converts a peer's address. False: it is not IPv4-mapped, or not an IPv6 socket's address at all. */
static inline bool sf_unmap_peer(const struct sockaddr *addr, socklen_t len, struct sockaddr_in *out)
{
    const struct sockaddr_in6 *name = (const struct sockaddr_in6 *)(const void *)addr;

    return len >= sizeof(*name) && name->sin6_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&name->sin6_addr) &&
           sf_unmap_name(name, out);
}

#endif
