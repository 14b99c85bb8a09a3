"""The CPUs of the server and of the load generator, and facts about the machine."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from sfloop.bench.errors import BenchError
from sfloop.common.machine import cpu_list, cpu_model, is_virtual


@dataclass(frozen=True)
class CpuPair:
    """The server's CPU and the load generator's."""

    server: int
    load: int
    #: Whether both are threads of one core, which slow each other down.
    siblings: bool = False


def _siblings(cpu: int) -> set[int]:
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return {cpu}
    return set(cpu_list(text))


def choose(wanted: str | None = None) -> CpuPair:
    """Choose the first allowed CPU for the server, and the next one on another core for the load.

    :param wanted: both CPUs instead, as ``"0,1"``.
    :raises BenchError: there are no two CPUs to run on.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if wanted is not None:
        try:
            server, load = (int(part) for part in wanted.split(","))
        except ValueError:
            raise BenchError(f'--cpus is "{wanted}"; give two CPU numbers, such as "0,1"') from None
        if server == load or not {server, load} <= set(allowed):
            raise BenchError(
                f"--cpus is {wanted}; give two different CPUs of those allowed to this process: "
                f"{', '.join(map(str, allowed))}"
            )
        return CpuPair(server, load, load in _siblings(server))
    if len(allowed) < 2:
        raise BenchError(
            f"the server and the load generator need one CPU each, but this process may run on CPU {allowed[0]} only; "
            "allow two (taskset, docker --cpuset-cpus)"
        )
    server = allowed[0]
    others = [cpu for cpu in allowed[1:] if cpu not in _siblings(server)]
    return CpuPair(server, others[0]) if others else CpuPair(server, allowed[1], siblings=True)


def machine() -> dict[str, str | int | bool]:
    """The facts about the machine that a reader needs to judge a result."""
    return {
        "cpu": cpu_model(),
        "cpus": os.cpu_count() or 0,
        "virtual": is_virtual(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }
