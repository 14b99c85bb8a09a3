"""CPython's own event-loop tests, run on the loop under test.

``forkserver`` runs any ``unittest`` test in a process of its own with a time limit. ``cpython`` selects the
interpreter's event-loop tests and makes them use the loop under test. ``exceptions`` is the only list of tests that may
fail, each with its reason.
"""

from __future__ import annotations

from pathlib import Path


def server_command(loop: str, *, quick: bool, jobs: int) -> list[str]:
    """The interpreter's arguments that start this suite's fork server."""
    return [str(Path(__file__).parent), "--serve", f"--loop={loop}", f"--jobs={jobs}", *(["--quick"] if quick else [])]
