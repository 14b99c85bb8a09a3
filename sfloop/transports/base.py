"""The common part of stream and datagram transports above their native cores: calls that are rare, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import warnings
from asyncio import futures, transports, trsock
from typing import TYPE_CHECKING, Any, cast

from sfloop.native.cores import address
from sfloop.native.libraries import onload
from sfloop.transports.pseudosocket import PseudoSocket

if TYPE_CHECKING:
    from sfloop.loop import Loop
    from sfloop.native.cores.transport import TransportCore
    from sfloop.transports.server import Server
    from sfloop.transports.stacksocket import StackSocket

logger = logging.getLogger("asyncio")

_set_result_unless_cancelled: Any = vars(futures)["_set_result_unless_cancelled"]  # typeshed does not declare it


def end_dropped(core: TransportCore, loop: Loop | None, sock: socket.socket | StackSocket | None) -> None:
    """Close the socket of a transport that was garbage-collected. Objects that still refer to the transport must not
    use the descriptor, because its number may soon belong to another file. If another thread collected the garbage, the
    loop's thread closes the socket."""
    if core.abandon() or loop is None:
        if sock is not None:
            sock.close()
        return
    with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile, which has released its sockets
        loop.call_soon_threadsafe(end_dropped, core, loop, sock)


def is_ending(core: TransportCore, loop: Loop | None) -> bool:
    """Whether another finalizer has already closed the transport, so that connection_lost() is still to come."""
    return core.conn_lost > 0 and loop is not None and not loop.is_closed()


async def connected(transport: asyncio.BaseTransport, waiter: asyncio.Future[None]) -> None:
    """Wait until connection_made() was called. If that fails or is cancelled, close the transport."""
    try:
        await waiter
    except BaseException:
        transport.close()
        raise


class WriteBuffer:
    """The methods of a transport about the buffer that its core has."""

    __slots__ = ()

    _core: TransportCore

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the high and low water marks in bytes, for pause_writing() and resume_writing().

        :raises ValueError: unless high >= low >= 0.
        """
        self._core.set_write_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The (low, high) water marks in bytes."""
        return self._core.get_write_limits()

    def get_write_buffer_size(self) -> int:
        """Bytes written but not yet taken by the stack."""
        return self._core.queued


