"""A loop's clock under the control of a test, so that timeouts take no real time."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from sfloop.native.cores import core
from sfloop.runner import Runner
from sfloop.testing.clockwork import Clockwork, clockwork_of
from sfloop.testing.outside import busy_threads

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sfloop.options.options import OptionKeywords

__all__ = ["Clock", "run"]

T = TypeVar("T")

#: Seconds of real time between two looks at busy threads and processes.
_LOOK = 0.001
_SECOND = 1_000_000_000  # ns


class Clock:
    """A clock that stands still while a program runs, and jumps to the next timer when nothing else can happen.

    ``asyncio.sleep(3600)``, ``asyncio.wait_for``, ``asyncio.timeout`` and ``loop.call_later`` of an unmodified program
    then take no real time, and end in the order of their times. ``loop.time()`` returns this clock's time.
    ``time.monotonic()`` and ``time.sleep()`` are unchanged, because they are not asyncio's.

    The clock jumps when the loop has no callback to run, a poll of all its descriptors finds nothing, and nothing can
    arrive from outside:

    - The clock runs at the pace of real time while a thread that was started after :meth:`attach` is busy, while a call
      of ``run_in_executor`` runs, or while the loop waits for a child process. It jumps again when they are done. So a
      timeout of such a call takes its real time.
    - The clock waits for `patience` before each jump while a connection is open whose peer is not on the same loop, or
      while the loop watches a descriptor that another process can write to. Data that arrives meanwhile comes first.
    - The stacks of :func:`sfloop.testing.wire` and :class:`sfloop.testing.WireLoop` use this clock, too, for
      retransmissions and for delays of faults.

    A loop without a timer waits as it does without this clock. The clock stands still meanwhile.

    All loops of one clock must run in the same thread. They may be sfloop's or asyncio's own selector loops.

    :param start: the first value of :meth:`time` in seconds; None: the first loop's own time.
    :param jumps: False: only :meth:`advance` moves the clock.
    :param patience: seconds of real time. 0: jump even while peers are connected. ``math.inf``: never jump while a peer
        is connected.
    :raises ValueError: `start` is not finite, or `patience` is negative.
    """

    def __init__(self, start: float | None = None, *, jumps: bool = True, patience: float = 0.1) -> None:
        if start is not None and not math.isfinite(start):
            raise ValueError(f"start={start!r}: must be finite seconds, or None for the first loop's own time")
        if not patience >= 0:
            raise ValueError(f"patience={patience!r}: must be seconds of real time, 0 or more")
        #: Whether the clock jumps. A test may change it at any time.
        self.jumps = jumps
        #: Seconds of real time to wait for peers elsewhere before each jump. A test may change it at any time.
        self.patience = patience
        self._now = start
        self._real = 0  # number of real_time() blocks that are open
        # The time of the wires' stacks, in ns, and our time at the same moment.
        self._stacks: tuple[int, float] | None = None
        self._loops: dict[asyncio.AbstractEventLoop, Clockwork] = {}
        self._threads: list[threading.Thread] = []

    # ---- time ----

    def time(self) -> float:
        """The time in seconds. It never goes back."""
        return 0.0 if self._now is None else self._now

    def advance(self, seconds: float) -> None:
        """Move the clock on. The timers that become due run in their loop's next turn, in the order of their times.

        Any thread may call this method.

        :raises ValueError: `seconds` is negative or not finite.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(f"seconds={seconds!r}: must be 0 or more, because a loop's time never goes back")
        self._set(self.time() + seconds)
        for loop in list(self._loops):  # another thread may detach or close a loop meanwhile
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_nothing)

    @contextmanager
    def real_time(self) -> Iterator[None]:
        """In this block the clock runs at the pace of real time whenever its loops wait. Use it when something can
        happen that the clock does not know of."""
        self._real += 1
        try:
            yield
        finally:
            self._real -= 1

    def _set(self, now: float) -> None:
        self._now = now
        if self._stacks is not None:
            core.set_test_clock(self._stacks[0] + round((now - self._stacks[1]) * _SECOND))

    # ---- loops ----

    @contextmanager
    def on(self, *loops: asyncio.AbstractEventLoop) -> Iterator[Clock]:
        """In this block the loops use this clock: :meth:`attach` at the beginning, :meth:`detach` at the end."""
        with ExitStack() as stack:
            for loop in loops:
                self.attach(loop)
                stack.callback(self.detach, loop)
            yield self

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make a loop use this clock from now on, even if the loop is running.

        :raises TypeError: the loop is neither sfloop's nor one of asyncio's own selector loops.
        :raises RuntimeError: the loop already has a clock.
        """
        if loop in self._loops:
            return
        work = clockwork_of(loop)
        if self._now is None:
            self._now = loop.time()
        if not self._loops:
            self._threads = threading.enumerate()
        if work.has_wire and self._stacks is None:
            # Round up to a whole second, because the stacks' timestamps count whole milliseconds and a run must be
            # repeatable.
            self._stacks = (-(-core.test_clock() // _SECOND) * _SECOND, self._now)
        self._set(self._now)
        work.start(self.time, self._idle)
        self._loops[loop] = work

    def detach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give a loop its own time back. Its timers keep their times, so a timer that is ahead of the loop's own time
        because of jumps runs that much later."""
        work = self._loops.pop(loop, None)
        if work is None:
            return
        work.stop()
        if self._stacks is not None and not any(each.has_wire for each in self._loops.values()):
            self._stacks = None
            core.set_test_clock(None)

    # ---- jumping ----

    def _idle(self, *works: Clockwork) -> bool:
        """Called when no loop of a thread has anything to run, before the thread waits.

        :param works: the loop, or all loops that take turns in this thread.
        :return: True: wait for input from outside. False: a loop has something to do.
        """
        while True:
            due = min(work.next_call() for work in works)
            until = min(due, *(self.time() + work.next_stack_timer() for work in works))
            if due <= self.time():
                return False
            pending = self._real > 0 or (self.jumps and self._something_is_pending(works))
            # Check this last, because a thread may have called a loop just before the thread ended.
            if not all(work.has_nothing_to_do() for work in works):
                return False
            if until == math.inf or not (self.jumps or pending):
                return True
            if pending:
                began = time.monotonic()
                _wait(works, min(_LOOK, until - self.time()))
                self._set(self.time() + time.monotonic() - began)
                continue
            elsewhere = self.patience and any(work.peers_are_elsewhere() for work in works)
            if not (elsewhere and _wait(works, self.patience)):
                self._set(max(until, math.nextafter(self.time(), math.inf)))

    def _something_is_pending(self, works: tuple[Clockwork, ...]) -> bool:
        if busy_threads(self._threads) or any(work.is_pending() for work in works):
            return True
        return self.patience == math.inf and any(work.peers_are_elsewhere() for work in works)


def _wait(works: tuple[Clockwork, ...], seconds: float) -> bool:
    """Wait at most `seconds` of real time. Returns True as soon as one of the loops has something to do."""
    if len(works) == 1:
        return works[0].wait(seconds)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if any(work.wait(min(seconds, _LOOK)) for work in works):
            return True
    return False


def _nothing() -> None:
    pass


def run(
    main: Coroutine[Any, Any, T],
    *,
    clock: Clock | None = None,
    debug: bool | None = None,
    **options: Unpack[OptionKeywords],
) -> T:
    """Run a coroutine like :func:`sfloop.run`, with a clock that jumps, so that the timeouts of `main` take no real
    time.

    :param clock: None: ``Clock()``.
    :raises ValueError: an option has a value that is not allowed, or `main` is not a coroutine.
    :raises RuntimeError: a loop is already running in this thread.
    """
    if asyncio._get_running_loop() is not None:
        if asyncio.iscoroutine(main):
            main.close()  # prevents a second warning that the coroutine was never awaited
        raise RuntimeError("sfloop.testing.run() cannot be called from a running event loop")
    runner = Runner(debug=debug, **options)
    with (clock or Clock()).on(runner.get_loop()), runner:
        return runner.run(main)
