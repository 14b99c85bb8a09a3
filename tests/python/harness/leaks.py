"""Leak counters: descriptors of this process and live native objects, which a test must leave as it found them."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import time
from dataclasses import dataclass

# A recent libffi opens its own file for the first callback that ctypes or cffi makes, and keeps it.
_first_callback = ctypes.CFUNCTYPE(None)(lambda: None)


@dataclass(frozen=True)
class Snapshot:
    """Open descriptors (number to what it refers to) and sfloop.testing.live_objects() at one moment."""

    descriptors: dict[int, str]
    objects: dict[str, int]

    def leaked_since(self, before: Snapshot) -> list[str]:
        """One line for each descriptor or object that is here and was not there before."""
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


def open_descriptors() -> dict[int, str]:
    """The open descriptors of this process."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the descriptor that listdir itself used
    return found


def snapshot(kind: str) -> Snapshot:
    """Collects garbage, then counts."""
    gc.collect()
    objects: dict[str, int] = {}
    if kind != "asyncio":
        from sfloop import testing

        objects = dict(testing.live_objects())
    return Snapshot(open_descriptors(), objects)


def check(kind: str, before: Snapshot, patience: float = 2.0) -> list[str]:
    """What has leaked; threads that a loop does not wait for (executor, child watcher) get `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        leaked = snapshot(kind).leaked_since(before)
        if not leaked:
            gc.freeze()  # what is alive belongs to pytest: the next collections need not look at it
        if not leaked or time.monotonic() > deadline:
            return leaked
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join(0.05)
        time.sleep(0.01)
