# cython: language_level=3
"""The common part of transports. The order of the calls is that of asyncio's selector transports."""

import logging
from asyncio import constants
from collections import deque
from weakref import ref as reference

from libc.errno cimport EAGAIN
from libc.stdint cimport uint32_t

from sfloop.native.cores.core cimport LoopCore, Sink, os_error
from sfloop.native.cores.engine cimport SF_KIND_DATAGRAM, SF_KIND_STREAM, SF_READABLE, SF_WRITABLE, sf_linger, sf_sock, sf_sock_kind
from sfloop.native.cores.stackstream cimport StackStream

cdef extern from "Python.h":
    int PyContext_Enter(object) except -1
    int PyContext_Exit(object) except -1
    object PyContext_CopyCurrent()

cdef extern from *:
    """
    #define SF_RERAISE() (-1)
    """
    int sf_reraise "SF_RERAISE" () except -1

logger = logging.getLogger("asyncio")

MOST_BYTES = <size_t>-1

cdef size_t LOST_WRITES_SHOWN = constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES


cdef int reraise() except -1:
    return sf_reraise()


cdef class Intake:
    cdef int take(self, const char *data, Py_ssize_t length) except -1:
        return 0

    cdef int deliver(self) except -1:
        return 0


cdef class TransportCore(Sink):
    def __init__(self, LoopCore loop, transport, source, bint stream, context=None):
        """:param source: a kernel descriptor, or a StackStream, which the transport takes over.
        :param context: the context of every callback of the transport (from Python 3.15 on). None: each scheduled
            callback runs in a copy of the caller's context."""
        self.transport = transport
        self.shared_context = context
        self.context = PyContext_CopyCurrent() if context is None else context
        self.set_write_limits(None, None)
        if isinstance(source, StackStream):
            loop.take_over(self, <StackStream>source)
            (<StackStream>source).taken = True
        else:
            loop.attach(self, source, SF_KIND_STREAM if stream else SF_KIND_DATAGRAM)

    # ---- references to the transport ----
    #
    # As with asyncio's selector, the loop keeps the transport alive while there may be events. Without events, when
    # reading is paused or has ended and no data waits to be written, only the program does. So the core then has a weak
    # reference to its transport, and a transport that the program drops closes its socket (SocketTransport.__del__).

    cdef object owner(self):
        if self.transport is not None or self.known is None:
            return self.transport
        return self.known()

    cdef void let_go(self) noexcept:
        if self.transport is None:
            return
        try:
            if self.known is None:
                self.known = reference(self.transport)
            self.transport = None  # this may destroy the transport
        except MemoryError:
            pass

    cdef void hold(self, bint kept) noexcept:
        if kept:
            self.transport = self.owner()
            Sink.hold(self, True)
            return
        me = self
        Sink.hold(self, False)
        if self.started:  # before that, only the handle that will start reading refers to the core
            self.let_go()

    cdef void orphan(self) noexcept:
        me = self
        Sink.orphan(self)
        self.let_go()

    def abandon(self):
        """Called when the transport was dropped without being closed. Like dispose(), and later calls have no effect.
        Returns False if the loop's thread has to do this."""
        if self.sock != NULL and self.loop.runs_elsewhere():
            return False
        self.closing = True
        self.conn_lost += 1
        self.dispose()
        return True

    cdef int serve(self, uint32_t what) except -1:
        return 0

    cdef int drop_queue(self) except -1:
        return 0

    cdef int write(self, object data) except -1:
        raise TypeError("not a stream")

    cdef int deliver_to(self, Intake intake) except -1:
        raise TypeError("not a stream")

    cdef sf_sock *open_socket(self) noexcept:
        return NULL

    cdef int send_failed(self, ssize_t error) except -1:
        return self.fatal(os_error(-error), "Fatal write error on socket transport")

    cdef int on_event(self, uint32_t what) except -1:
        if what & SF_WRITABLE and self.write_context is not None:
            if what & SF_READABLE:
                self.serve_in(self.context, SF_READABLE)
            self.serve_in(self.write_context, SF_WRITABLE)
            if not self.interest & SF_WRITABLE:
                self.write_context = None
            return 0
        return self.serve_in(self.context, what)

    cdef int serve_in(self, object context, uint32_t what) except -1:
        PyContext_Enter(context)
        try:
            self.serve(what)
        finally:
            PyContext_Exit(context)
        return 0

    cdef void expect(self, sf_linger *call) noexcept:
        if self.interest == SF_READABLE and not self.loop.debug:
            self.prepare(call)

    cdef int arrived(self, sf_linger *call) except -1:
        cdef ssize_t got = call.got
        call.got = -EAGAIN
        context = self.context
        PyContext_Enter(context)
        try:
            self.receive(call, got)
        finally:
            PyContext_Exit(context)
        return 0

    cdef void prepare(self, sf_linger *call) noexcept:
        pass

    cdef int receive(self, sf_linger *call, ssize_t got) except -1:
        return 0

    def __repr__(self):
        return repr(self.owner())

    cdef int check_usable(self) except -1:
        if self.sock == NULL and not self.conn_lost:
            raise RuntimeError("Event loop is closed")
        return 0

    @property
    def stack(self):
        """The name of the stack that carries the traffic; None once the socket was released."""
        return None if self.sock == NULL else (<bytes>self.sock.stack.ops.name).decode()

    def options_changed(self):
        """Called when the program has set an option on the kernel socket, so that the stack in its place reads the
        option."""
        if self.sock != NULL and self.sock.stack.ops.options_changed != NULL:
            self.sock.stack.ops.options_changed(self.sock)

    # ---- reading ----

    cdef bint reading(self) noexcept:
        return not self.closing and not self.paused

    def is_reading(self):
        return self.reading()

    def start_reading(self):
        """Called once, after connection_made()."""
        self.started = True
        if self.reading():
            self.want(self.interest | SF_READABLE)
        if not self.kept:
            self.let_go()

    def pause_reading(self):
        """Returns whether reading was not paused before."""
        if not self.reading():
            return False
        self.paused = True
        self.want(self.interest & ~SF_READABLE)
        return True

    def resume_reading(self):
        """Returns whether reading was paused before."""
        if self.closing or not self.paused:
            return False
        self.paused = False
        if self.shared_context is None:
            self.context = PyContext_CopyCurrent()
        if self.started:
            self.want(self.interest | SF_READABLE)
        return True

    # ---- flow control (asyncio: Transports and Protocols, "Write flow control") ----

    def set_write_limits(self, high, low):
        if high is None:
            high = 64 * 1024 if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self.high = min(high, MOST_BYTES)  # a program that wants no limit may give any number
        self.low = min(low, MOST_BYTES)
        self.maybe_pause_protocol()

    def get_write_limits(self):
        return self.low, self.high

    cdef int maybe_pause_protocol(self) except -1:
        if self.queued <= self.high or self.protocol_paused:
            return 0
        self.protocol_paused = True
        try:
            self.protocol.pause_writing()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.protocol_reported(exc, "protocol.pause_writing() failed")
        return 0

    cdef int maybe_resume_protocol(self) except -1:
        if not self.protocol_paused or self.queued > self.low:
            return 0
        self.protocol_paused = False
        try:
            self.protocol.resume_writing()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.protocol_reported(exc, "protocol.resume_writing() failed")
        return 0

    def protocol_reported(self, exc, message):
        self.loop.call_exception_handler({
            "message": message,
            "exception": exc,
            "transport": self.owner(),
            "protocol": self.protocol,
        })

    cdef int note_lost_write(self) except -1:
        if self.conn_lost >= LOST_WRITES_SHOWN:
            logger.warning("socket.send() raised exception.")
        self.conn_lost += 1
        return 0

    cdef int want_to_write(self) except -1:
        """Wait until the socket takes data. Copies the context, because asyncio adds a writer at this point."""
        self.want(self.interest | SF_WRITABLE)
        if self.shared_context is None:
            self.write_context = PyContext_CopyCurrent()
        return 0

    # ---- the end ----

    cdef int protocol_failed(self, str message) except -1:
        """Called when the protocol's callback has raised. Ends the connection, except for SystemExit and
        KeyboardInterrupt."""
        try:
            reraise()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.fatal(exc, message)
        return 0

    cdef int fatal(self, object exc, str message) except -1:
        transport = self.owner()
        if transport is not None:
            transport._fatal_error(exc, message)
        return 0

    cdef int finish_if_drained(self) except -1:
        """Called after a write. Closes if close() was waiting for the buffer to drain. If the connection was lost
        meanwhile, connection_lost() is already scheduled."""
        if self.closing and not self.conn_lost:
            self.conn_lost += 1
            self.owner()._call_connection_lost(None)
        return 0

    cdef object closed_by(self, object transport):
        """The public object. The garbage collector may have separated it from its core, if a finalizer calls this."""
        if self.owner() is None:
            self.transport = transport
        return self.owner()

    def close(self, caller=None):
        if self.closing:
            return
        transport = self.closed_by(caller)
        self.closing = True
        self.want(self.interest & ~SF_READABLE)
        if not self.has_queue():
            self.conn_lost += 1
            self.want(0)
            self.loop.call_soon(transport._call_connection_lost, None, context=self.shared_context)

    def has_queue(self):
        return self.queued > 0

    def force_close(self, exc, caller=None):
        if self.conn_lost:
            return
        transport = self.closed_by(caller)
        self.drop_queue()
        self.closing = True
        self.want(0)
        self.conn_lost += 1
        self.loop.call_soon(transport._call_connection_lost, exc, context=self.shared_context)

    def dispose(self):
        """Called after connection_lost(). Gives the socket's slot back, and drops the core's references."""
        self.drop_queue()
        self.release()
        self.transport = self.known = self.write_context = None
        self.forget_protocol()

    def forget_protocol(self):
        self.protocol = None

    def get_transport(self):
        return self.owner()

    def get_protocol(self):
        return self.protocol

    @property
    def is_watching(self):
        """(readable, writable): the events that the kernel is asked to report."""
        return bool(self.interest & SF_READABLE), bool(self.interest & SF_WRITABLE)


cdef class MessageCore(TransportCore):
    def __cinit__(self, *args):
        self.queue = deque()
        self.undelivered = deque()

    cdef int flushed(self) except -1:
        self.maybe_resume_protocol()
        if not self.queue and self.sock != NULL:
            self.want(self.interest & ~SF_WRITABLE)
            self.finish_if_drained()
        return 0

    cdef int drop_queue(self) except -1:
        self.queue.clear()
        self.undelivered.clear()
        self.queued = 0
        return 0

    def has_queue(self):
        return len(self.queue) > 0
