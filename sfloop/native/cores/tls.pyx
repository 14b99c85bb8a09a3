# cython: language_level=3
"""The records of a TLS connection, between the stream core and the program's protocol, without Python code between.

The TLS protocol (transports/tlsprotocol.py) does everything that is rare: the handshake, the end of the session, flow
control, errors. This module uses its SSLObject and memory BIOs through a session of tls_session.pyx, and leaves them in
a state in which the next call may be Python's. It handles only plain traffic of an open session.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.errno cimport EAGAIN

from sfloop.native.cores.tls_session cimport Session, session_of
from sfloop.native.cores.transport cimport TransportCore
from sfloop.native.cores.unfilled cimport PyBytes_AS_STRING_, PyBytes_FromStringAndSize_, _PyBytes_Resize

cdef enum:
    RECORD = 16 * 1024    # the most plaintext in one record
    LARGE = 8 * 1024      # bytes of ciphertext from which on the memory that they took is given back


cdef class Records:
    """The records of one connection. Made when the connection below TLS is made; the handshake may follow later."""

    cdef Session session
    cdef TransportCore wire
    cdef object protocol          # the TLS protocol
    cdef object write_by_python   # the transport's own method
    cdef object shrinking         # the timer of shrink()

    @staticmethod
    def attach(protocol, transport, TransportCore wire not None):
        """Put records between the core of the connection below and the TLS protocol. Returns None if that is not
        possible.

        :param transport: the program's transport. Its write() is called when the native one cannot be used.
        """
        cdef Records self = Records.__new__(Records)
        self.session = session_of(protocol)
        if self.session is None:
            return None
        self.wire = wire
        self.protocol = protocol
        self.write_by_python = transport.write
        wire.deliver_to(self.data_received)
        return self

    def detach(self):
        """Called when the connection below is lost. Python's method drops data that is written later."""
        if self.shrinking is not None:
            self.shrinking.cancel()
        self.wire = None
        self.protocol = self.session = None

    cdef bint established(self) except -1:
        """Whether the session is open and no older data has to be sent first."""
        protocol = self.protocol
        return self.wire is not None and protocol._open and not protocol._write_backlog

    cdef int shrink_later(self) except -1:
        self.shrinking = self.wire.loop.call_later(1.0, self.shrink)
        return 0

    def shrink(self):
        """Free an idle connection's memory for records. On a busy connection this runs once a second."""
        self.shrinking = None
        if self.wire is not None:
            self.session.shrink()

    # ---- reading ----

    def data_received(self, data):
        """Called with ciphertext from the connection below."""
        cdef bytes payload = data
        cdef Session session = self.session
        protocol = self.protocol
        if self.wire is None:
            return
        session.put(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))
        if PyBytes_GET_SIZE(payload) > LARGE and self.shrinking is None:
            self.shrink_later()
        if protocol._app_reading_paused or not self.established():
            session.settle()
            protocol.advance()  # the protocol reads from the BIO
            return
        try:
            goes_on = self.read_into_buffer(protocol) if protocol._app_protocol_is_buffer else self.read(protocol)
            session.settle()
        except BaseException as exc:
            session.settle()
            if not isinstance(exc, Exception):
                raise
            protocol._fatal_error(exc, "Fatal error on SSL protocol")
            return
        if not goes_on:
            self.ended(session, protocol)
        elif session.waiting():  # OpenSSL has an answer of its own, such as one to a key update
            protocol._process_outgoing()

    cdef int ended(self, Session session, object protocol) except -1:
        """Called when the peer has ended the session, or when the session has failed."""
        failure = session.failure()
        if failure is None:
            protocol.advance()
        elif not isinstance(failure, Exception):
            raise failure
        elif protocol._open:
            protocol._fatal_error(failure, "Fatal error on SSL protocol")
        return 0

    cdef bint read(self, object protocol) except -1:
        """Deliver the plaintext that can be decrypted. Returns whether the session goes on."""
        cdef Session session = self.session
        cdef Py_ssize_t total = 0, room = session.readable() + 1
        cdef Py_ssize_t got
        cdef PyObject *payload = PyBytes_FromStringAndSize_(NULL, room)
        if payload == NULL:
            raise MemoryError()
        while True:
            got = session.decrypt(PyBytes_AS_STRING_(payload) + total, room - total)
            if got <= 0:
                break
            total += got
            if total == room:  # OpenSSL already had part of a record, which readable() does not count
                room += RECORD
                if _PyBytes_Resize(&payload, room) < 0:
                    raise MemoryError()
        session.settle()
        if total == 0:
            Py_XDECREF(payload)
            return got == -EAGAIN
        if _PyBytes_Resize(&payload, total) < 0:
            raise MemoryError()
        data = <object>payload
        Py_XDECREF(payload)
        protocol._app_protocol.data_received(data)
        return got == -EAGAIN

    cdef bint read_into_buffer(self, object protocol) except -1:
        """Like read(), but into the buffers of a BufferedProtocol."""
        cdef Py_buffer view
        cdef Session session = self.session
        cdef Py_ssize_t total
        cdef Py_ssize_t got = 0
        receiver = protocol._app_protocol
        while True:
            buffer = receiver.get_buffer(session.readable())
            if not protocol._open:  # get_buffer() may have closed the connection
                return True
            PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
            total = 0
            while total < view.len:
                got = session.decrypt(<char *>view.buf + total, view.len - total)
                if got <= 0:
                    break
                total += got
            empty = view.len == 0
            PyBuffer_Release(&view)
            if empty:
                raise RuntimeError("get_buffer() returned an empty buffer")
            session.settle()
            if total:
                receiver.buffer_updated(total)
            if got <= 0:
                return got == -EAGAIN
            if protocol._app_reading_paused or not protocol._open:
                return True
            if protocol._app_protocol is not receiver:
                return False  # Python's method goes on with the new protocol

    # ---- writing ----

    def write(self, data):
        """The transport's write()."""
        cdef Py_buffer view
        cdef Py_ssize_t taken = 0
        if not self.established():
            self.write_by_python(data)
            return
        if PyBytes_CheckExact(data):
            self.session.expect(PyBytes_GET_SIZE(data))
            taken = self.encrypt(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            if taken == PyBytes_GET_SIZE(data):
                data = None
        elif isinstance(data, (bytes, bytearray, memoryview)) and not (isinstance(data, memoryview) and not data.c_contiguous):
            PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
            try:
                self.session.expect(view.len)
                taken = self.encrypt(<const char *>view.buf, view.len)
                if taken == view.len:
                    data = None
                elif taken:
                    data = PyBytes_FromStringAndSize(<const char *>view.buf, view.len)
            finally:
                PyBuffer_Release(&view)
        self.send()
        if data is not None:  # wrong type, not contiguous, or OpenSSL must do something else first
            self.write_by_python(data[taken:] if taken else data)

    cdef Py_ssize_t encrypt(self, const char *data, Py_ssize_t length) noexcept:
        """Returns the number of bytes taken."""
        cdef Session session = self.session
        cdef Py_ssize_t taken = 0, now
        while taken < length:
            now = session.encrypt(data + taken, length - taken)  # at most one record
            if now <= 0:
                break
            taken += now
        return taken

    cdef int send(self) except -1:
        """Send the waiting ciphertext on the connection below."""
        cdef bytes payload = self.session.take()
        if not payload:
            return 0
        if PyBytes_GET_SIZE(payload) > LARGE and self.shrinking is None:
            self.shrink_later()
        try:
            self.wire.write(payload)
        except Exception as exc:
            self.protocol._fatal_error(exc, "Fatal error on SSL protocol")
        return 0
