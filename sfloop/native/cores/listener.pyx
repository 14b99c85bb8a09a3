# cython: language_level=3
"""Listeners: what kernel sockets and bypass stacks have in common, and the listener on a kernel socket."""

from contextvars import copy_context

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN
from libc.stdint cimport uint32_t

from sfloop.native.cores.core cimport LoopCore, Sink, os_error
from sfloop.native.cores.descriptors cimport descriptor_of
from sfloop.native.cores.engine cimport SF_KIND_LISTENER, SF_READABLE, sockaddr, sockaddr_storage, socklen_t


cdef class ListeningSink(Sink):
    def __dealloc__(self):
        self.leave()

    def __repr__(self):
        return f"<{type(self).__name__} of {self.on_acceptable!r}>"

    cdef int begin(self, object on_acceptable) except -1:
        self.on_acceptable = on_acceptable
        self.context = copy_context()
        return self.want(SF_READABLE)

    def pause(self):
        self.want(0)

    def resume(self):
        self.want(SF_READABLE)

    def close(self):
        self.on_acceptable = None
        self.release()

    @property
    def closed(self):
        return self.sock == NULL


cdef class ListenerCore(ListeningSink):
    def __init__(self, LoopCore loop, fd, on_acceptable):
        loop.attach(self, descriptor_of(fd), SF_KIND_LISTENER)
        self.begin(on_acceptable)

    cdef int on_event(self, uint32_t what) except -1:
        self.context.run(self.on_acceptable)
        return 0

    def accept(self):
        """Accept a connection. Returns its descriptor, or -1 if there is none. Raises OSError, such as EMFILE."""
        cdef sockaddr_storage address
        cdef socklen_t length
        cdef int fd
        if self.sock == NULL:
            return -1
        length = sizeof(address)
        fd = self.sock.stack.ops.accept(self.sock, <sockaddr *>&address, &length)
        if fd == -EAGAIN:
            return -1
        if fd < 0:
            raise os_error(-fd)
        self.peer = PyBytes_FromStringAndSize(<const char *>&address, min(length, sizeof(address)))
        return fd
