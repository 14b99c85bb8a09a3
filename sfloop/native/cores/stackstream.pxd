"""Streams and listeners of stacks that bypass the kernel: no descriptors, so that objects stand for them."""

from sfloop.native.cores.core cimport Sink


cdef class StackStream(Sink):
    """A connection that no transport uses yet."""

    cdef object waiter          # a future while it is connecting
    cdef public bint taken      # a transport has taken it over
    cdef int finish(self, object exc) except -1
