"""Leak counts: descriptors, open transports and other native objects that a test must release."""

# tests/conformance/forkserver/child.py has its own open_descriptors(). It judges sfloop, so it imports nothing of it.

from __future__ import annotations

import ctypes
import gc
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sfloop.native.cores import core, datagram, ethernet, handle, stream

__all__ = ["LeakError", "Snapshot", "leaked_since", "live_objects", "no_leaks", "open_descriptors", "snapshot"]

# Make the first callback now, because a recent libffi opens a file for the first callback of ctypes or cffi and keeps
# it open.
_first_callback = ctypes.CFUNCTYPE(None)(lambda: None)


class LeakError(AssertionError):
    """A test left something open. :attr:`leaked` has a line for each descriptor and each kind of object."""

    def __init__(self, leaked: list[str]) -> None:
        super().__init__("leaked:\n" + "\n".join(leaked))
        self.leaked = leaked


def live_objects() -> dict[str, int]:
    """Count the native objects of this process, over all its loops. Keys: ``handles``, ``timer_handles``,
    ``stream_transports``, ``datagram_transports``, ``ethernet_transports``, ``watchers`` (slots in use: transports,
    listeners and watched descriptors) and ``engines`` (one for each loop that is not closed)."""
    handles, timer_handles = handle.live()
    engines, watchers = core.live()
    return {
        "handles": handles,
        "timer_handles": timer_handles,
        "stream_transports": stream.live(),
        "datagram_transports": datagram.live(),
        "ethernet_transports": ethernet.live(),
        "watchers": watchers,
        "engines": engines,
    }


def open_descriptors() -> dict[int, str]:
    """The open descriptors of this process: number → target, as in ``/proc/self/fd``."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the descriptor that listdir itself used
    return found


@dataclass(frozen=True)
class Snapshot:
    """:func:`open_descriptors` and :func:`live_objects` at one moment."""

    descriptors: dict[int, str] = field(default_factory=open_descriptors)
    objects: dict[str, int] = field(default_factory=live_objects)

    def leaked_since(self, before: Snapshot) -> list[str]:
        """One line for each descriptor and each kind of object that `before` does not have."""
        lines = [
            f"descriptor {fd} -> {target}"
            for fd, target in self.descriptors.items()
            if before.descriptors.get(fd) != target
        ]
        if len(self.descriptors) <= len(before.descriptors):
            lines = []  # a number was closed and reused for another file, but the count has not grown
        lines += [
            f"{count - before.objects.get(name, 0)} live {name}"
            for name, count in self.objects.items()
            if count > before.objects.get(name, 0)
        ]
        return lines


def snapshot() -> Snapshot:
    """Collect garbage, then count."""
    gc.collect()
    return Snapshot()


def leaked_since(before: Snapshot, patience: float = 2.0) -> list[str]:
    """List what has leaked since a snapshot, one line each; empty: nothing.

    :param patience: seconds to wait for the end of threads that a loop does not wait for (executors, child watchers).
    """
    deadline = time.monotonic() + patience
    while True:
        leaked = snapshot().leaked_since(before)
        if not leaked or time.monotonic() > deadline:
            return leaked
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join(0.05)
        time.sleep(0.01)


@contextmanager
def no_leaks(patience: float = 2.0) -> Iterator[None]:
    """Check that the block closes everything that it opens: descriptors and native objects.

    If the block itself raises, its exception propagates and nothing is counted, because a traceback keeps objects
    alive.

    :param patience: seconds to wait for the end of threads that a loop does not wait for (executors, child watchers).
    :raises LeakError: something is left open. The message lists it.
    """
    before = snapshot()
    yield
    if leaked := leaked_since(before, patience):
        raise LeakError(leaked)
