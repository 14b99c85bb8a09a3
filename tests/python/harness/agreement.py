"""Programs that run on asyncio's own loop and on sfloop, and the parts of random programs.

The tests compare only results that asyncio determines. It does not determine which of several ready descriptors is
served first, nor the turn in which a transport's data arrives. So a test of sockets does several things in one
callback, and then turns the loop until nothing happens any more.
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
QUIET_TURNS = 12  # after this number of turns without a new event, no more will come

PAIRS = 3
END = st.integers(0, 2 * PAIRS - 1)


def both(program: Callable[[asyncio.AbstractEventLoop], Any]) -> None:
    """Run the program on a new loop of each kind. The results must be equal."""
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
