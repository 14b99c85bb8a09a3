"""Checks whether this is a virtual machine or a container, which hides facts from the other checks."""

from __future__ import annotations

from collections.abc import Iterator

from sfloop.doctor.finding import Cost, Finding
from sfloop.doctor.machine import Machine


def check(machine: Machine) -> Iterator[Finding]:
    hypervisor = _hypervisor(machine)
    if hypervisor is None:
        yield Finding("virtual-machine", "", "pass", "not a virtual machine")
    else:
        stolen = _stolen_percent(machine)
        yield Finding(
            "virtual-machine",
            "",
            "warn",
            f"a virtual machine ({hypervisor}): unless its cores are dedicated, the host may take them away"
            f"{'' if stolen is None else f', {stolen:.2g} % of the time since it started'}; the host's "
            f"idle states, frequency and interrupts cannot be seen",
            Cost(2, 50, "exit to the host", "typical"),
        )
    container = _container(machine)
    if container is None:
        yield Finding("container", "", "pass", "none")
    else:
        yield Finding(
            "container",
            "",
            "pass",
            f"{container}: /sys and /proc show the host's CPUs, but only its own interfaces",
        )


def _hypervisor(machine: Machine) -> str | None:
    flags = (machine.find("/proc/cpuinfo") or "").split("\nflags", 1)[-1].split("\n", 1)[0].split()
    kind = machine.find("/sys/hypervisor/type")
    if "hypervisor" not in flags and kind is None:
        return None
    maker = machine.find("/sys/class/dmi/id/sys_vendor") if machine.exists("/sys/class/dmi/id/sys_vendor") else None
    product = machine.find("/sys/class/dmi/id/product_name") if maker else None
    return kind or " ".join(filter(None, (maker, product))) or "of unknown kind"


def _stolen_percent(machine: Machine) -> float | None:
    fields = (machine.find("/proc/stat") or "").split("\n", 1)[0].split()[1:9]
    if len(fields) < 8 or not all(field.isdecimal() for field in fields):
        return None
    times = [int(field) for field in fields]
    return 100 * times[7] / max(sum(times), 1)


def _container(machine: Machine) -> str | None:
    if machine.exists("/.dockerenv"):
        return "Docker"
    if machine.exists("/run/.containerenv"):
        return "Podman"
    text = machine.find("/proc/1/cgroup") or ""
    for word, name in (("docker", "Docker"), ("kubepods", "Kubernetes"), ("lxc", "LXC"), ("containerd", "containerd")):
        if word in text:
            return name
    return None
