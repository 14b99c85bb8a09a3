# cython: language_level=3
"""Conversion of socket addresses between the kernel's form and Python's (socket module, "Socket families").

Both directions cache their results, because a feed has few senders and a client few servers.

Other families (Bluetooth, CAN, TIPC and so on) are left to the socket module, because the form of their addresses
depends on the protocol and on the version of Python.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

from sfloop.native.cores.engine cimport sockaddr, socklen_t

cdef extern from "<netinet/in.h>" nogil:
    int AF_INET, AF_INET6, AF_UNIX
    cdef struct in_addr:
        uint32_t s_addr
    cdef struct in6_addr:
        uint8_t s6_addr[16]
    cdef struct sockaddr_in:
        unsigned short sin_family
        uint16_t sin_port
        in_addr sin_addr
    cdef struct sockaddr_in6:
        unsigned short sin6_family
        uint16_t sin6_port
        uint32_t sin6_flowinfo
        in6_addr sin6_addr
        uint32_t sin6_scope_id
    uint16_t htons(uint16_t)
    uint32_t htonl(uint32_t)

cdef extern from "<linux/netlink.h>" nogil:
    int AF_NETLINK
    cdef struct sockaddr_nl:
        uint32_t nl_pid
        uint32_t nl_groups

cdef extern from "<linux/vm_sockets.h>" nogil:
    int AF_VSOCK
    cdef struct sockaddr_vm:
        unsigned int svm_cid
        unsigned int svm_port

cdef extern from "<linux/if_packet.h>" nogil:
    int AF_PACKET
    cdef struct sockaddr_ll:
        uint16_t sll_protocol
        int sll_ifindex
        unsigned short sll_hatype
        unsigned char sll_pkttype
        unsigned char sll_halen
        unsigned char sll_addr[8]

cdef extern from "<net/if.h>" nogil:
    cdef struct ifreq:
        int ifr_ifindex
        char *ifr_name

cdef extern from "<sys/ioctl.h>" nogil:
    unsigned long SIOCGIFNAME
    int ioctl(int fd, unsigned long request, ...)

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char *text, void *out)
    const char *inet_ntop(int family, const void *address, char *out, socklen_t size)

cdef enum:
    MAPPED = 64  # slots of the direct-mapped cache of senders; a power of two
    ENCODED_MAX = 1024
    TEXT_MAX = 64

import os


cdef object decode_unix(const sockaddr *address, socklen_t length):
    cdef const char *path = <const char *>address + sizeof(unsigned short)
    cdef Py_ssize_t size = length - <socklen_t>sizeof(unsigned short)
    cdef bytes raw
    if size <= 0:
        return ""
    raw = PyBytes_FromStringAndSize(path, size)
    if raw[0] == 0:
        return raw  # an abstract name
    return os.fsdecode(raw.split(b"\0", 1)[0])


cdef object decode_packet(const sockaddr_ll *ll, socklen_t length, int fd):
    """:param fd: a socket of the same network namespace; the kernel looks the interface's name up with it."""
    cdef ifreq request
    cdef str name = ""
    cdef Py_ssize_t known = <Py_ssize_t>length - (<const char *>&ll.sll_addr[0] - <const char *>ll)
    if ll.sll_ifindex and fd >= 0:
        memset(&request, 0, sizeof(request))
        request.ifr_ifindex = ll.sll_ifindex
        if ioctl(fd, SIOCGIFNAME, &request) == 0:
            name = (<bytes>request.ifr_name).decode("utf-8", "surrogateescape")
    hardware = PyBytes_FromStringAndSize(<const char *>&ll.sll_addr[0], max(0, min(<Py_ssize_t>ll.sll_halen, known)))
    return name, htons(ll.sll_protocol), ll.sll_pkttype, ll.sll_hatype, hardware


cdef bint is_decoded(int family) noexcept:
    return (family == AF_INET or family == AF_INET6 or family == AF_UNIX or family == AF_NETLINK or family == AF_PACKET
            or family == AF_VSOCK)


