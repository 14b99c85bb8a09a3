# cython: language_level=3
"""An established TLS session: ciphertext in and out of its memory BIOs, plaintext in and out of its SSL.

Two classes do this. `Session` calls the interpreter's own OpenSSL. `PythonSession` calls the methods of CPython's
objects, because on some interpreters OpenSSL cannot be called: it is linked statically, or the objects have an unknown
layout.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_READ, PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.object cimport PyObject
from cpython.ref cimport Py_CLEAR, Py_XDECREF
from libc.errno cimport EAGAIN, EPROTO

from sfloop.native.cores.engine cimport iovec, sf_sock
from sfloop.native.cores.unfilled cimport PyBytes_AS_STRING_, PyBytes_FromStringAndSize_, _PyBytes_Resize

cdef extern from "libraries/openssl.h" nogil:
    const char *sf_openssl_load(const char *module, unsigned long version)
    int sf_openssl_plausible(const sf_openssl_connection *c)
    int sf_openssl_agrees(const sf_openssl_connection *c)
    int sf_openssl_put(const sf_openssl_connection *c, const void *data, size_t length)
    size_t sf_openssl_readable(const sf_openssl_connection *c)
    ssize_t sf_openssl_decrypt(const sf_openssl_connection *c, void *out, size_t room)
    ssize_t sf_openssl_encrypt(const sf_openssl_connection *c, const void *data, size_t length)
    size_t sf_openssl_waiting(const sf_openssl_connection *c)
    ssize_t sf_openssl_take(const sf_openssl_connection *c, void *out, size_t room)
    void sf_openssl_shrink(const sf_openssl_connection *c)
    const char *sf_openssl_path()
    void sf_openssl_interpose(sf_openssl_connection *c)
    int sf_openssl_lend(const sf_openssl_connection *c, const void *data, size_t length)
    int sf_openssl_settle(const sf_openssl_connection *c)
    int sf_openssl_collect(const sf_openssl_connection *c, void *out, size_t room)
    size_t sf_openssl_collected(const sf_openssl_connection *c)
    int sf_openssl_sent(const sf_openssl_connection *c)
    void sf_openssl_keep_buffers(const sf_openssl_connection *c, bint keep)

cdef extern from "libraries/openssl.h":
    ctypedef ssize_t sf_openssl_send(void *to, const void *data, size_t length) noexcept
    int sf_openssl_send_to(const sf_openssl_connection *c, sf_openssl_send *send, void *to)

cdef enum:
    RECORD = 16 * 1024    # the most plaintext in one record
    OVERHEAD = 96         # more than the bytes of a record beside its plaintext

cdef object _ssl = None
cdef object SSLObject = None
cdef tuple AGAIN = ()
cdef bint looked = False
cdef str native_refusal = None
cdef str python_refusal = None
cdef set _refused_by_test = set()


def refuse(*engines):
    """For tests: make these engines unusable. Without arguments all engines can be used again."""
    global _refused_by_test
    _refused_by_test = set(engines)


def refused(engine="native"):
    """Why this engine, "native" or "memory-bio", cannot be used in this process; None: it can."""
    global looked, native_refusal, python_refusal
    if not looked:
        python_refusal = _look_at_python()
        native_refusal = python_refusal or _look_at_openssl()
        looked = True
    if engine in _refused_by_test:
        return "refused by a test"
    return native_refusal if engine == "native" else python_refusal


def engines():
    """List the engines for TLS records, best first: (name, None or why it cannot be used in this process,
    description)."""
    python = refused("memory-bio")
    native = refused("native")
    library = "Python's ssl module"
    if python is None or native is None:
        import ssl
        library = ssl.OPENSSL_VERSION
    path = "" if native is not None else sf_openssl_path().decode(errors="replace")
    return (
        ("native", native, f"{library}, {path}" if path else library),
        ("memory-bio", python, f"{library}, by the methods of Python's ssl module"),
        ("asyncio", None, "asyncio.sslproto, always available"),
    )


cdef str _look_at_python():
    """Why no session can be made at all; None: one can."""
    global _ssl, SSLObject, AGAIN
    try:
        import _ssl as module
        import ssl
    except ImportError:
        return "this Python has no ssl module"
    _ssl, SSLObject = module, ssl.SSLObject
    AGAIN = (ssl.SSLWantReadError, ssl.SSLSyscallError)  # the same as in tlschannel.py
    return None


cdef str _look_at_openssl():
    cdef const char *reason
    cdef sf_openssl_connection c
    import ssl
    if not ssl.OPENSSL_VERSION.startswith("OpenSSL "):
        return f"Python's module _ssl has {ssl.OPENSSL_VERSION}, which is not OpenSSL"
    path = getattr(_ssl, "__file__", None)
    if path is None:
        return "Python's module _ssl is part of the interpreter"
    reason = sf_openssl_load(path.encode(), _ssl.OPENSSL_VERSION_NUMBER)
    if reason != NULL:
        return reason.decode()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    if not _find(tls, incoming, outgoing, &c) or not sf_openssl_plausible(&c) or not sf_openssl_agrees(&c):
        return "the objects of Python's module _ssl have an unknown layout"
    return None


cdef void *_field(object owner, int number) noexcept:
    return (<void **>(<char *><PyObject *>owner + sizeof(PyObject)))[number]


cdef bint _find(object tls, object incoming, object outgoing, sf_openssl_connection *c) except -1:
    """Read the pointers out of Python's objects. Returns False if the objects have other types."""
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


