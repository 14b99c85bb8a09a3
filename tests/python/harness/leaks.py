"""The leak counters of sfloop.testing, for pytest's process, which has many objects of its own."""

from __future__ import annotations

import gc

from sfloop.testing.leaks import Snapshot, leaked_since


def check(before: Snapshot) -> list[str]:
    """The leaks since the snapshot, one line each."""
    leaked = leaked_since(before)
    if not leaked:
        gc.freeze()  # these objects are pytest's, so later collections need not scan them
    return leaked
