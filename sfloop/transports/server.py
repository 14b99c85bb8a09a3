"""Servers: asyncio's Server with the newest Python's methods on every version, and the listener that feeds it."""

from __future__ import annotations

import errno
import socket
import weakref
from asyncio import base_events, constants, trsock
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from sfloop.native.cores import address, stackstream
from sfloop.native.cores.listener import ListenerCore
from sfloop.transports.claims import claim
from sfloop.transports.stacksocket import StackSocket

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable
    from contextvars import Context

    from sfloop.loop import Loop
    from sfloop.native.cores.stackstream import StackListener

#: What accept() reports when the process or the machine has run out of something. The listener tries again later.
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def _counting(method: Any) -> Any:
    """Up to Python 3.12 asyncio's Server counts its transports, from 3.13 it remembers them: the argument differs."""
    if hasattr(base_events.Server, "close_clients"):
        return method
    return lambda server, transport: method(server)


_asyncio_attach: Any = _counting(vars(base_events.Server)["_attach"])
_asyncio_detach: Any = _counting(vars(base_events.Server)["_detach"])
_asyncio_wakeup: Any = vars(base_events.Server)["_wakeup"]


class Server(base_events.Server):
    """What ``create_server`` returns: ``asyncio.Server``, with ``close_clients`` and ``abort_clients`` (new in Python
    3.13) on every version."""

    _connected: Any  # a WeakSet: asyncio's own where there is one
    _waiters: list[Any] | None

    @classmethod
    def adopt(cls, made: Any) -> Server:
        """Turns a server that asyncio has just made, and that does not serve yet, into one of ours."""
        made.__class__ = cls
        server: Server = made
        server._connected = getattr(server, "_clients", None)
        if server._connected is None:
            server._connected = weakref.WeakSet()
        return server

    def _attach(self, transport: asyncio.BaseTransport) -> None:
        self._connected.add(transport)
        _asyncio_attach(self, transport)

    def _detach(self, transport: asyncio.BaseTransport) -> None:
        self._connected.discard(transport)
        _asyncio_detach(self, transport)

    def _wakeup(self) -> None:
        # A transport that was never closed may be collected, and detached, after the last one has woken the waiters.
        if self._waiters is not None:
            _asyncio_wakeup(self)

    def close_clients(self) -> None:
        """Close all existing incoming client connections, as their ``close()`` does."""
        for transport in self._connected.copy():
            transport.close()

    def abort_clients(self) -> None:
        """Close all existing incoming client connections at once, as their ``abort()`` does."""
        for transport in self._connected.copy():
            transport.abort()


class Listener:
    """Accepts what arrives at one listening socket, by the kernel and by every stack that serves its address, and gives
    each connection a protocol and a transport."""

    def __init__(
        self,
        loop: Loop,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        sslcontext: ssl.SSLContext | None,
        server: Server | None,
        backlog: int,
        ssl_timeouts: tuple[float, ...],
        context: Context | None = None,
    ) -> None:
        self._loop = loop
        self._context = context  # the server's, from Python 3.15
        self._protocol_factory = protocol_factory
        self._sock = sock
        self._sslcontext = sslcontext
        self._server = server
        self._backlog = backlog
        self._ssl_timeouts = ssl_timeouts
        # The stacks first: one may have to put another kernel socket in this one's place, under the same descriptor.
        self._stack_cores: list[StackListener] = []
        wanted = loop._wanted_interface()
        self._claim = claim(wanted, sock) if wanted and sock.family == socket.AF_INET else None
        if sock.family == socket.AF_INET:
            self._stack_cores = stackstream.listen(loop, sock.fileno(), backlog, self._accept_from_stack)
        try:
            self._core = ListenerCore(loop, sock.fileno(), self._accept_some)
        except BaseException:
            for core in self._stack_cores:
                core.close()
            self._drop_claim()
            raise

    def __repr__(self) -> str:
        return f"<Listener {self._sock!r}>"

    def close(self) -> None:
        """Stops accepting. The socket is its owner's to close."""
        self._core.close()
        for core in self._stack_cores:
            core.close()
        self._drop_claim()

    def _drop_claim(self) -> None:
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    def _accept_some(self) -> None:
        # What is left over is reported by the next poll again; connections in use get their turn in between.
        for _ in range(max(1, min(self._backlog, 128))):
            try:
                fd = self._core.accept()
            except OSError as exc:
                self._accept_failed(exc, self._core)
                return
            if fd < 0:
                return
            self._in_own_context(self._connect_fd, fd)

    def _accept_from_stack(self, core: StackListener) -> None:
        for _ in range(max(1, min(self._backlog, 128))):
            try:
                stream = core.accept()
            except OSError as exc:
                self._accept_failed(exc, core)
                return
            if stream is None:
                return
            self._in_own_context(self._connect, StackSocket(stream), core.peer)

    def _accept_failed(self, exc: OSError, core: ListenerCore | StackListener) -> None:
        if exc.errno not in EXHAUSTED:
            raise exc
        # The socket goes on being reported as readable, so it is left alone for a while.
        self._loop.call_exception_handler(
            {
                "message": "socket.accept() out of system resource",
                "exception": exc,
                "socket": trsock.TransportSocket(self._sock),
            }
        )
        core.pause()
        self._loop.call_later(constants.ACCEPT_RETRY_DELAY, self._resume, core)

    def _resume(self, core: ListenerCore | StackListener) -> None:
        if not core.closed:
            core.resume()

    def _in_own_context(self, connect: Callable[..., None], *args: Any) -> None:
        """Gives the accepted connection a context of its own: from Python 3.15 a copy of the server's, in which all its
        callbacks run."""
        if self._context is None:
            copy_context().run(connect, *args, {})
        else:
            context = self._context.copy()
            context.run(connect, *args, {"context": context})

    def _connect_fd(self, fd: int, given: dict[str, Any]) -> None:
        sock = self._sock
        conn = socket.socket(sock.family, sock.type, sock.proto, fileno=fd)
        conn.setblocking(False)
        self._connect(conn, self._core.peer if address.decodes(sock.family) else None, given)

    def _connect(self, conn: socket.socket | StackSocket, peer: bytes | None, given: dict[str, Any]) -> None:
        try:
            protocol = self._protocol_factory()
        except (SystemExit, KeyboardInterrupt):
            conn.close()
            raise
        except BaseException as exc:
            conn.close()
            self._report(exc)
            return
        if self._sslcontext is not None:
            # asyncio's coroutine: it waits for the handshake and tells of its failure.
            self._loop.create_task(
                self._loop._accept_connection2(
                    lambda: protocol,
                    conn,
                    {"peername": _peer(conn)},
                    self._sslcontext,
                    self._server,
                    *self._ssl_timeouts,
                    **given,
                ),
                **given,
            )
            return
        try:
            self._loop._make_socket_transport(conn, protocol, server=self._server, peer=peer, **given)
        except BaseException as exc:
            conn.close()
            if isinstance(exc, (SystemExit, KeyboardInterrupt)):
                raise
            if self._loop.get_debug():  # the peer may be gone, or the server closed
                self._report(exc, protocol=protocol)

    def _report(self, exc: BaseException, **more: asyncio.BaseProtocol) -> None:
        message = "Error on transport creation for incoming connection"
        self._loop.call_exception_handler({"message": message, "exception": exc, **more})


def _peer(conn: socket.socket | StackSocket) -> Any:
    try:
        return conn.getpeername()
    except OSError:  # it is gone already
        return None
