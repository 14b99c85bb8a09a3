"""A CPU's power saving: how deep it sleeps, and how slowly it runs."""

from __future__ import annotations

from collections.abc import Iterator

from sfloop.common.machine import listed
from sfloop.doctor.finding import Cost, Finding, UnseenError
from sfloop.doctor.machine import Machine

_SHALLOW_US = 2


def check_idle_states(machine: Machine) -> Iterator[Finding]:
    """The deepest idle state that is enabled, because a loop that sleeps pays for leaving it."""
    subject = f"cpu {listed(machine.cpus)}"
    deepest, name, seen = 0, "", False
    for cpu in machine.cpus:
        directory = f"/sys/devices/system/cpu/cpu{cpu}/cpuidle"
        for state in machine.names(directory):
            latency = machine.find(f"{directory}/{state}/latency") or ""
            if not latency.isdecimal():
                continue
            seen = True
            if machine.find(f"{directory}/{state}/disable") != "1" and int(latency) > deepest:
                deepest, name = int(latency), machine.find(f"{directory}/{state}/name") or state
    if not seen:
        raise UnseenError("this kernel manages no idle states (in a virtual machine the hypervisor does)")
    if deepest <= _SHALLOW_US:
        yield Finding("c-states", subject, "pass", f"the deepest enabled state takes {deepest} µs to leave")
        return
    yield Finding(
        "c-states",
        subject,
        "warn",
        f"{name} is enabled: a loop that sleeps pays for leaving it, a loop that spins does not",
        Cost(deepest, deepest, "wake-up", "kernel"),
        f"cpupower idle-set -D {_SHALLOW_US}   # or spin='always'",
    )


def check_governor(machine: Machine) -> Iterator[Finding]:
    governors: dict[str, list[int]] = {}
    for cpu in machine.cpus:
        text = machine.find(f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor")
        if text:
            governors.setdefault(text, []).append(cpu)
    if not governors:
        raise UnseenError("this kernel does not set the CPUs' frequency (in a virtual machine the hypervisor does)")
    slow = {governor: cpus for governor, cpus in governors.items() if governor != "performance"}
    if not slow:
        yield Finding("governor", f"cpu {listed(machine.cpus)}", "pass", "performance")
        return
    for governor, cpus in slow.items():
        yield Finding(
            "governor",
            f"cpu {listed(cpus)}",
            "warn",
            f"{governor}: after a pause the CPU has to raise its clock again",
            Cost(10, 500, "burst after a pause", "typical"),
            "cpupower frequency-set -g performance",
        )
