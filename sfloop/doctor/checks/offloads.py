"""Offloads that gather frames before they are handed up."""

from __future__ import annotations

from collections.abc import Iterator

from sfloop.doctor.finding import Cost, Finding, UnseenError
from sfloop.doctor.machine import Machine


def check(machine: Machine) -> Iterator[Finding]:
    name = machine.interface
    if name is None:
        return
    try:
        features = machine.ethtool.features(name)
    except UnseenError as error:
        yield Finding("offloads", name, "unseen", str(error))
    else:
        gathering = [feature for feature in ("rx-lro", "rx-gro-hw") if features.get(feature)]
        if gathering:
            switch = {"rx-lro": "lro", "rx-gro-hw": "rx-gro-hw"}
            yield Finding(
                "offloads",
                name,
                "warn",
                f"{', '.join(gathering)} on: the NIC gathers segments, and XDP takes no such frame",
                Cost(0, 10, "message", "typical"),
                f"ethtool -K {name} {' '.join(f'{switch[feature]} off' for feature in gathering)}",
            )
        else:
            yield Finding("offloads", name, "pass", "no receive offload gathers segments in the NIC")
    yield from _gro_flush(machine, name)


def _gro_flush(machine: Machine, name: str) -> Iterator[Finding]:
    """How long the kernel holds what it has gathered, in ns; a frame driver in native mode is before that."""
    text = machine.find(f"/sys/class/net/{name}/gro_flush_timeout") or ""
    if text.isdecimal() and int(text):
        yield Finding(
            "gro-flush",
            name,
            "warn",
            f"gro_flush_timeout={text} ns: the kernel holds gathered segments so long",
            Cost(0, int(text) / 1000, "message", "kernel"),
            f"echo 0 > /sys/class/net/{name}/gro_flush_timeout",
        )
    elif text:
        yield Finding("gro-flush", name, "pass", "the kernel does not hold gathered segments back")
