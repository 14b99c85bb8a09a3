# cython: language_level=3
"""The datagram transport's hot path: receive a batch and deliver each datagram; send with sendto.

ethernet.pyx has the same steps for frames: see MessageCore. Two loops call datagram_received: one for datagrams as they
arrive, one for kept datagrams. They are apart because the first one is the hot path."""

import socket

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN
from libc.stdint cimport uint32_t

from sfloop.native.cores.address cimport AddressBook, check_path, is_decoded
from sfloop.native.cores.loan cimport Loan, kept_view
from sfloop.native.cores.core cimport os_error
from sfloop.native.cores.engine cimport (
    SF_READABLE, SF_WRITABLE, sf_datagram, sf_linger, sockaddr, socklen_t,
)
from sfloop.native.cores.transport cimport MessageCore

cdef enum:
    BATCH = 64
    LARGEST = 256 * 1024    # the most bytes of a datagram, as in asyncio
    HEADER = 8    # bytes that asyncio adds for the header of a queued datagram

cdef int AF_UNIX = socket.AF_UNIX, AF_INET6 = socket.AF_INET6
cdef Py_ssize_t live_cores = 0


def live():
    """The number of live datagram transports of this process."""
    return live_cores


cdef class DatagramCore(MessageCore):
    """The entries of both queues are (bytes, address)."""

    cdef object datagram_received   # the protocol's bound method
    cdef object datagrams_received  # the method of a protocol that takes batches, or None
    cdef Loan loan                  # makes views of the stack's memory for it; None: it gets bytes
    cdef AddressBook addresses
    cdef int family
    cdef int fd                     # the socket of the addresses
    cdef bint by_socket             # only the socket module knows the family's addresses
    cdef bint connected
    cdef sf_datagram single         # a datagram that was received before the kernel reported an event
    cdef bint torn                  # the batch in delivery was not copied: see allow_nesting()
    cdef object address             # the endpoint's remote address, if it has one: the only allowed destination

    def __cinit__(self, *args):
        global live_cores
        live_cores += 1
        self.addresses = AddressBook()

    def __dealloc__(self):
        global live_cores
        live_cores -= 1
        self.leave()

    def set_peer(self, int fd, int family, bint connected, address):
        self.fd = fd
        self.family = family
        self.by_socket = not is_decoded(family)
        # The kernel maps IPv4 addresses itself, unless IPV6_ADDRFORM has turned the socket into one of IPv4.
        self.addresses.maps = family == AF_INET6 and self.stack != "kernel"
        self.connected = connected
        self.address = address

    def set_protocol(self, protocol):
        self.protocol = protocol
        # A missing method is reported when a datagram arrives.
        self.datagram_received = getattr(protocol, "datagram_received", None)
        self.datagrams_received = getattr(protocol, "datagrams_received", None)
        self.loan = None
        if self.datagrams_received is not None:
            if getattr(protocol, "zero_copy", False):
                self.loan = Loan.__new__(Loan)
            if self.sock != NULL and self.sock.stack.ops.want_timestamps != NULL:
                self.sock.stack.ops.want_timestamps(self.sock, bool(getattr(protocol, "timestamps", False)))

        if self.loop is not None and self.loop.nesting is not None:
            self.allow_nesting(self.torn)

    def allow_nesting(self, bint busy):
        """Copy each batch before its first datagram is delivered from now on, because the loop may run in the callback
        (nesting.pyx). busy: a batch that was not copied is being delivered."""
        self.torn = busy
        if self.protocol is not None and self.datagrams_received is None:
            self.datagrams_received = self.deliver_each

    def may_nest(self):
        return not self.torn and self.loan is None

    def forget_protocol(self):
        self.protocol = None
        self.datagram_received = self.datagrams_received = None

    cdef int serve(self, uint32_t what) except -1:
        if what & SF_READABLE and self.interest & SF_READABLE:
            self.read()
        if what & SF_WRITABLE and self.interest & SF_WRITABLE:
            self.flush()
        return 0

    # ---- receiving ----

    cdef int read(self) except -1:
        cdef sf_datagram[BATCH] batch
        cdef int n
        if self.by_socket:
            return self.read_by_socket()
        n = self.sock.stack.ops.recv_batch(self.sock, batch, BATCH)
        return self.deliver(batch, n)

    cdef void prepare(self, sf_linger *call) noexcept:
        if not self.by_socket:
            call.sock = self.sock
            call.datagram = &self.single

    cdef int receive(self, sf_linger *call, ssize_t got) except -1:
        return self.deliver(call.datagram, <int>got)

    cdef int deliver(self, sf_datagram *batch, int n) except -1:
        cdef int i, done = 0
        if n < 0:
            return 0 if n == -EAGAIN else self.report_error(os_error(-n))
        if self.datagrams_received is not None:
            return self.deliver_batch(batch, n)
        try:
            for i in range(n):
                if not self.reading() or self.conn_lost:
                    break
                data = PyBytes_FromStringAndSize(<const char *>batch[i].data, batch[i].len)
                address = self.addresses.decode(batch[i].addr, batch[i].addr_len, self.fd)
                # Count the datagram before the call, so that it is delivered once even if the callback or the exception
                # handler raises.
                done = i + 1
                try:
                    self.datagram_received(data, address)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as exc:
                    self.protocol_reported(exc, "Exception in callback protocol.datagram_received()")
        finally:
            if done < n and not self.closing:
                self.keep(&batch[done], n - done)
        return 0

    cdef int read_by_socket(self) except -1:
        """Receive one by one with the socket module."""
        for _ in range(BATCH):
            if not self.reading() or self.conn_lost:
                break
            try:
                data, address = self.owner()._sock.recvfrom(LARGEST)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as exc:
                return self.report_error(exc)
            one = self.datagrams_received is None
            try:
                if one:
                    self.datagram_received(data, address)
                else:
                    self.datagrams_received([(data if self.loan is None else memoryview(data), address, None)])
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self.protocol_reported(exc, f"Exception in callback protocol.datagram{'' if one else 's'}_received()")
        return 0

    cdef int deliver_batch(self, sf_datagram *batch, int n) except -1:
        """Deliver all at once, as (data, address, ns of CLOCK_REALTIME or None)."""
        cdef int i
        cdef Loan loan = self.loan  # of this protocol; the callback may set another protocol
        datagrams = []
        for i in range(n):
            if loan is not None:
                data = loan.view(batch[i].data, batch[i].len)
            else:
                data = PyBytes_FromStringAndSize(<const char *>batch[i].data, batch[i].len)
            datagrams.append((data, self.addresses.decode(batch[i].addr, batch[i].addr_len, self.fd),
                              batch[i].timestamp if batch[i].timestamp else None))
        try:
            self.datagrams_received(datagrams)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.protocol_reported(exc, "Exception in callback protocol.datagrams_received()")
        finally:
            datagrams = data = None
            if loan is not None and not loan.end(self.loop):
                self.protocol_reported(kept_view("datagrams_received", "datagram"), "Fatal use of zero-copy data")
        return 0

    cdef int keep(self, sf_datagram *rest, int n) except -1:
        """Keep the rest of an interrupted batch for delivery in order."""
        cdef int i
        for i in range(n):
            self.undelivered.append((PyBytes_FromStringAndSize(<const char *>rest[i].data, rest[i].len),
                                     self.addresses.decode(rest[i].addr, rest[i].addr_len, self.fd)))
        if self.reading():  # the cause is SystemExit or KeyboardInterrupt, and not a pause
            transport = self.owner()
            self.want(self.interest & ~SF_READABLE)
            self.loop.call_soon(self.deliver_kept, transport)
        return 0

    def deliver_each(self, datagrams):
        """Called in place of the protocol's datagrams_received()."""
        self.torn = False
        for data, address, _ in datagrams:
            self.undelivered.append((data, address))
        self.deliver_kept(self.owner())

    def deliver_kept(self, transport):
        """Deliver what keep() has kept, then read on. The caller keeps the transport alive."""
        cdef bint interrupted = True
        try:
            while self.undelivered and self.reading() and not self.conn_lost:
                data, address = self.undelivered.popleft()
                try:
                    self.datagram_received(data, address)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as exc:
                    self.protocol_reported(exc, "Exception in callback protocol.datagram_received()")
            interrupted = False
        finally:
            if interrupted:  # the next run delivers the rest, or at least reads on
                self.loop.call_soon(self.deliver_kept, transport)
        if not self.undelivered and self.reading() and self.started:
            self.want(self.interest | SF_READABLE)

    def resume_reading(self):
        if self.closing or not self.paused:
            return False
        self.paused = False
        if self.undelivered:
            self.loop.call_soon(self.deliver_kept, self.owner(), context=self.context)
        elif self.started:
            self.want(self.interest | SF_READABLE)
        return True

    cdef int report_error(self, object exc) except -1:
        self.protocol.error_received(exc)
        return 0

    # ---- sending ----

    cdef int sendto(self, object data, object address) except -1:
        cdef Py_buffer view
        cdef ssize_t rc
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self.address is not None:
            if address is not None and address != self.address:
                raise ValueError(f"Invalid address: must be None or {self.address}")
            address = self.address
            if self.conn_lost:
                self.note_lost_write()
                return 0
        if self.sock == NULL:
            self.check_usable()
            return 0
        if not self.queue:
            if PyBytes_CheckExact(data):
                rc = self.send_now(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), data, address)
            else:
                if isinstance(data, memoryview) and not data.c_contiguous:
                    data = data.tobytes()
                PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
                try:
                    rc = self.send_now(<const char *>view.buf, view.len, data, address)
                finally:
                    PyBuffer_Release(&view)
            if rc != -EAGAIN:
                return 0
            self.want_to_write()
        data = bytes(data)
        self.queue.append((data, address))
        self.queued += len(data) + HEADER
        self.maybe_pause_protocol()
        return 0

    cdef ssize_t send_now(self, const char *start, Py_ssize_t length, object data, object address) except? -1:
        """Send a datagram. Errors go to the protocol. Returns -EAGAIN if the datagram has to wait."""
        cdef const sockaddr *encoded = NULL
        cdef socklen_t encoded_length = 0
        cdef ssize_t rc
        if not self.connected and address is not None:
            encoded = self.addresses.encode(address, self.family, &encoded_length)
            if encoded == NULL:
                return self.send_by_socket(data, address)
        rc = self.sock.stack.ops.send_to(self.sock, start, length, encoded, encoded_length)
        if rc >= 0 or rc == -EAGAIN:
            return rc
        self.report_error(os_error(-rc))
        return 0

    cdef ssize_t send_by_socket(self, object data, object address) except? -1:
        """Send with the socket module, which knows every family and resolves names."""
        try:
            if self.family == AF_UNIX:
                check_path(address)
            return self.owner()._sock.sendto(data, address)
        except (BlockingIOError, InterruptedError):
            return -EAGAIN
        except OSError as exc:
            self.report_error(exc)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.fatal(exc, "Fatal write error on datagram transport")
        return 0

    cdef int flush(self) except -1:
        cdef ssize_t rc
        transport = self.owner()  # keep the transport alive, because without waiting data only this call may hold it
        while self.queue and self.sock != NULL:
            data, address = self.queue.popleft()  # remove it first, because error_received() may raise, abort or send
            self.queued -= len(data) + HEADER
            rc = self.send_now(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), data, address)
            if rc == -EAGAIN:
                self.queue.appendleft((data, address))
                self.queued += len(data) + HEADER
                break
        return self.flushed()


# A method of DatagramTransport: see the end of stream.pyx.

def sendto(self, data, addr=None):
    """Send a datagram to addr, or to the connected peer (asyncio: DatagramTransport.sendto). Never blocks.

    :param data: bytes, bytearray or memoryview. Empty data is sent as an empty datagram.
    :raises TypeError: data is not bytes-like.
    :raises ValueError: the endpoint has a remote address, and addr is a different one.
    """
    cdef DatagramCore core = self._core
    core.sendto(data, addr)
