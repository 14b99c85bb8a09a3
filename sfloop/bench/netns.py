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
    """Makes both namespaces and the pair, and removes them at the end."""
    with ExitStack() as stack:
        try:
            pair = stack.enter_context(netns.veth_pair("sfb"))
        except netns.NamespaceError as error:
            raise BenchError(str(error)) from None
        yield Place(SERVER_ADDRESS, pair.server_prefix, pair.load_prefix)


#: The interfaces of the relay that :func:`relayed_pair` leaves room for.
RELAY_INTERFACES = ("relay0", "relay1")


@contextmanager
def relayed_pair() -> Iterator[Place]:
    """Two hosts with a place for a relay between them. Every segment is one frame: nobody cuts or merges on the way."""
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
    """Has the server's side take frames that were never sent from a socket, whether an XDP program is attached there or
    not: its kernel's own way in is as short as a NIC's. Raises BenchError when ethtool cannot."""
    _ethtool([*place.server_prefix, "ethtool", "-K", INTERFACE, "gro", "on"])
