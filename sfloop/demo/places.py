"""Where a round's traffic runs: on the loopback, over a wire in shared memory, or over a veth pair."""

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
    """How the two processes are started there."""

    exchange_prefix: tuple[str, ...] = ()
    """Stands before the exchange's command."""
    client_prefix: tuple[str, ...] = ()
    exchange_options: tuple[str, ...] = ()
    client_address: str = LOOPBACK
    """Of the interface that the client receives market data on."""
    sfloop_options: tuple[str, ...] = ()
    """For ``sfloop run``."""


def place_of(column: Column, stack: str | None = None, veth: netns.VethPair | None = None) -> Place:
    """Where a round of ``column`` runs; ``stack`` is sfloop's on the loopback, ``veth`` the pair for what needs one."""
    if column.network == "loopback":
        own = stack not in (None, BYPASS)
        return Place(sfloop_options=("--stack", str(stack)) if own else ())
    if column.network == "shm":
        wire = f"demo-{secrets.token_hex(4)}"  # nobody else's, and no other round's
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
    """How many UDP datagrams the programs in the client's network namespace have received from the kernel so far.

    0 where the client has no namespace of its own.
    """
    if not place.client_prefix:
        return 0
    command = [*place.client_prefix, "cat", "/proc/net/snmp"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    names, values = (line.split() for line in lines if line.startswith("Udp:"))
    return int(values[names.index("InDatagrams")])
