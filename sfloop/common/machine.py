"""Facts about the machine for the reader of a report: its CPU, whether it is virtual, its clock, and lists of CPUs."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
CLOCKSOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")


def _text(path: Path) -> str:
    """The text of a file; nothing where it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""


def cpu_model() -> str:
    """The CPU's name, by the kernel or by the platform."""
    for line in _text(CPUINFO).splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "Processor", "CPU implementer") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def is_virtual() -> bool:
    """Whether a hypervisor is below this kernel."""
    return " hypervisor" in _text(CPUINFO)


def clock_source() -> str:
    """The kernel's clock source, such as ``"tsc"``."""
    return _text(CLOCKSOURCE).strip() or "unknown"


def cpu_list(text: str) -> list[int]:
    """The CPUs in a list in the kernel's format: ``"0-2,5"``."""
    return list(_cpus(text))


def _cpus(text: str) -> Iterator[int]:
    for part in text.replace("\n", ",").split(","):
        first, _, last = part.strip().partition("-")
        if first.isdecimal() and (not last or last.isdecimal()):
            yield from range(int(first), int(last or first) + 1)


def listed(cpus: Iterable[int]) -> str:
    """CPUs for a reader: ``"0,1,5"``."""
    return ",".join(map(str, sorted(cpus)))
