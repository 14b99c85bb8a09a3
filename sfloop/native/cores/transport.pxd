"""The common part of transports: a protocol, its context, flow control, and the end."""

from libc.stdint cimport uint32_t

from sfloop.native.cores.core cimport LoopCore, Sink
from sfloop.native.cores.engine cimport sf_linger, sf_sock


cdef class Intake:
    """Takes the received data of a stream in place of its protocol."""

    # Process the data, which is lent until this returns. Callbacks that may use the stream must wait for deliver().
    cdef int take(self, const char *data, Py_ssize_t length) except -1
    # Called next, when the stack has its memory back.
    cdef int deliver(self) except -1


cdef class TransportCore(Sink):
    cdef object transport       # the public object, while events may come for it; else None: see owner()
    cdef object known           # a weak reference to it, made on first use; None after connection_lost
    cdef object protocol
    # As in asyncio, from Python 3.15 on every callback runs in shared_context. If that is None, the callbacks of an
    # event run in a copy of the context in which reading began, or in which the waiting data was written.
    cdef readonly object shared_context
    cdef object context         # for reading; for writing, too, if write_context is None
    cdef object write_context
    cdef readonly bint started  # connection_made was called, so reading may begin
    cdef readonly bint paused
    cdef readonly bint closing
    cdef readonly bint protocol_paused
    cdef readonly size_t conn_lost   # > 0: connection_lost was called or scheduled; also counts later writes
    cdef readonly size_t queued      # bytes in the write buffer
    cdef size_t high, low

    # The public object, or None after connection_lost. A caller that removes the last interest must hold it meanwhile.
    cdef object owner(self)
    cdef object closed_by(self, object transport)
    cdef void let_go(self) noexcept

    # For the derived classes.
    cdef int serve(self, uint32_t what) except -1
    # Like expect() and arrived() of a sink, but within the context.
    cdef void prepare(self, sf_linger *call) noexcept
    cdef int receive(self, sf_linger *call, ssize_t got) except -1
    cdef int drop_queue(self) except -1
    # Streams only. write() is the transport's. deliver_to() passes received data to an intake instead of the protocol,
    # until the next set_protocol(). open_socket() returns the socket if data can be sent on it at once, without write().
    # An error of that is passed to send_failed().
    cdef int write(self, object data) except -1
    cdef int deliver_to(self, Intake intake) except -1
    cdef sf_sock *open_socket(self) noexcept
    cdef int send_failed(self, ssize_t error) except -1
    cdef bint reading(self) noexcept
    cdef int check_usable(self) except -1
    # Call this only right after a C-API call of the protocol's callback has failed, while its exception is set.
    cdef int protocol_failed(self, str message) except -1
    cdef int fatal(self, object exc, str message) except -1
    cdef int note_lost_write(self) except -1
    cdef int serve_in(self, object context, uint32_t what) except -1
    cdef int want_to_write(self) except -1
    cdef int maybe_pause_protocol(self) except -1
    cdef int maybe_resume_protocol(self) except -1
    cdef int finish_if_drained(self) except -1


cdef class MessageCore(TransportCore):
    """The common part of transports whose data are messages: datagrams and Ethernet frames. Each writes its own loops over
    messages, because a shared loop would make one more call for each of them."""

    cdef object queue           # deque of what waits to be sent
    cdef object undelivered     # deque of what was received, but not delivered, because the run or the reading ended

    # The end of flush(). The caller holds the transport.
    cdef int flushed(self) except -1


# Call this only right after a C-API call has failed: `try` then catches the exception that is set.
cdef int reraise() except -1
