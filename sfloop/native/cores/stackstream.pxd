"""Streams and listeners of bypass stacks. They have no descriptors, so objects represent them."""

from sfloop.native.cores.core cimport Sink


cdef class StackStream(Sink):
    """A connection that no transport uses yet."""

    cdef object waiter          # a future while the stream is connecting
    cdef public bint taken      # a transport has taken it over
    cdef int finish(self, object exc) except -1
