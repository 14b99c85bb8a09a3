# cython: language_level=3
"""Socket addresses between the kernel's form and Python's (the socket module's documentation, "Socket families").

A feed has few senders and a client few servers, so both directions remember what they have converted.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy, memset

from sfloop.native.engine.engine cimport sockaddr, socklen_t

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

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char *text, void *out)
    const char *inet_ntop(int family, const void *address, char *out, socklen_t size)

cdef enum:
    MAPPED = 64       # slots of the direct-mapped memory of senders; a power of two
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
        return raw  # the abstract namespace
    return os.fsdecode(raw.split(b"\0", 1)[0])


cdef object decode_any(const sockaddr *address, socklen_t length):
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
    return address.sa_family, PyBytes_FromStringAndSize(<const char *>address + sizeof(unsigned short),
                                                        length - <socklen_t>sizeof(unsigned short))


def decode(bytes address):
    """The socket module's form of a sockaddr as the kernel gives it."""
    return decode_any(<const sockaddr *>PyBytes_AS_STRING(address), <socklen_t>PyBytes_GET_SIZE(address))


cdef uint32_t hash_of(const sockaddr *address, socklen_t length) noexcept:
    cdef const uint8_t *byte = <const uint8_t *>address
    cdef uint32_t h = 2166136261u  # FNV-1a
    cdef socklen_t i
    for i in range(length):
        h = (h ^ byte[i]) * 16777619u
    return h ^ (h >> 15)


cdef bytes encode_v4(tuple address):
    cdef sockaddr_in v4
    host, port = address
    if not isinstance(host, str) or not isinstance(port, int) or not 0 <= port <= 65535:
        return None
    memset(&v4, 0, sizeof(v4))
    v4.sin_family = <unsigned short>AF_INET
    v4.sin_port = htons(<uint16_t>port)
    if inet_pton(AF_INET, host.encode("utf-8", "surrogateescape"), &v4.sin_addr) != 1:
        return None
    return PyBytes_FromStringAndSize(<const char *>&v4, sizeof(v4))


cdef bytes encode_v6(tuple address):
    cdef sockaddr_in6 v6
    host, port = address[0], address[1]
    flow = address[2] if len(address) > 2 else 0
    scope = address[3] if len(address) > 3 else 0
    if not isinstance(host, str) or not isinstance(port, int) or not 0 <= port <= 65535:
        return None
    if not isinstance(flow, int) or not isinstance(scope, int) or not 0 <= flow <= 0xFFFFF or not 0 <= scope < 1 << 32:
        return None
    memset(&v6, 0, sizeof(v6))
    v6.sin6_family = <unsigned short>AF_INET6
    v6.sin6_port = htons(<uint16_t>port)
    v6.sin6_flowinfo = htonl(<uint32_t>flow)
    v6.sin6_scope_id = <uint32_t>scope
    if inet_pton(AF_INET6, host.encode("utf-8", "surrogateescape"), &v6.sin6_addr) != 1:
        return None
    return PyBytes_FromStringAndSize(<const char *>&v6, sizeof(v6))


cdef class AddressBook:
    def __cinit__(self):
        self.encoded = {}
        self.decoded = [None] * MAPPED
        self.decoded_keys = [b""] * MAPPED

    cdef object decode(self, const sockaddr *address, socklen_t length):
        cdef uint32_t at
        cdef bytes key
        if length == 0:
            return None
        at = hash_of(address, length) & (MAPPED - 1)
        key = <bytes>self.decoded_keys[at]
        if PyBytes_GET_SIZE(key) == length and memcmp(PyBytes_AS_STRING(key), address, length) == 0:
            return self.decoded[at]
        result = decode_any(address, length)
        self.decoded[at] = result
        self.decoded_keys[at] = PyBytes_FromStringAndSize(<const char *>address, length)
        return result

    cdef const sockaddr *encode(self, object address, int family, socklen_t *length) except? NULL:
        cdef bytes raw = None
        if address is self.last_given:
            raw = self.last_encoded
        elif type(address) is tuple:
            try:
                raw = self.encoded.get(address)
            except TypeError:  # something unhashable in it: the socket module will say what is wrong
                return NULL
            if raw is None:
                if family == AF_INET and len(address) == 2:
                    raw = encode_v4(address)
                elif family == AF_INET6 and 2 <= len(address) <= 4:
                    raw = encode_v6(address)
                if raw is None:
                    return NULL
                if len(self.encoded) >= ENCODED_MAX:
                    self.encoded.clear()
                self.encoded[address] = raw
            self.last_given = address
            self.last_encoded = raw
        if raw is None:
            return NULL
        length[0] = <socklen_t>PyBytes_GET_SIZE(raw)
        return <const sockaddr *>PyBytes_AS_STRING(raw)
