# cython: language_level=3
"""The stream transport's hot path: receive into data_received(), and write() into send."""

from asyncio import protocols

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.errno cimport EAGAIN
from libc.stdint cimport uint32_t

from sfloop.native.cores.core cimport LoopCore, os_error
from sfloop.native.cores.engine cimport SF_READABLE, SF_WRITABLE, iovec, sf_linger, sf_sock
from sfloop.native.cores.transport cimport Intake, TransportCore
from sfloop.native.cores.unfilled cimport PyBytes_AS_STRING_, PyBytes_FromStringAndSize_, _PyBytes_Resize

cdef extern from "Python.h":
    PyObject *PyObject_CallOneArg(object, object) noexcept

cdef enum:
    IOV_MAX = 64
    COMPACT_AT = 256    # written entries after which the queue's list is shortened
    LARGE = 16 * 1024   # bytes from which on to avoid a copy
    # Less than glibc's mmap threshold, because a mapping of its own for each read would cost three system calls.
    LARGE_READ = 96 * 1024

cdef Py_ssize_t live_cores = 0
cdef object _BufferedProtocol = protocols.BufferedProtocol


def live():
    """The number of live stream transports of this process."""
    return live_cores


cdef class StreamCore(TransportCore):
    cdef object data_received     # the protocol's bound method
    cdef Intake intake            # receives in place of the protocol; None: there is none
    cdef bint buffered
    cdef bint reads_large         # the last read was large
    cdef bint eof
    cdef list queue               # bytes objects, made on first use; entries before `head` are written
    cdef Py_ssize_t head
    cdef Py_ssize_t head_offset   # bytes of queue[head] that are written
    cdef object empty_waiter

    def __cinit__(self, *args):
        global live_cores
        live_cores += 1

    def __dealloc__(self):
        global live_cores
        live_cores -= 1
        self.leave()

    def set_protocol(self, protocol):
        # A protocol without data_received may still write; the missing method is reported when data arrives. As in
        # uvloop, a protocol that has the methods of a buffered protocol without its base class is treated as one.
        data_received = getattr(protocol, "data_received", None)
        self.buffered = isinstance(protocol, _BufferedProtocol) or (
            data_received is None and hasattr(protocol, "get_buffer"))
        self.protocol = protocol
        self.data_received = None if self.buffered else data_received
        self.intake = None

    cdef int deliver_to(self, Intake intake) except -1:
        self.buffered = self.reads_large = False
        self.intake = intake
        return 0

    def forget_protocol(self):
        self.protocol = None
        self.data_received = self.intake = None

    cdef int serve(self, uint32_t what) except -1:
        if what & SF_READABLE and self.interest & SF_READABLE:
            if self.buffered:
                self.read_into_buffer()
            else:
                self.read()
        if what & SF_WRITABLE and self.interest & SF_WRITABLE:
            self.flush()
        return 0

    # ---- reading ----

    cdef int read(self) except -1:
        cdef const void *data
        cdef ssize_t n
        if self.reads_large:
            return self.read_large()
        n = self.sock.stack.ops.recv_borrow(self.sock, &data)
        if n <= 0:
            return self.read_ended(n)
        if self.intake is not None:
            return self.take_in(<const char *>data, n)
        self.reads_large = n >= LARGE
        payload = PyBytes_FromStringAndSize(<const char *>data, n)
        self.sock.stack.ops.recv_done(self.sock, n)
        return self.deliver(payload)

    cdef void prepare(self, sf_linger *call) noexcept:
        if not self.buffered and not self.reads_large:
            call.sock = self.sock
            call.datagram = NULL
            call.buf = NULL

    cdef int receive(self, sf_linger *call, ssize_t got) except -1:
        if got <= 0:
            return self.read_ended(got)
        if self.intake is not None:
            return self.take_in(<const char *>call.lent, got)
        self.reads_large = got >= LARGE
        payload = PyBytes_FromStringAndSize(<const char *>call.lent, got)
        self.sock.stack.ops.recv_done(self.sock, got)
        return self.deliver(payload)

    cdef int take_in(self, const char *lent, Py_ssize_t length) except -1:
        intake = self.intake  # the callbacks may end the connection
        try:
            intake.take(lent, length)
        finally:
            if self.sock != NULL:
                self.sock.stack.ops.recv_done(self.sock, length)
        return intake.deliver()

    cdef int read_large(self) except -1:
        """Receive directly into the bytes object. A small read is copied, because that is cheaper than to shrink a
        bytes object."""
        cdef PyObject *payload = PyBytes_FromStringAndSize_(NULL, LARGE_READ)
        cdef ssize_t n
        if payload == NULL:
            raise MemoryError()
        n = self.sock.stack.ops.recv_into(self.sock, PyBytes_AS_STRING_(payload), LARGE_READ)
        if n <= 0:
            Py_XDECREF(payload)
            return self.read_ended(n)
        self.reads_large = n >= LARGE
        if n < LARGE_READ and _PyBytes_Resize(&payload, n) < 0:
            raise MemoryError()
        data = <object>payload
        Py_XDECREF(payload)
        return self.deliver(data)

    cdef int deliver(self, object payload) except -1:
        cdef PyObject *result
        if self.data_received is None:
            return self.data_received_missing()
        result = PyObject_CallOneArg(self.data_received, payload)
        if result == NULL:
            return self.protocol_failed("Fatal error: protocol.data_received() call failed.")
        Py_XDECREF(result)
        return 0

    cdef int data_received_missing(self) except -1:
        return self.fatal(AttributeError(f"{type(self.protocol).__name__!r} object has no attribute 'data_received'"),
                          "Fatal error: protocol.data_received() call failed.")

    cdef int read_into_buffer(self) except -1:
        cdef Py_buffer view
        cdef ssize_t n
        try:
            buffer = self.protocol.get_buffer(-1)
            if not len(buffer):
                raise RuntimeError("get_buffer() returned an empty buffer")
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            return self.fatal(exc, "Fatal error: protocol.get_buffer() call failed.")
        if self.sock == NULL:  # get_buffer() may have closed the transport
            return 0
        try:
            PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        except BaseException as exc:
            return self.fatal(exc, "Fatal read error on socket transport")
        n = self.sock.stack.ops.recv_into(self.sock, view.buf, view.len)
        PyBuffer_Release(&view)
        if n <= 0:
            return self.read_ended(n)
        try:
            self.protocol.buffer_updated(n)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.fatal(exc, "Fatal error: protocol.buffer_updated() call failed.")
        return 0

    cdef int read_ended(self, ssize_t n) except -1:
        if n == -EAGAIN:
            return 0
        if n < 0:
            return self.fatal(os_error(-n), "Fatal read error on socket transport")
        try:
            keep_open = self.protocol.eof_received()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            return self.fatal(exc, "Fatal error: protocol.eof_received() call failed.")
        if keep_open:
            # No data will follow, but the protocol may still write.
            self.want(self.interest & ~SF_READABLE)
        else:
            self.close()
        return 0

    # ---- writing ----

    cdef int check_writable(self, str method) except -1:
        if self.eof:
            raise RuntimeError(f"Cannot call {method}() after write_eof()")
        if self.empty_waiter is not None:
            raise RuntimeError(f"unable to {method}; sendfile is in progress")
        return 0

    cdef int write(self, object data) except -1:
        cdef Py_buffer view
        cdef const char *start
        cdef Py_ssize_t length, sent
        if PyBytes_CheckExact(data):
            start = PyBytes_AS_STRING(data)
            length = PyBytes_GET_SIZE(data)
            sent = self.send_now(start, length)
        elif isinstance(data, (bytes, bytearray, memoryview)):
            if isinstance(data, memoryview) and not data.c_contiguous:
                data = data.tobytes()
            PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
            try:
                length = view.len
                sent = self.send_now(<const char *>view.buf, length)
                if 0 <= sent < length:
                    # Copy the rest, because the caller may change its buffer.
                    data = PyBytes_FromStringAndSize(<const char *>view.buf + sent, length - sent)
                    length -= sent
                    sent = 0
            finally:
                PyBuffer_Release(&view)
        else:
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if sent < 0 or sent == length:
            return 0
        if not self.queue:
            self.queue = []
            self.head_offset = sent
            self.want_to_write()
        self.queue.append(data)
        self.queued += length - sent
        self.maybe_pause_protocol()
        return 0

    cdef Py_ssize_t send_now(self, const char *start, Py_ssize_t length) except? -2:
        """Returns the bytes sent. 0: the data has to be queued. -1: the data is not needed any more."""
        cdef iovec iov
        cdef ssize_t sent
        if self.eof or self.empty_waiter is not None:
            self.check_writable("write")
        if length == 0:
            return -1
        if self.conn_lost:
            self.note_lost_write()
            return -1
        if self.queue:
            return 0
        if self.sock == NULL:
            self.check_usable()
        iov.iov_base = <void *>start
        iov.iov_len = length
        sent = self.sock.stack.ops.sendv(self.sock, &iov, 1)
        if sent >= 0:
            return sent
        if sent == -EAGAIN:
            return 0
        self.send_failed(sent)
        return -1

    cdef sf_sock *open_socket(self) noexcept:
        if self.eof or self.empty_waiter is not None or self.conn_lost or self.queue:
            return NULL
        return self.sock

    def writelines(self, list_of_data):
        cdef bytes piece
        cdef list pieces
        self.check_writable("writelines")
        pieces = [bytes(memoryview(data)) for data in list_of_data]
        if self.conn_lost:
            if pieces:
                self.note_lost_write()
            return
        self.check_usable()
        was_empty = not self.queue
        if self.queue is None:
            self.queue = []
        for piece in pieces:
            if piece:
                self.queue.append(piece)
                self.queued += len(piece)
        if not self.queue:
            return
        if was_empty:
            self.want_to_write()
            self.flush()
        self.maybe_pause_protocol()

    cdef ssize_t send_queue(self) except? -1:
        """Returns the bytes of the buffer that were sent, or -errno."""
        cdef iovec[IOV_MAX] iov
        cdef Py_ssize_t i, count
        count = min(len(self.queue) - self.head, IOV_MAX)
        for i in range(count):
            piece = self.queue[self.head + i]
            iov[i].iov_base = PyBytes_AS_STRING(piece)
            iov[i].iov_len = PyBytes_GET_SIZE(piece)
        iov[0].iov_base = <char *>iov[0].iov_base + self.head_offset
        iov[0].iov_len -= self.head_offset
        return self.sock.stack.ops.sendv(self.sock, iov, <int>count)

    cdef int flush(self) except -1:
        cdef ssize_t sent
        if self.conn_lost:
            return 0
        transport = self.owner()  # keep the transport alive, because without waiting data only this call may hold it
        if not self.queue:
            return self.drained()  # a sendfile waits for room, or resume_writing() raised an exit request
        sent = self.send_queue()
        if sent == -EAGAIN:
            return 0
        if sent < 0:
            return self.flush_failed(os_error(-sent))
        self.advance(sent)
        self.maybe_resume_protocol()  # the callback may write, close, or lose the connection
        if not self.queue and self.sock != NULL and not self.conn_lost:
            self.drained()
        return 0

    cdef int advance(self, Py_ssize_t sent) except -1:
        cdef Py_ssize_t left
        self.queued -= sent
        while sent:
            left = PyBytes_GET_SIZE(self.queue[self.head]) - self.head_offset
            if sent < left:
                self.head_offset += sent
                break
            sent -= left
            self.queue[self.head] = None
            self.head += 1
            self.head_offset = 0
        if self.head == len(self.queue):
            self.queue.clear()
            self.head = 0
        elif self.head >= COMPACT_AT:
            del self.queue[:self.head]
            self.head = 0
        return 0

    cdef int drained(self) except -1:
        self.want(self.interest & ~SF_WRITABLE)
        if self.empty_waiter is not None and not self.empty_waiter.done():
            self.empty_waiter.set_result(None)
        if self.closing:
            self.finish_if_drained()
        elif self.eof and self.empty_waiter is None:
            self.shutdown()
        return 0

    cdef int flush_failed(self, object exc) except -1:
        self.drop_queue()
        self.want(self.interest & ~SF_WRITABLE)
        self.fatal(exc, "Fatal write error on socket transport")
        if self.empty_waiter is not None and not self.empty_waiter.done():
            self.empty_waiter.set_exception(exc)
        return 0

    cdef bint wind_up(self) except -1:
        cdef ssize_t sent
        while self.queue:
            sent = self.send_queue()
            if sent == -EAGAIN:
                return True
            if sent < 0:
                break
            self.advance(sent)
        self.drop_queue()
        self.release()
        return False

    cdef int drop_queue(self) except -1:
        self.queue = None
        self.head = self.head_offset = 0
        self.queued = 0
        return 0

    def has_queue(self):
        return bool(self.queue)

    def write_eof(self):
        if self.closing or self.eof:
            return
        self.eof = True
        if not self.queue and self.empty_waiter is None:  # a sendfile in progress shuts down at its end
            self.shutdown()

    cdef int shutdown(self) except -1:
        cdef int rc
        self.check_usable()
        rc = self.sock.stack.ops.shutdown_tx(self.sock)
        if rc < 0:
            raise os_error(-rc)
        return 0

    # ---- the waiter of sendfile, as in asyncio's transports; while it exists, write() raises ----

    def make_empty_waiter(self):
        """A future that is done when the write buffer is empty."""
        self.check_writable("sendfile")
        self.check_usable()
        self.empty_waiter = self.loop.create_future()
        if not self.queue:
            self.empty_waiter.set_result(None)
        return self.empty_waiter

    def make_room_waiter(self):
        """Replace the waiter by one that is done when the socket takes bytes again."""
        if self.conn_lost:
            raise ConnectionError("Connection is closed by peer")
        self.empty_waiter = self.loop.create_future()
        self.want(self.interest | SF_WRITABLE)
        return self.empty_waiter

    def reset_empty_waiter(self):
        self.empty_waiter = None
        if self.queue or self.conn_lost or self.sock == NULL:
            return
        self.want(self.interest & ~SF_WRITABLE)
        if self.eof:
            try:
                self.shutdown()
            except OSError as exc:
                self.fatal(exc, "Fatal write error on socket transport")

    def fail_empty_waiter(self):
        if self.empty_waiter is not None and not self.empty_waiter.done():
            self.empty_waiter.set_exception(ConnectionError("Connection is closed by peer"))


# A method of the Python class StreamTransport. It is a function here so that a write costs no Python frame.

def write(self, data):
    """Send as much as the stack takes now, and buffer the rest (asyncio: WriteTransport.write). Never blocks.

    :param data: bytes, bytearray or memoryview. The caller may change it once write() has returned.
    :raises TypeError: data is not bytes-like.
    :raises RuntimeError: write_eof() was called, a sendfile is in progress, or the loop is closed.
    """
    cdef StreamCore core = self._core
    core.write(data)