class SocketTransport(WriteBuffer, transports._FlowControlMixin):
    """A transport over a socket. Its native core does the work of each message.

    The base ``_FlowControlMixin`` is there because asyncio's sendfile accepts no other transport. The core does the
    flow control.
    """

    __slots__ = ("__dict__", "__weakref__", "_core", "_peer", "_server", "_sock", "_sock_fd")

    _core: TransportCore
    _collected: Any = None  # the protocol, once the transport's finalizer has run
    _extra: dict[str, Any]

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket | StackSocket,
        core: TransportCore,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None,
        extra: dict[str, Any] | None,
        server: Server | None,
        peer: bytes | None = None,
    ) -> None:
        asyncio.BaseTransport.__init__(self, extra)
        self._core = core
        self._loop: Loop | None = loop
        self._sock: socket.socket | StackSocket | None = sock
        self._sock_fd = sock.fileno()
        self._server = server
        self._peer = peer
        try:
            if peer is None and "peername" not in self._extra:
                self._extra["peername"] = _name_of(sock.getpeername)
            core.set_protocol(protocol)
            connection_made = protocol.connection_made  # raises here if the object is not a protocol
            if server is not None:
                server._attach(self)  # raises if the protocol factory has closed the server
        except BaseException:
            core.dispose()  # drop the loop's reference, which would keep the transport and its core alive
            self._sock = None
            raise
        context = core.shared_context
        loop.call_soon(connection_made, self, context=context)
        # connection_made() must run before reading starts and before the waiter is set.
        loop.call_soon(core.start_reading, context=context)
        if waiter is not None:
            loop.call_soon(_set_result_unless_cancelled, waiter, None, context=context)

    def __repr__(self) -> str:
        info = [type(self).__name__]
        if self._sock is None:
            info.append("closed")
        elif self._core.closing:
            info.append("closing")
        stack = self._core.stack
        info.append(f"fd={self._sock_fd}" if stack in ("kernel", None) else f"stack={stack}")
        if self._loop is not None and not self._loop.is_closed():
            reads, writes = self._core.is_watching
            info.append(f"read={'polling' if reads else 'idle'}")
            info.append(f"write=<{'polling' if writes else 'idle'}, bufsize={self._core.queued}>")
        return f"<{' '.join(info)}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        sock = getattr(self, "_sock", None)  # a constructor that raised has not set it
        if sock is None:
            return
        try:
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
        finally:  # the program may turn warnings into errors
            if not is_ending(self._core, self._loop):
                server, self._sock, self._server = self._server, None, None
                self._collected = self._core.get_protocol()
                end_dropped(self._core, self._loop, sock)
                if server is not None:
                    server._detach(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The names that asyncio documents for ``BaseTransport.get_extra_info``: ``socket``, ``sockname``,
        ``peername``. Also ``stack``, the name of the network stack that carries the transport. In a process under
        Onload also ``onload``: whether Onload carries it, and in which of its stacks."""
        if name == "stack" and self._sock is not None:
            return self._core.stack or "kernel"
        if name == "onload" and self._sock is not None:
            library = onload.find()
            return default if library is None else library.of_descriptor(self._sock_fd)
        self._fill_in(name)
        return self._extra.get(name, default)

    def _fill_in(self, name: str) -> None:
        # Made on demand, because a server with ten thousand connections does not use most of them.
        if name in self._extra:
            return
        if name == "peername" and self._peer is not None:
            self._extra[name] = address.decode(self._peer)
        elif self._sock is not None and name == "sockname":
            self._extra[name] = _name_of(self._sock.getsockname)
        elif self._sock is not None and name == "socket":
            sock = cast("socket.socket", self._sock)
            if self._core.stack in ("kernel", None):
                self._extra[name] = trsock.TransportSocket(sock)
            else:
                self._extra[name] = PseudoSocket(sock, self._core.options_changed)

    # ---- protocol and reading ----

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Deliver to this protocol from now on."""
        self._core.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The current protocol."""
        return self._core.get_protocol()

    # Attributes of asyncio's transports that programs read.

    @property
    def _paused(self) -> bool:
        return self._core.paused

    @property
    def _closing(self) -> bool:
        return self._core.closing

    def is_reading(self) -> bool:
        """True if the transport is receiving new data."""
        return self._core.is_reading()

    def pause_reading(self) -> None:
        """Deliver no data until resume_reading(). Received data stays in the socket and closes its window."""
        if self._core.pause_reading() and self._debugs():
            logger.debug("%r pauses reading", self)

    def resume_reading(self) -> None:
        """Deliver data again."""
        if self._core.resume_reading() and self._debugs():
            logger.debug("%r resumes reading", self)

    # ---- write flow control ----

    @property
    def _protocol_paused(self) -> bool:
        return self._core.protocol_paused

    # ---- the end ----

    def is_closing(self) -> bool:
        """True if the transport is closing or closed."""
        return self._core.closing

    def close(self) -> None:
        """Stop receiving, send the buffered data, then close and call connection_lost(None)."""
        if not self._tell_collected():
            self._core.close(self)

    def abort(self) -> None:
        """Close at once. Buffered data is lost."""
        self._force_close(None)

    def _force_close(self, exc: BaseException | None) -> None:
        if not self._tell_collected():
            self._core.force_close(exc, self)

    def _tell_collected(self) -> bool:
        """Schedule connection_lost() for a transport that is closed after its finalizer has run. Returns whether that
        is so."""
        protocol, self._collected = self._collected, None
        if protocol is None:
            return False
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon(protocol.connection_lost, None, context=self._core.shared_context)
        return True

    def _fatal_error(self, exc: BaseException, message: str = "Fatal error on transport") -> None:
        try:
            if isinstance(exc, OSError):
                if self._debugs():
                    logger.debug("%r: %s", self, message, exc_info=exc)
            elif self._loop is not None:
                self._loop.call_exception_handler(
                    {"message": message, "exception": exc, "transport": self, "protocol": self._core.get_protocol()}
                )
        finally:  # the exception handler may raise SystemExit or KeyboardInterrupt
            self._core.force_close(exc, self)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        sock, server = self._sock, self._server
        protocol: Any = self._core.get_protocol()
        try:
            if protocol is not None:
                protocol.connection_lost(exc)
        finally:
            self._fill_in("sockname")  # while the socket can still tell them
            self._fill_in("socket")
            self._core.dispose()
            self._sock = self._loop = self._server = None
            if sock is not None:
                sock.close()
            if server is not None:
                server._detach(self)

    def _debugs(self) -> bool:
        return self._loop is not None and self._loop.get_debug()


def _name_of(method: Any) -> Any:
    try:
        return method()
    except OSError:
        return None
