"""Leak counts: descriptors, open transports and other native objects, which a test must leave as it found them."""

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

# A recent libffi opens its own file for the first callback that ctypes or cffi makes, and keeps it.
_first_callback = ctypes.CFUNCTYPE(None)(lambda: None)


class LeakError(AssertionError):
    """Something was left open. :attr:`leaked` has a line for each descriptor and each kind of object."""

    def __init__(self, leaked: list[str]) -> None:
        super().__init__("leaked:\n" + "\n".join(leaked))
        self.leaked = leaked


def live_objects() -> dict[str, int]:
    """Native objects that are alive in this process, over all its loops: ``handles``, ``timer_handles``,
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
    """The open descriptors of this process: number → what it refers to, as in ``/proc/self/fd``."""
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
        """One line for each descriptor, and for each kind of object, that is here and was not there before."""
        lines = [
            f"descriptor {fd} -> {target}"
            for fd, target in self.descriptors.items()
            if before.descriptors.get(fd) != target
        ]
        if len(self.descriptors) <= len(before.descriptors):
            lines = []  # a number was closed and opened again as something else; nothing has grown
        lines += [
            f"{count - before.objects.get(name, 0)} live {name}"
            for name, count in self.objects.items()
            if count > before.objects.get(name, 0)
        ]
        return lines


def snapshot() -> Snapshot:
    """Collects garbage, then counts."""
    gc.collect()
    return Snapshot()


def leaked_since(before: Snapshot, patience: float = 2.0) -> list[str]:
    """What has leaked since a snapshot, a line each; empty: nothing.

    :param patience: seconds for threads that a loop does not wait for (executors, child watchers) to end.
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
    """What the block opens, it closes: no descriptor and no native object is left that was not there before.

    If the block itself raises, its exception goes on and nothing is counted, because a traceback keeps objects alive.

    :param patience: seconds for threads that a loop does not wait for (executors, child watchers) to end.
    :raises LeakError: something is left; the message lists it.
    """
    before = snapshot()
    yield
    if leaked := leaked_since(before, patience):
        raise LeakError(leaked)
