"""The contract between the loop core and the transport cores."""

from libc.stdint cimport uint32_t

from sfloop.native.engine.engine cimport sf_engine, sf_sock, sf_sock_kind


cdef class LoopCore:
    cdef sf_engine *engine
    cdef list sinks           # by slot; None where the slot is free
    cdef dict watches         # descriptor -> Watch
    cdef bint closed
    cdef bint debug
    cdef bint stopping
    cdef bint polled_events   # the last poll found some
    cdef size_t cancelled     # timers cancelled and still in the heap
    cdef object __weakref__

    cdef int attach(self, Sink sink, int fd, sf_sock_kind kind) except -1
    cdef void detach(self, Sink sink) noexcept
    cdef int check_open(self) except -1
    cdef int turn(self) except -1
    cdef int gather(self) except -1
    cdef int dispatch(self) except -1
    cdef int dispatch_debugged(self, Sink sink, uint32_t what) except -1
    cdef int run_timers(self) except -1
    cdef int run_ready(self) except -1
    cdef int run_debugged(self, object handle) except -1
    cdef int sweep_timers(self) except -1
    cdef int push_ready(self, object handle) except -1
    cdef object new_call(self, object callback, object args, object context)
    cdef Watch watch(self, object fileobj)
    cdef Watch find_watch(self, object fileobj)
    cdef void discard_all(self) noexcept


cdef class Sink:
    """Whatever takes the events of one socket: a transport's core, a listener, a watched descriptor."""

    cdef LoopCore loop
    cdef sf_sock *sock        # NULL once it is released
    cdef uint32_t slot
    cdef uint32_t interest

    cdef int on_event(self, uint32_t what) except -1
    cdef int want(self, uint32_t what) except -1
    cdef void release(self) noexcept
    # The loop was closed under the sink: nothing of the engine may be touched any more.
    cdef void orphan(self) noexcept


cdef class Watch(Sink):
    cdef int fd
    cdef object fileobj           # what add_reader or add_writer was given: it may be closed before it is removed
    cdef object reader, writer    # handles


cdef object os_error(int error)
