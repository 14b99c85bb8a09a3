# cython: language_level=3
"""The program's own descriptors: add_reader, add_writer, and sock_recv, sock_recvfrom and sock_sendall on its sockets.

A descriptor that sock_recv has waited for stays in the kernel's epoll set after the wait, because the program is
usually about to wait for it again, and each change of the set is a system call. If the program does not, the next event
that no handle waits for removes the descriptor. Meanwhile the loop has only a weak reference to the socket.

The program may close a descriptor while something waits for it, and the kernel may reuse the number for another file.
The epoll set then no longer has the number, so a change of the watch's interest fails with -ENOENT. Every new use of a
number first makes such a change, and drops the waiters for the old file.

The methods _begin_recv and _begin_recvfrom begin with the same lines on purpose: a common method would cost one more
call for each message.
"""

import _socket as c_socket
import socket
import weakref

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.errno cimport EAGAIN, EBADF, ENOENT
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from sfloop.native.cores.address cimport decode_any, is_decoded
from sfloop.native.cores.core cimport LoopCore, Sink, os_error
from sfloop.native.cores.engine cimport (
    SF_KIND_WATCH, SF_READABLE, SF_WRITABLE, iovec, sf_linger, sockaddr, sockaddr_storage, socklen_t,
)
from sfloop.native.cores.method cimport check_methods
from sfloop.native.cores.unfilled cimport PyBytes_AS_STRING_, PyBytes_FromStringAndSize_, _PyBytes_Resize

cdef object _socket = socket.socket
# As plain integers, because socket.socket makes enum members of them, which takes longer than the rest of this code.
cdef object type_of = c_socket.socket.type.__get__
cdef object family_of = c_socket.socket.family.__get__
cdef int STREAM = socket.SOCK_STREAM, DATAGRAM = socket.SOCK_DGRAM
cdef int AF_INET = socket.AF_INET, AF_INET6 = socket.AF_INET6
cdef object reference = weakref.ref

cdef enum:
    BLOCKED = -1
    LARGE = 16 * 1024    # bytes from which on to avoid a copy, as in stream.pyx
    SCRATCH = 64 * 1024
    OVERFLOW = 1024 * 1024

# Receive buffers, used only while the GIL is held. A new buffer of the size that the program asks for would cost an
# mmap, page faults and a munmap in each call, even if little arrives. `overflow` receives the data that exceeds
# `scratch`.
cdef char[SCRATCH] scratch
cdef char[OVERFLOW] overflow


cdef int descriptor_of(object fileobj) except -1:
    """The descriptor of a file object, with the rules of the selectors module."""
    cdef object fd = fileobj
    if not isinstance(fileobj, int):
        try:
            fd = int(fileobj.fileno())
        except (AttributeError, TypeError, ValueError):
            raise ValueError(f"Invalid file object: {fileobj!r}") from None
    if not 0 <= fd <= 0x7FFFFFFF:
        raise ValueError(f"Invalid file descriptor: {fd}")
    return fd


cdef bytes joined(Py_ssize_t n):
    """The n bytes in the two buffers."""
    cdef bytes data
    if n <= SCRATCH:
        return PyBytes_FromStringAndSize(scratch, n)
    data = PyBytes_FromStringAndSize(NULL, n)
    memcpy(PyBytes_AS_STRING(data), scratch, SCRATCH)
    memcpy(PyBytes_AS_STRING(data) + SCRATCH, overflow, n - SCRATCH)
    return data


