"""Offloads that combine frames before the driver sees them."""

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
                f"{', '.join(gathering)} on: the NIC combines segments, and XDP does not support such frames",
                Cost(0, 10, "message", "typical"),
                f"ethtool -K {name} {' '.join(f'{switch[feature]} off' for feature in gathering)}",
            )
        else:
            yield Finding("offloads", name, "pass", "no receive offload of the NIC combines segments")
    yield from _gro_flush(machine, name)


def _gro_flush(machine: Machine, name: str) -> Iterator[Finding]:
    """How long the kernel holds combined segments, in ns. A frame driver in native mode gets the frames before that."""
    text = machine.find(f"/sys/class/net/{name}/gro_flush_timeout") or ""
    if text.isdecimal() and int(text):
        yield Finding(
            "gro-flush",
            name,
            "warn",
            f"gro_flush_timeout={text} ns: the kernel holds combined segments for this time",
            Cost(0, int(text) / 1000, "message", "kernel"),
            f"echo 0 > /sys/class/net/{name}/gro_flush_timeout",
        )
    elif text:
        yield Finding("gro-flush", name, "pass", "the kernel does not hold combined segments")
