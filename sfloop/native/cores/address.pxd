"""Conversion of socket addresses between the kernel's form and Python's."""

from sfloop.native.cores.engine cimport sockaddr, socklen_t

cdef class AddressBook:
    cdef dict encoded          # Python address -> bytes of its sockaddr
    cdef object last_given  # the address that was encoded last
    cdef bytes last_encoded
    cdef bint maps  # convert IPv4 addresses to the form of IPv6 sockets, ::ffff:a.b.c.d
    cdef list decoded  # direct-mapped cache: addresses of senders
    cdef list decoded_keys

    # fd: the socket that received the address.
    cdef object decode(self, const sockaddr *address, socklen_t length, int fd)
    # NULL: leave the address to the socket module (names to resolve, other families).
    cdef const sockaddr *encode(self, object address, int family, socklen_t *length) except? NULL


# Whether this module converts the addresses of a family. Leave other families to the socket module.
cdef bint is_decoded(int family) noexcept
# Like AddressBook.decode(), but without the cache.
cdef object decode_any(const sockaddr *address, socklen_t length, int fd)
cpdef int check_path(path) except -1
