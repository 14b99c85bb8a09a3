# cython: language_level=3
"""The records of a TLS connection, between the stream core and the program's protocol, without Python between.

asyncio's TLS protocol keeps what is rare: the handshake, the end of the session, flow control, errors. Its SSLObject and
memory BIOs are used here as they are, by the functions of the interpreter's own OpenSSL; so that at any moment the next call
may as well be Python's. Whatever is not plain traffic of an established session is left to it.
"""

from asyncio import sslproto

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.errno cimport EAGAIN

from sfloop.native.engine.transport cimport TransportCore

cdef extern from "Python.h":
    PyObject *PyBytes_FromStringAndSize_ "PyBytes_FromStringAndSize" (const char *, Py_ssize_t) noexcept
    char *PyBytes_AS_STRING_ "PyBytes_AS_STRING" (PyObject *) noexcept
    int _PyBytes_Resize(PyObject **, Py_ssize_t) noexcept

cdef extern from "sf/openssl.h" nogil:
    cdef struct sf_openssl_connection:
        void *ssl
        void *context
        void *incoming
        void *outgoing
    const char *sf_openssl_load(const char *module, unsigned long version)
    int sf_openssl_plausible(const sf_openssl_connection *c)
    int sf_openssl_agrees(const sf_openssl_connection *c)
    int sf_openssl_put(const sf_openssl_connection *c, const void *data, size_t length)
    size_t sf_openssl_readable(const sf_openssl_connection *c)
    ssize_t sf_openssl_decrypt(const sf_openssl_connection *c, void *out, size_t room)
    ssize_t sf_openssl_encrypt(const sf_openssl_connection *c, const void *data, size_t length)
    size_t sf_openssl_waiting(const sf_openssl_connection *c)
    ssize_t sf_openssl_take(const sf_openssl_connection *c, void *out, size_t room)

cdef enum:
    RECORD = 16 * 1024    # the most plaintext of one record

cdef object _ssl = None
cdef bint looked = False
cdef str refusal = None
cdef object WRAPPED = getattr(getattr(sslproto, "SSLProtocolState", None), "WRAPPED", None)


def refused():
    """Why records cannot go by the interpreter's OpenSSL in this process; None if they can."""
    global looked, refusal
    if not looked:
        looked = True
        refusal = _look()
    return refusal


cdef str _look():
    global _ssl
    cdef const char *reason
    cdef sf_openssl_connection c
    if WRAPPED is None:
        return "asyncio.sslproto of Python 3.10 is made otherwise"
    try:
        import _ssl as module
        import ssl
    except ImportError:
        return "this Python has no ssl module"
    if not ssl.OPENSSL_VERSION.startswith("OpenSSL "):
        return f"Python's module _ssl has {ssl.OPENSSL_VERSION}, which is not OpenSSL"
    path = getattr(module, "__file__", None)
    if path is None:
        return "Python's module _ssl is part of the interpreter"
    reason = sf_openssl_load(path.encode(), module.OPENSSL_VERSION_NUMBER)
    if reason != NULL:
        return reason.decode()
    _ssl = module
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    if not _find(tls, incoming, outgoing, &c) or not sf_openssl_plausible(&c) or not sf_openssl_agrees(&c):
        return "the objects of Python's module _ssl are laid out in a way that is not known"
    return None


cdef void *_field(object owner, int number) noexcept:
    return (<void **>(<char *><PyObject *>owner + sizeof(PyObject)))[number]


cdef bint _find(object tls, object incoming, object outgoing, sf_openssl_connection *c) except -1:
    """Reads the pointers out of Python's objects; False if these are of other types."""
    connection = getattr(tls, "_sslobj", None)
    if type(connection) is not _ssl._SSLSocket:
        return False
    context = connection.context
    if not isinstance(context, _ssl._SSLContext) or type(incoming) is not _ssl.MemoryBIO or type(outgoing) is not _ssl.MemoryBIO:
        return False
    if type(connection).__basicsize__ < sizeof(PyObject) + 2 * sizeof(void *):
        return False
    c.ssl = _field(connection, 1)  # after the Python socket
    c.context = _field(context, 0)
    c.incoming = _field(incoming, 0)
    c.outgoing = _field(outgoing, 0)
    return True


