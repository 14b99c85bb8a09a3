"""Servers: asyncio's Server with the newest methods on every version of Python, and the listener that accepts for
it."""

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
    from sfloop.native.cores.listener import ListeningSink
    from sfloop.native.cores.stackstream import StackListener

#: Errors of accept() that mean that the process or the machine lacks a resource. The listener tries again later.
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def _counting(method: Any) -> Any:
    """Adapt a method of asyncio's Server, which counts its transports up to Python 3.12 and stores them from 3.13
    on."""
    if hasattr(base_events.Server, "close_clients"):
        return method
    return lambda server, transport: method(server)


_asyncio_attach: Any = _counting(vars(base_events.Server)["_attach"])
_asyncio_detach: Any = _counting(vars(base_events.Server)["_detach"])
_asyncio_wakeup: Any = vars(base_events.Server)["_wakeup"]


class Server(base_events.Server):
    """The result of ``create_server``: an ``asyncio.Server`` with ``close_clients`` and ``abort_clients`` (new in
    Python 3.13) on every version."""

    _connected: Any  # a WeakSet; asyncio's own if it has one
    _waiters: list[Any] | None

    @classmethod
    def adopt(cls, made: Any) -> Server:
        """Turn a server that asyncio has made, and that does not serve yet, into this class."""
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
        # An unclosed transport may be collected, and detached, after the last transport has woken the waiters.
        if self._waiters is not None:
            _asyncio_wakeup(self)

    def close_clients(self) -> None:
        """Call ``close()`` on all connections of the server."""
        for transport in self._connected.copy():
            transport.close()

    def abort_clients(self) -> None:
        """Call ``abort()`` on all connections of the server."""
        for transport in self._connected.copy():
            transport.abort()


class Listener:
    """Accepts the connections of one listening socket, from the kernel and from every stack that serves its address.
    Makes a protocol and a transport for each."""

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
        self._context = context  # the server's context, from Python 3.15 on
        self._protocol_factory = protocol_factory
        self._sock = sock
        self._sslcontext = sslcontext
        self._server = server
        self._backlog = backlog
        self._ssl_timeouts = ssl_timeouts
        # Open the stacks' listeners first, because a stack may replace the kernel socket under the same descriptor.
        self._stack_cores: list[StackListener] = []
        wanted = loop._wanted_interface()
        # Ask the kernel, because a program may not know the family of a descriptor (`uvicorn --fd` says AF_UNIX).
        is_ipv4 = sock.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) == socket.AF_INET
        self._claim = claim(wanted, sock) if wanted and is_ipv4 else None
        if is_ipv4:
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
        """Stop accepting. The owner closes the socket."""
        self._core.close()
        for core in self._stack_cores:
            core.close()
        self._drop_claim()

    def _drop_claim(self) -> None:
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    def _accept_some(self) -> None:
        # The next poll reports the connections that are left, so existing connections get their turn in between.
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

    def _accept_failed(self, exc: OSError, core: ListeningSink) -> None:
        if exc.errno not in EXHAUSTED:
            raise exc
        # Pause the listener, because the socket stays readable.
        self._loop.call_exception_handler(
            {
                "message": "socket.accept() out of system resource",
                "exception": exc,
                "socket": trsock.TransportSocket(self._sock),
            }
        )
        core.pause()
        self._loop.call_later(constants.ACCEPT_RETRY_DELAY, self._resume, core)

    def _resume(self, core: ListeningSink) -> None:
        if not core.closed:
            core.resume()

    def _in_own_context(self, connect: Callable[..., None], *args: Any) -> None:
        """Call a function in a context of its own for an accepted connection. From Python 3.15 on the context is a copy
        of the server's, and all callbacks of the connection run in it."""
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
            # asyncio's coroutine waits for the handshake and reports its failure.
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
            if self._loop.get_debug():  # the peer may have closed, or the server is closed
                self._report(exc, protocol=protocol)

    def _report(self, exc: BaseException, **more: asyncio.BaseProtocol) -> None:
        message = "Error on transport creation for incoming connection"
        self._loop.call_exception_handler({"message": message, "exception": exc, **more})


def _peer(conn: socket.socket | StackSocket) -> Any:
    try:
        return conn.getpeername()
    except OSError:  # the peer has closed
        return None
