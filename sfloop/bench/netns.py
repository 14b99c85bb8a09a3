"""The veth pair of :mod:`sfloop.testing.netns` as a place for cases to run in."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sfloop.bench.errors import BenchError
from sfloop.bench.model import Place
from sfloop.testing import netns
from sfloop.testing.netns import INTERFACE, LOAD_ADDRESS, SERVER_ADDRESS, unavailable

__all__ = [
    "INTERFACE",
    "LOAD_ADDRESS",
    "RELAY_INTERFACES",
    "SERVER_ADDRESS",
    "receive_frames",
    "relayed_pair",
    "unavailable",
    "veth_pair",
]


@contextmanager
def veth_pair() -> Iterator[Place]:
    """Make two namespaces and a veth pair, and remove them at the end."""
    with ExitStack() as stack:
        try:
            pair = stack.enter_context(netns.veth_pair("sfb"))
        except netns.NamespaceError as error:
            raise BenchError(str(error)) from None
        yield Place(SERVER_ADDRESS, pair.server_prefix, pair.load_prefix)


#: The interfaces of the relay in :func:`relayed_pair`.
RELAY_INTERFACES = ("relay0", "relay1")


@contextmanager
def relayed_pair() -> Iterator[Place]:
    """Two hosts with a relay's namespace between them. Every segment is one frame, because all offloads are off."""
    with ExitStack() as stack:
        try:
            pair, relay, ends = stack.enter_context(netns.relayed_pair("sfb"))
        except netns.NamespaceError as error:
            raise BenchError(str(error)) from None
        prefix = ("ip", "netns", "exec", relay)
        sides = [(pair.server_prefix, INTERFACE), (pair.load_prefix, INTERFACE), *((prefix, end) for end in ends)]
        for before, name in sides:
            _ethtool([*before, "ethtool", "-K", name, "tso", "off", "gso", "off", "gro", "off", "tx", "off"])
        yield Place(SERVER_ADDRESS, pair.server_prefix, pair.load_prefix, prefix)


def _ethtool(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command)} failed: {done.stderr.strip() or done.stdout.strip()}")


def receive_frames(place: Place) -> None:
    """Let the server's interface process frames that were not sent from a socket, with or without an XDP program, so
    that its kernel's receive path is as short as with a NIC. Raises BenchError if ethtool fails."""
    _ethtool([*place.server_prefix, "ethtool", "-K", INTERFACE, "gro", "on"])
