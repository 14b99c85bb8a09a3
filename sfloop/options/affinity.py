"""The option ``cpu``: the CPUs that a loop's thread may run on, and how a thread is pinned."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

__all__ = ["check_cpu", "cpu_range", "pin_thread"]

# The CPUs this process was started on, read before any loop pins its thread. A thread started from a pinned thread
# inherits only that CPU, but must still be able to choose any other CPU of the process.
_STARTING_AFFINITY: Final = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset[int]()


def pin_thread(cpu: int) -> frozenset[int]:
    """Pin the calling thread to one CPU.

    :return: the CPUs that the thread could run on before; pass them to ``os.sched_setaffinity(0, …)`` to undo the
        pinning.
    :raises ValueError: this process may not run on the CPU (see ``taskset -p`` and the cgroup's cpuset).
    """
    before = frozenset(os.sched_getaffinity(0))
    allowed = _STARTING_AFFINITY | before
    if cpu not in allowed:
        raise ValueError(
            f"cpu={cpu}: this process may run on CPU {_listed(allowed)} only; choose one of those, "
            f"or widen its affinity (taskset, the cgroup's cpuset)"
        )
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError as error:
        raise ValueError(f"cpu={cpu}: the kernel does not let this thread run there ({error.strerror})") from error
    return before


def check_cpu(label: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(
            f"{label}={value!r}: must be the number of a CPU, {cpu_range()}, or None, not {type(value).__name__}"
        )
    if not 0 <= value < _cpu_count():
        raise ValueError(f"{label}={value!r}: must be the number of a CPU, {cpu_range()}")
    return value


def _cpu_count() -> int:
    """The number of CPUs configured in the machine, online or offline; CPU numbers are below it. ``os.cpu_count``
    counts online CPUs only, so a CPU number may be above its result."""
    return max(os.sysconf("SC_NPROCESSORS_CONF"), max(_STARTING_AFFINITY, default=0) + 1)


def cpu_range() -> str:
    return f"0 to {_cpu_count() - 1} on this machine"


def _listed(cpus: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(cpus)))