cdef class Watch(Sink):
    def __dealloc__(self):
        self.leave()

    cdef int on_event(self, uint32_t what) except -1:
        # Decide on both before the first runs, because it may remove or replace the other. A cancelled handle is not
        # run.
        reader = self.reader if what & SF_READABLE else None
        writer = self.writer if what & SF_WRITABLE else None
        if reader is None:
            what &= ~SF_READABLE
        if writer is None:
            what &= ~SF_WRITABLE
        if not what:
            return self.nobody_waits()
        if reader is not None:
            self.loop.run(reader)
        if writer is not None:
            self.loop.run(writer)
        return 0

    cdef int nobody_waits(self) except -1:
        if not self.interest:
            # The event came although the descriptor is not in the set: it was closed, and a duplicate keeps the file
            # open. Without the watch such events are stale, and many stale events make the loop create the set anew.
            return (<WatchingCore>self.loop).forget(self)
        try:
            self.want((SF_READABLE if self.reader is not None else 0) | (SF_WRITABLE if self.writer is not None else 0))
        except OSError:  # closed meanwhile
            pass
        return 0

    cdef void orphan(self) noexcept:
        Sink.orphan(self)
        self.fileobj = self.reader = self.writer = self.owner = None
        self.owned = NULL

    def owner_gone(self, ref):
        if self.owner is ref and self.loop is not None:
            self.owner = None
            self.owned = NULL
            if self.reader is None and self.writer is None and self.sock != NULL:
                (<WatchingCore>self.loop).forget(self)

    # ---- for sock_* ----

    cdef bint asks_python(self, Py_ssize_t size, bint addressed) noexcept:
        """Whether asyncio's code must receive: the addresses are not converted here, or the datagram may exceed 1
        MiB."""
        if addressed and not self.decoded:
            return True
        return size > SCRATCH + OVERFLOW and not self.stream and not self.internet

    cdef object receive(self, Py_ssize_t size, bint addressed):
        """Receive: the bytes, or (bytes, address), or None if nothing has arrived."""
        cdef Py_ssize_t asked = size
        cdef ssize_t n
        if addressed:
            return self.receive_pieces(size, True)
        if size == 0:  # socket.recv() does not ask the kernel, either
            return b""
        if size > SCRATCH:
            if self.reads_large or not self.stream and not self.internet:
                return self.receive_pieces(size, False)
            asked = SCRATCH  # the next call returns the rest of a stream, and no IP datagram is longer
        elif self.reads_large:
            return self.receive_directly(size)
        # Copy a small read, because that is cheaper than to shrink a bytes object.
        n = self.note_received(self.sock.stack.ops.recv_into(self.sock, scratch, asked), asked)
        return None if n == BLOCKED else PyBytes_FromStringAndSize(scratch, n)

    cdef object receive_directly(self, Py_ssize_t size):
        cdef PyObject *data = PyBytes_FromStringAndSize_(NULL, size)
        cdef ssize_t n
        if data == NULL:
            raise MemoryError()
        n = self.sock.stack.ops.recv_into(self.sock, PyBytes_AS_STRING_(data), size)
        if n < 0:
            Py_XDECREF(data)
            return None if self.note_received(n, size) == BLOCKED else b""
        self.note_received(n, size)
        if n < size and _PyBytes_Resize(&data, n) < 0:
            raise MemoryError()
        received = <object>data
        Py_XDECREF(data)
        return received

    cdef object receive_pieces(self, Py_ssize_t size, bint addressed):
        cdef sockaddr_storage sender
        cdef socklen_t sender_length = sizeof(sender)
        cdef sockaddr *address = <sockaddr *>&sender if addressed else NULL
        cdef iovec[2] pieces
        cdef ssize_t n
        size = min(size, SCRATCH if self.internet else SCRATCH + OVERFLOW)
        pieces[0].iov_base = scratch
        pieces[0].iov_len = min(size, SCRATCH)
        pieces[1].iov_base = overflow
        pieces[1].iov_len = max(0, size - SCRATCH)
        n = self.sock.stack.ops.recv_from(self.sock, pieces, 2 if size > SCRATCH else 1, address, &sender_length)
        if self.note_received(n, size) == BLOCKED:
            return None
        data = joined(n)
        if not addressed:
            return data
        return data, decode_any(address, min(sender_length, <socklen_t>sizeof(sender)), self.fd)

    cdef Py_ssize_t receive_into(self, object buffer) except? -2:
        """Receive: the number of bytes, or BLOCKED."""
        cdef Py_buffer view
        cdef ssize_t n = 0
        PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        cdef Py_ssize_t asked = view.len
        if asked:
            n = self.sock.stack.ops.recv_into(self.sock, view.buf, asked)
        PyBuffer_Release(&view)
        return self.note_received(n, asked) if asked else 0

    cdef Py_ssize_t note_received(self, ssize_t n, Py_ssize_t asked) except? -2:
        # A short read has emptied a stream. For datagrams it has no meaning.
        self.drained = self.stream and n < asked
        if n >= 0:
            self.reads_large = n >= LARGE
            return n
        if n == -EAGAIN:
            return BLOCKED
        raise os_error(-n)


cdef class Receiving:
    """A sock_recv(), sock_recvfrom() or sock_recv_into() that waits. The result of `future` is the call's result."""

    def step(self):
        cdef Py_ssize_t n
        if self.future.done() or self.watch.sock == NULL:  # cancelled, but the program has not run since
            return
        try:
            # The socket was closed, and a duplicate caused the event. The number may belong to another file.
            if self.sock.fileno() != self.watch.fd:
                raise os_error(EBADF)
            if self.buffer is None:
                result = self.watch.receive(self.size, self.addressed)
                if result is None:
                    return
            else:
                n = self.watch.receive_into(self.buffer)
                if n == BLOCKED:
                    return
                result = n
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.end()
            self.future.set_exception(exc)
        else:
            self.end()
            self.future.set_result(result)

    def end(self):
        """Stop waiting. The kernel is not told; see the head of this file."""
        if self.watch.reader is self.handle:
            self.watch.reader = None
        self.handle.cancel()


cdef class WatchingCore(LoopCore):
    def __cinit__(self, *args, **kwargs):
        self.watches = {}

    def __dealloc__(self):
        free(self.lingering)

    cdef int shut(self) except -1:
        LoopCore.shut(self)
        self.watches = {}
        return 0

    cdef Watch watch(self, object fileobj):
        """The watch of a descriptor; made if it does not exist. Without interest it has no effect."""
        cdef int fd = descriptor_of(fileobj)
        cdef Watch watch = self.watches.get(fd)
        if watch is None:
            watch = Watch()
            watch.fd = fd
            self.attach(watch, fd, SF_KIND_WATCH)
            self.watches[fd] = watch
        return watch

    cdef Watch find_watch(self, object fileobj):
        try:
            return self.watches.get(descriptor_of(fileobj))
        except ValueError:
            for watch in self.watches.values():  # closed before it was removed
                if (<Watch>watch).fileobj is fileobj:
                    return watch
            raise

    cdef int forget(self, Watch watch) except -1:
        del self.watches[watch.fd]
        watch.release()
        watch.owner = watch.fileobj = None
        watch.owned = NULL
        return 0

    cdef int drop(self, Watch watch) except -1:
        """Forget a watch without running its handles, because the descriptor belongs to another file now."""
        reader, watch.reader = watch.reader, None
        writer, watch.writer = watch.writer, None
        self.forget(watch)
        if reader is not None:
            reader.cancel()
        if writer is not None:
            writer.cancel()
        return 0

    cdef int descriptor_taken(self, int fd) except -1:
        # The new sink owns the descriptor, even if the watch is for the same file: asyncio's transports replace a
        # reader.
        cdef Watch watch = self.watches.get(fd)
        if watch is not None:
            self.drop(watch)
        return 0

    cdef int tell(self, Watch watch, uint32_t interest) except? -2:
        """Pass the interest to the kernel, even if it has not changed. Returns -ENOENT if the number belongs to another
        file now."""
        cdef int rc = watch.sock.stack.ops.interest(watch.sock, interest)
        if rc == 0:
            watch.interest = interest
        elif rc != -ENOENT:
            raise os_error(-rc)
        return rc

    cdef Watch set_handle(self, Watch watch, uint32_t what, object handle):
        """Make handle the reader (SF_READABLE) or the writer (SF_WRITABLE). Returns its watch, which is a new one if
        the number now belongs to another file."""
        cdef int fd = watch.fd
        try:
            if not watch.told or watch.interest | what != watch.interest:
                if self.tell(watch, watch.interest | what) == -ENOENT:
                    self.drop(watch)
                    watch = self.watch(fd)
                    self.tell(watch, what)
        except BaseException:
            if watch.sock != NULL and watch.reader is None and watch.writer is None:
                self.forget(watch)
            raise
        if what == SF_READABLE:
            old, watch.reader = watch.reader, handle
        else:
            old, watch.writer = watch.writer, handle
        if old is not None:
            old.cancel()
        return watch

    def _set_watch(self, fileobj, int what, handle):
        """Make handle the reader (what 1) or the writer (2) of a descriptor, or of an object with fileno()."""
        self.check_open()
        cdef Watch watch = self.watch(fileobj)
        watch.told = False
        watch = self.set_handle(watch, what, handle)
        watch.fileobj = fileobj

    def _unset_watch(self, fileobj, int what):
        """Remove the reader (what 1) or the writer (2). Returns whether there was one."""
        cdef Watch watch
        if self.closed:
            return False
        watch = self.find_watch(fileobj)
        if watch is None:
            return False
        if what == SF_READABLE:
            old, watch.reader = watch.reader, None
        else:
            old, watch.writer = watch.writer, None
        try:
            watch.want(watch.interest & ~what)
        except OSError:  # the descriptor was closed first, so the kernel forgets it
            watch.interest &= ~what
        if watch.reader is None and watch.writer is None:
            self.forget(watch)
        if old is not None:
            old.cancel()
        return old is not None

    def _watched(self):
        """{descriptor: (reader handle or None, writer handle or None)}"""
        cdef Watch watch
        return {fd: ((<Watch>watch).reader, (<Watch>watch).writer) for fd, watch in self.watches.items()
                if (<Watch>watch).reader is not None or (<Watch>watch).writer is not None}

    def _add_reader(self, fd, callback, *args, context=None):
        handle = self.new_call(callback, args, context)
        self._set_watch(fd, SF_READABLE, handle)
        return handle

    def _add_writer(self, fd, callback, *args, context=None):
        handle = self.new_call(callback, args, context)
        self._set_watch(fd, SF_WRITABLE, handle)
        return handle

    def _remove_reader(self, fd):
        return self._unset_watch(fd, SF_READABLE)

    def _remove_writer(self, fd):
        return self._unset_watch(fd, SF_WRITABLE)

    # ---- sock_recv, sock_recvfrom, sock_recv_into, sock_sendall ----
    #
    # Each returns None if asyncio's code has to do the call: in debug mode with its checks, for subclasses of
    # socket.socket, closed sockets, sockets that a transport uses, and wrong arguments.

    cdef Watch watch_of_socket(self, object sock):
        cdef Watch watch
        cdef int fd
        if self.debug or self.closed or type(sock) is not _socket:
            return None
        fd = sock.fileno()
        if fd < 0:
            return None
        watch = self.watches.get(fd)
        if watch is not None and watch.owned == <PyObject *>sock:
            return watch
        if fd < self.transports_size and self.transports[fd]:
            return None
        if watch is not None and watch.interest and self.tell(watch, watch.interest) == -ENOENT:
            self.drop(watch)
            watch = None
        if watch is None:
            watch = self.watch(fd)
        self.own(watch, sock)
        return watch

    cdef int own(self, Watch watch, object sock) except -1:
        cdef int kind = type_of(sock), family = family_of(sock)
        watch.owner = reference(sock, watch.owner_gone)
        watch.owned = <PyObject *>sock
        watch.stream = kind == STREAM
        watch.decoded = is_decoded(family)
        watch.internet = kind == DATAGRAM and (family == AF_INET or family == AF_INET6)
        watch.drained = watch.told = watch.reads_large = False
        return 0

    cdef bint comes_at_once(self, Watch watch, sf_linger *call) except -1:
        """Wait briefly for the peer's answer, if the loop has nothing else to do. True: it was received, or can be
        received."""
        call.got = -EAGAIN
        call.datagram = NULL
        return watch.told and watch.interest & SF_READABLE and watch.reader is None and self.linger(watch, call)

    cdef object linger_for(self, Watch watch, Py_ssize_t size):
        """Wait briefly, then receive: the bytes, or None if nothing has arrived."""
        cdef sf_linger call
        cdef bint small = 0 < size and not watch.reads_large
        if self.lingering == NULL:
            self.lingering = <char *>malloc(SCRATCH)
            if self.lingering == NULL:
                raise MemoryError()
        call.sock = watch.sock if small else NULL
        call.buf = self.lingering
        call.len = min(size, SCRATCH)
        if not self.comes_at_once(watch, &call):
            return None
        if call.got == -EAGAIN:
            return watch.receive(size, False)
        watch.note_received(call.got, call.len)
        return PyBytes_FromStringAndSize(self.lingering, call.got)

    cdef Py_ssize_t linger_into(self, Watch watch, object buffer) except? -2:
        """Wait briefly, then receive: the number of bytes, or BLOCKED."""
        cdef sf_linger call
        cdef Py_buffer view
        cdef bint found
        PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        try:
            call.sock = watch.sock if view.len else NULL
            call.buf = view.buf
            call.len = view.len
            found = self.comes_at_once(watch, &call)
        finally:
            PyBuffer_Release(&view)
        if not found:
            return BLOCKED
        if call.got == -EAGAIN:
            return watch.receive_into(buffer)
        return watch.note_received(call.got, call.len)

    cdef Receiving wait_to_receive(self, Watch watch, object sock, Py_ssize_t size, bint addressed, object buffer):
        cdef Receiving call = Receiving()
        call.sock = sock
        call.size = size
        call.addressed = addressed
        call.buffer = buffer
        call.future = self.create_future()
        call.handle = self.new_call(call.step, (), None)
        call.watch = self.set_handle(watch, SF_READABLE, call.handle)
        if call.watch is not watch:
            self.own(call.watch, sock)
        call.watch.told = True
        return call

    def _begin_recv(self, sock, size):
        """Returns bytes or a Receiving."""
        cdef Watch watch
        if type(size) is not int or size < 0:
            return None
        watch = self.watch_of_socket(sock)
        if watch is None or watch.asks_python(size, False):
            return None
        # A stream that was read empty is not read again until the kernel reports it as readable.
        received = self.linger_for(watch, size) if watch.drained else watch.receive(size, False)
        if received is not None:
            return received
        return self.wait_to_receive(watch, sock, size, False, None)

    def _begin_recvfrom(self, sock, size):
        """Returns (bytes, address) or a Receiving."""
        cdef Watch watch
        if type(size) is not int or size < 0:
            return None
        watch = self.watch_of_socket(sock)
        if watch is None or watch.asks_python(size, True):
            return None
        received = watch.receive(size, True)
        if received is not None:
            return received
        return self.wait_to_receive(watch, sock, size, True, None)

    def _begin_recv_into(self, sock, buffer):
        """Returns the number of bytes received, or a Receiving."""
        cdef Watch watch
        cdef Py_ssize_t n
        if type(buffer) is not bytearray and type(buffer) is not memoryview:
            return None
        watch = self.watch_of_socket(sock)
        if watch is None:
            return None
        try:
            n = self.linger_into(watch, buffer) if watch.drained else watch.receive_into(buffer)
        except (BufferError, ValueError):  # read-only, or released
            return None
        if n != BLOCKED:
            return n
        return self.wait_to_receive(watch, sock, 0, False, buffer)

    def _begin_sendall(self, sock, data):
        """Returns True if all data was sent, else the number of bytes sent; 0: there is no room now."""
        cdef Py_buffer view
        cdef iovec iov
        cdef ssize_t n, length
        cdef Watch watch
        if type(data) is not bytes and type(data) is not bytearray and type(data) is not memoryview:
            return None
        watch = self.watch_of_socket(sock)
        if watch is None or watch.writer is not None:
            return None
        try:
            PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        except (BufferError, ValueError):  # not contiguous, or released
            return None
        iov.iov_base = view.buf
        iov.iov_len = length = view.len
        n = watch.sock.stack.ops.sendv(watch.sock, &iov, 1)
        PyBuffer_Release(&view)
        if n == -EAGAIN:
            return 0
        if n < 0:
            raise os_error(-n)
        return True if n == length else n


check_methods(WatchingCore, but="_begin_")
