"""Leak counters, as sfloop.testing has them, for a process whose own objects are many: pytest's."""

from __future__ import annotations

import gc

from sfloop.testing.leaks import Snapshot, leaked_since


def check(before: Snapshot) -> list[str]:
    """What has leaked since the snapshot, a line each."""
    leaked = leaked_since(before)
    if not leaked:
        gc.freeze()  # what is alive belongs to pytest: the next collections need not look at it
    return leaked
