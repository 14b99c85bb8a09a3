"""A wire in memory, between two loops or from one loop to itself: sfloop's own TCP/IP without a network."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sfloop.loop import Loop
from sfloop.native.cores import core
from sfloop.options.options import Options
from sfloop.options.tcplimits import in_nanoseconds
from sfloop.testing.clock import Clock
from sfloop.testing.clockwork import clockwork_of
from sfloop.testing.faults import Faults

if TYPE_CHECKING:
    from sfloop.native.cores.core import FrameDriver
    from sfloop.native.cores.stackstream import StackStream

__all__ = ["Wire", "WireLoop", "wire"]

N = TypeVar("N")
F = TypeVar("F")

NEAR, FAR = "127.77.0.1", "127.77.0.2"
#: The minimum of turns, and of seconds of real time, that both loops get to close their connections.
_TURNS = 50
_PATIENCE = 0.02
#: Seconds that one loop waits for frames of the other.
_WAIT = 20e-6
#: Fix the initial sequence number, because it decides how the received data is split into pieces.
_SAME_EACH_TIME = {"first_sequence": 1}
_numbers = itertools.count()


def _new_name() -> str:
    return f"w{os.getpid()}-{next(_numbers)}"


def _end_options(options: dict[str, Any], interface: str) -> Options:
    for name in ("stack", "driver", "interface", "faults", "fallback"):
        if name in options:
            raise TypeError(f"{name}: the loops of a wire do not take this option, because the wire sets it")
    return Options(**options, driver="shm", interface=interface, fallback="error")


class WireLoop(Loop):
    """A loop with both ends of a wire. A program that talks to itself by TCP over loopback runs on it unchanged.

    One tcpip stack serves the loop's servers at ``127.0.0.1``. A second one, at ``127.0.0.2``, makes the loop's
    connections to them. The kernel serves everything else: datagrams, and sockets that the loop did not make. It also
    listens at the servers' ports.

    :param faults: faults of both directions, or a pair: (of connections, of servers) as senders.
    :param options: options of :class:`sfloop.Options` except those that select the stack.
    :raises OSError: ``/dev/shm`` is full.
    """

    HERE, THERE = "127.0.0.1", "127.0.0.2"
    #: Addresses that only the stacks of a wire serve, with both ends in this loop. So these stacks may use a test's
    #: clock.
    addresses_inside = frozenset({THERE})

    def __init__(self, *, faults: Faults | tuple[Faults, Faults] | None = None, **options: Any) -> None:
        self._faults = _of_both_ends(faults)
        super().__init__(_end_options(options, f"{_new_name()}@{self.THERE}"))

    def _take_stack(self, *chosen: Any) -> None:
        name = str(self._options.interface).partition("@")[0]
        for address, faults in zip((self.THERE, self.HERE), self._faults, strict=True):
            wrappers = [("fault", faults.describe())] if faults is not None else []
            packed = int.from_bytes(socket.inet_aton(address), sys.byteorder)
            limits = {**in_nanoseconds(self._options.tcp), **(_SAME_EACH_TIME if faults is not None else {})}
            self._open_stack("tcpip", ("shm", name, packed, wrappers, 0), {"interface": name, **limits})

    async def _connect_by_stack(self, sock: socket.socket, address: tuple[str, int]) -> StackStream | None:
        # Only a listening socket of this loop is at the other end of the wire.
        mine = [listener._sock.getsockname() for listener in self._listeners.values()]
        if address in mine or ("0.0.0.0", address[1]) in mine:
            return await super()._connect_by_stack(sock, address)
        return None


class _End(Loop):
    """A loop with one end of a wire. Another loop of the same thread has the other end."""

    addresses_inside = frozenset[str]()

    def _open_stack(self, name: str, driver: FrameDriver | None, options: dict[str, int | str]) -> None:
        super()._open_stack(name, driver, {**options, **_SAME_EACH_TIME})


class Wire:
    """Two loops of one thread, joined by a wire. :func:`wire` makes it."""

    def __init__(self, near: Loop, far: Loop, clock: Clock | None) -> None:
        #: The loops, and their addresses on the wire.
        self.near, self.far = near, far
        self.near_address, self.far_address = (str(loop.options.interface).partition("@")[2] for loop in (near, far))
        self._clock = clock
        self._works = tuple(clockwork_of(loop) for loop in (near, far))

    def run(self, near: Coroutine[Any, Any, N], far: Coroutine[Any, Any, F]) -> tuple[N, F]:
        """Run one coroutine on each loop until both have ended, and return both results. The loops take turns in this
        thread, the near one first.

        If one coroutine raises, the other is cancelled. The exception is raised once both have ended.
        """
        tasks = (self.near.create_task(near), self.far.create_task(far))
        self._run_until_done(*tasks)
        return tasks[0].result(), tasks[1].result()

    def run_near(self, main: Coroutine[Any, Any, N]) -> N:
        """Run a coroutine on the near loop and return its result. The far loop keeps running its tasks and servers
        meanwhile."""
        task = self.near.create_task(main)
        self._run_until_done(task)
        return task.result()

    def run_far(self, main: Coroutine[Any, Any, F]) -> F:
        """Run a coroutine on the far loop and return its result. The near loop keeps running its tasks and servers
        meanwhile."""
        task = self.far.create_task(main)
        self._run_until_done(task)
        return task.result()

    def _run_until_done(self, *tasks: asyncio.Task[Any]) -> None:
        """Raise the exception of a task or of a turn."""
        try:
            while not all(task.done() for task in tasks) and not any(map(_has_failed, tasks)):
                self._turn()
        finally:
            for task in tasks:
                task.cancel()
            while not all(task.done() for task in tasks):
                self._turn()
        for task in filter(_has_failed, tasks):
            if not task.cancelled():
                task.result()

    def _turn(self) -> None:
        """One turn of each loop. If neither loop has anything to do then, let time pass."""
        for loop in (self.near, self.far):
            loop.call_soon(loop.stop)
            loop.run_forever()
        if not all(work.has_nothing_to_do() for work in self._works):
            return
        if self._clock is not None:
            self._clock._idle(*self._works)
        else:
            core.wait_for_work(self.near, _WAIT)

    def _settle(self) -> None:
        """Let closing connections end, and cancel the tasks that are left."""
        self._turn_until_quiet()
        for loop in (self.near, self.far):
            for task in asyncio.all_tasks(loop):
                task.cancel()
        self._turn_until_quiet()

    def _turn_until_quiet(self) -> None:
        until = time.monotonic() + _PATIENCE
        for turn in itertools.count():
            self._turn()
            if not any(asyncio.all_tasks(loop) or loop.stats()["connections"] for loop in (self.near, self.far)):
                return
            if turn > _TURNS and time.monotonic() > until:
                return


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _of_both_ends(faults: Faults | tuple[Faults, Faults] | None) -> tuple[Faults | None, Faults | None]:
    return faults if isinstance(faults, tuple) else (faults, faults)


@contextmanager
def wire(
    *,
    faults: Faults | tuple[Faults, Faults] | None = None,
    clock: Clock | None = None,
    near_address: str = NEAR,
    far_address: str = FAR,
    **options: Any,
) -> Iterator[Wire]:
    """Join two loops by a wire in memory, such as a client and a server of one test. TCP and UDP between the two
    addresses are sfloop's own. No privilege is needed. The wire is deleted at the end of the block.

    :param faults: faults of both directions, or a pair: (of the near loop, of the far loop) as senders.
    :param clock: the clock of both loops and their stacks, so that retransmissions and delays take no real time.
    :param near_address: the near loop's IPv4 address on the wire. Ports are reserved at this address of the machine, so
        use one of the machine's own, such as any of 127.0.0.0/8.
    :param far_address: the far loop's address; a different one of the same kind.
    :param options: options of :class:`sfloop.Options` except those that select the stack.
    :raises OSError: ``/dev/shm`` is full.
    :raises ValueError: an address is malformed, or an option has a value that is not allowed.
    """
    name = _new_name()
    # A short time, because nobody runs the other loop meanwhile, which would have to acknowledge the FIN.
    options.setdefault("linger", 0.1)
    with ExitStack() as stack:
        loops = []
        for address, each in zip((near_address, far_address), _of_both_ends(faults), strict=True):
            given = _end_options(options, f"{name}@{address}")
            with_faults = given if each is None else Options.resolve(given, faults=each.describe())
            loops.append(_End(with_faults))
            loops[-1].addresses_inside = frozenset({near_address, far_address})
            stack.callback(loops[-1].close)
        if clock is not None:
            stack.enter_context(clock.on(*loops))
        made = Wire(loops[0], loops[1], clock)
        stack.callback(made._settle)
        yield made
