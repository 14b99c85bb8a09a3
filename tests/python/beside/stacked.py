"""Devices on a veth pair's near end, and a cable between two tap devices."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import pytest
from harness.link import FAR, INTERFACE, NEAR, Link, Side

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_TAP, IFF_NO_PI = 1, 2, 0x1000
INNER_NEAR, INNER_FAR = "198.18.9.1", "198.18.9.2"


class Device(NamedTuple):
    """A device at the near end: its name, its address, the address of the peer."""

    name: str
    address: str
    peer: str


def add(side: Side, name: str, *arguments: str) -> None:
    """Add a device; skip the test on a kernel without this kind."""
    command = ["ip", "-n", side.namespace, "link", "add", "name", name, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and ("Unknown device type" in done.stderr or "not supported" in done.stderr):
        kind = arguments[arguments.index("type") + 1]
        pytest.skip(f"this kernel has no devices of the kind {kind}; one with its module runs this test")
    assert done.returncode == 0, done.stderr


def settle(side: Side, name: str, address: str) -> None:
    side.ip("address", "add", f"{address}/24", "dev", name)
    side.ip("link", "set", name, "up")


def move_address(link: Link, name: str) -> Device:
    """Move the veth's address to the device."""
    link.near.ip("address", "flush", "dev", INTERFACE)
    settle(link.near, name, NEAR)
    return Device(name, NEAR, FAR)


def veth(link: Link, stack: ExitStack) -> Device:
    return Device(INTERFACE, NEAR, FAR)


def bridge(link: Link, stack: ExitStack) -> Device:
    add(link.near, "br0", "type", "bridge")
    link.near.set_link("master", "br0")
    return move_address(link, "br0")


def macvlan(link: Link, stack: ExitStack) -> Device:
    add(link.near, "mv0", "link", INTERFACE, "type", "macvlan", "mode", "bridge")
    return move_address(link, "mv0")


def ipvlan(link: Link, stack: ExitStack) -> Device:
    add(link.near, "iv0", "link", INTERFACE, "type", "ipvlan", "mode", "l2")
    return move_address(link, "iv0")


def bond(link: Link, stack: ExitStack) -> Device:
    add(link.near, "bond0", "type", "bond", "mode", "active-backup", "miimon", "10")
    link.near.set_link("down")
    link.near.set_link("master", "bond0")
    return move_address(link, "bond0")


def vxlan(link: Link, stack: ExitStack) -> Device:
    for side, local, remote, inner in ((link.near, NEAR, FAR, INNER_NEAR), (link.far, FAR, NEAR, INNER_FAR)):
        add(side, "vx0", "type", "vxlan", "id", "7", "local", local, "remote", remote, "dstport", "4789")
        settle(side, "vx0", inner)
    return Device("vx0", INNER_NEAR, INNER_FAR)


def vlan(link: Link, stack: ExitStack) -> Device:
    for side, inner in ((link.near, INNER_NEAR), (link.far, INNER_FAR)):
        add(side, "vlan5", "link", INTERFACE, "type", "vlan", "id", "5")
        settle(side, "vlan5", inner)
    return Device("vlan5", INNER_NEAR, INNER_FAR)


def dummy(link: Link, stack: ExitStack) -> Device:
    add(link.near, "dummy0", "type", "dummy")
    settle(link.near, "dummy0", INNER_NEAR)
    return Device("dummy0", INNER_NEAR, INNER_FAR)


def open_tun(side: Side, name: str, flags: int) -> int:
    """Return the descriptor through which a program reads and writes the device's frames or packets."""
    with side.entered():
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags | IFF_NO_PI))
    return descriptor


@contextmanager
def cable(one: int, other: int) -> Iterator[None]:
    """Carry frames between two tap devices."""
    stop_reader, stop_writer = os.pipe()

    def carry() -> None:
        while True:
            ready, _, _ = select.select([one, other, stop_reader], [], [])
            if stop_reader in ready:
                return
            for end in ready:
                try:
                    os.write(other if end == one else one, os.read(end, 65536))
                except OSError:  # a frame that does not fit is lost, as on a cable
                    continue

    thread = threading.Thread(target=carry)
    thread.start()
    try:
        yield
    finally:
        os.write(stop_writer, b"x")
        thread.join()
        for descriptor in (stop_reader, stop_writer, one, other):
            os.close(descriptor)


def tap(link: Link, stack: ExitStack) -> Device:
    ends = [open_tun(side, "tap0", IFF_TAP) for side in (link.near, link.far)]
    settle(link.near, "tap0", INNER_NEAR)
    settle(link.far, "tap0", INNER_FAR)
    stack.enter_context(cable(*ends))
    return Device("tap0", INNER_NEAR, INNER_FAR)


def tun(link: Link, stack: ExitStack) -> Device:
    stack.callback(os.close, open_tun(link.near, "tun0", IFF_TUN))
    settle(link.near, "tun0", INNER_NEAR)
    return Device("tun0", INNER_NEAR, INNER_FAR)


def loopback(link: Link, stack: ExitStack) -> Device:
    return Device("lo", "127.0.0.1", "127.0.0.1")


def port_of_bridge(link: Link, stack: ExitStack) -> Device:
    bridge(link, stack)
    return Device(INTERFACE, NEAR, FAR)


def port_of_bond(link: Link, stack: ExitStack) -> Device:
    bond(link, stack)
    return Device(INTERFACE, NEAR, FAR)


Maker = Callable[[Link, ExitStack], Device]
