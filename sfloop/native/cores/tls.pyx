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
from sfloop.native.cores.transport cimport Intake, TransportCore
from sfloop.native.cores.unfilled cimport PyBytes_AS_STRING_, PyBytes_FromStringAndSize_, _PyBytes_Resize

cdef enum:
    RECORD = 16 * 1024    # the most plaintext in one record
    OVERHEAD = 96         # more than the bytes of a record beside its plaintext
    LARGE = 8 * 1024      # bytes of ciphertext from which on the memory that they took is given back
    BUSY = 32             # messages in a second from which on OpenSSL keeps its buffers


cdef class Records(Intake):
    """The records of one connection. Made when the connection below TLS is made; the handshake may follow later."""

    cdef Session session
    cdef TransportCore wire
    cdef object protocol          # the TLS protocol
    cdef object write_by_python   # the transport's own method
    cdef object shrinking         # the timer of shrink()
    # Copies of the TLS protocol's state, see follow().
    cdef object receiver          # the program's protocol
    cdef bint buffered            # that is a BufferedProtocol
    cdef bint reads               # the session is open, and plaintext can be delivered
    cdef bint writes              # the session is open, and no older data has to be sent first
    # From take() to deliver().
    cdef bint decrypted
    cdef bytes payload            # the plaintext; None: there is none
    cdef bint goes_on             # the session has not ended and has not failed
    cdef object failure           # an exception
    cdef Py_ssize_t overhead      # ciphertext beside the plaintext of the last single record
    cdef int messages             # received and written since the last shrink()
    cdef bint keeps               # OpenSSL keeps its buffers

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
        self.follow()
        wire.deliver_to(self)
        return self

    def follow(self):
        """Called when the state of the TLS protocol has changed."""
        protocol = self.protocol
        if protocol is None:
            return
        self.writes = protocol._open and not protocol._write_backlog
        self.reads = self.writes and not protocol._app_reading_paused
        self.receiver = protocol._app_protocol
        self.buffered = protocol._app_protocol_is_buffer

    def detach(self):
        """Called when the connection below is lost. Python's method drops data that is written later."""
        if self.shrinking is not None:
            self.shrinking.cancel()
        if self.session is not None:
            self.session.settle()
        self.reads = self.writes = False
        self.wire = None
        self.protocol = self.session = self.receiver = None

    # ---- memory ----

    cdef int shrink_later(self) except -1:
        self.shrinking = self.wire.loop.call_later(1.0, self.shrink)
        return 0

    cdef int count(self, Py_ssize_t ciphertext) except -1:
        """Count a message. A busy connection keeps memory that an idle one gives back."""
        self.messages += 1
        if self.shrinking is not None:
            return 0
        if self.messages >= BUSY and not self.keeps and self.writes:
            self.session.keep_buffers(True)
            self.keeps = True
        if self.keeps or ciphertext > LARGE:
            self.shrink_later()
        return 0

    def shrink(self):
        """Free an idle connection's memory for records. On a busy connection this runs once a second."""
        self.shrinking = None
        if self.wire is None:
            return
        if self.keeps and self.messages < BUSY and self.writes:
            self.keeps = False
            self.session.keep_buffers(False)
        self.messages = 0
        self.session.shrink()
        if self.keeps:
            self.shrink_later()
        elif self.session.waiting():
            self.protocol._process_outgoing()

    # ---- reading ----

    cdef int take(self, const char *data, Py_ssize_t length) except -1:
        """Decrypt received ciphertext, or copy it into the BIO."""
        cdef Session session = self.session
        if session is None:
            return 0
        try:
            session.put(data, length)
            try:
                if self.reads and not self.buffered:
                    self.goes_on = self.decrypt(session)
                    self.decrypted = True
            finally:
                session.settle()
            self.count(length)
        except BaseException as exc:
            self.failure = exc
        return 0

    cdef bint decrypt(self, Session session) except -1:
        """Decrypt as much as possible into `payload`. Returns whether the session goes on."""
        cdef Py_ssize_t readable = session.readable()
        cdef Py_ssize_t room = max(readable - self.overhead, 1)
        cdef Py_ssize_t total = 0, records = 0
        cdef Py_ssize_t got
        cdef PyObject *payload = PyBytes_FromStringAndSize_(NULL, room)
        if payload == NULL:
            raise MemoryError()
        while True:
            got = session.decrypt(PyBytes_AS_STRING_(payload) + total, room - total)
            if got <= 0:
                break
            total += got
            records += 1
            if total == room:
                if not session.readable():
                    got = -EAGAIN
                    break
                room += RECORD
                if _PyBytes_Resize(&payload, room) < 0:
                    raise MemoryError()
        if records == 1 and total < readable <= total + OVERHEAD:
            self.overhead = readable - total
        if total == 0:
            Py_XDECREF(payload)
            return got == -EAGAIN
        if total < room and _PyBytes_Resize(&payload, total) < 0:
            raise MemoryError()
        self.payload = <bytes>payload
        Py_XDECREF(payload)
        return got == -EAGAIN

    cdef int deliver(self) except -1:
        """Deliver the plaintext, or let the TLS protocol read from the BIO."""
        cdef Session session = self.session
        cdef bint goes_on = self.goes_on
        cdef bytes payload = self.payload
        protocol = self.protocol
        if session is None:
            return 0
        try:
            if self.failure is not None:
                failure, self.failure = self.failure, None
                raise failure
            if self.decrypted:
                self.decrypted = False
                self.payload = None
                if payload is not None:
                    self.receiver.data_received(payload)
            elif self.reads:
                goes_on = self.read_into_buffer(protocol)
            else:
                protocol.advance()
                return 0
        except BaseException as exc:
            if not isinstance(exc, Exception):
                raise
            protocol._fatal_error(exc, "Fatal error on SSL protocol")
            return 0
        if not goes_on:
            self.ended(session, protocol)
        elif session.waiting():  # OpenSSL has an answer of its own, such as one to a key update
            protocol._process_outgoing()
        return 0

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

    cdef bint read_into_buffer(self, object protocol) except -1:
        """Decrypt into the buffers of a BufferedProtocol. Returns whether the session goes on."""
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
        cdef Py_ssize_t length, taken
        if not self.writes:
            self.write_by_python(data)
            return
        if PyBytes_CheckExact(data):
            length = PyBytes_GET_SIZE(data)
            taken = self.encrypt(PyBytes_AS_STRING(data), length)
        elif isinstance(data, (bytes, bytearray, memoryview)) and not (isinstance(data, memoryview) and not data.c_contiguous):
            PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
            try:
                length = view.len
                taken = self.encrypt(<const char *>view.buf, length)
                if taken < length:
                    data = PyBytes_FromStringAndSize(<const char *>view.buf + taken, length - taken)
                    length -= taken
                    taken = 0
            finally:
                PyBuffer_Release(&view)
        else:
            self.write_by_python(data)  # wrong type, or not contiguous
            return
        self.send()
        if taken < length:  # OpenSSL must do something else first
            self.write_by_python(data[taken:] if taken else data)

    cdef Py_ssize_t encrypt(self, const char *data, Py_ssize_t length) except -1:
        """Encrypt, and send if nothing waits before it. Returns the number of bytes taken."""
        cdef Session session = self.session
        cdef Py_ssize_t taken = 0, now
        session.expect(length, self.wire.open_socket())
        while taken < length:
            now = session.encrypt(data + taken, length - taken)  # at most one record
            if now <= 0:
                break
            taken += now
        return taken

    cdef int send(self) except -1:
        """Send the ciphertext that encrypt() has not sent."""
        cdef Session session = self.session
        cdef ssize_t error = session.sent()
        cdef bytes payload
        if error:
            return self.wire.send_failed(error)
        payload = session.take()
        self.count(PyBytes_GET_SIZE(payload))
        if not payload:
            return 0
        try:
            self.wire.write(payload)
        except Exception as exc:
            self.protocol._fatal_error(exc, "Fatal error on SSL protocol")
        return 0
