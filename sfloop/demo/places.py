"""The network of a round: the loopback, a shared-memory wire, or a veth pair."""

from __future__ import annotations

import secrets
import subprocess
from dataclasses import dataclass

from sfloop.testing import netns

from .columns import BYPASS, Column
from .feed import LOOPBACK
from .wire import CLIENT_ADDRESS


@dataclass(frozen=True)
class Place:
    """How the two processes are started."""

    exchange_prefix: tuple[str, ...] = ()
    """Words before the exchange's command."""
    client_prefix: tuple[str, ...] = ()
    exchange_options: tuple[str, ...] = ()
    client_address: str = LOOPBACK
    """The address of the interface on which the client receives market data."""
    sfloop_options: tuple[str, ...] = ()
    """Options of ``sfloop run``."""


def place_of(column: Column, stack: str | None = None, veth: netns.VethPair | None = None) -> Place:
    """The place of a round. ``stack`` is sfloop's on the loopback; ``veth`` is the pair for columns that need it."""
    if column.network == "loopback":
        own = stack not in (None, BYPASS)
        return Place(sfloop_options=("--stack", str(stack)) if own else ())
    if column.network == "shm":
        wire = f"demo-{secrets.token_hex(4)}"  # a name that no other round or user has
        options = _driver(column, f"{wire}@{CLIENT_ADDRESS}")
        return Place(exchange_options=("--wire", wire), client_address=CLIENT_ADDRESS, sfloop_options=options)
    if veth is None:
        raise ValueError(f"{column.name} needs a veth pair")
    return Place(
        exchange_prefix=veth.server_prefix,
        client_prefix=veth.load_prefix,
        exchange_options=("--address", netns.SERVER_ADDRESS),
        client_address=netns.LOAD_ADDRESS,
        sfloop_options=_driver(column, netns.INTERFACE),
    )


def _driver(column: Column, interface: str) -> tuple[str, ...]:
    if column.driver is None:
        return ()
    return ("--stack", BYPASS, "--driver", column.driver, "--interface", interface, "--fallback", "error")


def kernel_datagrams(place: Place) -> int:
    """UDP datagrams that programs in the client's network namespace have received from the kernel so far.

    0 if the client has no namespace of its own.
    """
    if not place.client_prefix:
        return 0
    command = [*place.client_prefix, "cat", "/proc/net/snmp"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    names, values = (line.split() for line in lines if line.startswith("Udp:"))
    return int(values[names.index("InDatagrams")])
