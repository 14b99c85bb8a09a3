"""Socket addresses between the kernel's form and Python's."""

from sfloop.native.cores.engine cimport sockaddr, socklen_t

cdef class AddressBook:
    cdef dict encoded          # Python address -> bytes of its sockaddr
    cdef object last_given     # the address encoded last, and its sockaddr
    cdef bytes last_encoded
    cdef list decoded          # direct mapped: addresses that datagrams came from
    cdef list decoded_keys

    # fd: the socket that the address came from.
    cdef object decode(self, const sockaddr *address, socklen_t length, int fd)
    # NULL if the address is for the socket module to judge (names to resolve, other families).
    cdef const sockaddr *encode(self, object address, int family, socklen_t *length) except? NULL


# Whether the addresses of a family are converted here; the socket module has to be asked for those of others.
cdef bint is_decoded(int family) noexcept
# Decodes as AddressBook.decode() does, without remembering.
cdef object decode_any(const sockaddr *address, socklen_t length, int fd)
cpdef int check_path(path) except -1