cdef class Records:
    """The records of one connection. Made when the connection below TLS is; the handshake may still be to come."""

    cdef sf_openssl_connection c
    cdef TransportCore wire
    cdef object protocol          # asyncio's TLS protocol
    cdef tuple owners             # of the SSL and the BIOs
    cdef object write_by_python   # the transport's own method

    @staticmethod
    def attach(protocol, transport, TransportCore wire not None):
        """Put records between the core of the connection below and asyncio's TLS protocol, if that is possible.

        :param transport: the program's transport, whose write() is called where the native one does not do.
        """
        cdef Records self = Records.__new__(Records)
        if refused() is not None:
            return None
        tls, incoming, outgoing = protocol._sslobj, protocol._incoming, protocol._outgoing
        if not _find(tls, incoming, outgoing, &self.c) or not sf_openssl_agrees(&self.c):
            return None
        self.owners = (tls._sslobj, incoming, outgoing)
        self.wire = wire
        self.protocol = protocol
        self.write_by_python = transport.write
        wire.deliver_to(self.data_received)
        return self

    def detach(self):
        """The connection below is lost. What is written from now on is Python's to drop."""
        self.wire = None
        self.protocol = self.owners = None

    cdef bint established(self) except -1:
        """Whether this is a session in which records come and go, and nothing of before has to go first."""
        protocol = self.protocol
        return self.wire is not None and protocol._state is WRAPPED and not protocol._write_backlog

    # ---- reading ----

    def data_received(self, data):
        """Ciphertext, from the connection below."""
        cdef bytes payload = data
        protocol = self.protocol
        if self.wire is None:
            return
        if sf_openssl_put(&self.c, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload)) < 0:
            raise MemoryError()
        if protocol._app_reading_paused or not self.established():
            protocol.buffer_updated(0)  # goes on with what is in the BIO
            return
        try:
            goes_on = self.read_into_buffer(protocol) if protocol._app_protocol_is_buffer else self.read(protocol)
        except Exception as exc:
            protocol._fatal_error(exc, "Fatal error on SSL protocol")
            return
        if not goes_on:
            protocol._do_read()  # the end of the session, or its failure
        elif sf_openssl_waiting(&self.c):  # an answer of OpenSSL's own, such as that to a key update
            protocol._process_outgoing()

    cdef bint read(self, object protocol) except -1:
        """Delivers what can be decrypted. Returns whether the session goes on."""
        cdef Py_ssize_t total = 0, room = <Py_ssize_t>sf_openssl_readable(&self.c) + 1
        cdef ssize_t got
        cdef PyObject *payload = PyBytes_FromStringAndSize_(NULL, room)
        if payload == NULL:
            raise MemoryError()
        while True:
            got = sf_openssl_decrypt(&self.c, PyBytes_AS_STRING_(payload) + total, room - total)
            if got <= 0:
                break
            total += got
            if total == room:  # OpenSSL had the beginning of a record already, which it counts nowhere
                room += RECORD
                if _PyBytes_Resize(&payload, room) < 0:
                    raise MemoryError()
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
        """The same, into the buffers that a BufferedProtocol gives."""
        cdef Py_buffer view
        cdef Py_ssize_t total
        cdef ssize_t got = 0
        receiver = protocol._app_protocol
        while True:
            buffer = receiver.get_buffer(<Py_ssize_t>sf_openssl_readable(&self.c))
            if protocol._state is not WRAPPED:  # get_buffer() may do anything
                return True
            PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
            total = 0
            while total < view.len:
                got = sf_openssl_decrypt(&self.c, <char *>view.buf + total, view.len - total)
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
            if protocol._app_reading_paused or protocol._state is not WRAPPED:
                return True
            if protocol._app_protocol is not receiver:
                return False  # asyncio's method goes on, with the new one

    # ---- writing ----

    def write(self, data):
        """As the transport's write()."""
        cdef Py_buffer view
        cdef Py_ssize_t taken = 0
        if not self.established() or self.protocol._ssl_writing_paused or self.protocol._app_writing_paused:
            self.write_by_python(data)
            return
        if PyBytes_CheckExact(data):
            taken = self.encrypt(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            if taken == PyBytes_GET_SIZE(data):
                data = None
        elif isinstance(data, (bytes, bytearray, memoryview)) and not (isinstance(data, memoryview) and not data.c_contiguous):
            PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
            try:
                taken = self.encrypt(<const char *>view.buf, view.len)
                if taken == view.len:
                    data = None
                elif taken:
                    data = PyBytes_FromStringAndSize(<const char *>view.buf, view.len)
            finally:
                PyBuffer_Release(&view)
        if taken:
            self.send()
        if data is not None:  # of a wrong type, with gaps, or OpenSSL has something else to do first
            self.write_by_python(data[taken:] if taken else data)

    cdef Py_ssize_t encrypt(self, const char *data, Py_ssize_t length) noexcept:
        """Returns the bytes taken."""
        cdef Py_ssize_t taken = 0
        cdef ssize_t now
        while taken < length:
            now = sf_openssl_encrypt(&self.c, data + taken, length - taken)  # one record, at most
            if now <= 0:
                break
            taken += now
        return taken

    cdef int send(self) except -1:
        """The ciphertext that waits, to the connection below."""
        cdef Py_ssize_t waiting = <Py_ssize_t>sf_openssl_waiting(&self.c)
        payload = PyBytes_FromStringAndSize(NULL, waiting)
        if sf_openssl_take(&self.c, PyBytes_AS_STRING(payload), waiting) != waiting:
            raise MemoryError()
        try:
            self.wire.write(payload)
        except Exception as exc:
            self.protocol._fatal_error(exc, "Fatal error on SSL protocol")
        return 0