cdef object decode_any(const sockaddr *address, socklen_t length, int fd):
    cdef char[TEXT_MAX] text
    cdef const sockaddr_in *v4
    cdef const sockaddr_in6 *v6
    if length == 0:
        return None
    if address.sa_family == AF_INET:
        v4 = <const sockaddr_in *>address
        inet_ntop(AF_INET, &v4.sin_addr, text, TEXT_MAX)
        return (<bytes>text).decode("ascii"), htons(v4.sin_port)
    if address.sa_family == AF_INET6:
        v6 = <const sockaddr_in6 *>address
        inet_ntop(AF_INET6, &v6.sin6_addr, text, TEXT_MAX)
        return (<bytes>text).decode("ascii"), htons(v6.sin6_port), htonl(v6.sin6_flowinfo), v6.sin6_scope_id
    if address.sa_family == AF_UNIX:
        return decode_unix(address, length)
    if address.sa_family == AF_NETLINK:
        return (<const sockaddr_nl *>address).nl_pid, (<const sockaddr_nl *>address).nl_groups
    if address.sa_family == AF_VSOCK:
        return (<const sockaddr_vm *>address).svm_cid, (<const sockaddr_vm *>address).svm_port
    if address.sa_family == AF_PACKET:
        return decode_packet(<const sockaddr_ll *>address, length, fd)
    return address.sa_family, PyBytes_FromStringAndSize(<const char *>address + sizeof(unsigned short),
                                                        length - <socklen_t>sizeof(unsigned short))


cdef object decode_mapped(const sockaddr_in *v4):
    """The form in which an IPv6 socket shows an IPv4 address."""
    cdef sockaddr_in6 v6
    memset(&v6, 0, sizeof(v6))
    v6.sin6_family = <unsigned short>AF_INET6
    v6.sin6_port = v4.sin_port
    memset(&v6.sin6_addr.s6_addr[10], 0xFF, 2)
    memcpy(&v6.sin6_addr.s6_addr[12], &v4.sin_addr, sizeof(v4.sin_addr))
    return decode_any(<const sockaddr *>&v6, sizeof(v6), -1)


def decode(bytes address, int fd=-1):
    """Convert a sockaddr from the kernel to the socket module's form. decodes() must be true for its family.

    :param fd: a socket with which the kernel looks up an interface's name (AF_PACKET).
    """
    return decode_any(<const sockaddr *>PyBytes_AS_STRING(address), <socklen_t>PyBytes_GET_SIZE(address), fd)


def decodes(int family):
    """Whether decode() knows the addresses of a family. Leave other families to the socket module."""
    return is_decoded(family)


# ---- checks for a NUL, because Python's own calls would drop the rest of the name: C strings end there ----

def check_name(str label, value):
    """Check a host or a service before getaddrinfo().

    :raises ValueError: it contains a NUL.
    """
    if (isinstance(value, str) and "\0" in value) or (isinstance(value, (bytes, bytearray)) and b"\0" in value):
        raise ValueError(f"{label}={value!r}: embedded null character")


cpdef int check_path(path) except -1:
    """Check an AF_UNIX address, a str or bytes. Ignores addresses of other families. An address that begins with a NUL
    is abstract, and may have further NULs.

    :raises ValueError: there is a NUL elsewhere.
    """
    if isinstance(path, str):
        wrong = "\0" in path and not path.startswith("\0")
    else:
        wrong = isinstance(path, (bytes, bytearray)) and b"\0" in path and not path.startswith(b"\0")
    if wrong:
        raise ValueError(f"path={path!r}: embedded null byte")
    return 0


cdef uint32_t hash_of(const sockaddr *address, socklen_t length) noexcept:
    cdef const uint8_t *byte = <const uint8_t *>address
    cdef uint32_t h = 2166136261u  # FNV-1a
    cdef socklen_t i
    for i in range(length):
        h = (h ^ byte[i]) * 16777619u
    return h ^ (h >> 15)


