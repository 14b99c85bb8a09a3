"""Shared-memory wires for the programs under measurement."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_wire() -> Iterator[str]:
    """The name of a wire for this bench. Programs that are killed do not remove it, so it is removed at the end."""
    wire = f"bench{os.getpid()}"
    try:
        yield wire
    finally:
        for left in Path("/dev/shm").glob(f"sfloop-{os.getuid()}-{wire}*"):
            left.unlink(missing_ok=True)
