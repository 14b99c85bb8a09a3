"""All checks, in the order of the report. A new check is a function that yields findings, and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from sfloop.doctor.checks import (
    busy_poll,
    capabilities,
    clock,
    cpus,
    interrupts,
    libraries,
    memlock,
    memory,
    nic,
    numa,
    offloads,
    passed_by,
    power,
    tls,
    virtualisation,
    vlan_tags,
    xdp,
)
from sfloop.doctor.finding import Finding, UnseenError
from sfloop.doctor.machine import Machine

Check = Callable[[Machine], Iterator[Finding]]

#: Name → check. A finding has this name if the check could not examine anything.
CHECKS: Final[dict[str, Check]] = {
    "virtual-machine": virtualisation.check,
    "nic": nic.check,
    "libraries": libraries.check,
    "tls": tls.check,
    "capabilities": capabilities.check,
    "hugepages": memory.check,
    "memlock": memlock.check,
    "irq-affinity": interrupts.check_affinity,
    "coalescing": interrupts.check_coalescing,
    "xdp": xdp.check,
    "vlan-tags": vlan_tags.check,
    "offloads": offloads.check,
    "firewall": passed_by.check_rules,
    "rp-filter": passed_by.check_reverse_path,
    "tc-ingress": passed_by.check_traffic_control,
    "busy-poll": busy_poll.check,
    "numa": numa.check,
    "isolation": cpus.check_isolation,
    "nohz": cpus.check_tick,
    "smt": cpus.check_siblings,
    "cpu-quota": cpus.check_quota,
    "c-states": power.check_idle_states,
    "governor": power.check_governor,
    "clock": clock.check,
    "interruptions": cpus.check_interruptions,
}


def examine(machine: Machine) -> Iterator[Finding]:
    """Run every check and yield its findings. A check that cannot examine anything yields a finding that says so."""
    for name, check in CHECKS.items():
        try:
            yield from check(machine)
        except UnseenError as error:
            yield Finding(name, machine.interface or "" if name in _OF_THE_INTERFACE else "", "unseen", str(error))


_OF_THE_INTERFACE: Final = (
    "nic",
    "irq-affinity",
    "coalescing",
    "xdp",
    "vlan-tags",
    "offloads",
    "firewall",
    "rp-filter",
    "tc-ingress",
    "numa",
)