cdef tuple plain(object address):
    """The address as a tuple of exactly a str and ints; None: leave it to the socket module.

    A value of another type may be equal to a right one and still be wrong, such as 80.0. A host with a NUL is wrong,
    although C functions would accept the part before it.
    """
    cdef Py_ssize_t i, n
    cdef bint exact = type(address) is tuple
    if not exact and not isinstance(address, tuple):
        return None
    n = len(<tuple>address)
    if not 2 <= n <= 4 or not isinstance((<tuple>address)[0], str):
        return None
    exact = exact and type((<tuple>address)[0]) is str
    for i in range(1, n):
        if type((<tuple>address)[i]) is not int:
            if not isinstance((<tuple>address)[i], int):
                return None
            exact = False
    if not exact:
        address = (str.__str__((<tuple>address)[0]), *[int.__int__((<tuple>address)[i]) for i in range(1, n)])
    host = <str>(<tuple>address)[0]
    return <tuple>address if host.isascii() and "\0" not in host else None


cdef bytes encode_v4(tuple address):
    cdef sockaddr_in v4
    host, port = address
    if not 0 <= port <= 65535:
        return None
    memset(&v4, 0, sizeof(v4))
    v4.sin_family = <unsigned short>AF_INET
    v4.sin_port = htons(<uint16_t>port)
    if inet_pton(AF_INET, (<str>host).encode("ascii"), &v4.sin_addr) != 1:
        return None
    return PyBytes_FromStringAndSize(<const char *>&v4, sizeof(v4))


cdef bytes encode_v6(tuple address):
    cdef sockaddr_in6 v6
    host, port = address[0], address[1]
    flow = address[2] if len(address) > 2 else 0
    scope = address[3] if len(address) > 3 else 0
    if not 0 <= port <= 65535 or not 0 <= flow <= 0xFFFFF or not 0 <= scope < 1 << 32:
        return None
    memset(&v6, 0, sizeof(v6))
    v6.sin6_family = <unsigned short>AF_INET6
    v6.sin6_port = htons(<uint16_t>port)
    v6.sin6_flowinfo = htonl(<uint32_t>flow)
    v6.sin6_scope_id = <uint32_t>scope
    if inet_pton(AF_INET6, (<str>host).encode("ascii"), &v6.sin6_addr) != 1:
        return None
    return PyBytes_FromStringAndSize(<const char *>&v6, sizeof(v6))


cdef class AddressBook:
    def __cinit__(self):
        self.encoded = {}
        self.decoded = [None] * MAPPED
        self.decoded_keys = [b""] * MAPPED

    cdef object decode(self, const sockaddr *address, socklen_t length, int fd):
        cdef uint32_t at
        cdef bytes key
        if length == 0:
            return None
        if address.sa_family == AF_PACKET:  # not cached, because the interface may be renamed
            return decode_any(address, length, fd)
        at = hash_of(address, length) & (MAPPED - 1)
        key = <bytes>self.decoded_keys[at]
        if PyBytes_GET_SIZE(key) == length and memcmp(PyBytes_AS_STRING(key), address, length) == 0:
            return self.decoded[at]
        if self.maps and address.sa_family == AF_INET:
            result = decode_mapped(<const sockaddr_in *>address)
        else:
            result = decode_any(address, length, fd)
        self.decoded[at] = result
        self.decoded_keys[at] = PyBytes_FromStringAndSize(<const char *>address, length)
        return result

    cdef const sockaddr *encode(self, object address, int family, socklen_t *length) except? NULL:
        cdef bytes raw
        cdef tuple key
        if address is self.last_given:
            raw = self.last_encoded
        else:
            key = plain(address)
            if key is None:
                return NULL
            raw = self.encoded.get(key)
            if raw is None:
                if family == AF_INET and len(key) == 2:
                    raw = encode_v4(key)
                elif family == AF_INET6:
                    raw = encode_v6(key)
                if raw is None:
                    return NULL
                if len(self.encoded) >= ENCODED_MAX:
                    self.encoded.clear()
                self.encoded[key] = raw
            self.last_given = address
            self.last_encoded = raw
        length[0] = <socklen_t>PyBytes_GET_SIZE(raw)
        return <const sockaddr *>PyBytes_AS_STRING(raw)
