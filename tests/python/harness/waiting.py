"""Waiting outside an event loop."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(holds: Callable[[], bool], limit: float = 5.0) -> bool:
    """Wait until `holds` is true. Returns False if it is not within `limit` seconds."""
    end = time.monotonic() + limit
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
