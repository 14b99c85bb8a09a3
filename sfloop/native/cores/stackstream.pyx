# cython: language_level=3
"""Streams and listeners of bypass stacks, which have no descriptors.

A StackStream represents a connection from connect() or accept() until a transport takes it over. A StackListener
represents one stack's part of a listening socket; the kernel has another part.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EBADF, EINPROGRESS, ENOPROTOOPT, EOPNOTSUPP
from libc.stdint cimport uint32_t

from sfloop.native.cores.core cimport LoopCore, Sink, os_error
from sfloop.native.cores.engine cimport (
    SF_READABLE, SF_WRITABLE, sf_sock, sf_stack, sf_stream_info, sockaddr, sockaddr_storage, socklen_t,
)
from sfloop.native.cores.listener cimport ListeningSink

cdef enum:
    OPTION_MAX = 512    # bytes; the longest option, TCP_INFO, has about 280


def can_connect(LoopCore loop):
    """Whether the loop has a bypass stack that carries TCP."""
    cdef int i
    for i in range(loop.engine.n_stacks if loop.engine != NULL else 0):
        if loop.engine.stacks[i].ops.connect != NULL:
            return True
    return False


def connect(LoopCore loop, int fd, bytes address, waiter):
    """Begin to connect through the first stack that reaches the address.

    :param fd: a kernel socket that holds the local port and the options. It may be closed at any time.
    :param address: a sockaddr.
    :param waiter: a future. Its result is True once the connection is established, and False if the route leads past
        the stack, so that the kernel has to connect. On failure it gets the exception.
    :returns: a StackStream, or None if only the kernel's stack reaches the address.
    :raises OSError: an error that connect(2) would report at once.
    """
    cdef StackStream stream = StackStream.__new__(StackStream)
    cdef sf_stack *stack
    cdef uint32_t slot, generation
    cdef int i, rc
    loop.check_open()
    loop.take_slot(&slot, &generation)
    rc = -EOPNOTSUPP
    for i in range(loop.engine.n_stacks):
        stack = loop.engine.stacks[i]
        if stack.ops.connect == NULL:
            continue
        rc = stack.ops.connect(stack, fd, <const sockaddr *>PyBytes_AS_STRING(address), <socklen_t>PyBytes_GET_SIZE(address),
                               slot, generation, &stream.sock)
        if rc != -EOPNOTSUPP:
            break
    if rc < 0:
        stream.sock = NULL
        loop.give_slot(slot)
        if rc == -EOPNOTSUPP:
            return None
        raise os_error(-rc)
    loop.enter(stream, slot)
    stream.waiter = waiter
    stream.want(SF_WRITABLE)
    return stream


def import_stream(LoopCore loop, int fd):
    """Let the first stack that can take over the connection of a kernel socket.

    :param fd: the socket, which is not connected afterwards.
    :returns: a StackStream; or why the connection stays with the kernel: an errno and a text. EOPNOTSUPP: it is none that
        a stack carries.
    """
    cdef StackStream stream = StackStream.__new__(StackStream)
    cdef const char *why = NULL
    cdef sf_stack *stack
    cdef uint32_t slot, generation
    cdef int i, rc
    loop.check_open()
    loop.take_slot(&slot, &generation)
    rc = -EOPNOTSUPP
    for i in range(loop.engine.n_stacks):
        stack = loop.engine.stacks[i]
        if stack.ops.import_stream == NULL:
            continue
        rc = stack.ops.import_stream(stack, fd, slot, generation, &stream.sock, &why)
        if rc == 0:
            loop.enter(stream, slot)
            return stream
    stream.sock = NULL
    loop.give_slot(slot)
    return -rc, "the stack takes no connections over" if why == NULL else (<bytes>why).decode()


def export_stream(Sink sink):
    """Give a stream's connection to a new kernel socket, and return its descriptor. The sink then has no socket.

    :raises OSError: the connection stays with its stack.
    """
    cdef sf_sock *sock = open_socket(sink)
    cdef const char *why = b"its stack cannot give it to the kernel"
    cdef int fd = -EOPNOTSUPP
    if sock.stack.ops.export_stream != NULL:
        fd = sock.stack.ops.export_stream(sock, &why)
    if fd < 0:
        raise OSError(-fd, f"the connection cannot return to the kernel: {why.decode()}")
    sink.loop.drop_slot(sink)
    return fd


cdef class StackStream(Sink):
    def __dealloc__(self):
        self.leave()

    def __repr__(self):
        return f"<StackStream {'taken' if self.taken else 'closed' if self.sock == NULL else 'open'}>"

    cdef int on_event(self, uint32_t what) except -1:
        cdef int rc
        if self.waiter is None or self.sock == NULL:
            self.want(0)
            return 0
        rc = self.sock.stack.ops.connect_result(self.sock)
        if rc == -EINPROGRESS:
            return 0
        self.want(0)
        if rc == 0 or rc == -EOPNOTSUPP:
            waiter, self.waiter = self.waiter, None
            if not waiter.done():
                waiter.set_result(rc == 0)
            return 0
        return self.finish(os_error(-rc))

    cdef int finish(self, object exc) except -1:
        waiter, self.waiter = self.waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(exc)
        return 0

    cdef bint wind_up(self) except -1:
        self.release()
        return False

    def close(self):
        """Give the connection back to its stack, which ends it like close(2). Do not call this after a transport has
        taken it."""
        self.waiter = None
        self.release()

    @property
    def stack(self):
        """The name of the stream's stack; None once it was closed or taken."""
        return None if self.sock == NULL else (<bytes>self.sock.stack.ops.name).decode()


cdef sf_sock *open_socket(Sink sink) except NULL:
    if sink is None or sink.sock == NULL:
        raise os_error(EBADF)
    return sink.sock


