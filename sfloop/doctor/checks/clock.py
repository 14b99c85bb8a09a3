"""The clock source, because the loop reads the clock once a turn."""

from __future__ import annotations

from collections.abc import Iterator

from sfloop.doctor.finding import Cost, Finding
from sfloop.doctor.machine import Machine

_DIRECTORY = "/sys/devices/system/clocksource/clocksource0"
#: A clock that is slower than this, in ns, is read by a system call or from a slow device. The interpreter takes about
#: 40.
_SLOW_NS = 200


def check(machine: Machine) -> Iterator[Finding]:
    source = machine.read(f"{_DIRECTORY}/current_clocksource")
    cost = machine.clock_ns()
    if cost <= _SLOW_NS:
        yield Finding(
            "clock", "", "pass", f"{source}: reading it takes {cost:.0f} ns, the interpreter's share included"
        )
        return
    available = (machine.find(f"{_DIRECTORY}/available_clocksource") or "").split()
    command = "tsc=reliable clocksource=tsc   # kernel command line"
    if "tsc" in available and source != "tsc":
        command = f"echo tsc > {_DIRECTORY}/current_clocksource"
    yield Finding(
        "clock",
        "",
        "warn",
        f"{source}: slow to read",
        Cost(round(cost / 1e3, 2), round(cost / 1e3, 2), "turn", "measured"),
        command,
    )
