"""The machine and software that the demo ran on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from sfloop.common.machine import clock_source, cpu_model, is_virtual

from .rounds import Placement


def describe(loops: Sequence[str], placement: Placement) -> list[tuple[str, str]]:
    """List (name, value): CPU, kernel, Python, loops, and the CPU of each process."""
    allowed = sorted(os.sched_getaffinity(0))
    pinned = f"exchange simulator on CPU {placement.exchange}, client on CPU {placement.client}"
    if placement.shared:
        pinned += " — the only CPU allowed, so latencies are not meaningful"
    model = cpu_model() + (" (virtual machine)" if is_virtual() else "")
    options = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("SFLOOP_")]
    return [
        ("CPU", f"{model}, {os.cpu_count()} CPUs, {len(allowed)} allowed here"),
        ("Pinned", pinned),
        ("Kernel", f"{platform.system()} {platform.release()} {platform.machine()}, clock {clock_source()}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("Loops", ", ".join(_loop_version(loop) for loop in loops)),
        *([("Options", " ".join(options))] if options else []),
    ]


def _loop_version(loop: str) -> str:
    if loop == "asyncio":
        return f"asyncio of Python {platform.python_version()}"
    try:
        return f"{loop} {version(loop)}"
    except PackageNotFoundError:
        return f"{loop} (from source)"