cdef Session session_of(object protocol):
    """The session of a TLS protocol. None if neither class can be used."""
    cdef Session self
    cdef PythonSession by_python
    tls, incoming, outgoing = protocol._sslobj, protocol._incoming, protocol._outgoing
    if refused("native") is None:
        self = Session.__new__(Session)
        if _find(tls, incoming, outgoing, &self.c) and sf_openssl_agrees(&self.c):
            self.owners = (tls._sslobj, incoming, outgoing)
            sf_openssl_interpose(&self.c)
            return self
    if refused("memory-bio") is None and isinstance(tls, SSLObject):
        by_python = PythonSession.__new__(PythonSession)
        by_python.connection = tls._sslobj
        by_python.incoming, by_python.outgoing = incoming, outgoing
        return by_python
    return None


cdef ssize_t send_on(void *to, const void *data, size_t length) noexcept:
    cdef sf_sock *sock = <sf_sock *>to
    cdef iovec iov
    iov.iov_base = <void *>data
    iov.iov_len = length
    return sock.stack.ops.sendv(sock, &iov, 1)


cdef class Session:
    """Calls OpenSSL's functions. libraries/openssl.h explains the results -EAGAIN and -EPROTO."""

    # `owners` keeps the SSL and the BIOs of `c` alive.

    def __dealloc__(self):
        if self.sealed != NULL:
            sf_openssl_collected(&self.c)
            Py_CLEAR(self.sealed)

    cdef int put(self, const char *data, Py_ssize_t length) except -1:
        """Pass in received ciphertext. The memory must stay valid until settle()."""
        if sf_openssl_lend(&self.c, data, length) < 0:
            raise MemoryError()
        return 0

    cdef int settle(self) except -1:
        """Copy the rest of the ciphertext. Call this before any other code runs."""
        if sf_openssl_settle(&self.c) < 0:
            raise MemoryError()
        return 0

    cdef int expect(self, Py_ssize_t plaintext, sf_sock *sock) except -1:
        """Announce the plaintext that is about to be encrypted. A single record is then sent on `sock` without a copy,
        until sent(). The records of more plaintext are written to the buffer that take() returns, because each call of
        the stack costs more than the copy.

        :param sock: may be NULL.
        """
        cdef Py_ssize_t room = plaintext + (plaintext // RECORD + 1) * OVERHEAD
        if sock != NULL and plaintext <= RECORD and sf_openssl_send_to(&self.c, send_on, sock):
            self.sends = True
            return 0
        if self.sealed != NULL:  # a callback of OpenSSL's writes, too
            return 0
        self.sealed = PyBytes_FromStringAndSize_(NULL, room)
        if self.sealed == NULL:
            raise MemoryError()
        if not sf_openssl_collect(&self.c, PyBytes_AS_STRING_(self.sealed), room):
            Py_CLEAR(self.sealed)
        return 0

    cdef ssize_t sent(self) noexcept:
        """Called after the plaintext was encrypted. Returns 0, or the error of sending."""
        if not self.sends:
            return 0
        self.sends = False
        return sf_openssl_sent(&self.c)

    cdef Py_ssize_t readable(self) except -1:
        return <Py_ssize_t>sf_openssl_readable(&self.c)

    cdef Py_ssize_t decrypt(self, char *out, Py_ssize_t room) noexcept:
        return sf_openssl_decrypt(&self.c, out, room)

    cdef Py_ssize_t encrypt(self, const char *data, Py_ssize_t length) noexcept:
        return sf_openssl_encrypt(&self.c, data, length)

    cdef Py_ssize_t waiting(self) except -1:
        return <Py_ssize_t>sf_openssl_waiting(&self.c)

    cdef bytes take(self):
        """Take the ciphertext that waits to be sent."""
        cdef Py_ssize_t waiting
        cdef PyObject *collected = self.sealed
        cdef bytes payload = None
        if collected != NULL:
            self.sealed = NULL
            if _PyBytes_Resize(&collected, <Py_ssize_t>sf_openssl_collected(&self.c)) < 0:
                raise MemoryError()
            payload = <bytes>collected
            Py_XDECREF(collected)
        waiting = <Py_ssize_t>sf_openssl_waiting(&self.c)
        if not waiting:
            return b"" if payload is None else payload
        rest = PyBytes_FromStringAndSize(NULL, waiting)
        if waiting and sf_openssl_take(&self.c, PyBytes_AS_STRING(rest), waiting) != waiting:
            raise MemoryError()
        return rest if payload is None else payload + rest

    cdef int keep_buffers(self, bint keep) except -1:
        """Tell OpenSSL whether to keep its buffers between records."""
        sf_openssl_keep_buffers(&self.c, keep)
        return 0

    cdef int shrink(self) except -1:
        """Free memory that earlier records have needed."""
        sf_openssl_shrink(&self.c)
        return 0

    cdef object failure(self):
        """The exception of a decrypt() that returned -EPROTO. None: Python's read() on the same object raises it, or
        reports that the peer has ended the session."""
        return None


cdef class PythonSession(Session):
    """Calls the methods of CPython's own C objects: one call for each record, and one for the BIO."""

    cdef object connection   # an _ssl._SSLSocket
    cdef object incoming     # an ssl.MemoryBIO
    cdef object outgoing
    cdef object failed

    cdef int put(self, const char *data, Py_ssize_t length) except -1:
        if length:
            self.incoming.write(PyMemoryView_FromMemory(<char *>data, length, PyBUF_READ))
        return 0

    cdef int settle(self) except -1:
        return 0

    cdef int expect(self, Py_ssize_t plaintext, sf_sock *sock) except -1:
        return 0

    cdef ssize_t sent(self) noexcept:
        return 0

    cdef Py_ssize_t readable(self) except -1:
        return self.incoming.pending + self.connection.pending()

    cdef Py_ssize_t decrypt(self, char *out, Py_ssize_t room) noexcept:
        cdef Py_ssize_t got
        try:
            # Check first, because an exception would cost more than the record.
            if not self.incoming.pending and not self.connection.pending():
                return -EAGAIN
            got = self.connection.read(room, PyMemoryView_FromMemory(out, room, PyBUF_WRITE))
        except AGAIN:
            return -EAGAIN
        except BaseException as exc:
            self.failed = exc
            return -EPROTO
        return got if got > 0 else -EPROTO

    cdef Py_ssize_t encrypt(self, const char *data, Py_ssize_t length) noexcept:
        try:
            return self.connection.write(PyMemoryView_FromMemory(<char *>data, length, PyBUF_READ))
        except Exception:  # of any kind: Python's own write() tries again and raises it
            return -EAGAIN

    cdef Py_ssize_t waiting(self) except -1:
        return self.outgoing.pending

    cdef bytes take(self):
        return self.outgoing.read()

    cdef int keep_buffers(self, bint keep) except -1:
        return 0  # CPython has no function for it

    cdef int shrink(self) except -1:
        return 0  # CPython's MemoryBIO cannot shrink

    cdef object failure(self):
        failed, self.failed = self.failed, None
        return failed
