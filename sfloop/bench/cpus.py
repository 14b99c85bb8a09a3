"""Which two CPUs the server and the load generator run on, and what the machine is."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from sfloop.bench.errors import BenchError


@dataclass(frozen=True)
class CpuPair:
    """The server's CPU and the load generator's."""

    server: int
    load: int
    #: Whether both are threads of one core: they then slow each other down.
    siblings: bool = False


def _cpu_list(text: str) -> set[int]:
    """Reads the kernel's list format, such as ``0-3,8``."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def _siblings(cpu: int) -> set[int]:
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return {cpu}
    return _cpu_list(text)


def choose(wanted: str | None = None) -> CpuPair:
    """The first allowed CPU for the server, and the next one that is not on the same core for the load.

    `wanted` names both instead, as ``"0,1"``. Raises BenchError when there are no two CPUs to run on.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if wanted is not None:
        try:
            server, load = (int(part) for part in wanted.split(","))
        except ValueError:
            raise BenchError(f'--cpus is "{wanted}"; two CPU numbers are needed, such as "0,1"') from None
        if server == load or not {server, load} <= set(allowed):
            raise BenchError(
                f"--cpus is {wanted}; two different CPUs out of those allowed to this process are needed: "
                f"{', '.join(map(str, allowed))}"
            )
        return CpuPair(server, load, load in _siblings(server))
    if len(allowed) < 2:
        raise BenchError(
            f"the server and the load generator need a CPU each, but this process may run on CPU {allowed[0]} only; "
            "give it two (taskset, docker --cpuset-cpus)"
        )
    server = allowed[0]
    others = [cpu for cpu in allowed[1:] if cpu not in _siblings(server)]
    return CpuPair(server, others[0]) if others else CpuPair(server, allowed[1], siblings=True)


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "CPU implementer") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def _virtual_machine() -> bool:
    try:
        return " hypervisor" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def machine() -> dict[str, str | int | bool]:
    """What a reader has to know of the machine to judge a result."""
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count() or 0,
        "virtual": _virtual_machine(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }
