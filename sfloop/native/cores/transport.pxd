"""What stream and datagram transports share: a protocol, its context, flow control, and the ways to end."""

from libc.stdint cimport uint32_t

from sfloop.native.cores.core cimport LoopCore, Sink
from sfloop.native.cores.engine cimport sf_linger


cdef class TransportCore(Sink):
    cdef object transport       # the public object, while events may come for it; else None: see owner()
    cdef object known           # a weak reference to it, made when it was first needed; None after connection_lost
    cdef object protocol
    # As in asyncio: from Python 3.15 every callback runs in shared_context. Where that is None, what an event brings is
    # given to the protocol in a copy of the context of whoever began to read, or wrote what had to wait.
    cdef readonly object shared_context
    cdef object context         # for reading, and for writing too where write_context is None
    cdef object write_context
    cdef readonly bint started  # connection_made has been called and reading may begin
    cdef readonly bint paused
    cdef readonly bint closing
    cdef readonly bint protocol_paused
    cdef readonly size_t conn_lost   # > 0: connection_lost is called or scheduled; counts the writes since
    cdef readonly size_t queued      # bytes in the write buffer
    cdef size_t high, low

    # The public object, or None after connection_lost. Whoever takes away the last interest holds it meanwhile.
    cdef object owner(self)
    cdef object closed_by(self, object transport)
    cdef void let_go(self) noexcept

    # For the derived cores.
    cdef int serve(self, uint32_t what) except -1
    # As expect() and arrived() of a sink, within the context.
    cdef void prepare(self, sf_linger *call) noexcept
    cdef int receive(self, sf_linger *call, ssize_t got) except -1
    cdef int drop_queue(self) except -1
    # Of a stream: as write() of the transport; and to have what is received given to a callable in place of the protocol, until
    # the next set_protocol().
    cdef int write(self, object data) except -1
    cdef int deliver_to(self, object data_received) except -1
    cdef bint reading(self) noexcept
    cdef int check_usable(self) except -1
    # Right after a C-API call of the protocol's callback has failed, and nowhere else: the exception is still to be caught.
    cdef int protocol_failed(self, str message) except -1
    cdef int fatal(self, object exc, str message) except -1
    cdef int note_lost_write(self) except -1
    cdef int serve_in(self, object context, uint32_t what) except -1
    cdef int want_to_write(self) except -1
    cdef int maybe_pause_protocol(self) except -1
    cdef int maybe_resume_protocol(self) except -1
    cdef int finish_if_drained(self) except -1


# For use right after a C-API call that failed: lets the exception that it has set be caught by `try`.
cdef int reraise() except -1
