"""Signals: how they wake the loop, and how they reach the loop's handlers.

asyncio reads a signal's number from the wake-up descriptor (``signal.set_wakeup_fd``). A number is lost if the
descriptor is full, if another library has set its own descriptor, or if a nested loop has removed it. The call of a
signal's Python handler is never lost, because the interpreter keeps a flag for each signal. So this module reads the
numbers as asyncio does, and uses Python's handler for numbers that never arrived.
"""

from __future__ import annotations

import signal
import threading
import weakref
from asyncio import events
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from sfloop.mixins.ethernet import RawFrames

# Signal → the loops that have a handler for it, oldest first. The last one's handler is active.
_holders: dict[int, list[weakref.ref[Signals]]] = {}
# The loops that run in the main thread, the innermost last.
_running: list[Signals] = []


def _holder(number: int) -> Signals | None:
    """The loop whose handler of the signal is active."""
    references = _holders.get(number, [])
    while references:
        loop = references[-1]()
        if loop is not None:
            return loop
        references.pop()
    return None


def _release(number: int, loop: Signals) -> None:
    references = [each for each in _holders.get(number, []) if each() not in (None, loop)]
    if references:
        _holders[number] = references
    else:
        _holders.pop(number, None)


def _on_signal(number: int, frame: FrameType | None) -> None:
    """Python's handler of every signal that a loop handles. It is a plain function, so it keeps no loop alive."""
    loop = _holder(number)
    if loop is not None:
        loop._signal_arrived(number)


def _set_wakeup_fd(fd: int) -> int:
    """Call ``signal.set_wakeup_fd`` without a message for each signal that finds the descriptor full. A closed
    descriptor counts as no descriptor.

    :raises ValueError: Python does not handle signals in this thread.
    """
    try:
        return signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    except (ValueError, OSError):
        return signal.set_wakeup_fd(-1)


def _is_a_loops(fd: int) -> bool:
    """Whether writing to this descriptor wakes one of our loops."""
    return any(loop._wakeup_fd() == fd for loop in (*_running, *filter(None, map(_holder, list(_holders)))))


def forget_running_loops() -> None:
    """Called in a forked child, where no loop of the parent runs."""
    _running.clear()


