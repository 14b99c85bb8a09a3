"""Programs under the simulator of Onload (tests/sim/onload), started as a user starts them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SIMULATOR = Path(__file__).resolve().parents[2] / "sim" / "onload"
#: This setting keeps the wrapper from looking for a driver, as it does with Onload's own.
NO_DRIVER_CHECK = {"ONLOAD_DRIVERCHECK": "false"}


def build(directory: Path, *flags: str) -> Path:
    """Build the simulator's library."""
    library = directory / "libonload.so"
    source = SIMULATOR / "onload_sim.c"
    compiler = os.environ.get("CC", "cc")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", *flags, "-o", library, source], check=True
    )
    return library


@dataclass
class Ran:
    """A program that has ended: its exit status, its output, and the calls that the simulator counted."""

    status: int
    out: str
    err: str
    asked: Counter[str] = field(default_factory=Counter)
    #: epoll calls by kind: without a timeout or blocking, with the thread's epoll spinning on or off.
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def printed(self) -> Any:
        return json.loads(self.out)


def run(
    directory: Path, library: Path | None, *arguments: str, body: Sequence[str], wrapper: bool = True, **extra: str
) -> Ran:
    """``sfloop run arguments… app.py``, which consists of the body's parts; the wrapper is in the path, and preloads
    the library (None: nothing)."""
    log, app = directory / "log", directory / "app.py"
    parts = ["import asyncio, json, os, sys, threading\nimport sfloop", *map(textwrap.dedent, body)]
    app.write_text("\n".join(parts))
    log.unlink(missing_ok=True)
    # A sanitizer's run-time libraries stay preloaded, before the simulator.
    preloaded = os.environ.get("LD_PRELOAD", "").split()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("SFLOOP_", "EF_"))}
    environ |= {"ONLOAD_SIM_LOG": str(log), **NO_DRIVER_CHECK}
    environ["ONLOAD_SIM_LIBRARY"] = " ".join([*preloaded, str(library)]) if library else ""
    if wrapper:
        environ["PATH"] = f"{SIMULATOR}:{environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "sfloop", "run", *arguments, str(app), "an argument"],
        capture_output=True, text=True, timeout=60, cwd=directory, env={**environ, **extra}, check=False,
    )  # fmt: skip
    lines = log.read_text().splitlines() if log.exists() else []
    ran = Ran(
        done.returncode, done.stdout, done.stderr, Counter(line for line in lines if not line.startswith("calls"))
    )
    for line in lines:
        for name, count in re.findall(r"(\w+)=(\d+)", line) if line.startswith("calls") else ():
            ran.calls[name] += int(count)
    return ran
