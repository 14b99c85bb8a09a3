"""The event loop."""

from __future__ import annotations

import asyncio
import atexit
import errno
import os
import signal
import socket
import sys
import threading
import weakref
from asyncio import constants, events
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from sfloop.backends import select_stack
from sfloop.backends.interfaces import wire_of
from sfloop.mixins.descriptors import TransportsByDescriptor, WatchedDescriptors, overrides_calls
from sfloop.mixins.ending import deliver_at_exit
from sfloop.mixins.onload import Acceleration
from sfloop.mixins.signals import Signals, forget_running_loops
from sfloop.native.cores import address, stackstream
from sfloop.options.options import Options, pin_thread
from sfloop.transports import tls
from sfloop.transports.server import Listener, Server
from sfloop.transports.stream import StreamTransport

if TYPE_CHECKING:
    import ssl
    from contextvars import Context

    from sfloop.transports.stacksocket import StackSocket

# Loops that a forked child has to part from its parent's.
_loops: weakref.WeakSet[Loop] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    with ExitStack() as stack:  # every loop parts, also when one of them fails
        for loop in list(_loops):
            stack.callback(loop._part_from_parent)


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(deliver_at_exit, _loops)


class Loop(Signals):
    """An asyncio event loop that busy-polls.

    It is CPython's Unix loop in everything that happens rarely (DNS, happy eyeballs, subprocesses, signals, TLS,
    argument checking); what happens per callback, per timer and per message is native.

    :param options: what the loop is to be; the environment and the defaults fill what it leaves open.
    :raises ValueError: an option has a value that is not allowed.
    :raises OSError: the stack asked for cannot be had, and ``fallback`` is ``"error"``.
    """

    __slots__ = ("_acceleration", "_library", "_listeners", "_options", "_stack_choice", "_unpinned")

    def __init__(self, options: Options | None = None) -> None:
        self._options = Options.resolve(options)
        self._listeners: dict[int, Listener] = {}
        self._acceleration = Acceleration(spins=self._options.spin_mode != "never")
        self._unpinned: frozenset[int] | None = None
        self._library: str | None = None  # the vendor's, that serves the stack
        self._open_engine(self._options.spin_mode, self._options.spin_ns)
        _loops.add(self)
        try:
            self._stack_choice = select_stack(self._options, self._open_stack)
        except BaseException:
            self._close_engine()
            raise
        super().__init__(WatchedDescriptors(self))
        self._note_own()
        self._transports = TransportsByDescriptor(self, self._transports)

    def _open_stack(self, stack: str, driver: str | None, interface: str | None) -> None:
        if stack == "tcpdirect":
            from sfloop.native.libraries import tcpdirect

            overflow = self._options.fallback != "error"
            self._library = tcpdirect.attach(self, interface or "", self._options.tcpdirect or {}, overflow)
            return
        if stack == "onload":
            return  # the kernel stack's own calls are Onload's
        if stack != "tcpip" or driver is None:
            raise OSError(errno.EOPNOTSUPP, "not built in this version of sfloop")
        name, address = wire_of(self._options) if driver == "shm" else (interface or "", "0.0.0.0")
        options = self._options
        # From the wire upwards: the capture shows what the faults have left.
        wrappers = [("fault", options.faults), ("pcap", options.pcap), ("trace", options.trace)]
        self._open_tcpip(
            driver,
            name,
            int.from_bytes(socket.inet_aton(address), sys.byteorder),
            [(wrapper, value) for wrapper, value in wrappers if value is not None],
            dict(options.tcp or ()),
            options.ring_frames,
        )

    # ---- running ----

    def run_forever(self) -> None:
        """Run until stop() is called."""
        self._check_closed()
        self._check_running()
        if self._thread_id is not None:
            self._run_nested(None)
            return
        before = events._get_running_loop()
        self._set_coroutine_origin_tracking(self._debug)
        old_hooks = sys.get_asyncgen_hooks()
        self._thread_id = threading.get_ident()
        try:
            sys.set_asyncgen_hooks(firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook)
            events._set_running_loop(self)
            with self._pinned(), self._signals_wake(), self._acceleration.running():
                self._run_turns()
        finally:
            self._stopping = False
            self._thread_id = None
            events._set_running_loop(before)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*old_hooks)

    def _pinned(self) -> AbstractContextManager[None]:
        """Keeps the loop's thread on its CPU while it runs."""
        return nullcontext() if self._options.cpu is None else self._pinned_to(self._options.cpu)

    @contextmanager
    def _pinned_to(self, cpu: int) -> Iterator[None]:
        self._unpinned = pin_thread(cpu)
        try:
            yield
        finally:
            before, self._unpinned = self._unpinned, None
            os.sched_setaffinity(0, before)

    @contextmanager
    def _off_the_cpu(self) -> Iterator[None]:
        """For starting a thread or a process that must not inherit the loop's pinning: it would fight the spin."""
        if self._unpinned is None or threading.get_ident() != self._thread_id:
            yield
            return
        pinned = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self._unpinned)
        try:
            yield
        finally:
            os.sched_setaffinity(0, pinned)

    def close(self) -> None:
        """Close the loop. Handles and timers that are still pending are dropped."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        try:
            for listener in self._listeners.values():
                listener.close()
            self._listeners.clear()
            self._linger(self._options.linger)
        finally:  # a signal's handler may raise
            try:
                if not sys.is_finalizing():
                    with suppress(ValueError):  # it is not the main thread
                        self._leave_wakeup_fd()
                super().close()
            finally:
                self._close_engine()
                self._transports = {}  # what was there refers to the loop

    def _part_from_parent(self) -> None:
        """In a forked child: the loop shares nothing with its parent's, and does not run."""
        self._after_fork()  # also of a closed loop: kept views of received datagrams keep its stacks
        if self.is_closed() or getattr(self, "_ssock", None) is None:  # None: it is being made
            return
        was_running = self._thread_id is not None
        self._remove_reader(self._ssock.fileno())
        old_csock = self._wakeup_fd()
        self._ssock.close()
        if self._csock is not None:
            self._csock.close()
        self._internal_fds -= 1
        self._make_self_pipe()
        if was_running:
            # The child is inside a callback of the parent's run, and asyncio lets it make a loop of its own there.
            events._set_running_loop(None)
            forget_running_loops()
            # Signals of the child must not wake the parent.
            if threading.current_thread() is threading.main_thread():
                now = signal.set_wakeup_fd(-1)
                if now not in (-1, old_csock):
                    signal.set_wakeup_fd(now)

    # ---- transports ----

    def _make_socket_transport(
        self,
        sock: socket.socket | StackSocket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Server | None = None,
        context: Context | None = None,  # from Python 3.15
        peer: bytes | None = None,
    ) -> asyncio.Transport:
        if overrides_calls(sock):
            given: dict[str, Any] = {} if context is None else {"context": context}
            own: Any = super()  # typeshed does not know it
            made: Any = own._make_socket_transport(sock, protocol, waiter, extra=extra, server=server, **given)
            made._sendfile_compatible = constants._SendfileMode.FALLBACK  # also that goes by the socket's methods
            transport: asyncio.Transport = made
            return transport
        self._ensure_fd_no_transport(sock)
        return StreamTransport(self, sock, protocol, waiter, extra, server, peer, context)

    def _make_ssl_transport(
        self,
        rawsock: socket.socket | StackSocket,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        waiter: asyncio.Future[None] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Server | None = None,
        context: Context | None = None,
        **timeouts: float,  # ssl_handshake_timeout; from Python 3.11 also ssl_shutdown_timeout
    ) -> asyncio.Transport:
        self._ensure_fd_no_transport(rawsock)
        made = tls.make(self, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts)
        self._make_socket_transport(rawsock, made, extra=extra, server=server, context=context)
        transport: asyncio.Transport = made._app_transport
        return transport

    async def start_tls(
        self,
        transport: asyncio.BaseTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        **options: Any,
    ) -> asyncio.Transport:
        """Upgrade a connection to TLS. As ``asyncio.loop.start_tls``, whose options it takes."""
        return await tls.start(self, transport, protocol, sslcontext, **options)

    # ---- servers ----

    async def create_server(
        self, *args: Any, keep_alive: bool | None = None, start_serving: bool = True, **kw: Any
    ) -> Server:
        """Create a TCP server. As ``asyncio.loop.create_server``, with ``keep_alive`` (new in Python 3.13) and the
        newest methods of ``asyncio.Server`` on every version."""
        server = Server.adopt(await super().create_server(*args, start_serving=False, **kw))
        return await self._serve(server, keep_alive, start_serving)

    async def create_unix_server(self, *args: Any, start_serving: bool = True, **kw: Any) -> Server:
        """Create an AF_UNIX server. As ``asyncio.loop.create_unix_server``."""
        path = args[1] if len(args) > 1 else kw.get("path")
        if path is not None:
            address.check_path(os.fspath(path))
        server = Server.adopt(await super().create_unix_server(*args, start_serving=False, **kw))
        return await self._serve(server, None, start_serving)

    async def _serve(self, server: Server, keep_alive: bool | None, start: bool) -> Server:
        try:
            if keep_alive:
                for sock in server.sockets:  # accepted connections inherit it
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if start:
                await server.start_serving()
        except BaseException:  # listen() has failed, or it was cancelled: nobody else has the server
            server.close()
            raise
        return server

    def _start_serving(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        sslcontext: ssl.SSLContext | None = None,
        server: Server | None = None,
        backlog: int = 100,
        *ssl_timeouts: float,
        context: Context | None = None,
    ) -> None:
        listener = Listener(self, protocol_factory, sock, sslcontext, server, backlog, ssl_timeouts, context)
        self._listeners[sock.fileno()] = listener

    def _stop_serving(self, sock: socket.socket) -> None:
        listener = self._listeners.pop(sock.fileno(), None)
        if listener is not None:
            listener.close()
        super()._stop_serving(sock)

    # ---- threads ----

    def run_in_executor(  # type: ignore[override]  # typeshed's TypeVarTuple cannot be passed on
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        """Run func in an executor's thread. As ``asyncio.loop.run_in_executor``."""
        with self._off_the_cpu():
            return super().run_in_executor(executor, func, *args)

    # ---- what a loop says of itself ----

    @property
    def options(self) -> Options:
        """The options the loop was made with, all of them filled in."""
        return self._options

    def stats(self) -> dict[str, Any]:
        """Counts since the loop was made.

        ``turns``: polls of all stacks, of which ``empty_turns`` found nothing; ``sleeps``: times the thread blocked in
        the kernel; ``wakeups``: writes to the wake-up descriptor by ``call_soon_threadsafe``;
        ``wakeups_without_syscall``: calls of it that a spinning loop saw in memory; ``contentions``: times that
        adaptive spinning gave way to others; ``ready``, ``timers``: handles now waiting; ``stacks``: by name,
        ``events``, ``rx_bytes``, ``tx_bytes``, ``rx_messages``, ``tx_messages`` (stream reads and writes, or datagrams)
        and more; ``connections``: of each TCP connection that bypasses the kernel, ``local`` and ``remote`` address,
        ``state``, ``rtt``, ``rto`` and their kin in seconds, windows and what is under way in bytes, ``retransmits``.
        Empty once the loop is closed.
        """
        counters = self._counters()
        if counters:
            counters["connections"] = [
                {"local": address.decode(own), "remote": address.decode(peer), **known}
                for own, peer, known in stackstream.connections(self)
            ]
        return counters

    def describe(self) -> dict[str, Any]:
        """What the loop runs on and why: ``stack``, ``driver`` (its name, mode, MTU in bytes, and of a shm wire both
        addresses; None on the kernel stack), ``interface``, ``flows`` (of the tcpip stack: each address and port that
        it receives at, ``by`` the driver or the kernel, and ``why`` the kernel), ``onload`` (in a process under it: the
        loop's stack there, and which descriptors are accelerated; else None), ``fell_back``, ``reasons`` (stack → why
        it was taken or not), ``tls`` (the ``engine`` of TLS connections, ``"native"`` or ``"asyncio"``, and the
        ``reason``) and ``options``."""
        from sfloop.backends import sharing

        choice = self._stack_choice
        driver: dict[str, Any] | None = None
        for name, mode, mtu, own, peer in self._driver_caps():
            driver = {"name": name, "mode": mode, "mtu": mtu}
            if own:
                driver["address"] = socket.inet_ntoa(own.to_bytes(4, sys.byteorder))
                driver["peer"] = socket.inet_ntoa(peer.to_bytes(4, sys.byteorder)) if peer else None
        return {
            "stack": choice.name,
            "driver": driver,
            "library": self._library,
            "interface": choice.interface,
            "flows": sharing.flows(self._filters()),
            "onload": self._acceleration.describe(self._descriptors()),
            "fell_back": choice.fell_back,
            "reasons": dict(choice.reasons),
            "tls": tls.describe(self._options.tls),
            "options": {name: getattr(self._options, name) for name in self._options.__dataclass_fields__},
        }

    def _wanted_interface(self) -> str | None:
        """The interface that the loop asked for and did not get."""
        options = self._options
        refused = self._stack_choice.name == "kernel" and options.stack != "kernel" and options.driver != "shm"
        return options.interface if refused else None

    def _descriptors(self) -> set[int]:
        """The descriptors that the program has given the loop, or the loop has made for it."""
        if self.is_closed():
            return set()
        try:
            opened = [int(name) for name in os.listdir("/proc/self/fd")]
        except OSError:  # none is left to look by
            opened = []
        fds = {*self._watched(), *self._listeners, *(fd for fd in opened if self._transport_core(fd) is not None)}
        return fds - {self._ssock.fileno(), self._wakeup_fd()}
