"""Checks whether XDP programs see the VLAN tags of frames. A VLAN's frame without its tag looks untagged, so the driver
af_xdp refuses an interface on which this can happen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sfloop.doctor.finding import Finding
from sfloop.doctor.machine import Machine

#: Virtual devices whose frames contain their tags. The same list is in sfloop/native/drivers/kernel/vlan_tags.c.
_TAGS_INSIDE: Final = ("vxlan", "geneve", "gretap", "ip6gretap", "erspan", "ip6erspan", "tun", "vlan")


def check(machine: Machine) -> Iterator[Finding]:
    name = machine.interface
    if name is None:
        return
    yield _tags(machine, name)


def _tags(machine: Machine, name: str) -> Finding:
    xdp = machine.xdp(name)
    if xdp.tells_tags and xdp.features and "basic" in xdp.features:
        return Finding("vlan-tags", name, "pass", "native mode gives XDP programs the VLAN tags outside the frame")
    if machine.is_virtual(name):
        if xdp.kind in _TAGS_INSIDE:
            return Finding("vlan-tags", name, "pass", f"the frames of a {xdp.kind} device contain their VLAN tags")
        return Finding(
            "vlan-tags",
            name,
            "warn",
            "the kernel removes VLAN tags from frames before this device gets them, and XDP programs do not see "
            "them, so the driver af_xdp refuses the interface and packet is used",
        )
    if machine.ethtool.features(name).get("rx-vlan-hw-parse"):
        return Finding(
            "vlan-tags",
            name,
            "fail",
            "the NIC removes VLAN tags from frames and XDP programs do not see them, so af_xdp refuses the interface",
            command=f"ethtool -K {name} rxvlan off   # or use the driver packet",
        )
    return Finding("vlan-tags", name, "pass", "the NIC leaves VLAN tags in the frames")
