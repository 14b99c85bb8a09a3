"""Programs that run on asyncio's own loop and on sfloop, and what random ones are made of.

Only what asyncio itself determines is compared. That leaves out which of several descriptors that are ready is served
first, and in which turn a transport's data arrives: a test of sockets therefore does several things in one callback,
and then lets the loop turn until nothing happens any more.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from harness import loops

Trace = list[Any]
Operation = tuple[Any, ...]

COMMON = settings(
    max_examples=200,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
QUIET_TURNS = 12  # turns without anything new after which nothing is to come

PAIRS = 3
END = st.integers(0, 2 * PAIRS - 1)


def both(program: Callable[[asyncio.AbstractEventLoop], Any]) -> None:
    """Runs the program on a new loop of each kind; what it returns must be equal."""
    outcomes = []
    for kind in ("asyncio", "sfloop"):
        loop = loops.new_loop(kind)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                outcomes.append(program(loop))
        finally:
            loops.close(loop)
    assert outcomes[1] == outcomes[0]