class Signals(RawFrames):
    """``add_signal_handler`` and ``remove_signal_handler``, and Ctrl-C while the loop waits."""

    __slots__ = ("_fd_before", "_heard", "_unsettled")

    def __init__(self, selector: Any) -> None:
        self._fd_before = -1  # the wake-up descriptor that was set when the loop began to run
        self._heard: set[int] = set()  # signals whose number was read, so _settle() need not call their handlers
        self._unsettled: set[int] = set()  # signals for which _settle() is scheduled
        super().__init__(selector)

    # ---- waking ----

    @contextmanager
    def _signals_wake(self) -> Iterator[None]:
        """While the loop runs, let the interpreter write to a descriptor that the loop polls, so that a signal wakes
        the loop."""
        if self._takes_signals or threading.current_thread() is not threading.main_thread():
            yield  # a nested run, or a thread in which Python handles no signals
            return
        mine = self._wakeup_fd()
        try:
            before = signal.set_wakeup_fd(mine, warn_on_full_buffer=False)
        except ValueError:  # the main thread of a subinterpreter, where Python handles no signals
            yield
            return
        self._fd_before = before
        self._takes_signals = True
        _running.append(self)
        try:
            yield
        finally:
            with suppress(ValueError):  # a forked child has cleared the list
                _running.remove(self)
            self._takes_signals = False
            before, self._fd_before = self._fd_before, -1
            if before == mine and not self._signal_handlers:
                before = -1  # the run has removed the handlers that needed it
            now = _set_wakeup_fd(before)
            if now not in (mine, before, -1):
                _set_wakeup_fd(now)  # the program set it while the loop ran, so keep it

    def _wakeup_fd(self) -> int:
        return self._csock.fileno() if self._csock is not None else -1

    def _signals_wake_me(self) -> bool:
        """Whether a signal still wakes the waiting loop. The turn calls this after a long wait.

        A callback may have changed the wake-up descriptor. If the callback removed it or left another loop's descriptor
        there, ours is set again. If it is a library's, it stays, and the loop checks for signals by itself.
        """
        mine = self._wakeup_fd()
        now = _set_wakeup_fd(mine)
        if now in (mine, -1) or _is_a_loops(now):
            return True
        _set_wakeup_fd(now)
        return False

    def _linger(self, seconds: float) -> None:
        """Let the stacks deliver written data. Signals are handled meanwhile.

        The loop's own handlers are removed first, because the loop runs no callbacks any more. So Ctrl-C and SIGTERM
        have their default effect.
        """
        if not self._deliver(0):
            return
        for number in list(self._signal_handlers):
            self.remove_signal_handler(number)
        self._deliver(seconds)

    def _leave_wakeup_fd(self) -> None:
        """Remove the loop's wake-up descriptor, and set another loop's if there is one."""
        mine = self._wakeup_fd()
        for loop in _running:
            if loop is not self and loop._fd_before == mine:
                loop._fd_before = -1
        now = _set_wakeup_fd(-1)
        if now not in (mine, -1):
            _set_wakeup_fd(now)
        elif _running:
            _set_wakeup_fd(_running[-1]._wakeup_fd())
        else:
            others = filter(None, map(_holder, list(_holders)))
            _set_wakeup_fd(next((loop._wakeup_fd() for loop in others if loop is not self), -1))

    # ---- handlers ----

    def add_signal_handler(  # type: ignore[override]  # see run_in_executor
        self, sig: int, callback: Callable[..., object], *args: Any
    ) -> None:
        """Add a handler for a signal, like ``asyncio.loop.add_signal_handler``."""
        try:
            super().add_signal_handler(sig, callback, *args)
        finally:
            # asyncio has set this loop's descriptor, or none if it failed. The running loop needs its own there.
            if _running and threading.current_thread() is threading.main_thread():
                _set_wakeup_fd(_running[-1]._wakeup_fd())
        self._heard.discard(sig)
        _release(sig, self)
        _holders.setdefault(sig, []).append(weakref.ref(self))
        signal.signal(sig, _on_signal)
        signal.siginterrupt(sig, False)
        if not _running:
            _set_wakeup_fd(self._wakeup_fd())  # as asyncio does, but without warnings

    def remove_signal_handler(self, sig: int) -> bool:
        """Remove a handler for a signal. Returns True if there was one.

        If another loop has a handler for the signal, that handler becomes active again. asyncio would reset the signal.
        """
        self._check_signal(sig)
        _release(sig, self)
        if sig not in self._signal_handlers:
            return False
        if _holder(sig) is not None:
            del self._signal_handlers[sig]
        else:
            now = _set_wakeup_fd(-1)
            try:
                super().remove_signal_handler(sig)
            finally:
                # Asyncio removes the descriptor with its last handler, even if it is another loop's.
                _set_wakeup_fd(now)
        if not self._signal_handlers:
            self._leave_wakeup_fd()
        return True

    def _signal_arrived(self, number: int) -> None:
        """Called in the main thread, between any two instructions of Python code."""
        if number not in self._unsettled:
            self._unsettled.add(number)
            self._add_callback_signalsafe(events.Handle(self._settle, (number,), self))

    def _settle(self, number: int) -> None:
        """Call the signal's handler, unless the number was read from the descriptor and the handler was called then."""
        self._unsettled.discard(number)
        self._read_from_self()
        if number in self._heard:
            self._heard.discard(number)
        elif _holder(number) is self:
            self._handle_signal(number)

    def _process_self_data(self, data: bytes) -> None:
        """Called with data from the wake-up descriptor: numbers of signals."""
        mine = bytes(number for number in data if _holder(number) is self)
        self._heard.update(mine)
        super()._process_self_data(mine)
