"""The class :class:`Loop`. docs/architecture.md explains its parts."""

from __future__ import annotations

import asyncio
import atexit
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
from sfloop.backends.opening import open_stack
from sfloop.common.signatures import signed_like_asyncio
from sfloop.mixins.descriptors import TransportsByDescriptor, WatchedDescriptors, overrides_calls
from sfloop.mixins.ending import deliver_at_exit
from sfloop.mixins.importing import Imports
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

# All loops of this process. A forked child separates its copies from the parent's loops.
_loops: weakref.WeakSet[Loop] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    with ExitStack() as stack:  # separate every loop, even if one of them raises
        for loop in list(_loops):
            stack.callback(loop._part_from_parent)


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(deliver_at_exit, _loops)


class Loop(Signals):
    """An asyncio event loop that busy-polls.

    CPython's Unix loop does everything that happens rarely: DNS, happy eyeballs, subprocesses, signals, argument
    checking. Native code does everything that happens per callback, per timer and per message.

    :param options: the options. The environment and the defaults supply options that are not given.
    :raises ValueError: an option has a value that is not allowed.
    :raises OSError: the stack asked for cannot be used and ``fallback`` is ``"error"``, or the interface does not
        exist.
    """

    __slots__ = ("_acceleration", "_imports", "_library", "_listeners", "_options", "_stack_choice", "_unpinned")

    def __init__(self, options: Options | None = None) -> None:
        self._options = Options.resolve(options)
        self._listeners: dict[int, Listener] = {}
        self._imports = Imports()
        self._acceleration = Acceleration(spins=self._options.spin_mode != "never")
        self._unpinned: frozenset[int] | None = None
        self._library: str | None = None  # the vendor's library that serves the stack, as text
        self._open_engine(self._options.spin_mode, self._options.spin_ns)
        _loops.add(self)
        try:
            self._stack_choice = select_stack(self._options, self._take_stack)
        except BaseException:
            self._close_engine()
            raise
        super().__init__(WatchedDescriptors(self))
        self._note_own()
        self._transports = TransportsByDescriptor(self, self._transports)

    def _take_stack(self, stack: str, driver: str | None, interface: str | None) -> None:
        self._library = open_stack(self, self._options, stack, driver, interface)

    # ---- running ----

    def run_forever(self) -> None:
        """Run until :meth:`stop` is called (asyncio: ``loop.run_forever``)."""
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
        """Keep the loop's thread on its CPU while the loop runs."""
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
        """Undo the pinning for a block that starts a thread or a process. The new thread inherits the CPUs of its
        starter, and would compete with the spinning loop for the loop's CPU."""
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
        """Close the loop and drop pending callbacks and timers (asyncio: ``loop.close``). Wait for closed connections
        of a bypass stack for at most :attr:`Options.linger` seconds.

        :raises RuntimeError: the loop is running.
        """
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        try:
            for listener in self._listeners.values():
                listener.close()
            self._listeners.clear()
            self._linger(self._options.linger)
        finally:  # run the rest even if a signal handler raises
            try:
                if not sys.is_finalizing():
                    with suppress(ValueError):  # this is not the main thread
                        self._leave_wakeup_fd()
                super().close()
            finally:
                self._close_engine()
                self._transports = {}  # release the transports, because they refer to the loop

    def _part_from_parent(self) -> None:
        """Separate a loop from its parent's loop, in a forked child. The child's loop does not run and shares no
        descriptor with the parent's loop."""
        self._after_fork()  # before the check, because views of datagrams keep the stacks of a closed loop alive
        if self.is_closed() or getattr(self, "_ssock", None) is None:  # None: the constructor has not finished
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
            # The child is inside a callback of the parent's run. asyncio lets the child make and run a loop of its own
            # there.
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
        context: Context | None = None,  # passed from Python 3.15 on
        peer: bytes | None = None,
    ) -> asyncio.Transport:
        if overrides_calls(sock):
            given: dict[str, Any] = {} if context is None else {"context": context}
            own: Any = super()  # typeshed does not declare the method
            made: Any = own._make_socket_transport(sock, protocol, waiter, extra=extra, server=server, **given)
            made._sendfile_compatible = constants._SendfileMode.FALLBACK  # sendfile, too, by the socket's methods
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
        **timeouts: float,  # ssl_handshake_timeout, and from Python 3.11 on ssl_shutdown_timeout
    ) -> asyncio.Transport:
        self._ensure_fd_no_transport(rawsock)
        made = tls.make(self, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts)
        self._make_socket_transport(rawsock, made, extra=extra, server=server, context=context)
        transport: asyncio.Transport = made._app_transport
        return transport

    @signed_like_asyncio()
    async def start_tls(
        self,
        transport: asyncio.BaseTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        **options: Any,
    ) -> asyncio.Transport:
        """Upgrade a connection to TLS. Takes the options of ``asyncio.loop.start_tls``."""
        return await tls.start(self, transport, protocol, sslcontext, **options)

    # ---- servers ----

    @signed_like_asyncio(keep_alive=None)
    async def create_server(
        self, *args: Any, keep_alive: bool | None = None, start_serving: bool = True, **kw: Any
    ) -> Server:
        """Create a TCP server, like ``asyncio.loop.create_server``. ``keep_alive`` (new in Python 3.13) and the newest
        methods of ``asyncio.Server`` are there on every version of Python."""
        server = Server.adopt(await super().create_server(*args, start_serving=False, **kw))
        return await self._serve(server, keep_alive, start_serving)

    @signed_like_asyncio()
    async def create_unix_server(self, *args: Any, start_serving: bool = True, **kw: Any) -> Server:
        """Create an AF_UNIX server, like ``asyncio.loop.create_unix_server``."""
        path = args[1] if len(args) > 1 else kw.get("path")
        if path is not None:
            address.check_path(os.fspath(path))
        server = Server.adopt(await super().create_unix_server(*args, start_serving=False, **kw))
        return await self._serve(server, None, start_serving)

    async def _serve(self, server: Server, keep_alive: bool | None, start: bool) -> Server:
        try:
            if keep_alive:
                for sock in server.sockets:  # accepted connections inherit the option
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if start:
                await server.start_serving()
        except BaseException:  # listen() failed or the call was cancelled: nobody else can close the server
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

    def run_in_executor(  # type: ignore[override]  # typeshed declares a TypeVarTuple, which cannot be passed on
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        """Run a function in an executor's thread, like ``asyncio.loop.run_in_executor``."""
        with self._off_the_cpu():
            return super().run_in_executor(executor, func, *args)

    # ---- introspection ----

    @property
    def options(self) -> Options:
        """The options of the loop, all of them resolved."""
        return self._options

    def stats(self) -> dict[str, Any]:
        """Counters since the loop was made; empty once the loop is closed. docs/counters.md lists all of them.

        - ``turns``: polls of all stacks; ``empty_turns``: those that found nothing.
        - ``sleeps``: times the thread blocked in the kernel.
        - ``wakeups``: writes to the wake-up descriptor by ``call_soon_threadsafe``; ``wakeups_without_syscall``: calls
          that needed no write, because the loop was spinning.
        - ``contentions``: times that adaptive spinning yielded the CPU to other threads.
        - ``ready``, ``timers``: handles that are waiting now.
        - ``stacks``: for each stack by name, ``events``, ``rx_bytes``, ``tx_bytes``, ``rx_messages``, ``tx_messages``
          (stream reads and writes, or datagrams) and more.
        - ``connections``: for each TCP connection that bypasses the kernel, ``local`` and ``remote`` address,
          ``state``, ``retransmits``, ``rtt``, ``rto`` and other times in seconds, windows and unacknowledged data in
          bytes.
        - ``imports``: as in :meth:`describe`.
        """
        counters = self._counters()
        if counters:
            counters["connections"] = [
                {"local": address.decode(own), "remote": address.decode(peer), **known}
                for own, peer, known in stackstream.connections(self)
            ]
            counters["imports"] = self._imports.describe()
        return counters

    def describe(self) -> dict[str, Any]:
        """Describe the ``stack`` that the loop runs on, and the reasons for it.

        - ``driver``: name, mode, MTU in bytes, and on a shm wire both addresses; None on the kernel stack.
        - ``library``: the vendor's library that serves the stack, as text; None if there is none.
        - ``interface``: the accelerated interface, or None.
        - ``flows``: beside a bypass stack, each address and port that the loop receives at, of IPv4 on the tcpip stack
          and of IPv6. ``by`` says whether the driver or the kernel receives there, ``why`` gives the kernel's reason.
        - ``imports``: of the sockets that the program connected or accepted itself and gave to the loop, the number
          that the stack has ``imported``, and how many the kernel has ``kept``, by reason.
        - ``onload``: in a process under Onload, the loop's Onload stack and the accelerated descriptors; else None.
        - ``fell_back``: True if the kernel stack replaced the stack or driver that was asked for.
        - ``reasons``: stack → why it was taken or passed over.
        - ``tls``: the ``engine`` of TLS connections, ``"native"``, ``"memory-bio"`` or ``"asyncio"``, and the
          ``reason``.
        - ``options``: name → value.
        """
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
            "flows": sharing.flows(self._flows()) + sharing.ipv6(self._served()),
            "imports": self._imports.describe(),
            "onload": self._acceleration.describe(self._descriptors()),
            "fell_back": choice.fell_back,
            "reasons": dict(choice.reasons),
            "tls": tls.describe(self._options.tls),
            "options": {name: getattr(self._options, name) for name in self._options.__dataclass_fields__},
        }

    def _wanted_interface(self) -> str | None:
        """The interface that was asked for, if the loop runs on the kernel stack instead; else None."""
        options = self._options
        refused = self._stack_choice.name == "kernel" and options.stack != "kernel" and options.driver != "shm"
        return options.interface if refused else None

    def _served(self) -> list[tuple[int, str | None]]:
        """The descriptor of each listener and transport beside a bypass stack, and the stack that carries it."""
        if self._stack_choice.name not in ("tcpip", "tcpdirect"):
            return []
        cores = {fd: self._transport_core(fd) for fd in self._descriptors()}
        return [(fd, getattr(core, "stack", "kernel")) for fd, core in cores.items() if core or fd in self._listeners]

    def _descriptors(self) -> set[int]:
        """The descriptors that the program gave to the loop, and those that the loop opened for the program."""
        if self.is_closed():
            return set()
        try:
            opened = [int(name) for name in os.listdir("/proc/self/fd")]
        except OSError:  # no descriptor is free to read the directory
            opened = []
        fds = {*self._watched(), *self._listeners, *(fd for fd in opened if self._transport_core(fd) is not None)}
        return fds - {self._ssock.fileno(), self._wakeup_fd()}
