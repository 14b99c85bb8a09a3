"""The machine and software that the demo ran on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .rounds import Placement

CPUINFO = Path("/proc/cpuinfo")
CLOCKSOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")


def describe(loops: Sequence[str], placement: Placement) -> list[tuple[str, str]]:
    """List (name, value): CPU, kernel, Python, loops, and the CPU of each process."""
    allowed = sorted(os.sched_getaffinity(0))
    pinned = f"exchange simulator on CPU {placement.exchange}, client on CPU {placement.client}"
    if placement.shared:
        pinned += " — the only CPU allowed, so latencies are not meaningful"
    options = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("SFLOOP_")]
    return [
        ("CPU", f"{_cpu_model()}, {os.cpu_count()} CPUs, {len(allowed)} allowed here"),
        ("Pinned", pinned),
        ("Kernel", f"{platform.system()} {platform.release()} {platform.machine()}, clock {_clock()}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("Loops", ", ".join(_loop_version(loop) for loop in loops)),
        *([("Options", " ".join(options))] if options else []),
    ]


def _cpu_model() -> str:
    try:
        for line in CPUINFO.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model", "Processor"):
                hypervisor = " (virtual machine)" if "hypervisor" in CPUINFO.read_text() else ""
                return value.strip() + hypervisor
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _clock() -> str:
    try:
        return CLOCKSOURCE.read_text().strip()
    except OSError:
        return "unknown"


def _loop_version(loop: str) -> str:
    if loop == "asyncio":
        return f"asyncio of Python {platform.python_version()}"
    try:
        return f"{loop} {version(loop)}"
    except PackageNotFoundError:
        return f"{loop} (from source)"
