"""Sinks that listen: for a kernel socket (listener.pyx), or for one stack's part of it (stackstream.pyx)."""

from sfloop.native.cores.core cimport Sink


cdef class ListeningSink(Sink):
    """Tells its owner when a connection can be accepted. A derived class has on_event() and accept()."""

    cdef object on_acceptable
    cdef object context         # the context of the caller of create_server(), as in asyncio
    cdef readonly bytes peer    # the address of the connection that was accepted last, in the kernel's form

    # Called once the sink has its socket.
    cdef int begin(self, object on_acceptable) except -1
