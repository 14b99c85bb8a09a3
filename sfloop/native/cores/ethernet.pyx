# cython: language_level=3
"""The Ethernet transport's hot path: deliver the frames of one poll together or one by one; send a frame with
send(). datagram.pyx has the same steps for datagrams: see MessageCore."""

import errno as errno_of

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from sfloop.native.cores.core cimport LoopCore, os_error
from sfloop.native.cores.engine cimport (
    SF_DRIVER_STAMPS_TX, SF_READABLE, SF_WRITABLE, sf_datagram, sf_driver, sf_driver_caps, sf_driver_stats, sf_flow, sf_stack,
    sf_stamp,
)
from sfloop.native.cores.loan cimport Loan, kept_view
from sfloop.native.cores.transport cimport MessageCore, TransportCore

cdef extern from "Python.h":
    object PyContext_CopyCurrent()

cdef enum:
    BATCH = 64
    STAMPS = 64
    HEADER = 14
    VLAN_TAG = 4


cdef Py_ssize_t live_cores = 0


def live():
    """The number of live Ethernet transports of this process."""
    return live_cores


cdef class EthernetCore(MessageCore):
    """The entries of `queue` are frames, those of `undelivered` (is received, frame or number, timestamp)."""

    cdef sf_driver *driver           # the stack's driver; NULL once the stack is gone
    cdef object frame_received       # the protocol's bound method
    cdef object frames_received      # the method of a protocol that takes batches, or None
    cdef object frame_sent
    cdef bint lends                  # it gets views of the driver's memory instead of bytes
    cdef uint64_t numbered           # frames that send() has taken; the driver counts the same
    cdef Py_ssize_t longest          # the longest frame that the driver takes, in bytes

    def __cinit__(self, *args):
        global live_cores
        live_cores += 1
        self.driver = NULL

    def __dealloc__(self):
        global live_cores
        live_cores -= 1
        self.leave()

    def may_nest(self):
        """False, because the callback's frames, or the rest of the batch, are in the driver's memory (nesting.pyx)."""
        return False

    def __init__(self, LoopCore loop, transport, str driver, str interface, uint32_t address, list wrappers, uint32_t ring, mode,
                 bint sniff, bint stamp_tx):
        self.transport = transport
        self.context = PyContext_CopyCurrent()
        self.set_write_limits(None, None)
        self.driver = loop.open_ethernet(self, driver, interface, address, wrappers, ring, mode, sniff, stamp_tx)
        self.longest = self.describe()[2] + HEADER + VLAN_TAG

    def set_protocol(self, protocol):
        self.protocol = protocol
        self.frame_received = getattr(protocol, "frame_received", None)
        self.frames_received = getattr(protocol, "frames_received", None)
        self.frame_sent = getattr(protocol, "frame_sent", None)
        self.lends = self.frames_received is not None and bool(getattr(protocol, "zero_copy", False))

    def forget_protocol(self):
        self.protocol = self.frame_received = self.frames_received = self.frame_sent = None

    cdef void release(self) noexcept:
        cdef sf_stack *stack
        if self.sock == NULL:
            return
        stack = self.sock.stack
        self.driver = NULL
        self.loop.detach(self)
        self.loop.drop_stack(stack)

    cdef void orphan(self) noexcept:
        self.driver = NULL
        TransportCore.orphan(self)

    cdef void lose_driver(self) noexcept:
        self.driver = NULL

    cdef int serve(self, uint32_t what) except -1:
        if what & SF_READABLE and self.interest & SF_READABLE:
            self.read()
            if self.sock != NULL and not self.conn_lost:
                self.report_sent()
        if what & SF_WRITABLE and self.interest & SF_WRITABLE:
            self.flush()
        return 0

    # ---- receiving ----

    cdef int read(self) except -1:
        cdef sf_datagram[BATCH] batch
        cdef int i, n
        if self.undelivered:
            self.deliver_kept()
            if self.sock == NULL or not self.reading():
                return 0
        n = self.sock.stack.ops.recv_batch(self.sock, batch, BATCH)
        if n == -EAGAIN:
            return 0
        if n < 0:
            return self.fatal(OSError(-n, "the frame driver's interface or its peer is gone"),
                              "Fatal read error on Ethernet transport")
        if self.frames_received is not None:
            return self.deliver_batch(batch, n)
        for i in range(n):
            if not self.reading() or self.conn_lost:
                break  # the rest of the batch is lost, like frames that arrive while reading is paused
            try:
                self.tell(True, PyBytes_FromStringAndSize(<const char *>batch[i].data, batch[i].len), batch[i].timestamp)
            except BaseException:
                for i in range(i + 1, n):
                    frame = PyBytes_FromStringAndSize(<const char *>batch[i].data, batch[i].len)
                    self.undelivered.append((True, frame, batch[i].timestamp))
                self.loop.call_soon(self.deliver_kept)
                raise
        return 0

    cdef int tell(self, bint received, object what, object timestamp) except -1:
        """Call frame_received() or frame_sent(). Raises SystemExit and KeyboardInterrupt, also those of the exception
        handler."""
        try:
            if received:
                self.frame_received(what, timestamp)
            elif self.frame_sent is not None:
                self.frame_sent(what, timestamp)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            name = "frame_received" if received else "frame_sent"
            self.protocol_reported(exc, f"Exception in callback protocol.{name}()")
        return 0

    def deliver_kept(self):
        """Deliver the rest of a batch after SystemExit or KeyboardInterrupt ended the run."""
        while self.undelivered and self.reading() and not self.conn_lost:
            received, what, timestamp = self.undelivered.popleft()
            try:
                self.tell(received, what, timestamp)
            except BaseException:
                self.loop.call_soon(self.deliver_kept)
                raise

    cdef int deliver_batch(self, sf_datagram *batch, int n) except -1:
        """Deliver all at once, as (frame, ns of CLOCK_REALTIME)."""
        cdef int i
        cdef Loan loan = Loan.__new__(Loan) if self.lends else None
        frames = []
        for i in range(n):
            if loan is not None:
                frame = loan.view(batch[i].data, batch[i].len)
            else:
                frame = PyBytes_FromStringAndSize(<const char *>batch[i].data, batch[i].len)
            frames.append((frame, batch[i].timestamp))
        try:
            self.frames_received(frames)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self.protocol_reported(exc, "Exception in callback protocol.frames_received()")
        finally:
            if loan is not None and not loan.end(self.loop):
                self.protocol_reported(kept_view("frames_received", "frame"), "Fatal use of zero-copy data")
        return 0

    cdef int report_sent(self) except -1:
        cdef sf_stamp[STAMPS] stamps
        cdef int i, n = self.sock.stack.ops.tx_stamps(self.sock, stamps, STAMPS)
        for i in range(n):
            try:
                self.tell(False, stamps[i].number, stamps[i].timestamp)
            except BaseException:
                for i in range(i + 1, n):
                    self.undelivered.append((False, stamps[i].number, stamps[i].timestamp))
                self.loop.call_soon(self.deliver_kept)
                raise
        return 0

    # ---- sending ----

    cdef object send(self, object data):
        cdef Py_buffer view
        cdef ssize_t rc
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"frame must be a bytes-like object, not {type(data).__name__!r}")
        if self.sock == NULL or self.closing:
            self.check_usable()
            self.note_lost_write()
            return 0
        length = data.nbytes if isinstance(data, memoryview) else len(data)
        if not HEADER <= length <= self.longest:
            raise ValueError(f"a frame of {length} bytes: this interface takes {HEADER} (an Ethernet header alone) to "
                             f"{self.longest} (its MTU, a header and a VLAN tag)")
        self.numbered += 1
        if not self.queue:
            if PyBytes_CheckExact(data):
                rc = self.send_now(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            else:
                if isinstance(data, memoryview) and not data.c_contiguous:
                    data = data.tobytes()
                PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
                try:
                    rc = self.send_now(<const char *>view.buf, view.len)
                finally:
                    PyBuffer_Release(&view)
            if rc != -EAGAIN:
                return self.numbered
            self.want_to_write()
        data = bytes(data)
        self.queue.append(data)
        self.queued += len(data)
        number = self.numbered
        self.maybe_pause_protocol()
        return number

    cdef ssize_t send_now(self, const char *start, Py_ssize_t length) except? -1:
        """Send a frame. Errors go to the protocol. Returns -EAGAIN if the frame has to wait."""
        cdef ssize_t rc = self.sock.stack.ops.send_to(self.sock, start, length, NULL, 0)
        if rc >= 0 or rc == -EAGAIN:
            return rc
        handler = getattr(self.protocol, "error_received", None)
        if handler is not None:
            handler(os_error(-rc))
        return 0

    cdef int flush(self) except -1:
        cdef ssize_t rc
        transport = self.owner()  # keep the transport alive, because without waiting frames only this call may hold it
        while self.queue and self.sock != NULL:
            frame = self.queue.popleft()  # remove it first, because error_received() may raise, abort or send
            self.queued -= len(frame)
            rc = self.send_now(PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame))
            if rc == -EAGAIN:
                self.queue.appendleft(frame)
                self.queued += len(frame)
                break
        return self.flushed()

    # ---- the driver ----

    def filter(self, bint add, uint32_t protocol, bytes local, int local_port, bytes remote, int remote_port):
        """Add or remove a flow. Addresses have 4 bytes; four zeroes mean any address. Raises OSError."""
        cdef sf_flow flow
        cdef int rc
        if self.driver == NULL:
            raise os_error(errno_of.EBADF)
        memset(&flow, 0, sizeof(flow))
        flow.local_addr = (<uint32_t *>PyBytes_AS_STRING(local))[0]
        flow.remote_addr = (<uint32_t *>PyBytes_AS_STRING(remote))[0]
        flow.local_port = <uint32_t>((local_port & 0xff) << 8 | local_port >> 8)
        flow.remote_port = <uint32_t>((remote_port & 0xff) << 8 | remote_port >> 8)
        flow.protocol = protocol
        rc = (self.driver.fast.control.filter_add if add else self.driver.fast.control.filter_del)(self.driver, &flow)
        if rc < 0:
            raise os_error(-rc)

    def describe(self):
        """(driver's name, its mode, MTU in bytes, MAC address, whether it reports when frames leave); None: the driver
        is gone."""
        cdef sf_driver_caps caps
        if self.driver == NULL:
            return None
        self.driver.fast.control.caps(self.driver, &caps)
        return ((<bytes>self.driver.fast.control.name).decode(), (<bytes>caps.mode).decode(errors="replace"), caps.mtu,
                PyBytes_FromStringAndSize(<const char *>&caps.mac[0], 6), bool(caps.flags & SF_DRIVER_STAMPS_TX))

    def stats(self):
        """The driver's counters; empty if the driver is gone."""
        cdef sf_driver_stats d
        if self.driver == NULL:
            return {}
        self.driver.fast.control.stats(self.driver, &d)
        return {
            "rx_frames": d.rx_frames, "rx_bytes": d.rx_bytes, "rx_dropped": d.rx_dropped,
            "rx_no_frames": d.rx_no_frames, "rx_invalid": d.rx_invalid,
            "tx_frames": d.tx_frames, "tx_bytes": d.tx_bytes, "tx_full": d.tx_full, "tx_errors": d.tx_errors,
            "wakeups": d.wakeups,
        }


# A method of EthernetTransport: see the end of stream.pyx.

def send(self, frame):
    """Send an Ethernet frame: destination, source, type and payload, without the frame check sequence. Never blocks.

    The NIC or its driver pads a frame to 60 bytes with zeroes.

    :param frame: bytes, bytearray or memoryview of at least 14 bytes.
    :returns: the frame's number, from 1 on, which ``frame_sent()`` gets; 0 if the transport is closed.
    :raises TypeError: the frame is not bytes-like.
    :raises ValueError: the frame is shorter than an Ethernet header, or longer than the interface's MTU allows.
    """
    cdef EthernetCore core = self._core
    return core.send(frame)
