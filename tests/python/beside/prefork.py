"""Workers of one master that share a listening socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.link import Link
from harness.programs import environment

PROGRAM = Path(__file__).parent / "prefork_program.py"


@contextmanager
def forked_workers(link: Link, port: int, workers: dict[str, Any]) -> Iterator[dict[str, int]]:
    """The process of each worker, by its name. ``workers`` has the options of its loop, or None for asyncio's own."""
    with link.near.entered():
        master = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(port), json.dumps(workers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
            start_new_session=True,
        )
    try:
        assert master.stdout is not None
        said = [master.stdout.readline().split() for _ in workers]
        yield {name: int(pid) for name, pid in said}
    finally:
        os.killpg(master.pid, signal.SIGKILL)
        master.communicate()
