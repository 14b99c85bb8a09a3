"""The two measurements of the doctor. Together they take a fifth of a second."""

from __future__ import annotations

import gc
import os
import threading
import time
from dataclasses import dataclass
from typing import Final

#: How long to watch a CPU, in ns, and the gap between two readings of the clock that counts as an interruption. On an
#: undisturbed CPU the interpreter's own gaps are shorter.
_WATCHED_NS: Final = 100_000_000
_GAP_NS: Final = 5_000


@dataclass(frozen=True)
class Interruptions:
    """Interruptions of a thread that only reads the clock."""

    count: int
    longest_us: float
    #: Lost share of the time watched, in per cent.
    lost_percent: float


def interruptions(cpu: int) -> Interruptions:
    """Spin on a CPU for 100 ms in a new thread, and count the gaps above 5 µs.

    :raises OSError: this process may not run on the CPU.
    """
    gaps: list[int] = []
    failed: list[OSError] = []

    def spin() -> None:
        try:
            os.sched_setaffinity(0, {cpu})
        except OSError as error:
            failed.append(error)
            return
        _spin(gaps)

    thread = threading.Thread(target=spin, name="sfloop-doctor")
    collecting = gc.isenabled()
    gc.disable()
    try:
        thread.start()
        thread.join()
    finally:
        if collecting:
            gc.enable()
    if failed:
        raise failed[0]
    return Interruptions(len(gaps), max(gaps, default=0) / 1e3, 100 * sum(gaps) / _WATCHED_NS)


def _spin(gaps: list[int]) -> None:
    clock = time.perf_counter_ns
    now = clock()
    end = now + _WATCHED_NS
    while now < end:
        before, now = now, clock()
        if now - before > _GAP_NS:
            gaps.append(now - before)


def clock_ns() -> float:
    """The cost of reading CLOCK_MONOTONIC, in ns, with the interpreter's share: the least of several series."""
    clock = time.monotonic_ns
    best = 1e9
    for _ in range(20):
        before = clock()
        for _ in range(50):
            clock()
        best = min(best, (clock() - before) / 51)
    return best
