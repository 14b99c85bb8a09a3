"""Views of a stack's memory, which are valid while a callback runs."""

from libc.stdint cimport uint32_t

from sfloop.native.cores.core cimport LoopCore


cdef class Loan:
    cdef list views
    cdef list pieces

    cdef object view(self, const void *data, uint32_t length)
    cdef bint end(self, LoopCore loop) except -1


# The error to report if end() has returned False: of a protocol's method that got a list of pairs with a view first, each
# for one `what`.
cdef object kept_view(str method, str what)