def name_of(Sink sink, bint peer):
    """The sockaddr of a stack's stream or listener, or of a stream's peer. Raises OSError."""
    cdef sf_sock *sock = open_socket(sink)
    cdef sockaddr_storage address
    cdef socklen_t length = sizeof(address)
    cdef int rc = sock.stack.ops.name_of(sock, peer, <sockaddr *>&address, &length)
    if rc < 0:
        raise os_error(-rc)
    return PyBytes_FromStringAndSize(<const char *>&address, min(length, sizeof(address)))


def set_option(Sink sink, int level, int name, bytes value):
    """setsockopt(2). Raises OSError (ENOPROTOOPT) if the stack does not have the option."""
    cdef sf_sock *sock = open_socket(sink)
    cdef int rc = -ENOPROTOOPT
    if sock.stack.ops.set_option != NULL:
        rc = sock.stack.ops.set_option(sock, level, name, PyBytes_AS_STRING(value), <socklen_t>PyBytes_GET_SIZE(value))
    if rc < 0:
        raise os_error(-rc)


def get_option(Sink sink, int level, int name):
    """getsockopt(2). Returns the option's bytes. Raises OSError."""
    cdef sf_sock *sock = open_socket(sink)
    cdef char[OPTION_MAX] value
    cdef socklen_t length = OPTION_MAX
    cdef int rc = -ENOPROTOOPT
    if sock.stack.ops.get_option != NULL:
        rc = sock.stack.ops.get_option(sock, level, name, value, &length)
    if rc < 0:
        raise os_error(-rc)
    return PyBytes_FromStringAndSize(value, length)


def is_readable(Sink sink):
    """Whether the next receive would return something: data, the end of the stream, or an error."""
    if sink is None or sink.sock == NULL or sink.sock.stack.ops.levels == NULL:
        return True
    return (sink.sock.stack.ops.levels(sink.sock) & SF_READABLE) != 0


def info(Sink sink):
    """The state of a stream (struct sf_stream_info in sf/stack.h; times in seconds), or None."""
    cdef sf_stream_info i
    if sink is None or sink.sock == NULL or sink.sock.stack.ops.stream_info == NULL:
        return None
    if sink.sock.stack.ops.stream_info(sink.sock, &i) < 0:
        return None
    return {
        "state": (<bytes>i.state).decode(),
        "congestion": "" if i.congestion == NULL else (<bytes>i.congestion).decode(),
        "rtt": i.rtt / 1e9, "rtt_var": i.rtt_var / 1e9, "rtt_min": i.rtt_min / 1e9, "rto": i.rto / 1e9,
        "mss": i.mss, "cwnd": i.cwnd, "ssthresh": i.ssthresh, "snd_wnd": i.snd_wnd, "rcv_wnd": i.rcv_wnd,
        "in_flight": i.in_flight, "unsent": i.unsent, "unread": i.unread,
        "bytes_sent": i.bytes_sent, "bytes_received": i.bytes_received,
        "segments_sent": i.segments_sent, "segments_received": i.segments_received,
        "retransmits": i.retransmits, "timeouts": i.timeouts, "recoveries": i.recoveries, "probes": i.probes,
        "duplicate_acks": i.duplicate_acks, "out_of_order": i.out_of_order,
    }


def connections(LoopCore loop):
    """List (own sockaddr, peer's sockaddr, info()) of every open stream of the loop's bypass stacks."""
    cdef Sink sink
    cdef list found = []
    for each in loop.open_sinks():
        sink = <Sink>each
        known = info(sink)
        if known is not None:
            try:
                found.append((name_of(sink, False), name_of(sink, True), known))
            except OSError:  # it was reset meanwhile
                pass
    return found


def listen(LoopCore loop, int fd, int backlog, on_acceptable):
    """Make one StackListener for every stack that serves the address of a kernel socket.

    :param on_acceptable: called with the StackListener when a connection can be accepted.
    :raises OSError: a stack serves the address, but cannot listen there.
    """
    cdef StackListener listener
    cdef sf_stack *stack
    cdef uint32_t slot, generation
    cdef int i, rc
    cdef list listeners = []
    loop.check_open()
    for i in range(loop.engine.n_stacks):
        stack = loop.engine.stacks[i]
        if stack.ops.listen == NULL:
            continue
        listener = StackListener.__new__(StackListener)
        loop.take_slot(&slot, &generation)
        rc = stack.ops.listen(stack, fd, backlog, slot, generation, &listener.sock)
        if rc < 0:
            listener.sock = NULL
            loop.give_slot(slot)
        if rc == -EOPNOTSUPP:
            continue
        if rc < 0:
            for opened in listeners:
                opened.close()
            raise os_error(-rc)
        loop.enter(listener, slot)
        listener.begin(on_acceptable)
        listeners.append(listener)
    return listeners


cdef class StackListener(ListeningSink):
    cdef int on_event(self, uint32_t what) except -1:
        self.context.run(self.on_acceptable, self)
        return 0

    def accept(self):
        """Accept a connection. Returns a StackStream, or None if there is none. Raises OSError, such as ENOBUFS."""
        cdef StackStream stream
        cdef sf_sock *accepted = NULL
        cdef uint32_t slot, generation
        cdef int rc
        if self.sock == NULL:
            return None
        self.loop.take_slot(&slot, &generation)
        rc = self.sock.stack.ops.accept_stream(self.sock, &accepted)
        if rc < 0:
            self.loop.give_slot(slot)
            if rc == -EAGAIN:
                return None
            raise os_error(-rc)
        stream = StackStream.__new__(StackStream)
        accepted.slot = slot
        accepted.generation = generation
        stream.sock = accepted
        self.loop.enter(stream, slot)
        self.peer = name_of(stream, True)
        return stream
