"""Watched descriptors, and the loop that watches them."""

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

from sfloop.native.cores.core cimport LoopCore, Sink
from sfloop.native.cores.engine cimport sf_linger


cdef class WatchingCore(LoopCore):
    cdef dict watches             # descriptor -> Watch
    cdef char *lingering          # receive buffer for use without the GIL; NULL until the first wait

    cdef Watch watch(self, object fileobj)
    cdef Watch find_watch(self, object fileobj)
    cdef Watch watch_of_socket(self, object sock)
    cdef int own(self, Watch watch, object sock) except -1
    cdef Watch set_handle(self, Watch watch, uint32_t what, object handle)
    cdef int tell(self, Watch watch, uint32_t interest) except? -2
    cdef bint comes_at_once(self, Watch watch, sf_linger *call) except -1
    cdef object linger_for(self, Watch watch, Py_ssize_t size)
    cdef Py_ssize_t linger_into(self, Watch watch, object buffer) except? -2
    cdef Receiving wait_to_receive(self, Watch watch, object sock, Py_ssize_t size, bint addressed, object buffer)
    cdef int forget(self, Watch watch) except -1
    cdef int drop(self, Watch watch) except -1


cdef class Watch(Sink):
    cdef int fd
    cdef object fileobj           # the argument of add_reader or add_writer; it may be closed before it is removed
    cdef object reader, writer    # handles
    cdef object owner             # weak reference to the socket.socket whose sock_* calls use the watch
    cdef PyObject *owned          # that socket, for comparison only; valid while the socket lives
    cdef bint told                # the kernel has the current interest for the owner's descriptor
    cdef bint stream
    cdef bint decoded             # this module converts the addresses of the owner's family
    cdef bint internet            # IPv4 or IPv6: a datagram has at most 64 KiB
    cdef bint drained             # the owner's last read emptied the socket
    cdef bint reads_large         # the owner's last read was large

    cdef int nobody_waits(self) except -1
    cdef bint asks_python(self, Py_ssize_t size, bint addressed) noexcept
    cdef object receive(self, Py_ssize_t size, bint addressed)
    cdef object receive_directly(self, Py_ssize_t size)
    cdef object receive_pieces(self, Py_ssize_t size, bint addressed)
    cdef Py_ssize_t receive_into(self, object buffer) except? -2
    cdef Py_ssize_t note_received(self, ssize_t n, Py_ssize_t asked) except? -2


cdef class Receiving:
    cdef Watch watch
    cdef readonly object future
    cdef object sock
    cdef object handle
    cdef object buffer      # None: sock_recv() or sock_recvfrom()
    cdef Py_ssize_t size
    cdef bint addressed     # sock_recvfrom()


# The descriptor of a number or of an object with fileno(). Raises ValueError for anything else.
cdef int descriptor_of(object fileobj) except -1
