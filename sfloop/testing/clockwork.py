"""The interface between a test's clock and a loop, for sfloop's loops and asyncio's own."""

from __future__ import annotations

import abc
import asyncio
import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

from sfloop.loop import Loop
from sfloop.native.cores import core
from sfloop.testing.outside import a_child_runs, a_peer_is_elsewhere

__all__ = ["Clockwork", "clockwork_of"]


class Idle(Protocol):
    """The clock's function that runs before a loop waits. Returns True if the loop has to wait."""

    def __call__(self, *works: Clockwork) -> bool: ...


class Clockwork(abc.ABC):
    """One loop of a clock. Each subclass handles one kind of loop."""

    #: Whether the loop has both ends of a wire, or one end while another loop of the same clock has the other.
    has_wire = False

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._calls = 0  # calls of run_in_executor that have not ended

    def start(self, now: Callable[[], float], idle: Idle) -> None:
        if "time" in vars(self._loop):
            raise RuntimeError(
                f"{self._loop!r} already has a clock (its attribute `time` is set); detach that one first"
            )
        self._run_in_executor = self._loop.run_in_executor
        self._loop.run_in_executor = self._call_in_executor
        self._loop.time = now

    def stop(self) -> None:
        del self._loop.time, self._loop.run_in_executor

    def _call_in_executor(self, *arguments: Any) -> Any:
        future = self._run_in_executor(*arguments)
        self._calls += 1
        future.add_done_callback(self._call_ended)
        return future

    def _call_ended(self, _: object) -> None:
        self._calls -= 1

    def is_pending(self) -> bool:
        """Whether an operation is in progress that ends by itself: a call in an executor, or a child process."""
        return bool(self._calls) or (self._has_sockets() and a_child_runs(self._watched()))

    def peers_are_elsewhere(self) -> bool:
        """Whether input may come from outside this process or this loop."""
        return self._has_sockets() and a_peer_is_elsewhere(self._descriptors())

    @abc.abstractmethod
    def has_nothing_to_do(self) -> bool:
        """Whether no callback is ready and nothing has arrived."""

    @abc.abstractmethod
    def next_call(self) -> float:
        """The time at which the next timer is due, by the loop's clock; infinity: there is no timer."""

    def next_stack_timer(self) -> float:
        """Seconds until a timer of the loop's own stacks is due; infinity: there is none."""
        return math.inf

    @abc.abstractmethod
    def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` of real time. Returns True as soon as there is something to do."""

    def _has_sockets(self) -> bool:
        return True

    @abc.abstractmethod
    def _watched(self) -> Iterable[int]: ...

    def _descriptors(self) -> Iterable[int]:
        return self._watched()


class _Sfloops(Clockwork):
    """A loop of sfloop's. It calls the clock before it waits."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop)
        self._inside: frozenset[str] = getattr(loop, "addresses_inside", frozenset())
        self.has_wire = bool(self._inside)

    def start(self, now: Callable[[], float], idle: Idle) -> None:
        super().start(now, idle)
        if self.has_wire:
            core.use_test_clock(self._loop)
        self._loop._when_idle = lambda: idle(self)

    def stop(self) -> None:
        self._loop._when_idle = None
        super().stop()

    def has_nothing_to_do(self) -> bool:
        return core.has_nothing_to_do(self._loop)

    def next_call(self) -> float:
        when = core.next_call(self._loop)
        return math.inf if when is None else when

    def next_stack_timer(self) -> float:
        ahead = core.next_stack_timer(self._loop) if self.has_wire else None
        return math.inf if ahead is None else ahead

    def wait(self, seconds: float) -> bool:
        return core.wait_for_work(self._loop, seconds)

    def peers_are_elsewhere(self) -> bool:
        if not self._has_sockets():
            return False
        bypasses = not self.has_wire and cast("Loop", self._loop)._stack_choice.name in ("tcpip", "tcpdirect")
        return bypasses or a_peer_is_elsewhere(self._descriptors(), self._inside)

    def _has_sockets(self) -> bool:
        return core.open_sockets(self._loop) > 1  # one is asyncio's own self-pipe

    def _watched(self) -> Iterable[int]:
        return cast("Loop", self._loop)._watched()

    def _descriptors(self) -> Iterable[int]:
        return cast("Loop", self._loop)._descriptors()


class _Asyncios(Clockwork):
    """A loop of asyncio's own. The clock replaces the ``select`` method of its selector."""

    def start(self, now: Callable[[], float], idle: Idle) -> None:
        super().start(now, idle)
        self._idle = idle
        self._select = self._loop._selector.select
        self._loop._selector.select = self._jump_and_select

    def stop(self) -> None:
        if self._loop._selector is not None:
            del self._loop._selector.select
        super().stop()

    def _jump_and_select(self, timeout: float | None = None) -> Any:
        events = self._select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        return self._select(None if self._idle(self) else 0)

    def has_nothing_to_do(self) -> bool:
        return not self._loop._ready and not self._select(0)

    def next_call(self) -> float:
        timers = self._loop._scheduled
        if timers and not timers[0]._cancelled:
            return float(timers[0]._when)
        return min((timer._when for timer in timers if not timer._cancelled), default=math.inf)

    def wait(self, seconds: float) -> bool:
        return bool(self._select(seconds)) or bool(self._loop._ready)

    def _watched(self) -> Iterable[int]:
        return set(self._loop._selector.get_map()) - {self._loop._ssock.fileno()}


def clockwork_of(loop: asyncio.AbstractEventLoop) -> Clockwork:
    """The clockwork for a loop.

    :raises TypeError: the loop is of another kind.
    """
    if isinstance(loop, Loop):
        return _Sfloops(loop)
    if isinstance(loop, asyncio.SelectorEventLoop):
        return _Asyncios(loop)
    raise TypeError(f"{loop!r} takes no clock: use a loop of sfloop's, or one of asyncio's own selector loops")
